"""One run of an experiment, and what its model detects in images that it did not learn from."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.checkpoints.finding import EXPORTED
from foveal.errors import TrainingError, TrainingInterrupted
from foveal.evaluation.coco_metrics import twelve
from foveal.evaluation.evaluate import NAMES, evaluate, limit_of
from foveal.experiments.copies import group_copies
from foveal.outputs.files import write_coco
from foveal.structures import Detections
from foveal.text import counted
from foveal.training.reporters import telling_how_far
from foveal.training.signals import SignalHandler, StoppedError

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.detector import Detector
    from foveal.evaluation.results import Evaluation, Interval
    from foveal.experiments.folder import ExperimentFolder
    from foveal.training.reporters import Reporter
    from foveal.training.run_folder import RunFolder


def expect_one_process(option: str) -> None:
    """See that the program was not started as several processes.

    Args:
        option: what was asked for, for the message.

    Raises:
        TrainingError: it was.
    """
    processes = int(os.environ.get("WORLD_SIZE") or 1)
    if processes > 1:
        raise TrainingError(
            f"{option} trains one run after the other in one process, and there are {processes}. "
            "Start it without torchrun or accelerate launch."
        )


def look_for_copies(data: Dataset, reporter: Reporter) -> list[list[int]]:
    """The images in groups that must stay together, as `group_copies`; says what that means."""
    with stopping_between_runs():
        groups = group_copies(data, progress=telling_how_far(reporter))
    if len(groups) < len(data):
        reporter.say(
            f"{counted(len(data), 'image')} are {counted(len(groups), 'group')} of images that "
            f"look alike, the largest of {max(map(len, groups)):,}: each group stays together."
        )
    return groups


def train_part(
    detector: Detector, *, valid: Dataset, folder: RunFolder, file: Path, reporter: Reporter
) -> None:
    """Train a run, or go on with one that was stopped, and write what it detects.

    Args:
        detector: of the images to learn from.
        valid: other images.
        folder: of the run.
        file: for the detections in those, low scores among them.
        reporter: is told how it goes.

    Raises:
        TrainingError: the run can't start or go on.
        TrainingInterrupted: a signal stopped it.
    """
    detector.fit(valid=valid, out=folder.path, resume=folder.path.exists(), reporter=reporter)
    with stopping_between_runs():
        low = detector.settings.decoding.score_threshold
        write_coco(file, detector.predictor(score_threshold=low).detect_many(valid.paths))


@contextmanager
def stopping_between_runs() -> Iterator[None]:
    """Let a signal stop what is done outside of a training.

    Raises:
        TrainingInterrupted: a signal came.
    """
    with SignalHandler() as signals:
        try:
            with signals.stopping_at_once():
                yield
        except StoppedError:
            raise TrainingInterrupted(
                "Stopped between two trainings; those before are finished. Go on with the same "
                "command and --resume."
            ) from None


def read_detections(file: Path, data: Dataset) -> list[Detections]:
    """Read what `train_part` wrote.

    Args:
        file: the detections.
        data: the images that they are of, in the same order.

    Returns:
        One for each image, original pixels, in the file's order.

    Raises:
        TrainingError: the file can't be read, or is of other images.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        images, entries = document["images"], document["annotations"]
        if len(images) != len(data):
            raise ValueError(f"{len(images)} images, expected {len(data)}")
        owners = np.array([entry["image_id"] for entry in entries], np.int64) - 1
        labels = np.array([entry["category_id"] for entry in entries], np.int64) - 1
        scores = np.array([entry["score"] for entry in entries], np.float32)
        boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        ends = np.searchsorted(owners, np.arange(len(images) + 1))
        return [
            Detections(
                boxes[start:end].astype(np.float32),
                scores[start:end],
                labels[start:end],
                classes=data.classes,
                width=int(image["width"]),
                height=int(image["height"]),
                path=record.path,
                left_out_score=float(image.get("left_out_score", 0)),
            )
            for image, record, start, end in zip(images, data, ends[:-1], ends[1:], strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{file}: can't be read ({error}). Remove it and go on with --resume: its run is "
            "asked again."
        ) from None


def measure_part(detections: Sequence[Detections], data: Dataset) -> Evaluation:
    """Measure detections; the threshold is the one of the best F1 on these images."""
    return evaluate(
        detections,
        data.targets,
        data.classes,
        max_detections=limit_of(detections, 100),
    )


def export_kept(
    detector: Detector,
    folder: ExperimentFolder,
    *,
    settings: Settings,
    calibration: Dataset,
    check: Dataset,
    reporter: Reporter,
) -> None:
    """Export the model that is kept, as a run that was trained on a CPU does.

    Args:
        detector: the model.
        folder: where its file is.
        settings: of the whole.
        calibration: images to go to 8 bits with.
        check: labeled images, in which export and model must agree.
        reporter: is told what came of it.
    """
    training = settings.training
    if not training.export or detector.model.mean.device.type != "cpu":
        return
    from foveal.exporting.after_training import export_best

    export_best(
        folder.top.best,
        folder.path / EXPORTED,
        calibration=calibration if training.int8 else None,
        check=check,
        say=reporter.say,
    )


def numbers_of(evaluation: Evaluation) -> dict[str, Any]:
    """What the log keeps of an evaluation, as plain values; NaN where undefined."""
    return {
        **dict(zip(NAMES, twelve(evaluation.coco), strict=True)),
        "AP_interval": _ends(evaluation.ap_interval),
        "AP50_interval": _ends(evaluation.ap50_interval),
        "images": evaluation.images,
        "objects": evaluation.objects,
        "score_threshold": evaluation.score_threshold,
        "per_class": {
            each.name: {"AP": each.coco.ap, "AP50": each.coco.ap50, "objects": each.objects}
            for each in evaluation.per_class
        },
    }


def number(values: Mapping[str, Any], name: str) -> float:
    """A number of the log; NaN where it is null."""
    value = values.get(name)
    return math.nan if value is None else float(value)


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]
