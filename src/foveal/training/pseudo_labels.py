"""Pseudo labels: what a model detects in images that nobody has labeled, where it is sure.

Of each class the score is searched from which on nine of ten detections in the validation images
are right. Detections above it become objects; those below it, down to a low score, become regions
to ignore, so that a training takes them neither for objects nor for background.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.dataset import Dataset, Record
from foveal.evaluation.matching import make_pool, match
from foveal.text import counted, listed, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.structures import Detections, Target

PRECISION = 0.9
"""So much of what becomes a label is right, on the validation images."""
IGNORED_FROM = 0.5
"""Regions to ignore are detections from this fraction of the model's score threshold on, which has
the best F1: most of what is an object lies above the threshold."""
IOU = 0.5
"""From which overlap on a detection is right."""

_FEW = 10
"""Detections that say little about a precision."""
_MAX_NAMES = 8
_SCORE = "score"


@dataclass(frozen=True, slots=True)
class SureScore:
    """From which score on detections of a class are labels.

    Attributes:
        name: of the class.
        score: the lowest that reaches the precision; None where none does: no label is sure.
        detections: so many of the validation images have it, regions to ignore aside.
        right: so many of these are right.
    """

    name: str
    score: float | None
    detections: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PseudoLabels:
    """Images with labels that nobody has checked.

    Attributes:
        data: the images that have at least one label.
        counts: labels of each class, [K].
        uncertain: regions to ignore in these images.
        nothing_sure: images that are left out, since no label in them is sure.
        capped: of the images in `data`, those in which a limit left detections out.
    """

    data: Dataset
    counts: tuple[int, ...]
    uncertain: int
    nothing_sure: int
    capped: int


def sure_scores(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    classes: Sequence[str],
    *,
    precision: float = PRECISION,
) -> tuple[SureScore, ...]:
    """The lowest score of each class whose detections reach a precision, matched as COCO does.

    Args:
        detections: one for each validation image, with low scores still in; original pixels.
        targets: one for each, original pixels.
        classes: the K class names.
        precision: the fraction of detections of at least that score that is right.

    Raises:
        DataError: detections and targets do not fit together.
    """
    pool = make_pool(detections, targets, classes=len(classes), max_detections=None)
    matches = match(pool, ious=(IOU,))
    found = []
    for label, name in enumerate(classes):
        order = pool.of_class(label)
        order = order[~matches.ignored[0][order]]
        scores = pool.scores[order]
        right = np.cumsum(matches.true_positives[0][order])
        number = np.arange(1, len(order) + 1)
        # Detections of equal score are taken together or not at all.
        is_last = np.append(scores[1:] < scores[:-1], np.ones(min(1, len(scores)), np.bool_))
        reached = np.flatnonzero(is_last & (right >= precision * number - 1e-9))
        if not len(reached):
            found.append(SureScore(name, None))
            continue
        place = int(reached[-1])
        found.append(SureScore(name, float(scores[place]), place + 1, int(right[place])))
    return tuple(found)


def label_images(
    images: Dataset,
    detections: Sequence[Detections],
    sure: Sequence[SureScore],
    *,
    ignored_from: float,
) -> PseudoLabels:
    """Make labels and regions to ignore of detections.

    Images without any label are left out: that nothing is in them is not sure either.

    Args:
        images: without labels.
        detections: one for each, with scores down to `ignored_from`; original pixels.
        sure: one for each class.
        ignored_from: the least score of a region to ignore.
    """
    never = np.inf
    least = np.array([never if each.score is None else each.score for each in sure], np.float32)
    records = []
    capped = 0
    for record, found in zip(images, detections, strict=True):
        is_sure = found.scores >= least[found.labels]
        if not is_sure.any():
            continue
        keep = found.select(is_sure | (found.scores >= np.float32(ignored_from)))
        capped += found.capped
        records.append(_record(record, keep, keep.scores >= least[keep.labels]))
    objects = [record.labels[~record.ignored] for record in records]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *objects]), minlength=len(sure))
    return PseudoLabels(
        replace(images, records=tuple(records), classes=tuple(each.name for each in sure)),
        tuple(counts.tolist()),
        sum(int(record.ignored.sum()) for record in records),
        len(images) - len(records),
        capped,
    )


def _record(image: Record, found: Detections, is_sure: np.ndarray) -> Record:
    return replace(
        image,
        width=found.width,
        height=found.height,
        boxes=found.boxes,
        labels=found.labels,
        ignored=~is_sure,
        areas=None,
        flags={_SCORE: tuple(round(score, 4) for score in found.scores.tolist())},
    )


def least_score(sure: Sequence[SureScore], *, ignored_from: float) -> float:
    """The least score of a detection that `label_images` has a use for."""
    return min([ignored_from, *(each.score for each in sure if each.score is not None)])


def describe_sure_scores(sure: Sequence[SureScore], *, precision: float = PRECISION) -> list[str]:
    """From which scores on detections become labels, in sentences."""
    known = [each for each in sure if each.score is not None]
    lines = []
    if known:
        words = [f"{e.name} from {e.score:.2f} ({e.right} of {e.detections} right)" for e in known]
        lines.append(
            f"Labels are detections that are right in {percent(precision)} of the cases on the "
            f"validation images: {listed(words, _MAX_NAMES, longest=80)}."
        )
    never = [each.name for each in sure if each.score is None]
    if never:
        lines.append(
            f"No score of {listed(never, _MAX_NAMES)} reaches {percent(precision)}: what is "
            "detected of it becomes regions to ignore."
        )
    few = [each.name for each in known if each.detections < _FEW]
    if few:
        lines.append(
            f"Fewer than {_FEW} validation detections decide about {listed(few, _MAX_NAMES)}: more "
            "validation images would make its labels surer."
        )
    return lines


def describe_pseudo_labels(labels: PseudoLabels) -> str:
    """How many labels there are in how many images, in a sentence or two."""
    of_class = [
        f"{count:,} {name}"
        for name, count in zip(labels.data.classes, labels.counts, strict=True)
        if count
    ]
    text = (
        f"{counted(sum(labels.counts), 'label')} in {counted(len(labels.data), 'unlabeled image')}"
        f"{f' ({listed(of_class, _MAX_NAMES)})' if of_class else ''}, and "
        f"{counted(labels.uncertain, 'region')} to ignore."
    )
    if labels.nothing_sure:
        text += (
            f" {counted(labels.nothing_sure, 'image')} in which nothing is sure "
            f"{'is' if labels.nothing_sure == 1 else 'are'} left out."
        )
    if labels.capped:
        text += (
            f" In {counted(labels.capped, 'image')} more was found than the limit lets through "
            "(--set decoding.max_detections=N): what it left out is taken for background."
        )
    return text
