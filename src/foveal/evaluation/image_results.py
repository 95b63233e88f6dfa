"""What went right and wrong in each image, at a score threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.results import ImageResult
from foveal.structures import Detections, Target

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.evaluation.matching import Matches, MatchTable


@dataclass(frozen=True, slots=True, eq=False)
class ImageVerdicts:
    """Which detections and objects of all images are right, false and missed.

    Attributes:
        pool: all images.
        true_positives, false_positives: [D] bool, detections that reach the threshold.
        false_negatives: [G] bool, objects that count and were not found by them.
        found: [G] bool, objects that count and were found by them.
    """

    pool: MatchTable
    true_positives: NDArray[np.bool_]
    false_positives: NDArray[np.bool_]
    false_negatives: NDArray[np.bool_]
    found: NDArray[np.bool_]

    @property
    def true_positives_by_image(self) -> NDArray[np.int64]:
        """[I] detections that found an object."""
        return np.bincount(self.pool.image[self.true_positives], minlength=self.pool.images)

    @property
    def false_positives_by_image(self) -> NDArray[np.int64]:
        """[I] detections that did not."""
        return np.bincount(self.pool.image[self.false_positives], minlength=self.pool.images)

    @property
    def false_negatives_by_image(self) -> NDArray[np.int64]:
        """[I] objects that were not found."""
        return np.bincount(self.pool.object_image[self.false_negatives], minlength=self.pool.images)

    def of_image(self, index: int, *, classes: tuple[str, ...], path: Path | None) -> ImageResult:
        """One image's boxes by what became of them, original pixels."""
        pool = self.pool
        ours, theirs = pool.image == index, pool.object_image == index
        lost = theirs & self.false_negatives

        def detected(chosen: NDArray[np.bool_]) -> Detections:
            return Detections(
                pool.boxes[chosen], pool.scores[chosen], pool.labels[chosen], classes=classes
            )

        return ImageResult(
            index=index,
            path=path,
            true_positives=detected(ours & self.true_positives),
            false_positives=detected(ours & self.false_positives),
            false_negatives=Target(
                pool.object_boxes[lost], pool.object_labels[lost], pool.ignored[lost]
            ),
            ignored=np.unique(pool.object_boxes[theirs & pool.ignored], axis=0),
        )


def judge_images(pool: MatchTable, matches: Matches, *, score_threshold: float) -> ImageVerdicts:
    """Say of all detections and objects what became of them.

    Args:
        pool: all images.
        matches: at the IoU 0.5 first, all areas.
        score_threshold: the score from which detections count.
    """
    above = pool.scores >= np.float32(score_threshold)
    true_positives = matches.true_positives[0] & above
    found = np.zeros(len(pool.ignored), np.bool_)
    found[matches.matched[0][true_positives]] = True
    return ImageVerdicts(
        pool=pool,
        true_positives=true_positives,
        false_positives=matches.false_positives[0] & above,
        false_negatives=matches.counted & ~found,
        found=found,
    )
