"""A data set: records of images and their boxes, whatever format they were read from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One image's annotations; the image itself is not opened.

    Attributes:
        path: absolute path of the image.
        width, height: the original image's size in pixels, 0 where the annotations do not say.
        boxes: [N, 4] float32 xyxy, original pixels.
        labels: [N] int64 indices into the data set's classes.
        ignored: [N] bool, regions to ignore (COCO crowd, VOC difficult, classes named as such).
        areas: [N] float64 in pixels, where the annotations state areas that are not the boxes'.
        flags: further columns, each with N entries ("difficult", "truncated", "crowd",
            "segmentation", ...), kept so that writing loses nothing.
        image_id: the format's own id of the image.
    """

    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    areas: NDArray[np.float64] | None = None
    flags: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    image_id: int | str | None = None

    def __len__(self) -> int:
        return len(self.boxes)
