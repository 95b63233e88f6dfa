"""Precision at each recall and what is averaged from it: COCO's and Pascal VOC's AP, F1 curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.matching import MOSTLY_INSIDE
from foveal.evaluation.results import Curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.evaluation.matching import Matches, MatchTable

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO samples the precision."""
THRESHOLDS = np.linspace(0.0, 1.0, 101)
"""Scores at which curves are sampled."""


def precision_at_recalls(
    true_positives: NDArray[np.bool_], false_positives: NDArray[np.bool_], objects: int
) -> NDArray[np.float64]:
    """Best precision at each recall of `RECALLS` or a higher one; their mean is COCO's AP.

    Args:
        true_positives, false_positives: [T, D] detections of one class, best first; what is
            neither is ignored.
        objects: how many there are to find.

    Returns:
        [T, 101]; 0 where the recall is not reached, NaN throughout where there are no objects.
    """
    sampled = np.full((len(true_positives), len(RECALLS)), np.nan if objects == 0 else 0.0)
    if objects == 0:
        return sampled
    hits = np.cumsum(true_positives, axis=1, dtype=np.float64)
    misses = np.cumsum(false_positives, axis=1, dtype=np.float64)
    precision = _envelope(hits / np.maximum(hits + misses, 1))
    for row, hit in enumerate(hits):
        place = np.searchsorted(hit / objects, RECALLS, side="left")
        reached = place < len(hit)
        sampled[row, reached] = precision[row, place[reached]]
    return sampled


def class_precisions(pool: MatchTable, matches: Matches) -> NDArray[np.float64]:
    """COCO's table of precisions, [K, T, 101]; NaN for classes without objects.

    Detections of equal score stand in the order of their images.
    """
    objects = pool.objects_of_class(matches.counted)
    table = np.full((pool.classes, len(matches.ious), len(RECALLS)), np.nan)
    true_positives, false_positives = matches.true_positives, matches.false_positives
    for label in np.flatnonzero(objects).tolist():
        order = pool.of_class(label)
        table[label] = precision_at_recalls(
            true_positives[:, order], false_positives[:, order], int(objects[label])
        )
    return table


def class_recalls(
    pool: MatchTable, matches: Matches, *, max_detections: int
) -> NDArray[np.float64]:
    """Recall with at most so many detections of an image and class, [K, T]; NaN without objects."""
    objects = pool.objects_of_class(matches.counted)
    among = matches.true_positives & (pool.rank < max_detections)
    hits = np.stack([np.bincount(pool.labels[row], minlength=pool.classes) for row in among], 1)
    recalls = np.full(hits.shape, np.nan)
    some = objects > 0
    recalls[some] = hits[some] / objects[some, None]
    return recalls


def voc_ap(
    true_positives: NDArray[np.bool_], false_positives: NDArray[np.bool_], objects: int
) -> tuple[float, float]:
    """Pascal VOC's AP: the mean at 11 recalls (2007) and the area under the envelope (2012).

    Args:
        true_positives, false_positives: [D] detections of one class, best first; neither: ignored.
        objects: how many there are to find.

    Returns:
        AP as of 2007 and as of 2012, both NaN where there are no objects.
    """
    if objects == 0:
        return float("nan"), float("nan")
    hits, misses = np.cumsum(true_positives), np.cumsum(false_positives)
    recall = hits / objects
    precision = _envelope(hits / np.maximum(hits + misses, 1))
    # Eleven whole-number comparisons: hits / objects >= tenth / 10 without rounding.
    places = [np.searchsorted(hits * 10, tenth * objects, side="left") for tenth in range(11)]
    eleven = sum(float(precision[place]) for place in places if place < len(hits)) / 11
    return eleven, float(np.sum(np.diff(recall, prepend=0.0) * precision))


def class_voc_aps(pool: MatchTable, *, iou: float = 0.5) -> NDArray[np.float64]:
    """Pascal VOC's two APs of each class, [K, 2]; NaN for classes without objects.

    Each detection belongs to the object of its class that it overlaps most; the best detection of
    an object is a true positive, further ones are false. Where that object is to be ignored
    ("difficult") the detection is ignored, and so is a false one that lies mostly in a region to
    ignore. Overlaps are of continuous boxes, without the "+1" of the VOC kit.
    """
    nearest, overlap, inside = _nearest_objects(pool)
    near = (nearest >= 0) & (overlap >= iou)
    ignored = near & pool.ignored[nearest] if len(pool.ignored) else near
    candidates = np.flatnonzero(near & ~ignored)
    candidates = candidates[np.argsort(-pool.scores[candidates], kind="stable")]
    true_positives = np.zeros(len(pool.labels), np.bool_)
    true_positives[candidates[np.unique(nearest[candidates], return_index=True)[1]]] = True
    false_positives = ~true_positives & ~ignored & ~inside
    objects = pool.objects_of_class(~pool.ignored)
    table = np.full((pool.classes, 2), np.nan)
    for label in np.flatnonzero(objects).tolist():
        order = pool.of_class(label)
        table[label] = voc_ap(true_positives[order], false_positives[order], int(objects[label]))
    return table


def make_curve(
    true_positives: NDArray[np.bool_],
    false_positives: NDArray[np.bool_],
    scores: NDArray[np.float32],
    objects: int,
) -> Curve:
    """Precision, recall and F1 of one class.

    Args:
        true_positives, false_positives: [D] detections at one IoU, best first; neither: ignored.
        scores: [D] falling.
        objects: how many there are to find.
    """
    if objects == 0:
        nothing, undefined = np.zeros(0), float("nan")
        return Curve(nothing, nothing, nothing, nothing, nothing, nothing, undefined, undefined)
    sampled = precision_at_recalls(true_positives[None], false_positives[None], objects)[0]
    counts = true_positives | false_positives
    passing = np.searchsorted(-scores[counts], -THRESHOLDS.astype(np.float32), side="right")
    hits = np.append(0, np.cumsum(true_positives[counts]))[passing].astype(np.float64)
    precision = np.divide(hits, passing, out=np.full(len(passing), np.nan), where=passing > 0)
    f1 = 2 * hits / (passing + objects)
    every_f1 = f1_after(true_positives[counts], objects)
    return Curve(
        recall=RECALLS.copy(),
        precision=sampled,
        thresholds=THRESHOLDS.copy(),
        precision_at=precision,
        recall_at=hits / objects,
        f1_at=f1,
        best_f1=float(every_f1.max()),
        best_threshold=best_threshold(scores[counts], every_f1),
    )


def f1_after(true_positives: NDArray[np.bool_], objects: int) -> NDArray[np.float64]:
    """F1 of keeping the 0, 1, ... D best of D detections, [D + 1]; 0 where there are no objects."""
    hits = np.append(0, np.cumsum(true_positives))
    return np.asarray(2 * hits / np.maximum(np.arange(len(hits)) + objects, 1), np.float64)


def best_threshold(scores: NDArray[np.float32], value: NDArray[np.float64]) -> float:
    """The score threshold that makes `value` largest, with the fewest detections among equals.

    It lies halfway between the last score that is kept and the first that is not, so that small
    changes of a score do not matter.

    Args:
        scores: [D] falling.
        value: [D + 1] what keeping the 0, 1, ... D best gives.

    Returns:
        In 0..1; 0.5 where there are no detections.
    """
    if len(scores) == 0:
        return 0.5
    exact = scores.astype(np.float64)
    # Detections of equal score are kept together or not at all.
    possible = np.append(True, np.append(exact[1:] < exact[:-1], True))
    count = int(np.argmax(np.where(possible, value, -np.inf)))
    above = exact[count - 1] if count else max(1.0, float(exact[0]))
    below = exact[count] if count < len(exact) else 0.0
    if count == 0 and above == below:
        return float(np.nextafter(np.float32(below), np.float32(2)))
    return float((above + below) / 2)


def mean_over_classes(values: NDArray[np.float64]) -> float:
    """Mean of what is defined of [K] values; NaN where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _nearest_objects(
    pool: MatchTable,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Each detection's most overlapped object of its class, the IoU, whether a region has it."""
    nearest = np.full(len(pool.labels), -1, np.int64)
    overlap = np.zeros(len(pool.labels))
    inside = np.zeros(len(pool.labels), np.bool_)
    same = pool.same_class
    region = same & pool.ignored[pool.pair_object] & (pool.pair_inside >= MOSTLY_INSIDE)
    inside[pool.pair_detection[region]] = True
    # The last write wins: the largest overlap, and the first object among equals.
    order = np.flatnonzero(same)
    order = order[np.lexsort((-pool.pair_object[order], pool.pair_iou[order]))]
    nearest[pool.pair_detection[order]] = pool.pair_object[order]
    overlap[pool.pair_detection[order]] = pool.pair_iou[order]
    return nearest, overlap, inside


def _envelope(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best precision from each place on, along the last axis."""
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
