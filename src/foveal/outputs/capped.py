"""Images where a limit left detections out, in words: which they are, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.text import counted, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.structures import Detections

_MAX_NAMES = 3
_TIMES_AS_MANY = 4


def describe_capped(
    detections: Sequence[Detections], *, max_detections: int, decodes_inside: bool = False
) -> str:
    """Say in which images objects may be missing; "" where in none.

    Args:
        detections: one for each image.
        max_detections: how many detections an image could have.
        decodes_inside: the model's file has decoding and NMS inside, with that limit.
    """
    capped = [each for each in detections if each.capped]
    if not capped:
        return ""
    named = [each.path.name if each.path else "an image without a file" for each in capped]
    more = _TIMES_AS_MANY * max_detections
    anew = "Export the model anew without --nms, and look" if decodes_inside else "Look"
    return (
        f"In {len(capped):,} of {counted(len(detections), 'image')} more was found than the limit "
        f"of {counted(max_detections, 'detection')} lets through, or that of candidates for them "
        f"({listed(named, _MAX_NAMES)}): "
        "their counts may be too low, and are marked as capped. "
        f"{anew} again with --max-detections {more}"
        f" (in Python predictor(max_detections={more})); "
        f"--set decoding.max_detections={more} trains a model with that limit."
    )


@dataclass(slots=True)
class CappedTally:
    """Counts images where a limit left detections out over many calls, and tells of them seldom.

    A loop over the frames of a video asks for one image at a time. The first call with such images
    is told of in full; then only that there are ten of them, a hundred, and so on.

    Attributes:
        images, capped: how many were looked at so far, and how many of them a limit cut.
    """

    images: int = 0
    capped: int = 0
    _tell_at: int = 1

    def add(
        self,
        detections: Sequence[Detections],
        *,
        max_detections: int,
        decodes_inside: bool = False,
    ) -> str:
        """Count more images, and say what is to be told of them; "" where that is nothing.

        Args:
            detections: one for each image.
            max_detections: how many detections an image could have.
            decodes_inside: the model's file has decoding and NMS inside, with that limit.
        """
        capped = sum(each.capped for each in detections)
        is_first = not self.capped
        self.images += len(detections)
        self.capped += capped
        if not capped or self.capped < self._tell_at:
            return ""
        while self._tell_at <= self.capped:
            self._tell_at *= 10
        if is_first:
            said = describe_capped(
                detections, max_detections=max_detections, decodes_inside=decodes_inside
            )
            return (
                f"{said} Further images are counted and marked, and told of when there are "
                f"{self._tell_at:,}."
            )
        return (
            f"In {self.capped:,} of {counted(self.images, 'image')} so far more was found than the "
            "limit of detections lets through: they are marked as capped. They are told of again "
            f"when there are {self._tell_at:,}."
        )
