"""A detector that is exact, and a scene in memory: so that every box can be told in advance."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from foveal.data.images.rasters import RasterWindow
from foveal.data.transforms.preparation import Preparation
from foveal.detection.anchors import AnchorGrid
from foveal.geometry.georeference import Georeference
from foveal.inference.predictor import Predictor
from foveal.runtimes.base import InputSizes
from foveal.structures import ModelCard, PaddedDetections

LEVELS = (150, 190, 230)
"""The gray of drawn rectangles; the first two are of class 0, the last of class 1."""


class FindsRectangles:
    """A runtime that finds what is drawn in the grays of `LEVELS`, and sees nothing else."""

    name, device, precision = "stand-in", "cpu", "float32"

    def __init__(self, sizes: InputSizes | None = None) -> None:
        self.sizes = sizes or InputSizes()
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: np.ndarray) -> PaddedDetections:
        self.shapes.append(images.shape)
        found = [self._find(image[0]) for image in images]
        most = max(map(len, found), default=0)
        boxes = np.zeros((len(images), most, 4), np.float32)
        labels = np.zeros((len(images), most), np.int64)
        for row, rectangles in enumerate(found):
            for place, (box, label) in enumerate(rectangles):
                boxes[row, place], labels[row, place] = box, label
        counts = np.array([len(each) for each in found])
        scores = np.where(np.arange(most) < counts[:, None], 0.9, 0).astype(np.float32)
        return PaddedDetections(boxes, scores, labels, counts, np.zeros(len(images), np.float32))

    def _find(self, gray: np.ndarray) -> list[tuple[tuple[int, ...], int]]:
        found = []
        for number, level in enumerate(LEVELS):
            mask = (np.abs(gray.astype(int) - level) < 15).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
            for left, top, width, height, _ in stats[1:].tolist():
                found.append(((left, top, left + width, top + height), int(number == 2)))
        return found


@dataclass
class ArrayRaster:
    """A scene in memory, behind the interface of `foveal.data.images.rasters.Raster`."""

    pixels: np.ndarray
    valid: np.ndarray | None = None
    georeference: Georeference | None = None
    name: str = "scene.tif"
    path: Path | None = None
    block: tuple[int, int] = (1, 1)
    reads: list[tuple[int, int, int, int]] = field(default_factory=list)
    fails_at: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def bands(self) -> int:
        return self.pixels.shape[2]

    def read(self, left: int, top: int, right: int, bottom: int) -> RasterWindow:
        assert 0 <= left < right <= self.width
        assert 0 <= top < bottom <= self.height
        if self.fails_at is not None and top <= self.fails_at < bottom:
            from foveal.errors import ImageError

            raise ImageError(f"{self.name}: can't be read at row {self.fails_at}.")
        self.reads.append((left, top, right, bottom))
        part = np.s_[top:bottom, left:right]
        valid = None if self.valid is None else self.valid[part].copy()
        return RasterWindow(self.pixels[part].copy(), valid)

    def overview(self, max_side: int) -> RasterWindow:
        scale = min(1.0, max_side / max(self.width, self.height))
        size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
        return RasterWindow(cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA))

    def close(self) -> None:
        pass


def draw(width: int, height: int, boxes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """[H, W, 3]: black ground, rectangles of whole pixels in a gray each."""
    image = np.zeros((height, width, 3), np.uint8)
    for (left, top, right, bottom), level in zip(boxes.tolist(), levels.tolist(), strict=True):
        image[top:bottom, left:right] = LEVELS[level]
    return image


def stand_in(*, sizes: InputSizes | None = None, card: ModelCard | None = None, **options):
    """A predictor that is exact."""
    options = {
        "score_threshold": 0.5,
        "max_detections": 10_000,
        "batch": 3,
        "preparation": Preparation(fill=(0,)),
        **options,
    }
    preparation = options.pop("preparation")
    return Predictor(
        FindsRectangles(sizes), AnchorGrid(), card or ModelCard(("a", "b")), preparation, **options
    )
