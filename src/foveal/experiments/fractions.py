"""A learning curve: the same training on growing fractions of the images.

Each fraction holds the smaller ones, and all are measured on the same validation images. Each is
trained for as many steps as all images would be, so that the curve shows what images bring and not
what longer training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.config import to_toml
from foveal.data.dataset import Dataset
from foveal.detector import Detector
from foveal.errors import SettingsError, TrainingError
from foveal.evaluation.evaluate import limit_of
from foveal.evaluation.repeats import draw_aps
from foveal.experiments.dealing import deal
from foveal.experiments.folder import (
    FORMAT,
    ExperimentFolder,
    describe_source,
    image_names,
    source_of,
)
from foveal.experiments.learning_curve import LearningCurve, make_learning_curve
from foveal.experiments.pages import write_fractions_page
from foveal.experiments.parts import (
    expect_one_process,
    export_kept,
    look_for_copies,
    measure_part,
    number,
    numbers_of,
    read_detections,
    stopping_between_runs,
    train_part,
)
from foveal.experiments.recipe import Recipe
from foveal.text import counted, decimal
from foveal.training.checked_data import check_run
from foveal.training.conclusion import keeping_run
from foveal.training.progress import reporting_to
from foveal.training.state import fingerprint_of

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.data.opening import Source
    from foveal.structures import Detections
    from foveal.training.reporters import Reporter


@dataclass(frozen=True, slots=True)
class FractionRun:
    """One run, on a fraction of the images.

    Attributes:
        run: the name of its folder.
        fraction: of the images, 0..1.
        images: the names of those that it learned from.
        metrics: how good it is on the validation images: COCO's numbers, intervals and those of
            each class.
    """

    run: str
    fraction: float
    images: tuple[str, ...]
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Fractions:
    """What the fractions say.

    Attributes:
        folder: of all runs.
        name: of the data set.
        classes: the K class names.
        fractions: the smallest first.
        validation: how many images they are measured on.
        length: how long each was trained, in words.
        curve: AP by the number of images, and where it leads.
        detector: of the largest fraction.
    """

    folder: Path
    name: str
    classes: tuple[str, ...]
    fractions: tuple[FractionRun, ...]
    validation: int
    length: str
    curve: LearningCurve
    detector: Detector


def train_fractions(
    data: Dataset | str | Path,
    *,
    out: str | Path,
    fractions: Sequence[float] = (0.25, 0.5, 1.0),
    valid: Dataset | str | Path | None = None,
    recipe: Recipe | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
    source: Source | None = None,
) -> Fractions:
    """Train a run on each fraction of the images; see the top of this file.

    Args:
        data: the images, or the path that `foveal.read` takes.
        out: the folder of all runs; it ends with the model of the largest fraction,
            fractions.json and the report.
        fractions: of the images to learn from, two or more, above 0 and at most 1.
        valid: validation images; None holds out `training.validation_fraction` of the data first.
        recipe: how detectors are made; None takes the standard preset. `training.minutes` is for
            all runs together, the same for each.
        resume: go on with what is in `out`; what is finished is not run again.
        overwrite: replace what is in `out`.
        progress, reporter: as for `Detector.fit`.
        source: where `data` was opened from and how, for fractions.json; None takes the path,
            where `data` is one.

    Raises:
        SettingsError: the fractions can't be, or there are no validation images.
        TrainingError: a run can't start, go on or be resumed; or there are several processes.
        TrainingInterrupted: a signal stopped it; `resume` goes on.
        DataError: the data can't be read.
    """
    expect_one_process("--fractions (in Python train_fractions)")
    known = check_fractions(fractions)
    recipe = recipe or Recipe()
    folder = ExperimentFolder(Path(out), "fractions")
    with reporting_to(reporter, progress=progress) as listener:
        folder.check(resume=resume, overwrite=overwrite)
        dataset = recipe.read(data)
        settings = recipe.detector(dataset).settings
        if valid is not None:
            learned, measured = dataset, recipe.read(valid).aligned(dataset.classes)
        else:
            learned, measured = _hold_out(
                dataset, folder if resume and folder.can_resume else None, settings, listener
            )
        learned, measured = check_run(
            learned, measured, bad_images=settings.training.bad_images, reporter=listener
        )
        training = _FractionTraining(
            learned,
            measured,
            folder=folder,
            recipe=recipe,
            settings=settings,
            reporter=listener,
        )
        with folder.discarding_failed_start():
            training.begin(
                known, source=source or source_of(data), resume=resume and folder.can_resume
            )
            return training.run()


def _hold_out(
    data: Dataset, begun: ExperimentFolder | None, settings: Settings, reporter: Reporter
) -> tuple[Dataset, Dataset]:
    """Hold validation images out, near-duplicates of which are not learned from.

    Else the larger fractions would be praised for copies that the smaller ones do not have.

    Args:
        data: all images.
        begun: the experiment that goes on with those that it held out; None where it begins.
        settings: of the whole.
        reporter: is told how many are held out.

    Raises:
        SettingsError: none are to be held out.
    """
    fraction, seed = settings.training.validation_fraction, settings.training.seed
    if fraction == 0:
        raise SettingsError(
            "A learning curve is measured on validation images, and there are none. Give some: "
            "--valid DATA (in Python valid=), or a training.validation_fraction above 0."
        )
    if begun is not None:
        known = set(begun.read()["validation"]["images"])
        names = image_names(data, data.records)
        parts = [
            [index for index, name in enumerate(names) if (name in known) == held]
            for held in (False, True)
        ]
    else:
        groups = look_for_copies(data, reporter)
        parts = deal(data, groups, shares=[1 - fraction, fraction], seed=seed)
    if not (parts[0] and parts[1]):
        raise SettingsError(
            f"training.validation_fraction = {fraction:g} of {counted(len(data), 'image')} leaves "
            "none to learn from or none to measure on. Give validation images: --valid DATA (in "
            "Python valid=)."
        )
    reporter.say(
        f"No validation data was given: {len(parts[1]):,} of {counted(len(data), 'image')} held "
        f"out, the same for all fractions (seed {seed})."
    )
    return data.take(parts[0]), data.take(parts[1])


def check_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """The fractions in rising order.

    Raises:
        SettingsError: they can't be.
    """
    known = tuple(sorted(set(fractions)))
    said = ",".join(f"{each:g}" for each in fractions)
    if len(known) < 2 or len(known) < len(fractions):
        raise SettingsError(
            f"--fractions {said} (in Python fractions=): expected two or more, none of them twice, "
            "such as 0.25,0.5,1."
        )
    if not (known[0] > 0 and known[-1] <= 1):
        raise SettingsError(
            f"--fractions {said} (in Python fractions=): expected each above 0 and at most 1."
        )
    return known


class _FractionTraining:
    """The runs of a learning curve, one after the other."""

    def __init__(
        self,
        data: Dataset,
        valid: Dataset,
        *,
        folder: ExperimentFolder,
        recipe: Recipe,
        settings: Settings,
        reporter: Reporter,
    ) -> None:
        self.data = data
        self.valid = valid
        self.folder = folder
        self.recipe = recipe
        self.settings = settings
        self.reporter = reporter
        self.parts: list[list[int]] = []
        self.document: dict[str, Any] = {}

    def begin(self, fractions: tuple[float, ...], *, source: Source | None, resume: bool) -> None:
        """Deal the images out, or read how they were; say what is to be trained."""
        same = fingerprint_of(
            self.settings,
            classes=self.data.classes,
            records=(*self.data.records, *self.valid.records),
            steps=0,
        )
        if resume:
            self.folder.check_same(same)
            self.document = self.folder.read()
            entries = self.document["fractions"]
            begun = [entry.get("fraction") for entry in entries]
            if begun != list(fractions):
                raise TrainingError(
                    f"{self.folder.path}: began with --fractions "
                    f"{','.join(f'{each:g}' for each in begun)} and can't go on with others (in "
                    "Python fractions=)."
                )
            self.parts = self.folder.find_images(entries, self.data)
        else:
            self._deal(fractions, source)
            self.folder.begin(self.document, settings=to_toml(self.settings), fingerprint=same)
        self.reporter.say(self._length(len(fractions)))
        if self.recipe.start is not None:
            self.reporter.say(
                f"Every run begins from {self.recipe.start}. What that model has learned counts in "
                "all of them: the curve says what images bring on top of it."
            )

    def run(self) -> Fractions:
        """Train what is not trained yet, and write what all of it says."""
        detections = []
        for entry, part in zip(self.document["fractions"], self.parts, strict=True):
            detections.append(self._train(entry, part))
            self.folder.write(self.document)
        with stopping_between_runs():
            curve = self._curve(detections)
        last = self.document["fractions"][-1]["run"]
        if self.document["summary"] is None or not self.folder.top.best.is_file():
            self.folder.keep(last)
            with keeping_run(self.reporter, "exporting the model"):
                export_kept(
                    Detector.load(self.folder.top.best),
                    self.folder,
                    settings=self.settings,
                    calibration=self.data.take(self.parts[-1]),
                    check=self.valid,
                    reporter=self.reporter,
                )
        result = Fractions(
            self.folder.path,
            self.data.name,
            self.data.classes,
            tuple(
                FractionRun(
                    entry["run"], entry["fraction"], tuple(entry["images"]), entry["metrics"]
                )
                for entry in self.document["fractions"]
            ),
            len(self.valid),
            self._length(len(self.parts)),
            curve,
            Detector.load(self.folder.top.best),
        )
        self.document["summary"] = summary_of(result)
        self.folder.write(self.document)
        with keeping_run(self.reporter, "writing the report"):
            write_fractions_page(self.folder.top.report, result)
            self.reporter.say(f"The report is {self.folder.top.report}.")
        return result

    def _deal(self, fractions: tuple[float, ...], source: Source | None) -> None:
        seed = self.settings.training.seed
        # What each fraction adds to the one before; what the largest leaves out comes last.
        steps = np.diff(fractions, prepend=0.0).tolist()
        rest = 1 - fractions[-1]
        dealt = deal(
            self.data,
            look_for_copies(self.data, self.reporter),
            shares=[*steps, rest] if rest > 0 else steps,
            seed=seed,
        )[: len(fractions)]
        for fraction, part in zip(fractions, dealt, strict=True):
            if not part:
                raise SettingsError(
                    f"--fractions (in Python fractions=): {fraction:g} of "
                    f"{counted(len(self.data), 'image')} is none, or no more than the fraction "
                    "before. Give larger ones, or fewer."
                )
        self.parts = [
            sorted(index for part in dealt[: number + 1] for index in part)
            for number in range(len(dealt))
        ]
        self.document = {
            "format": FORMAT,
            "data": describe_source(self.data, source),
            "seed": seed,
            "validation": {"images": image_names(self.valid, self.valid.records)},
            "fractions": [
                {
                    "run": f"fraction-{fraction:g}",
                    "fraction": fraction,
                    "images": image_names(self.data, [self.data.records[index] for index in part]),
                    "metrics": None,
                }
                for fraction, part in zip(fractions, self.parts, strict=True)
            ],
            "summary": None,
        }

    def _train(self, entry: dict[str, Any], part: list[int]) -> list[Detections]:
        """Train a fraction's run unless it is finished; what it detects in validation images."""
        name, file = entry["run"], self.folder.detections_of(entry["run"])
        if entry["metrics"] is not None and file.is_file():
            return read_detections(file, self.valid)
        changes = self._changes(entry["fraction"])
        epochs = f", {counted(changes['epochs'], 'epoch')}" if "epochs" in changes else ""
        self.reporter.say(f"{name}: {counted(len(part), 'image')} to learn from{epochs}.")
        train_part(
            self.recipe.detector(self.data.take(part), **changes),
            valid=self.valid,
            folder=self.folder.run(name),
            file=file,
            reporter=self.reporter,
        )
        detections = read_detections(file, self.valid)
        entry["metrics"] = numbers_of(measure_part(detections, self.valid))
        return detections

    def _curve(self, detections: Sequence[Sequence[Detections]]) -> LearningCurve:
        draws = [
            draw_aps(
                each,
                self.valid.targets,
                len(self.data.classes),
                max_detections=limit_of(each, 100),
            )
            for each in detections
        ]
        return make_learning_curve(
            [len(part) for part in self.parts],
            [number(entry["metrics"], "AP") for entry in self.document["fractions"]],
            np.stack([each.ap for each in draws]),
            speaking=draws[0].images,
            seed=self.settings.training.seed,
        )

    def _changes(self, fraction: float) -> dict[str, Any]:
        """Settings of training for a fraction: as long as all images are trained on."""
        training = self.settings.training
        changes: dict[str, Any] = {"export": False}
        if training.minutes is not None:
            return changes | {"minutes": training.minutes / len(self.parts)}
        changes["epochs"] = round(training.epochs / fraction)
        changes["evaluate_every"] = max(1, round(training.evaluate_every / fraction))
        changes["unfreeze_epoch"] = round(training.unfreeze_epoch / fraction)
        return changes

    def _length(self, runs: int) -> str:
        """How long each run is trained, in words."""
        training = self.settings.training
        if training.minutes is not None:
            return (
                f"training.minutes = {training.minutes:g} is for all {counted(runs, 'training')}: "
                f"{training.minutes / runs:.3g} each."
            )
        return (
            "Each fraction is trained for as many steps as all images are in "
            f"{counted(training.epochs, 'epoch')}, so that the curve shows what images bring and "
            "not what longer training does."
        )


def summary_of(result: Fractions) -> dict[str, Any]:
    """What fractions.json says of all runs together, as plain values; NaN where undefined."""
    forecast = result.curve.forecast
    return {
        "model": result.fractions[-1].run,
        "twice": None
        if forecast is None
        else {
            "images": forecast.images,
            "AP_gain": forecast.gain,
            "AP_gain_interval": [forecast.interval.low, forecast.interval.high],
            "training_spread": forecast.spread,
        },
        "text": " ".join(result.curve.describe()),
    }


def describe_fractions(result: Fractions) -> list[str]:
    """What the fractions say, in a few lines."""
    points = [
        f"{one.run}: {counted(len(one.images), 'image')}, AP {decimal(number(one.metrics, 'AP'))} "
        f"({decimal(ends.low)} to {decimal(ends.high)}, 95 %)."
        for one, ends in zip(result.fractions, result.curve.intervals, strict=True)
    ]
    return [*points, *result.curve.describe()]
