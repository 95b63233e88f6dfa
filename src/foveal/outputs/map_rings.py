"""The outlines of boxes on a map, and which detections have a place there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.errors import DataError
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.structures import Detections


def counter_clockwise(rings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rings that go round the other way are turned; the first point stays the first.

    Args:
        rings: [N, P, 2] points, not closed; x to the right, y upwards.

    Returns:
        The same, each counter-clockwise.
    """
    x, y = np.moveaxis(rings - rings[:, :1], 2, 0)
    area = np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1)
    turned = np.concatenate([rings[:, :1], rings[:, :0:-1]], axis=1)
    return np.where((area < 0)[:, None, None], turned, rings)


def closed(rings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rings [N, P + 1, 2] whose last point is their first."""
    return np.concatenate([rings, rings[:, :1]], axis=1)


def check_georeferenced(path: Path, detections: Sequence[Detections]) -> None:
    """See that all detections have a place on the map, before a file with coordinates is written.

    Raises:
        DataError: there are none, or some have no place; the message says what takes them.
    """
    if not detections:
        raise DataError(
            f"{path}: there are no images, so no place on a map. Expected the detections of at "
            "least one georeferenced image."
        )
    lost = [each for each in detections if each.georeference is None]
    if not lost:
        return
    where = str(lost[0].path) if lost[0].path else "an image without a file"
    which = (
        f"{where} has"
        if len(detections) == 1
        else (f"{len(lost)} of {counted(len(detections), 'image')} have, {where} first,")
    )
    raise DataError(
        f"{path}: {which} no georeference, so their pixels have no place on a map, and a map file "
        "of pixels would be shown at the wrong place. Write a .csv or a .json (COCO) file, which "
        "hold pixels; or give a TIFF its place: rio edit-info --crs EPSG:NUMBER --transform "
        "'[10, 0, LEFT, 0, -10, TOP]' IMAGE, here for pixels of 10 m."
    )
