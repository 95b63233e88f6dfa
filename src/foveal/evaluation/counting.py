"""Counting objects: predicted against true numbers in each image, and the threshold to count at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.average_precision import best_threshold, f1_after
from foveal.evaluation.bootstrap import interval
from foveal.evaluation.matching import make_pool, match
from foveal.evaluation.results import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.evaluation.matching import Matches, MatchTable
    from foveal.structures import Detections, Target


def choose_threshold(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    classes: Sequence[str],
    *,
    max_detections: int | None = None,
) -> float:
    """The score threshold with the best F1 of all classes together at the IoU 0.5.

    Args:
        detections: one for each image, with low scores still in; original pixels.
        targets: one for each image, original pixels.
        classes: the K class names.
        max_detections: how many detections of each image and class take part; None: all.

    Returns:
        In 0..1 (just above 1 where no detection should count though some score 1); 0.5 where
        there are no detections.

    Raises:
        DataError: detections and targets do not fit together.
    """
    pool = make_pool(detections, targets, classes=len(classes), max_detections=max_detections)
    return threshold_of(pool, match(pool, ious=(0.5,)))


def threshold_of(pool: MatchTable, matches: Matches) -> float:
    """Like `choose_threshold`, from matches whose first threshold is the IoU 0.5."""
    counted = np.flatnonzero(~matches.ignored[0])
    order = counted[np.argsort(-pool.scores[counted], kind="stable")]
    f1 = f1_after(matches.true_positives[0][order], int(matches.counted.sum()))
    return best_threshold(pool.scores[order], f1)


def count_table(
    pool: MatchTable, matches: Matches, *, score_threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and predicted numbers in each image, both [K, I], without regions to ignore.

    Args:
        pool: all images.
        matches: at the IoU 0.5 first, all areas.
        score_threshold: the score from which detections count.
    """
    keep = ~matches.ignored[0] & (pool.scores >= np.float32(score_threshold))
    shape = (pool.classes, pool.images)
    size = pool.classes * pool.images
    own = pool.object_labels * pool.images + pool.object_image
    detected = pool.labels * pool.images + pool.image
    true = np.bincount(own[matches.counted], minlength=size).reshape(shape)
    return true, np.bincount(detected[keep], minlength=size).reshape(shape)


def summarize_counts(
    true: NDArray[np.int64], predicted: NDArray[np.int64], *, weights: NDArray[np.float32]
) -> Counts:
    """Errors of the counts.

    Args:
        true, predicted: [I].
        weights: [R, I] draws of the images for the intervals; R may be 0.
    """
    difference = (predicted - true).astype(np.float64)
    absolute = np.abs(difference)
    images, objects = len(true), int(true.sum())
    spread = float(((true - true.mean()) ** 2).sum()) if images else 0.0
    undefined = float("nan")
    return Counts(
        true=true,
        predicted=predicted,
        bias=float(difference.mean()) if images else undefined,
        mean_absolute_error=float(absolute.mean()) if images else undefined,
        relative_error=float(absolute.sum()) / objects if objects else undefined,
        r2=1 - float((difference**2).sum()) / spread if spread else undefined,
        bias_interval=interval(weights @ difference / images if images else np.zeros(0)),
        mean_absolute_error_interval=interval(
            weights @ absolute / images if images else np.zeros(0)
        ),
    )
