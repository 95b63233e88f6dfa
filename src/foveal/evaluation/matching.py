"""Which detection finds which object: COCO's greedy matching, for all images at once.

Detections and objects of all images are laid out as columns, with one list of the pairs that
overlap. The best detections of every image and class choose first, all at the same time, then the
second best, and so on: as many rounds as the fullest image has detections of one class.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import DataError
from foveal.geometry import arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.structures import Detections, Target

MIN_IOU = 0.1
"""Pairs that overlap less are not kept; TIDE calls a detection without a better one background."""
MOSTLY_INSIDE = 0.5
"""A detection with this fraction of its area in a region to ignore counts neither way."""


@dataclass(frozen=True, slots=True, eq=False)
class MatchTable:
    """Detections (D), objects (G) and overlapping pairs (P) of all images, in original pixels.

    Detections are ordered by image, then from the best score down.

    Attributes:
        images, classes: how many of each.
        boxes: [D, 4] float32 xyxy.
        scores: [D] float32.
        labels: [D] int64.
        image: [D] int64.
        rank: [D] int64, place among the detections of its image and class, 0 the best.
        by_class: [D] int64, the detections by class, then from the best score down; detections of
            equal score in the order of their images.
        class_starts: [K + 1] int64, where each class begins in `by_class`, and its end.
        object_boxes: [G, 4] float32 xyxy.
        object_labels: [G] int64.
        object_image: [G] int64.
        ignored: [G] bool, regions to ignore.
        areas: [G] float64, square pixels, as annotated or else the box's.
        pair_detection, pair_object: [P] int64.
        pair_iou: [P] float64, intersection over union.
        pair_inside: [P] float64, fraction of the detection's area inside the object.
    """

    images: int
    classes: int
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    image: NDArray[np.int64]
    rank: NDArray[np.int64]
    by_class: NDArray[np.int64]
    class_starts: NDArray[np.int64]
    object_boxes: NDArray[np.float32]
    object_labels: NDArray[np.int64]
    object_image: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    areas: NDArray[np.float64]
    pair_detection: NDArray[np.int64]
    pair_object: NDArray[np.int64]
    pair_iou: NDArray[np.float64]
    pair_inside: NDArray[np.float64]

    @property
    def same_class(self) -> NDArray[np.bool_]:
        """[P] whether a pair's detection has the class of its object or region to ignore."""
        return np.equal(self.labels[self.pair_detection], self.object_labels[self.pair_object])

    def of_class(self, label: int) -> NDArray[np.int64]:
        """[n] indices of a class's detections, from the best score down."""
        return self.by_class[self.class_starts[label] : self.class_starts[label + 1]]

    def objects_of_class(self, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """[K] how many objects each class has among those that count, [G]."""
        return np.bincount(self.object_labels[counted], minlength=self.classes)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Who found whom at T thresholds of the IoU, for objects of one range of areas.

    Attributes:
        ious: the T thresholds.
        matched: [T, D] int64, the object (or region to ignore) of each detection, -1 for none.
        ignored: [T, D] bool, detections that are neither true nor false positives.
        counted: [G] bool, objects that count: no region to ignore, area in the range.
    """

    ious: tuple[float, ...]
    matched: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    counted: NDArray[np.bool_]

    @property
    def true_positives(self) -> NDArray[np.bool_]:
        """[T, D] detections that found an object that counts."""
        return (self.matched >= 0) & ~self.ignored

    @property
    def false_positives(self) -> NDArray[np.bool_]:
        """[T, D] detections that count and found nothing."""
        return (self.matched < 0) & ~self.ignored


def make_pool(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    *,
    classes: int,
    max_detections: int | None,
) -> MatchTable:
    """Lay out all images as columns and find the pairs that overlap.

    Args:
        detections: one for each image, original pixels, in any order of score.
        targets: one for each image, original pixels, the same order of images.
        classes: K.
        max_detections: how many detections of each image and class take part, the best ones
            (COCO's maxDets); None: all.

    Raises:
        DataError: not as many detections as targets, or a label outside 0..K-1.
    """
    if len(detections) != len(targets):
        raise DataError(
            f"There are detections of {len(detections)} images and annotations of {len(targets)}. "
            "Expected one of each for every image, in the same order."
        )
    for index, (image, target) in enumerate(zip(detections, targets, strict=True)):
        _check_labels(image.labels, classes, f"image {index}, detections")
        _check_labels(target.labels, classes, f"image {index}, annotations")
    best = [_best(image, max_detections) for image in detections]
    boxes = [image.boxes[order] for image, (order, _) in zip(detections, best, strict=True)]
    scores = [image.scores[order] for image, (order, _) in zip(detections, best, strict=True)]
    labels = [image.labels[order] for image, (order, _) in zip(detections, best, strict=True)]
    all_scores, all_labels = _join(scores, (0,), np.float32), _join(labels, (0,), np.int64)
    pair_detection, pair_object, pair_iou, pair_inside = _find_pairs(boxes, targets)
    numbers = np.arange(len(targets))
    sizes = np.bincount(all_labels, minlength=classes)
    return MatchTable(
        images=len(targets),
        classes=classes,
        boxes=_join(boxes, (0, 4), np.float32),
        scores=all_scores,
        labels=all_labels,
        image=np.repeat(numbers, [len(rank) for _, rank in best]),
        rank=_join([rank for _, rank in best], (0,), np.int64),
        by_class=np.lexsort((-all_scores, all_labels)),
        class_starts=np.append(0, np.cumsum(sizes)),
        object_boxes=_join([target.boxes for target in targets], (0, 4), np.float32),
        object_labels=_join([target.labels for target in targets], (0,), np.int64),
        object_image=np.repeat(numbers, [len(target) for target in targets]),
        ignored=_join([target.ignored for target in targets], (0,), np.bool_),
        areas=_join([_object_areas(target) for target in targets], (0,), np.float64),
        pair_detection=pair_detection,
        pair_object=pair_object,
        pair_iou=pair_iou,
        pair_inside=pair_inside,
    )


def match(
    pool: MatchTable, *, ious: Sequence[float], low: float = 0.0, high: float = float("inf")
) -> Matches:
    """Match as COCO does: the best detection first, each to the free object it overlaps most.

    An object that does not count (a region to ignore, or an area out of range) is taken only where
    no object that counts fits; its detection is skipped. A region to ignore takes any number of
    detections, by the fraction of their area inside it.

    Args:
        pool: all images.
        ious: T thresholds; at least 0.1.
        low, high: range of areas, square pixels, both ends included. Detections that found nothing
            are skipped where their own area is out of range.
    """
    counted = ~pool.ignored & (pool.areas >= low) & (pool.areas <= high)
    overlap = np.where(pool.ignored[pool.pair_object], pool.pair_inside, pool.pair_iou)
    use = np.flatnonzero(pool.same_class & (overlap >= min(ious)))
    matched = _match_greedily(
        pool.pair_detection[use],
        pool.pair_object[use],
        overlap[use],
        rank=pool.rank,
        counted=counted,
        shared=pool.ignored,
        ious=ious,
    )
    areas = _areas(pool.boxes)
    outside = (areas < low) | (areas > high)
    # Index -1 reads the False at the end: a detection without an object found no object to skip.
    uncounted = np.append(~counted, False)
    return Matches(tuple(ious), matched, uncounted[matched] | ((matched < 0) & outside), counted)


def _match_greedily(
    detection: NDArray[np.int64],
    target: NDArray[np.int64],
    overlap: NDArray[np.float64],
    *,
    rank: NDArray[np.int64],
    counted: NDArray[np.bool_],
    shared: NDArray[np.bool_],
    ious: Sequence[float],
) -> NDArray[np.int64]:
    """Let detections choose in rounds of equal rank; [T, D] the chosen objects, -1 for none.

    No two detections of one rank may want the same object that is not `shared`.
    """
    matched = np.full((len(ious), len(rank)), -1, np.int64)
    taken = np.zeros((len(ious), len(counted)), np.bool_)
    # The last pair of a detection is the one it wants most; later objects win ties, as in COCO.
    order = np.lexsort((target, overlap, counted[target], detection, rank[detection]))
    detection, target, overlap = detection[order], target[order], overlap[order]
    # COCO's own margin: a perfect overlap may come out a rounding error below 1.
    enough = overlap >= np.minimum(np.asarray(ious, np.float64), 1 - 1e-10)[:, None]
    borders = np.append(np.flatnonzero(np.diff(rank[detection], prepend=-1)), len(detection))
    for start, stop in pairwise(borders.tolist()):
        wanted = target[start:stop]
        free = enough[:, start:stop] & (shared[wanted] | ~taken[:, wanted])
        place = np.where(free, np.arange(start, stop), -1)
        first = np.flatnonzero(np.diff(detection[start:stop], prepend=-1))
        best = np.maximum.reduceat(place, first, axis=1)
        level, column = np.nonzero(best >= 0)
        pair = best[level, column]
        matched[level, detection[pair]] = target[pair]
        taken[level, target[pair]] = True
    return matched


def match_any_class(
    pool: MatchTable, detections: NDArray[np.bool_], objects: NDArray[np.bool_], *, iou: float
) -> NDArray[np.int64]:
    """Match some detections to some objects whatever their classes, the best score first.

    Args:
        pool: all images.
        detections: [D] which take part.
        objects: [G] which take part.
        iou: least overlap.

    Returns:
        [D] the object of each detection, -1 for none.
    """
    use = np.flatnonzero(
        detections[pool.pair_detection] & objects[pool.pair_object] & (pool.pair_iou >= iou)
    )
    first = np.searchsorted(pool.image, pool.image)
    matched = _match_greedily(
        pool.pair_detection[use],
        pool.pair_object[use],
        pool.pair_iou[use],
        rank=np.arange(len(pool.image)) - first,
        counted=np.ones(len(pool.ignored), np.bool_),
        shared=np.zeros(len(pool.ignored), np.bool_),
        ious=(iou,),
    )
    return np.asarray(matched[0])


def _best(
    image: Detections, max_detections: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order of the detections that take part, best first, and their ranks within their class."""
    order: NDArray[np.int64] = np.argsort(-image.scores, kind="stable")
    labels = image.labels[order]
    by_class = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_class], labels[by_class])
    rank = np.empty(len(order), np.int64)
    rank[by_class] = np.arange(len(order)) - starts
    if max_detections is None:
        return order, rank
    keep = rank < max_detections
    return order[keep], rank[keep]


def _find_pairs(
    boxes: Sequence[NDArray[np.float32]], targets: Sequence[Target]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Detection, object, IoU and fraction inside of all pairs that overlap enough to matter."""
    rows = []
    columns = []
    ious = []
    insides = []
    first_detection = first_object = 0
    for detected, target in zip(boxes, targets, strict=True):
        if len(detected) and len(target):
            ours, theirs = detected.astype(np.float64), target.boxes.astype(np.float64)
            overlap = arrays.iou(ours[:, None], theirs)
            keep = overlap >= MIN_IOU
            regions = np.flatnonzero(target.ignored)
            if len(regions):
                keep[:, regions] |= arrays.coverage(ours[:, None], theirs[regions]) >= MOSTLY_INSIDE
            row, column = np.nonzero(keep)
            rows.append(row + first_detection)
            columns.append(column + first_object)
            ious.append(overlap[row, column])
            insides.append(arrays.coverage(ours[row], theirs[column]))
        first_detection += len(detected)
        first_object += len(target)
    return (
        _join(rows, (0,), np.int64),
        _join(columns, (0,), np.int64),
        _join(ious, (0,), np.float64),
        _join(insides, (0,), np.float64),
    )


def _object_areas(target: Target) -> NDArray[np.float64]:
    return _areas(target.boxes) if target.areas is None else target.areas


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(arrays.areas(boxes.astype(np.float64)), np.float64)


def _check_labels(labels: NDArray[np.int64], classes: int, where: str) -> None:
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise DataError(
            f"{where}: label {wrong} is unknown. Expected 0 to {classes - 1}, one for each of the "
            f"{classes} classes. Check that both sides use the same list of classes."
        )


def _join(parts: Sequence[NDArray[Any]], empty: tuple[int, ...], kind: type) -> NDArray[Any]:
    """Concatenate, with the right shape and type also for nothing at all."""
    return np.concatenate([np.zeros(empty, kind), *parts]).astype(kind, copy=False)
