"""COCO's twelve numbers and those of each class, equal to pycocotools.

COCO limits detections for each image and class, and takes a class's AP as the mean over 101 recalls
and ten IoU thresholds; classes without objects take no part in the means.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.average_precision import class_precisions, class_recalls, mean_over_classes
from foveal.evaluation.matching import match
from foveal.evaluation.results import CocoMetrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.evaluation.matching import Matches, MatchTable

IOUS = tuple(float(iou) for iou in np.linspace(0.5, 0.95, 10))
"""COCO's ten thresholds."""
SMALL, LARGE = 32.0**2, 96.0**2
"""COCO's limits of small, medium and large objects, square pixels."""
SIZES = (
    ("under 16 px", 0.0, 16.0),
    ("16 to 32 px", 16.0, 32.0),
    ("32 to 96 px", 32.0, 96.0),
    ("over 96 px", 96.0, float("inf")),
)
"""Ranges of size, the square root of the area in original pixels: COCO's, the small ones in two."""


@dataclass(frozen=True, slots=True, eq=False)
class RangeTable:
    """Results of objects whose area lies in one range.

    Attributes:
        matches: at the ten IoU thresholds.
        precisions: [K, 10, 101], NaN for classes without objects in the range.
        recalls: [K, 10] with all detections that take part, NaN likewise.
    """

    matches: Matches
    precisions: NDArray[np.float64]
    recalls: NDArray[np.float64]

    @property
    def aps(self) -> NDArray[np.float64]:
        """[K] AP of each class."""
        return np.asarray(self.precisions.mean(axis=(1, 2)))

    @property
    def ap50s(self) -> NDArray[np.float64]:
        """[K] AP of each class at the IoU 0.5."""
        return np.asarray(self.precisions[:, 0].mean(axis=1))

    @property
    def ars(self) -> NDArray[np.float64]:
        """[K] recall of each class, mean over the IoU thresholds."""
        return np.asarray(self.recalls.mean(axis=1))


def make_range_table(
    pool: MatchTable, *, low: float = 0.0, high: float = float("inf")
) -> RangeTable:
    """Match and average the objects whose area lies in low..high, square pixels, ends included."""
    matches = match(pool, ious=IOUS, low=low, high=high)
    everything = int(pool.rank.max(initial=0)) + 1
    return RangeTable(
        matches,
        class_precisions(pool, matches),
        class_recalls(pool, matches, max_detections=everything),
    )


def coco_numbers(
    pool: MatchTable, *, whole: RangeTable, small: RangeTable, medium: RangeTable, large: RangeTable
) -> tuple[CocoMetrics, tuple[CocoMetrics, ...]]:
    """The numbers of all classes together, and those of each class.

    Args:
        pool: all images.
        whole, small, medium, large: the results of all objects, and of those in COCO's ranges.
    """
    recalls = [
        class_recalls(pool, whole.matches, max_detections=max_detections).mean(axis=1)
        for max_detections in (1, 10, 100)
    ]
    columns = (
        whole.aps,
        whole.ap50s,
        whole.precisions[:, 5].mean(axis=1),
        small.aps,
        medium.aps,
        large.aps,
        *recalls,
        small.ars,
        medium.ars,
        large.ars,
        whole.ars,
    )
    means = CocoMetrics(*(mean_over_classes(column) for column in columns))
    rows = np.stack(columns, axis=1).tolist()
    return means, tuple(CocoMetrics(*row) for row in rows)


def twelve(numbers: CocoMetrics) -> tuple[float, ...]:
    """The numbers in COCO's order, AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl."""
    return astuple(numbers)[:12]
