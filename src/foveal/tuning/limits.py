"""How many detections an image may have: a multiple of the objects that the training images have.

Where the network sees windows of larger images, the limit is that of a window. What all windows of
an image find has none.

COCO's custom of 100 detections an image, and the paper's 1000 candidates a level, suit COCO's
images. Where images hold hundreds of objects they would cut counts off, so both follow the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.config import DecodingSettings, PreparationSettings, Settings, change_settings
from foveal.data.loading.windows import most_in_a_window
from foveal.detection.decoding import CANDIDATES_A_DETECTION
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from foveal.data.dataset import Dataset

_DETECTIONS_AN_OBJECT = 2
"""So many detections for each object of the fullest image: new images may be fuller."""


LIMITS = frozenset({"max_detections", "top_per_level"})
"""The settings of decoding that follow the data."""


def follow_objects(settings: Settings, data: Dataset, *, free: Collection[str] = ()) -> Settings:
    """Raise the limits of decoding to what the data needs; those that were set stay as they are.

    Args:
        settings: all of them; `decoding.max_detections` and `decoding.top_per_level` may change.
        data: the training images. Regions to ignore are no objects.
        free: of these two those that may be raised though they are set.
    """
    decoding = settings.decoding
    fixed = decoding.model_fields_set - set(free)
    needed = _needed_detections(data, settings.preparation)
    wanted = {
        "max_detections": needed,
        "top_per_level": CANDIDATES_A_DETECTION * needed,
    }
    changes: dict[str, Any] = {
        name: number
        for name, number in wanted.items()
        if name not in fixed and number > getattr(decoding, name)
    }
    return change_settings(settings, {"decoding": changes}) if changes else settings


def limit_in_words(
    decoding: DecodingSettings, data: Dataset, preparation: PreparationSettings
) -> str:
    """What there is to tell of the limit of detections; "" where the usual one does.

    Args:
        decoding: the effective settings.
        data: the training images.
        preparation: of windows the limit is that of each.
    """
    needed, limit = _needed_detections(data, preparation), decoding.max_detections
    most = needed // _DETECTIONS_AN_OBJECT
    windows = preparation.mode == "windows"
    objects = (
        f"the fullest training {'window' if windows else 'image'} has {counted(most, 'object')}"
    )
    if limit < most:
        return (
            f"decoding.max_detections = {limit} is set, but {objects}: what is found beyond "
            f"{limit:,} will be left out, and counts will be too low. "
            f"Expected more: --set decoding.max_detections={needed}"
        )
    if limit == needed > DecodingSettings().max_detections:
        each = "a window" if windows else "an image"
        return f"At most {limit:,} detections {each}, since {objects}."
    return ""


def _needed_detections(data: Dataset, preparation: PreparationSettings) -> int:
    if preparation.mode == "windows":
        side = preparation.shorter / preparation.scale
        most = max((most_in_a_window(record, side) for record in data), default=0)
    else:
        most = max((int(np.count_nonzero(~record.ignored)) for record in data), default=0)
    return _DETECTIONS_AN_OBJECT * most
