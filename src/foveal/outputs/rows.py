"""Detections as columns of a table, some rows at a time, so that millions need little memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from foveal.geometry.georeference import Georeference
    from foveal.structures import Detections

DECIMALS = 2
"""Decimals of a pixel that are written."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some detections of one image.

    Attributes:
        image: the image's name, relative to the folder of the file that is written.
        boxes: [N, 4] float64 xyxy, original pixels, with all their digits.
        scores: N scores, with the digits that a float32 has.
        labels: [N] int64, 0..K-1.
        classes: the K class names.
        width, height: the image's size in pixels, 0 where unknown.
        capped: whether a limit left detections of the image out.
        georeference: where the image lies on a map, where that is known.
    """

    image: str
    boxes: NDArray[np.float64]
    scores: list[float]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    width: int
    height: int
    capped: bool
    georeference: Georeference | None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def rounded(self) -> NDArray[np.float64]:
        """[N, 4], the boxes with the decimals that are written."""
        return np.round(self.boxes, DECIMALS)


def rows_of(
    detections: Sequence[Detections],
    folder: Path,
    *,
    at_most: int,
    numbers: Sequence[int] = (),
) -> Iterator[Rows]:
    """The rows of many images in their order; none of images where nothing was found.

    Args:
        detections: one for each image.
        folder: where the file is written.
        at_most: rows in one part.
        numbers: what images without a file are called by, where that is not 0, 1, 2 ...
    """
    for number, each in zip(numbers or range(len(detections)), detections, strict=True):
        name = image_name(each, number, folder)
        for begin in range(0, len(each), at_most):
            part = slice(begin, begin + at_most)
            yield Rows(
                name,
                each.boxes[part].astype(np.float64),
                _digits(each.scores[part]),
                each.labels[part],
                each.classes,
                each.width,
                each.height,
                each.capped,
                each.georeference,
            )


def image_name(detections: Detections, number: int, folder: Path) -> str:
    """What a file in the folder calls the image: the way to its file, else its number."""
    return relative_name(detections.path, folder) or f"image {number}"


def names_below(images: Sequence[Path | None], folder: Path | None = None) -> list[str]:
    """What people call images: the way to each from one folder, with slashes, no two the same.

    Args:
        images: their files; nothing where there is none.
        folder: from which the ways lead; those that are elsewhere, or all without one, have theirs
            from the deepest folder that holds every image.
    """
    full = {image: Path(os.path.abspath(image)) for image in images if image is not None}  # noqa: PTH100 keeps links as named
    root = None if folder is None else Path(os.path.abspath(folder))  # noqa: PTH100
    if root is None or not all(path.is_relative_to(root) for path in full.values()):
        try:
            root = Path(os.path.commonpath({path.parent for path in full.values()}))
        except ValueError:  # on several drives, or no image at all
            root = None
    names = {
        image: (path if root is None else path.relative_to(root)).as_posix()
        for image, path in full.items()
    }
    return ["" if image is None else names[image] for image in images]


def relative_name(image: Path | None, folder: Path) -> str:
    """An image's path from the folder, with slashes; nothing where there is none."""
    if image is None:
        return ""
    try:
        return Path(os.path.relpath(image.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return image.resolve().as_posix()


def _digits(scores: NDArray[np.float32]) -> list[float]:
    """The scores, 0.9 and not 0.8999999761581421."""
    text = "%.6g " * len(scores) % tuple(scores.tolist())
    return [float(word) for word in text.split()]
