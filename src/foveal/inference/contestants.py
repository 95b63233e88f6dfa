"""Two detectors that are to be compared: models in whatever runtime, or anybody's COCO results."""

from __future__ import annotations

import logging
import statistics
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.images.survey import settle_depth
from foveal.errors import DataError
from foveal.evaluation.evaluate import limit_of
from foveal.text import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset
    from foveal.inference.predictor import Predictor
    from foveal.structures import Detections

log = logging.getLogger(__name__)

TIMED_IMAGES = 24
"""At most so many images are looked at for the time an image takes."""
ROUNDS = 3
_SECONDS_A_ROUND = 8.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """What is known of a detector that is compared.

    Attributes:
        name: what people call it.
        path: its file.
        detections: one for each image, original pixels, labels of the data set.
        score_threshold: the score from which its detections count; None: to be chosen.
        max_detections: how many detections of an image and class its AP is made of.
        bytes: of its file, with the weights that lie beside it; None for results.
        runtime: what computes it, for people; "" for results.
        milliseconds: an image takes, files read and boxes made; None where it is not known.
    """

    name: str
    path: Path
    detections: Sequence[Detections]
    score_threshold: float | None
    max_detections: int
    bytes: int | None = None
    runtime: str = ""
    milliseconds: float | None = None


def name_apart(first: Path, second: Path) -> tuple[str, str]:
    """Short names of two files or folders that tell them apart."""
    ours, theirs = first.absolute().parts, second.absolute().parts
    if first.stem != second.stem:
        return _stem(first), _stem(second)
    for length in range(1, min(len(ours), len(theirs)) + 1):
        if ours[-length:] != theirs[-length:]:
            return "/".join(ours[-length:]), "/".join(theirs[-length:])
    return f"A ({ours[-1]})", f"B ({theirs[-1]})"


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def in_classes_of(
    detections: Sequence[Detections], classes: tuple[str, ...], *, name: str
) -> list[Detections]:
    """Detections with the labels of other classes; those of further classes are left out, told.

    Args:
        detections: of a model, with its own classes.
        classes: of the data set.
        name: of the detector, for the message.
    """
    changed = []
    lost = Counter[str]()
    for each in detections:
        if each.classes == classes:
            changed.append(each)
            continue
        labels = np.array(
            [classes.index(one) if one in classes else -1 for one in each.classes], np.int64
        )[each.labels]
        lost.update(each.classes[label] for label in each.labels[labels < 0].tolist())
        # Labels and names change together.
        kept = replace(each, labels=np.maximum(labels, 0), classes=classes)
        changed.append(kept.select(labels >= 0))
    if lost:
        log.warning(
            "%s: %s of classes that the data lack are left out: %s.",
            name,
            counted(lost.total(), "detection"),
            listed(sorted(lost), 6),
        )
    return changed


def look(
    predictor: Predictor,
    data: Dataset,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Detections]:
    """Find objects in all images of a data set, in its order.

    Args:
        predictor: with low scores still in its detections.
        data: the images.
        progress: is told (images done, images).

    Raises:
        ImageError: an image can't be read.
    """
    found: dict[int, Detections] = {}
    for each in predictor.stream(data.paths, told=set()):
        found[each.index] = each.detections
        if progress is not None:
            progress(len(found), len(data))
    return [found[index] for index in range(len(data))]


def fitted(predictor: Predictor, data: Dataset) -> Predictor:
    """The predictor with one range of values for all images of more than 8 bits, told."""
    pixel_range, chosen = settle_depth(data.paths, predictor.pixel_range)
    if chosen:
        log.warning("%s", chosen)
    return replace(predictor, pixel_range=pixel_range)


def time_together(
    predictors: Sequence[Predictor | None], data: Dataset, *, seconds: Sequence[float]
) -> list[float | None]:
    """Milliseconds an image takes each, all looking at the same images in turn.

    Files have been read before and the network is warm, so that no one gains by being the second.

    Args:
        predictors: None for what can't be timed.
        data: the images; some of them are looked at again.
        seconds: that one image took each on the first pass, so that this one stays short.
    """
    slowest = max((s for s, p in zip(seconds, predictors, strict=True) if p is not None), default=0)
    if not len(data) or all(predictor is None for predictor in predictors):
        return [None] * len(predictors)
    number = min(len(data), TIMED_IMAGES, max(1, int(_SECONDS_A_ROUND / max(slowest, 1e-3))))
    chosen = np.linspace(0, len(data) - 1, number).astype(int).tolist()
    paths = [data.paths[index] for index in chosen]
    times: list[list[float]] = [[] for _ in predictors]
    for _ in range(ROUNDS):
        for own, predictor in zip(times, predictors, strict=True):
            if predictor is not None:
                began = time.perf_counter()
                for _ in predictor.stream(paths):
                    pass
                own.append((time.perf_counter() - began) / number * 1000)
    return [statistics.median(own) if own else None for own in times]


def file_bytes(path: Path) -> int:
    """Bytes of a model's file, with those of the weights that OpenVINO keeps beside it."""
    beside = path.with_suffix(".bin") if path.suffix.lower() == ".xml" else None
    return path.stat().st_size + (
        beside.stat().st_size if beside is not None and beside.is_file() else 0
    )


def limit_of_both(contestants: Sequence[Contestant]) -> int:
    """How many detections of an image and class AP takes: as many as either is measured with."""
    return max(one.max_detections for one in contestants)


def limit_of_model(detections: Sequence[Detections], predictor: Predictor) -> int:
    """How many detections of an image and class a model's AP is made of: all that it gives."""
    return limit_of(detections, predictor.max_detections)


def expect_known(data: Dataset, classes: Sequence[str], *, name: str) -> None:
    """See whether a model knows all classes that the data have objects of.

    Raises:
        DataError: it does not.
    """
    try:
        data.aligned(classes)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
