"""One training of a bench: the ordinary one, measured once, and the file that keeps its result."""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import FovealError, SettingsError
from foveal.files import write_file
from foveal.text import as_text, counted, without_nan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset
    from foveal.detector import Detector
    from foveal.experiments.bench_sets import BenchSet, Recipe, Values
    from foveal.machine import Machine
    from foveal.training.reporters import Progress, Reporter

RESULT = "result.json"
SPENT = "spent.json"
RUN = "run"
SCHEMA_VERSION = 1
_PLACES = 5
"""Of the AP of a draw, as it is kept."""
_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class BenchData:
    """The images of a data set, opened.

    Attributes:
        training: to train on.
        validation: to choose the best epoch with; None holds a part of the training images out.
        measured: with the classes of the training images.
        digest: of all of them: names, classes and boxes.
    """

    training: Dataset
    validation: Dataset | None
    measured: Dataset
    digest: str


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained once.

    Attributes:
        recipe: how.
        data: on what.
        seed: of the training.
        changes: settings on top of the recipe's preset, by section and name.
        folder: for the run and its result.
    """

    recipe: Recipe
    data: BenchSet
    seed: int
    changes: Values
    folder: Path

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.recipe.name} on {self.data.name}, seed {self.seed}"

    @property
    def result(self) -> Path:
        """The file that a finished one has."""
        return self.folder / RESULT

    def asked(self, opened: BenchData) -> dict[str, Any]:
        """What tells it from others, as JSON values: a kept result is of the same."""
        asked = {
            "preset": self.recipe.preset,
            "settings": self.changes,
            "data": dict(self.data.said),
            "digest": opened.digest,
        }
        return dict(json.loads(json.dumps(asked, default=str)))


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What is kept of a finished training.

    Attributes:
        recipe, data: their names.
        seed: of the training.
        ap, ap50: on the images that are measured; NaN where no class has objects.
        ap_interval, ap50_interval: 95 %, by drawing the images anew.
        ap_draws, ap50_draws: [R] of each draw, for means and differences.
        images: numbers of images: "training", "validation", "measured", and of these "shown" with
            objects.
        objects: in the measured images.
        epochs, best_epoch: that were trained, and the one that was kept.
        minutes: of training and its validations.
        parts: in how many parts it was trained; 1 where nothing cut it.
        machine: on which it ended.
    """

    recipe: str
    data: str
    seed: int
    ap: float
    ap50: float
    ap_interval: tuple[float, float]
    ap50_interval: tuple[float, float]
    ap_draws: NDArray[np.float64]
    ap50_draws: NDArray[np.float64]
    images: Mapping[str, int]
    objects: int
    epochs: int
    best_epoch: int
    minutes: float
    parts: int
    machine: Machine


Train = Callable[[Training, BenchData, "Reporter"], TrainingResult]
"""Trains and measures; goes on where the folder holds a run that was cut."""


def train_and_measure(training: Training, opened: BenchData, reporter: Reporter) -> TrainingResult:
    """Train as `foveal train` does, and measure the best epoch's model.

    Args:
        training: what to train; the run in its folder goes on where there is one.
        opened: its images.
        reporter: is told how it goes.

    Raises:
        FovealError: it can't be trained or measured.
        TrainingInterrupted: a signal stopped it; its state was written.
    """
    from foveal.detector import Detector
    from foveal.evaluation.bootstrap import interval
    from foveal.evaluation.evaluate import limit_of, quick_numbers
    from foveal.evaluation.repeats import draw_aps
    from foveal.inference.contestants import fitted, look
    from foveal.machine import describe_machine

    detector = Detector(opened.training, preset=training.recipe.preset, settings=training.changes)
    detector.card = replace(detector.card, ignored_classes=training.data.ignore)
    clock = _Clock(training.folder / SPENT, reporter)
    run = training.folder / RUN
    try:
        detector.fit(valid=opened.validation, out=run, resume=run.exists(), reporter=clock)
    finally:
        clock.keep()
    reporter.say(f"Measuring {training.name} on {counted(len(opened.measured), 'image')}.")
    measured = opened.measured.aligned(detector.classes)
    lowest = detector.settings.decoding.score_threshold
    predictor = fitted(detector.predictor(score_threshold=lowest), measured)
    detections = look(predictor, measured)
    limit = limit_of(detections, predictor.max_detections)
    targets = measured.targets
    numbers = quick_numbers(detections, targets, detector.classes, max_detections=limit)
    draws = draw_aps(detections, targets, len(detector.classes), max_detections=limit)
    ap_interval, ap50_interval = interval(draws.ap), interval(draws.ap50)
    result = TrainingResult(
        recipe=training.recipe.name,
        data=training.data.name,
        seed=training.seed,
        ap=numbers["AP"],
        ap50=numbers["AP50"],
        ap_interval=(ap_interval.low, ap_interval.high),
        ap50_interval=(ap50_interval.low, ap50_interval.high),
        ap_draws=draws.ap.round(_PLACES),
        ap50_draws=draws.ap50.round(_PLACES),
        images={
            "training": len(opened.training),
            "validation": 0 if opened.validation is None else len(opened.validation),
            "measured": len(measured),
            "shown": draws.images,
        },
        objects=sum(int((~target.ignored).sum()) for target in targets),
        epochs=len(detector.history),
        best_epoch=detector.card.epoch or 0,
        minutes=clock.seconds / 60,
        parts=clock.parts,
        machine=describe_machine(gpu=_gpu(detector)),
    )
    del detector, predictor
    gc.collect()  # the next one needs the memory
    return result


def make_digest(datasets: Sequence[Dataset | None]) -> str:
    """What data sets hold, as some letters: names of images and classes, boxes and labels."""
    digest = blake2b(digest_size=12)
    for data in datasets:
        if data is None:
            digest.update(b"none")
            continue
        digest.update(as_text(repr(data.classes)).encode())
        for record in data:
            digest.update(as_text(record.path.name).encode())
            for column in (record.boxes, record.labels, record.ignored):
                digest.update(column.tobytes())
    return digest.hexdigest()


def keep_result(training: Training, opened: BenchData, result: TrainingResult) -> None:
    """Write the result of a training that is finished.

    Raises:
        FovealError: the file can't be written.
    """
    values = asdict(result)
    for name in ("ap_draws", "ap50_draws"):
        values[name] = values[name].tolist()
    document = {
        "schema": "foveal-bench-training",
        "schema_version": SCHEMA_VERSION,
        "asked": training.asked(opened),
        **values,
    }
    text = json.dumps(without_nan(document), ensure_ascii=False, allow_nan=False)
    write_file(training.result, text + "\n")


def kept_result(training: Training, opened: BenchData) -> TrainingResult | None:
    """The result that was kept of a training; None where it is not finished.

    Raises:
        SettingsError: it is of another training.
        FovealError: the file is not one of a bench.
    """
    from foveal.machine import Machine

    file = training.result
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FovealError(
            f"{file}: can't be read ({error}). Remove it, and the training is measured again."
        ) from None
    try:
        asked = content.pop("asked")
        _expect_same(training, asked, training.asked(opened))
        for name in ("schema", "schema_version"):
            content.pop(name)
        for name in ("ap_draws", "ap50_draws"):
            content[name] = np.array(content[name], np.float64)
        for name in ("ap_interval", "ap50_interval"):
            content[name] = tuple(map(_number, content[name]))
        for name in ("ap", "ap50"):
            content[name] = _number(content[name])
        content["machine"] = Machine(**content["machine"])
        return TrainingResult(**content)
    except (KeyError, TypeError, AttributeError) as error:
        raise FovealError(
            f"{file}: is no result of this version's bench ({error!r}). Move it away, or choose "
            "another folder: --out DIR."
        ) from None


def _expect_same(training: Training, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    other = [name for name in now if before.get(name) != now[name]]
    if not other:
        return
    words = {"digest": "other images or boxes", "data": "other addresses or options of reading"}
    said = [words.get(name) or _differing(before.get(name), now[name], name) for name in other]
    raise SettingsError(
        f"{training.folder}: {training.name} was trained with something else: {'; '.join(said)}. "
        "Give the recipe or the data set another name, choose another folder (--out DIR), or "
        "remove this one to train it again."
    )


def _differing(before: object, now: object, name: str) -> str:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{name} {before!r}, now {now!r}"
    flat = [
        {f"{section}.{key}": value for section, part in each.items() for key, value in part.items()}
        for each in (before, now)
    ]
    names = [key for key in {**flat[0], **flat[1]} if flat[0].get(key) != flat[1].get(key)]
    return "; ".join(
        f"{key} {flat[0].get(key, 'not set')!r}, now {flat[1].get(key, 'not set')!r}"
        for key in names[:_MOST_NAMED]
    )


class _Clock:
    """Passes on how a run goes, and keeps how long it took, over all its parts.

    What was trained after the last whole epoch of a part that was killed is trained again, and
    counts once.
    """

    def __init__(self, file: Path, reporter: Reporter) -> None:
        self._file, self._reporter = file, reporter
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            self._before, self._parts = float(before["seconds"]), int(before["parts"])
        except (OSError, ValueError, KeyError, TypeError):
            self._before, self._parts = 0.0, 0
        self._began = self._last = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + self._last - self._began

    @property
    def parts(self) -> int:
        """In how many parts it was trained."""
        return max(1, self._parts + (self._last > self._began))

    def step(self, progress: Progress) -> None:
        """Count the time up to here; it is kept with the epoch."""
        self._last = time.perf_counter()
        self._reporter.step(progress)

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Keep the time."""
        self._last = time.perf_counter()
        self.keep()
        self._reporter.epoch(summary)

    def say(self, text: str) -> None:
        """Pass it on."""
        self._reporter.say(text)

    def warn(self, text: str) -> None:
        """Pass it on."""
        self._reporter.warn(text)

    def keep(self) -> None:
        """Write the time up to the last step."""
        if self._last > self._began:
            content = {"seconds": self.seconds, "parts": self.parts}
            write_file(self._file, json.dumps(content) + "\n")


def _gpu(detector: Detector) -> str:
    import torch

    device = detector.model.mean.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
