"""Whether what a model detects looks as it did on its validation images."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.profile import (
    count_scores,
    count_sizes,
    distance,
    distance_by_chance,
)
from foveal.structures import SCORE_EDGES, SIZE_EDGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.structures import DetectionProfile, Detections

WINDOW = 1000
"""Images that are looked back at."""
_BLOCKS = 20
"""The window moves on by one block of images at a time."""


@dataclass(frozen=True, slots=True)
class DriftReading:
    """How far the latest images are from the validation images.

    Attributes:
        images: how many were looked back at.
        left_out: images so far that could not be compared, since only scores above the profile's
            threshold were asked for.
        detections_per_image: on these images, from the profile's score threshold on; NaN before
            there is an image.
        distances: 0 (alike) to 1 (disjoint) of 'scores' and 'sizes', see
            `foveal.evaluation.profile.distance`; NaN before there is a detection.
        by_chance: how large each would be were nothing different.
    """

    images: int
    left_out: int
    detections_per_image: float
    distances: dict[str, float]
    by_chance: dict[str, float]


@dataclass(slots=True)
class _Block:
    images: int = 0
    scores: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(SCORE_EDGES) - 1, np.int64)
    )
    sizes: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(SIZE_EDGES) - 1, np.int64)
    )


class Drift:
    """Compares the latest images' detections with a profile. Any thread may call it.

    Args:
        profile: of the validation images, as the model's card has it.
        window: images that are looked back at.
    """

    def __init__(self, profile: DetectionProfile, *, window: int = WINDOW) -> None:
        self.profile = profile
        self._in_block = max(1, window // _BLOCKS)
        self._blocks: deque[_Block] = deque([_Block()], maxlen=_BLOCKS)
        self._left_out = 0
        self._lock = threading.Lock()

    def observe(self, detections: Detections, *, score_threshold: float) -> None:
        """Take an image's detections in.

        Args:
            detections: original pixels.
            score_threshold: the least score that could be among them.
        """
        # As float32, in which detections are selected.
        if np.float32(score_threshold) > np.float32(self.profile.score_threshold):
            with self._lock:
                self._left_out += 1
            return
        kept = detections.above(self.profile.score_threshold)
        scores, sizes = count_scores(kept.scores), count_sizes(kept.boxes)
        with self._lock:
            if self._blocks[-1].images == self._in_block:
                self._blocks.append(_Block())
            block = self._blocks[-1]
            block.images += 1
            block.scores += scores
            block.sizes += sizes

    def read(self) -> DriftReading:
        """What the latest images say."""
        with self._lock:
            left_out = self._left_out
            images = sum(block.images for block in self._blocks)
            scores = np.sum([block.scores for block in self._blocks], axis=0)
            sizes = np.sum([block.sizes for block in self._blocks], axis=0)
        pairs = {"scores": (scores, self.profile.scores), "sizes": (sizes, self.profile.sizes)}
        return DriftReading(
            images,
            left_out,
            float(scores.sum()) / images if images else math.nan,
            {name: distance(*pair) for name, pair in pairs.items()},
            {name: distance_by_chance(*pair) for name, pair in pairs.items()},
        )
