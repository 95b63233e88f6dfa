"""The user's own augmentation, tried on the first images before a run begins.

What it gives is checked in this process, where an error is plain to read, and where an image was
mirrored, turned or given another size, its boxes must have moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.config import change_settings
from foveal.data.transforms.user import load_augmentation
from foveal.text import counted
from foveal.training.loaders import open_batches

if TYPE_CHECKING:
    from numpy.random import Generator

    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.data.transforms.user import Change
    from foveal.structures import Sample

_IMAGES = 8
"""Images that are tried."""
_DRAWS = 2
"""How often each is changed, since a change may be a matter of chance."""
_SIDE = 64
"""Images are compared at so many pixels a side, whatever their shape."""
_SAME, _OTHER = 0.98, 0.9
"""From which correlation on pixels are those of the mirrored image, and below which they are not
those of the image as it was."""
_MOVED = 2.0
"""Pixels by which a box must have to move, so that it is told that it did not."""


@dataclass(frozen=True, slots=True)
class _Motion:
    """What may become of a whole image.

    Attributes:
        name: in words.
        image: the image after it.
        boxes: [N, 4] boxes after it, from those before and the image's width and height.
    """

    name: str
    image: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    boxes: Callable[[NDArray[np.float64], int, int], NDArray[np.float64]]


_MIRRORED = _Motion(
    "mirrored",
    lambda image: image[:, ::-1],
    lambda boxes, width, _: (
        np.array([width, 0, width, 0]) - boxes[:, [2, 1, 0, 3]] * [1, -1, 1, -1]
    ),
)
_TURNED = _Motion(
    "turned by a quarter",
    np.rot90,
    lambda boxes, width, _: (
        np.array([0, width, 0, width]) - boxes[:, [1, 2, 3, 0]] * [-1, 1, -1, 1]
    ),
)


def _after(name: str, first: _Motion, *others: _Motion) -> _Motion:
    """Motions one after another."""

    def image(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        for motion in (first, *others):
            pixels = motion.image(pixels)
        return pixels

    def boxes(places: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
        for motion in (first, *others):
            places = motion.boxes(places, width, height)
            if motion is _TURNED:
                width, height = height, width
        return places

    return _Motion(name, image, boxes)


_MOTIONS = (
    _MIRRORED,
    _after("mirrored from top to bottom", _TURNED, _TURNED, _MIRRORED),
    _after("turned upside down", _TURNED, _TURNED),
    _TURNED,
    _after("turned by three quarters", _TURNED, _TURNED, _TURNED),
)


def try_augmentation(settings: Settings, data: Dataset, *, augment: Change | None) -> list[str]:
    """Let the user's own augmentation change some images, as the run will.

    Args:
        settings: of the run.
        data: the training images.
        augment: takes the place of the augmentation that the settings name.

    Returns:
        What looks wrong in what it gave, a sentence or two each; nothing where the run has none.

    Raises:
        SettingsError: it fails, or gives what can't be trained on.
        ImageError: an image can't be read.
    """
    custom = settings.augmentation.custom
    if augment is None and custom is None:
        return []
    change = augment or load_augmentation(custom or "")
    shown = [i for i, record in enumerate(data.records) if len(record.boxes)][:_IMAGES]
    if not shown:
        return []
    alone = {"workers": 0, "cache_megabytes": 0, "batch": 1, "accumulate": 1}
    watched = _Watched(change)
    batches = open_batches(
        change_settings(settings, {"training": alone}), data.take(shown), augment=watched
    )
    try:
        for number, _ in enumerate(batches.epoch(0, progress=0.0), start=1):
            if number == _IMAGES:
                break
    finally:
        batches.close()
    return watched.warnings(custom or "the augmentation")


class _Watched:
    """An augmentation, of which is remembered what it did to images and their boxes."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._motions: dict[str, str] = {}
        self._dark = self._seen = 0

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        changed = sample
        for _ in range(_DRAWS):
            changed = self._change(sample, generator)
            self._seen += 1
            self._dark += bool(changed.image.max(initial=0) <= 1 < sample.image.max(initial=0))
            if motion := motion_without_boxes(sample, changed):
                self._motions.setdefault(motion, sample.name)
        return changed

    def warnings(self, name: str) -> list[str]:
        """What looks wrong, in sentences."""
        said = []
        if self._motions:
            motion, image = next(iter(self._motions.items()))
            said.append(
                f"{name}: {image} was {motion}, and its boxes stayed where they were. A function "
                "that moves the image must move the boxes too: it gives a Sample whose "
                "target.boxes fit the new image. foveal data show DATA --out sheet.html "
                "--as-trained --augment MODULE:NAME shows both."
            )
        if self._seen and self._dark == self._seen:
            said.append(
                f"{name}: none of {counted(self._seen, 'changed image')} has a value above 1, so "
                "that they are black. Expected 0 to 255, as it got."
            )
        return said


def motion_without_boxes(before: Sample, after: Sample) -> str:
    """How an image was moved whose boxes were not; '' where none was, or it can't be told.

    Args:
        before, after: a sample, and what an augmentation made of it.
    """
    boxes = before.target.boxes.astype(np.float64)
    height, width = before.image.shape[:2]
    new_height, new_width = after.image.shape[:2]
    cut = np.clip(boxes, 0, [new_width, new_height] * 2)
    cut = cut[(cut[:, 2:] > cut[:, :2]).all(axis=1)]
    if not len(cut) or cut.shape != after.target.boxes.shape:
        return ""
    if not np.allclose(cut, after.target.boxes, atol=0.01):
        return ""
    # What was changed in color, or cut off and added on the right and below, has its boxes still.
    shared = slice(min(height, new_height)), slice(min(width, new_width))
    if _correlation(_shrunk(before.image[shared]), _shrunk(after.image[shared])) >= _OTHER:
        return ""
    whole, changed = _shrunk(before.image), _shrunk(after.image)
    for motion in _MOTIONS:
        moved = motion.boxes(boxes, width, height)
        if _differ(moved, boxes) and _correlation(motion.image(whole), changed) > _SAME:
            return motion.name
    scale = np.array([new_width / width, new_height / height] * 2)
    if _differ(boxes * scale, boxes) and _correlation(whole, changed) > _SAME:
        return f"brought from {width} x {height} to {new_width} x {new_height} pixels"
    return ""


def _differ(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool((np.abs(one - other) > _MOVED).any())


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The image's brightness at a small square size, whatever its shape."""
    gray = image.astype(np.float32).mean(axis=2)
    small: NDArray[np.float32] = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return small


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's correlation of two images, 0 where one is flat."""
    first, second = one - one.mean(), other - other.mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size > 1e-3 else 0.0
