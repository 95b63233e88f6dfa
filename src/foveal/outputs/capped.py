"""Images where a limit left detections out, in words: which they are, and what to do."""

from __future__ import annotations

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
        f"of {counted(max_detections, 'detection')} lets through ({listed(named, _MAX_NAMES)}): "
        "their counts may be too low, and are marked as capped. "
        f"{anew} again with --max-detections {more}"
        f" (in Python predictor(max_detections={more})); "
        f"--set decoding.max_detections={more} trains a model with that limit."
    )
