"""Self-training: a model labels images that nobody has labeled, and the next one learns from them.

Rounds of one training each. Round 0 learns from the labels alone. Before each later round the best
model so far labels the unlabeled images where it is sure (`foveal.training.pseudo_labels`); then a
new network learns from labels and pseudo labels, from the weights with which round 0 began; it may
imitate that model, too. The best round by AP on the validation images is kept.

What a training or a prediction is, this does not know: it is given both as functions.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foveal.checkpoints.model_page import write_model_page
from foveal.data.dataset import Dataset
from foveal.data.formats import coco, read
from foveal.distributed import broadcast, is_first_process
from foveal.errors import TrainingDiverged, TrainingError, TrainingInterrupted
from foveal.files import replacing, write_file, writing
from foveal.text import as_text, counted, without_nan
from foveal.training.pseudo_labels import PseudoLabels, SureScore, describe_pseudo_labels
from foveal.training.run_folder import HOW_TO_GO_ON, RunFolder
from foveal.training.signals import SignalHandler, StoppedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.training.reporters import Reporter

Item = TypeVar("Item")

_SECONDS = 30.0
"""So often it is said how many images are done."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a later round learns from besides the labels.

    Attributes:
        labels: the images with pseudo labels.
        teacher: the number of the round that made them.
    """

    labels: Dataset
    teacher: int


Train = Callable[[int, Lesson | None], float]
"""Trains a round, by its number from 0, on the labels and this; gives its AP on the validation
images, NaN where that is undefined."""
Label = Callable[[int], tuple[PseudoLabels, "Sequence[SureScore]"]]
"""Labels the unlabeled images by the model of a round."""


@dataclass(frozen=True, slots=True)
class SelfTrainingFolder:
    """The places of a self-training's files.

    Attributes:
        path: holds the best round's model and report, as a run's folder does.
    """

    path: Path

    @property
    def log(self) -> Path:
        """What each round gave."""
        return self.path / "self-training.json"

    @property
    def best(self) -> RunFolder:
        """The places of what is copied from the best round."""
        return RunFolder(self.path)

    def round(self, number: int) -> RunFolder:
        """A round's own run."""
        return RunFolder(self.path / f"round-{number}")

    def labels(self, number: int) -> Path:
        """The pseudo labels from which a round learns, as a COCO file."""
        return self.path / f"pseudo-labels-{number}.json"

    @property
    def can_resume(self) -> bool:
        """Whether there is something to go on with."""
        return self.log.is_file() or self.round(0).path.is_dir()

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """See whether a self-training may start here; nothing is changed.

        Raises:
            TrainingError: it may not; the message says what to pass.
        """
        if resume and self.best.can_resume:
            raise TrainingError(
                f"{self.path}: holds a run without --unlabeled, which can't go on with it. Choose "
                f"another folder; --start {self.path} begins from its model."
            )
        if self.can_resume:
            if not (resume or overwrite):
                raise TrainingError(
                    f"{self.path}: holds a self-training. Go on with it by --resume, replace it by "
                    "--overwrite, or choose another folder."
                )
        elif resume:
            self.best.check_fresh()
        else:
            self.best.check(resume=False, overwrite=overwrite)

    def clear(self) -> None:
        """Remove the files of an earlier run or self-training, and only those.

        Raises:
            TrainingError: the folder can't be written.
        """
        self.best.clear()
        with writing(self.path, error=TrainingError, advice="Choose a folder you may write to."):
            number = 0
            while self.round(number).path.is_dir() or self.labels(number + 1).is_file():
                folder = self.round(number)
                folder.remove((folder.path,))
                number += 1
                self.labels(number).unlink(missing_ok=True)
            self.log.unlink(missing_ok=True)

    def write_labels(self, number: int, labels: Dataset) -> None:
        """Write the pseudo labels of a round; their images are named from `labels.root` on.

        Raises:
            TrainingError: the file can't be written.
        """
        names = [record.path.relative_to(labels.root).as_posix() for record in labels]
        document = coco.to_document(labels, names, range(len(labels)))
        document["info"] = {"description": "Found by a model, not checked by a person"}
        text = json.dumps(document, ensure_ascii=False) + "\n"
        write_file(self.labels(number), text, error=TrainingError, advice=HOW_TO_GO_ON)

    def read_labels(self, number: int, root: Path) -> Dataset:
        """Read what `write_labels` wrote: a round learns from what its file says.

        Args:
            number: of the round.
            root: the folder of the unlabeled images.
        """
        return read(self.labels(number), "coco", images=root)

    def keep(self, number: int, *, settings: str) -> None:
        """Make a round's model and report those of the whole.

        Args:
            number: of the round.
            settings: of the whole, as TOML.

        Raises:
            TrainingError: a file can't be written.
        """
        source, best = self.round(number), self.best
        write_file(best.config, settings, error=TrainingError, advice=HOW_TO_GO_ON)
        for file in best.exported:  # of the model that was the best before
            file.unlink(missing_ok=True)
        for name in ("metrics", "report", "best"):
            origin: Path = getattr(source, name)
            if origin.is_file():
                target: Path = getattr(best, name)
                with (
                    writing(target, error=TrainingError, advice=HOW_TO_GO_ON),
                    replacing(target) as new,
                ):
                    shutil.copyfile(origin, new)
        if source.model_page.is_file():
            write_model_page(best.best)


@dataclass(slots=True)
class SelfTraining:
    """What a self-training has come to.

    Attributes:
        aps: AP on the validation images of each round, from 0; NaN where undefined.
        best: the number of the best round.
        labels: what each round from 1 on learned from: counts and scores, as JSON values.
    """

    aps: list[float] = field(default_factory=list)
    best: int = 0
    labels: list[dict[str, Any]] = field(default_factory=list)

    def add(self, ap: float) -> None:
        """Add a round; of equal ones the earlier is better."""
        self.aps.append(ap)
        if _comparable(ap) > _comparable(self.aps[self.best]):
            self.best = len(self.aps) - 1


def self_train(
    folder: SelfTrainingFolder,
    images: Dataset,
    *,
    rounds: int,
    settings: str,
    resume: bool,
    train: Train,
    label: Label,
    reporter: Reporter,
) -> SelfTraining:
    """Train round after round.

    Every process calls this, and the first one writes.

    Args:
        folder: of all rounds.
        images: the unlabeled ones.
        rounds: how many trainings follow the first one.
        settings: of the whole, as TOML.
        resume: go on with what an earlier try left in the folder.
        train: trains a round, or goes on with one that was stopped, or has nothing to do where it
            is finished.
        label: labels the images.
        reporter: gets sentences on what was gained.

    Returns:
        What it came to. Each time a round is the best, its model becomes that of the folder; where
        a later round diverges, the best before stays.

    Raises:
        TrainingError: the images are others than those of the run that is to go on.
        TrainingDiverged: round 0 has diverged.
        TrainingInterrupted: a signal came while images were labeled.
    """
    state, digest = SelfTraining(), digest_of(images)
    before = _read_log(folder, digest) if resume else {}
    for number in range(rounds + 1):
        lesson: Lesson | None = None
        if number:
            learned = before.get(number, {})
            lesson = _lesson_of(folder, number, images, label, state, learned, reporter=reporter)
            if lesson is None:
                break
            _write_log(folder, state, digest)
        try:
            state.add(train(number, lesson))
        except TrainingDiverged as error:
            if not number:
                raise
            reporter.warn(f"Round {number} is lost. {error}")
            break
        _write_log(folder, state, digest)
        if state.best == number and is_first_process():
            folder.keep(number, settings=settings)
        if number:
            reporter.say(_describe_gain(state))
    reporter.say(_describe_kept(state))
    return state


def _lesson_of(
    folder: SelfTrainingFolder,
    number: int,
    images: Dataset,
    label: Label,
    state: SelfTraining,
    learned: dict[str, Any],
    *,
    reporter: Reporter,
) -> Lesson | None:
    """What a round learns from besides the labels; None where nothing is sure."""
    there = broadcast(folder.labels(number).is_file())
    if there:
        reporter.say(f"Round {number}: the pseudo labels are those of {folder.labels(number)}.")
        state.labels.append(learned or {"file": folder.labels(number).name})
    else:
        made, sure = _label(label, state.best)
        if not sum(made.counts):
            reporter.warn(
                f"Nothing that round {state.best} detects in the unlabeled images is sure, so that "
                "there is nothing to learn from them. More labeled images, or more validation "
                "images, may change that."
            )
            return None
        reporter.say(f"Round {number}: {describe_pseudo_labels(made)}")
        state.labels.append(
            {
                "file": folder.labels(number).name,
                "by_round": state.best,
                "scores": {each.name: each.score for each in sure},
                "labels": dict(zip(made.data.classes, made.counts, strict=True)),
                "ignored": made.uncertain,
                "images": len(made.data),
                "images_left_out": made.nothing_sure,
            }
        )
        if is_first_process():
            folder.write_labels(number, made.data)
        broadcast(None)  # the file is there
    teacher = state.labels[-1].get("by_round", state.best)
    return Lesson(folder.read_labels(number, images.root), teacher)


def telling(done: Iterator[Item], count: int, reporter: Reporter) -> Iterator[Item]:
    """Give images on as they are done, and say now and then how many are."""
    last = time.monotonic()
    for number, each in enumerate(done, 1):
        yield each
        if time.monotonic() - last >= _SECONDS:
            last = time.monotonic()
            reporter.say(f"Looking at the unlabeled images: {number:,} of {count:,}.")


def _label(label: Label, teacher: int) -> tuple[PseudoLabels, Sequence[SureScore]]:
    with SignalHandler() as signals:
        try:
            with signals.stopping_at_once():
                return label(teacher)
        except StoppedError:
            raise TrainingInterrupted(
                "Stopped while the unlabeled images were looked at; the rounds before are "
                "finished. Go on with the same command and --resume."
            ) from None


def digest_of(images: Dataset) -> str:
    """Stands for the names of images and their number."""
    digest = blake2b(digest_size=16)
    for name in sorted(record.path.name for record in images):
        digest.update(as_text(name).encode() + b"\0")
    return f"{counted(len(images), 'image')}; {digest.hexdigest()}"


def _read_log(folder: SelfTrainingFolder, digest: str) -> dict[int, dict[str, Any]]:
    """What each round learned from, as an earlier try wrote it; nothing where there is none.

    Raises:
        TrainingError: it can't be read, or was about other images.
    """
    if not folder.log.is_file():
        return {}
    try:
        document = json.loads(folder.log.read_text(encoding="utf-8"))
        before: str = document["unlabeled"]
        learned = {entry["round"]: entry.get("learned_from", {}) for entry in document["rounds"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{folder.log}: can't be read ({error}). Start again in another folder."
        ) from None
    if before != digest:
        raise TrainingError(
            f"{folder.path}: this self-training can't be resumed, because the unlabeled images "
            f"have changed: there were {before.partition(';')[0]} and are now "
            f"{digest.partition(';')[0]}. Resume it with those that it was started with, or choose "
            "another folder."
        )
    return learned


def _write_log(folder: SelfTrainingFolder, state: SelfTraining, digest: str) -> None:
    if not is_first_process():
        return
    aps = [*state.aps, math.nan][: len(state.labels) + 1]  # the last round may still be trained
    rounds = [
        {"round": number, "AP": ap} | ({"learned_from": state.labels[number - 1]} if number else {})
        for number, ap in enumerate(aps)
    ]
    document = {"unlabeled": digest, "kept": state.best, "rounds": rounds}
    text = json.dumps(without_nan(document), indent=1, ensure_ascii=False) + "\n"
    write_file(folder.log, text, error=TrainingError, advice=HOW_TO_GO_ON)


def _comparable(ap: float) -> float:
    return ap if math.isfinite(ap) else -1.0


def _describe_gain(state: SelfTraining) -> str:
    number, first = len(state.aps) - 1, state.aps[0]
    ap = state.aps[number]
    if not (math.isfinite(ap) and math.isfinite(first)):
        return f"Round {number}: AP on the validation images is undefined."
    gain = ap - first
    word = "more" if gain >= 0 else "less"
    return (
        f"Round {number}: AP {ap:.3f} on the validation images, {abs(gain):.3f} {word} than "
        f"without the unlabeled images ({first:.3f})."
    )


def _describe_kept(state: SelfTraining) -> str:
    trained = counted(len(state.aps), "training")
    if state.best == 0:
        return (
            f"Of {trained}, round 0 is kept, which learned from the labels alone: the unlabeled "
            "images brought nothing."
        )
    gain = state.aps[state.best] - _comparable(state.aps[0])
    return (
        f"Of {trained}, round {state.best} is kept: the unlabeled images brought {gain:.3f} AP on "
        "the validation images."
    )
