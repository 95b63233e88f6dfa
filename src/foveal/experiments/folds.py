"""Cross-validation: every image is detected in by a model that did not learn from it.

The images are dealt out into k folds, copies of one another into the same one. For each fold a run
learns from all the others, and its model looks at the fold: those are the out-of-fold detections.
At last one run learns from all images. That is the model to use; how good it is, the folds say.

No run chooses its best epoch by the images that measure it: each keeps its last one. So the
numbers are not flattered, and the last model, which nothing can measure, is made in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.config import to_toml
from foveal.data.checks.readiness import Readiness
from foveal.data.dataset import Dataset
from foveal.detector import Detector
from foveal.errors import SettingsError, TrainingError
from foveal.evaluation.coco_metrics import twelve
from foveal.evaluation.evaluate import NAMES
from foveal.evaluation.profile import make_profile
from foveal.experiments.cross_validation import CrossValidation, Fold, summary_of
from foveal.experiments.dealing import deal
from foveal.experiments.folder import (
    ALL,
    FORMAT,
    ExperimentFolder,
    describe_source,
    image_names,
    source_of,
)
from foveal.experiments.pages import write_folds_page
from foveal.experiments.parts import (
    expect_one_process,
    export_kept,
    look_for_copies,
    measure_part,
    numbers_of,
    read_detections,
    stopping_between_runs,
    train_part,
)
from foveal.experiments.recipe import Recipe
from foveal.outputs.files import write_coco
from foveal.text import counted
from foveal.training.conclusion import keeping_run
from foveal.training.progress import reporting_to
from foveal.training.state import fingerprint_of

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.data.opening import Source
    from foveal.evaluation.results import Evaluation
    from foveal.structures import Detections
    from foveal.training.reporters import Reporter

FOLDS = 5
_NEVER = 1_000_000
"""Epochs between validations where nobody knows how many there will be: the last one counts."""


def train_folds(
    data: Dataset | str | Path,
    *,
    out: str | Path,
    folds: int = FOLDS,
    recipe: Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
    source: Source | None = None,
) -> CrossValidation:
    """Train a run for each fold and one on all images; see the top of this file.

    Args:
        data: all images, or the path that `foveal.read` takes.
        out: the folder of all runs; it ends with the model of all images, folds.json,
            detections.json (out of fold, original pixels) and the report.
        folds: how many.
        recipe: how detectors are made; None takes the standard preset. `training.minutes` is for
            all runs together, shared out by the images that each learns from.
        resume: go on with what is in `out`; what is finished is not run again.
        overwrite: replace what is in `out`.
        progress, reporter: as for `Detector.fit`.
        source: where `data` was opened from and how, for folds.json; None takes the path, where
            `data` is one.

    Raises:
        SettingsError: there are fewer images than folds, or less than two folds.
        TrainingError: a run can't start, go on or be resumed; or there are several processes.
        TrainingInterrupted: a signal stopped it; `resume` goes on.
        DataError: the data can't be read.
    """
    expect_one_process("--folds (in Python train_folds)")
    if folds < 2:
        raise SettingsError(f"--folds {folds} (in Python folds=): expected 2 or more.")
    recipe = recipe or Recipe()
    folder = ExperimentFolder(Path(out), "folds")
    with reporting_to(reporter, progress=progress) as listener:
        folder.check(resume=resume, overwrite=overwrite)
        dataset = recipe.read(data)
        settings = recipe.detector(dataset).settings
        dataset = Readiness(
            settings.training.bad_images, say=listener.say, warn=listener.warn, decode=True
        ).make_ready(dataset)
        training = _FoldTraining(
            dataset, folder=folder, recipe=recipe, settings=settings, reporter=listener
        )
        with folder.discarding_failed_start():
            training.begin(
                folds, source=source or source_of(data), resume=resume and folder.can_resume
            )
            return training.run()


class _FoldTraining:
    """The runs of a cross-validation, one after the other."""

    def __init__(
        self,
        data: Dataset,
        *,
        folder: ExperimentFolder,
        recipe: Recipe,
        settings: Settings,
        reporter: Reporter,
    ) -> None:
        self.data = data
        self.folder = folder
        self.recipe = recipe
        self.settings = settings
        self.reporter = reporter
        self.parts: list[list[int]] = []
        self.document: dict[str, Any] = {}

    def begin(self, folds: int, *, source: Source | None, resume: bool) -> None:
        """Deal the images out, or read how they were; say what is to be trained."""
        same = fingerprint_of(
            self.settings, classes=self.data.classes, records=self.data.records, steps=0
        )
        if resume:
            self.folder.check_same(same)
            self.document = self.folder.read()
            self._take_parts(folds)
        else:
            self._deal(folds, source)
            self.folder.begin(self.document, settings=to_toml(self.settings), fingerprint=same)
        self.reporter.say(
            f"{len(self.parts)} folds of {_range(map(len, self.parts))} images, and one training "
            f"on all {len(self.data):,}: every run keeps its last epoch, so that no fold chooses "
            "what it measures."
        )
        training = self.settings.training
        if training.patience:
            self.reporter.say(
                f"training.patience = {training.patience} is left out: there is one validation a "
                "run."
            )
        if training.minutes is not None:
            self.reporter.say(
                f"training.minutes = {training.minutes:g} is for all {len(self.parts) + 1} "
                f"trainings: {self._minutes(self.parts[0]):.3g} for each fold and "
                f"{self._minutes([]):.3g} for the one on all images."
            )
        if self.recipe.start is not None:
            self.reporter.say(
                f"Every run begins from {self.recipe.start}. If that model has learned from these "
                "images, no fold is new to it, and the numbers are too high."
            )

    def run(self) -> CrossValidation:
        """Train what is not trained yet, and write what all of it says."""
        detections: dict[int, Detections] = {}
        for entry, part in zip(self.document["folds"], self.parts, strict=True):
            detections |= zip(part, self._train_fold(entry, part), strict=True)
            self.folder.write(self.document)
        out_of_fold = [detections[index] for index in range(len(self.data))]
        with stopping_between_runs():
            write_coco(self.folder.detections, out_of_fold)
            evaluation = measure_part(out_of_fold, self.data)
        result = CrossValidation(
            self.folder.path,
            self.data.classes,
            tuple(
                Fold(entry["run"], tuple(entry["images"]), entry["metrics"])
                for entry in self.document["folds"]
            ),
            evaluation,
            self._train_all(out_of_fold, evaluation),
        )
        self.document["summary"] = summary_of(result)
        self.folder.write(self.document)
        with keeping_run(self.reporter, "writing the report"):
            write_folds_page(self.folder.top.report, result, self.data)
            self.reporter.say(f"The report is {self.folder.top.report}.")
        return result

    def _deal(self, folds: int, source: Source | None) -> None:
        groups = look_for_copies(self.data, self.reporter)
        if len(groups) < folds:
            alike = (
                " of images that look alike (foveal data check DATA names them)"
                if len(groups) < len(self.data)
                else ""
            )
            raise SettingsError(
                f"--folds {folds} (in Python folds=): there are {counted(len(self.data), 'image')} "
                f"in {counted(len(groups), 'group')}{alike}. Expected no more folds than groups."
            )
        seed = self.settings.training.seed
        self.parts = deal(self.data, groups, shares=[1 / folds] * folds, seed=seed)
        self.document = {
            "format": FORMAT,
            "data": describe_source(self.data, source),
            "seed": seed,
            "folds": [
                {"run": f"fold-{n}", "images": self._names(part), "metrics": None}
                for n, part in enumerate(self.parts, 1)
            ],
            "summary": None,
        }

    def _take_parts(self, folds: int) -> None:
        """The parts into which the images were dealt when the experiment began."""
        entries = self.document["folds"]
        if len(entries) != folds:
            raise TrainingError(
                f"{self.folder.path}: began with --folds {len(entries)} and can't go on with "
                f"--folds {folds} (in Python folds=)."
            )
        self.parts = self.folder.find_images(entries, self.data)

    def _names(self, indices: Sequence[int]) -> list[str]:
        return image_names(self.data, [self.data.records[index] for index in indices])

    def _train_fold(self, entry: dict[str, Any], part: list[int]) -> list[Detections]:
        """Train a fold's run unless it is finished; what its model detects in the fold."""
        name = entry["run"]
        valid, file = self.data.take(part), self.folder.detections_of(name)
        if entry["metrics"] is not None and file.is_file():
            return read_detections(file, valid)
        learned = self._others(part)
        self.reporter.say(
            f"{name} of {len(self.parts)}: {counted(len(learned), 'image')} to learn from, "
            f"{counted(len(valid), 'other')} to measure on."
        )
        train_part(
            self.recipe.detector(self.data.take(learned), **self._changes(part)),
            valid=valid,
            folder=self.folder.run(name),
            file=file,
            reporter=self.reporter,
        )
        detections = read_detections(file, valid)
        entry["metrics"] = numbers_of(measure_part(detections, valid))
        return detections

    def _train_all(self, out_of_fold: Sequence[Detections], evaluation: Evaluation) -> Detector:
        """The model of all images, with the threshold and the numbers of the folds."""
        run, top = self.folder.run(ALL), self.folder.top
        if self.document["summary"] is not None and top.best.is_file():
            return Detector.load(top.best)
        self.reporter.say(f"{ALL}: {counted(len(self.data), 'image')} to learn from.")
        detector = self.recipe.detector(self.data, validation_fraction=0, **self._changes([]))
        detector.fit(out=run.path, resume=run.path.exists(), reporter=self.reporter)
        threshold = min(1.0, evaluation.score_threshold)
        detector.card = replace(
            detector.card,
            score_threshold=threshold,
            threshold_is_chosen=True,
            metrics=dict(zip(NAMES, twelve(evaluation.coco), strict=True)),
            profile=make_profile(
                out_of_fold, classes=len(self.data.classes), score_threshold=threshold
            ),
        )
        detector.save(run.best)
        self.folder.keep(ALL)
        with keeping_run(self.reporter, "exporting the model"):
            export_kept(
                detector,
                self.folder,
                settings=self.settings,
                calibration=self.data,
                check=self.data.take(self.parts[-1]),
                reporter=self.reporter,
            )
        return detector

    def _others(self, part: Sequence[int]) -> list[int]:
        out = set(part)
        return [index for index in range(len(self.data)) if index not in out]

    def _changes(self, part: Sequence[int]) -> dict[str, Any]:
        """Settings of training for the run that does not learn from these images."""
        training = self.settings.training
        changes: dict[str, Any] = {"patience": 0, "export": False}
        if training.minutes is None:
            return changes | {"evaluate_every": training.epochs}
        return changes | {"evaluate_every": _NEVER, "minutes": self._minutes(part)}

    def _minutes(self, part: Sequence[int]) -> float:
        """Of the run that does not learn from these images, by how many it learns from."""
        total = len(self.parts) * len(self.data)  # each image in all runs but one
        assert self.settings.training.minutes is not None
        return self.settings.training.minutes * (len(self.data) - len(part)) / total


def _range(sizes: Iterable[int]) -> str:
    known = sorted(sizes)
    return f"{known[0]:,}" if known[0] == known[-1] else f"{known[0]:,} to {known[-1]:,}"
