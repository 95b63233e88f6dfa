"""What one model has detected since the server began, in arrays: no detection costs a loop."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.profile import box_sizes, count_scores, count_sizes
from foveal.structures import SCORE_EDGES, SIZE_EDGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.structures import Detections

NUMBER_EDGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Upper edges of the bins of detections in an image, each part of its bin; one more is beyond."""


@dataclass(frozen=True, slots=True, eq=False)
class CountsReading:
    """What was counted until now.

    Attributes:
        images, detections: how many.
        classes: [K] detections of each class.
        numbers: [bins] images by how many detections they have, see `NUMBER_EDGES`.
        scores, sizes: [bins] detections between `SCORE_EDGES` and `SIZE_EDGES`.
        score_sum, size_sum: sums over the detections; sizes are original pixels.
    """

    images: int
    detections: int
    classes: NDArray[np.int64]
    numbers: NDArray[np.int64]
    scores: NDArray[np.int64]
    sizes: NDArray[np.int64]
    score_sum: float
    size_sum: float


class DetectionCounts:
    """Counts detections. Any thread may call it.

    Args:
        classes: K.
    """

    def __init__(self, classes: int) -> None:
        self._images, self._score_sum, self._size_sum = 0, 0.0, 0.0
        self._classes = np.zeros(classes, np.int64)
        self._numbers = np.zeros(len(NUMBER_EDGES) + 1, np.int64)
        self._scores = np.zeros(len(SCORE_EDGES) - 1, np.int64)
        self._sizes = np.zeros(len(SIZE_EDGES) - 1, np.int64)
        self._lock = threading.Lock()

    def add(self, detections: Detections) -> None:
        """Count an image's detections, original pixels."""
        classes = np.bincount(detections.labels, minlength=len(self._classes))
        scores, sizes = count_scores(detections.scores), count_sizes(detections.boxes)
        score_sum = float(detections.scores.sum(dtype=np.float64))
        size_sum = float(box_sizes(detections.boxes).sum(dtype=np.float64))
        number = int(np.searchsorted(NUMBER_EDGES, len(detections), side="left"))
        with self._lock:
            self._images += 1
            self._numbers[number] += 1
            self._classes += classes
            self._scores += scores
            self._sizes += sizes
            self._score_sum += score_sum
            self._size_sum += size_sum

    def read(self) -> CountsReading:
        """What was counted until now, all at one moment."""
        with self._lock:
            return CountsReading(
                self._images,
                int(self._scores.sum()),
                self._classes.copy(),
                self._numbers.copy(),
                self._scores.copy(),
                self._sizes.copy(),
                self._score_sum,
                self._size_sum,
            )
