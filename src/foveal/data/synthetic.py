"""A small drawn world: blood smears with normal and infected cells, platelets and debris.

Light is absorbed as in a microscope: every layer adds optical density, so cells that overlap are
darker where they do. Boxes come from the drawn outlines, so they are exact. The world needs no
download, a small network learns it in minutes, and it is hard enough to show what training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cv2
import numpy as np

from foveal.data import formats
from foveal.data.dataset import Dataset, Record
from foveal.errors import DataError
from foveal.files import write_file
from foveal.structures import Sample, Target

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

CLASSES = ("normal", "infected", "platelet")
SPLITS: Mapping[str, int] = {"train": 160, "valid": 40, "test": 60}

_STAIN = {
    "normal": np.asarray((0.10, 0.46, 0.36), np.float32),
    "infected": np.asarray((0.14, 0.46, 0.33), np.float32),
    "platelet": np.asarray((0.52, 0.72, 0.28), np.float32),
}
"""Optical density of a full layer in red, green and blue."""
_PARASITE = np.asarray((0.95, 1.05, 0.42), np.float32)
_DEBRIS = np.asarray((0.40, 0.38, 0.34), np.float32)
_OUTLINE_POINTS = 128
_EMPTY_FRACTION = 0.06
_MIN_SIZE = 48


@dataclass(frozen=True, slots=True)
class _Shape:
    """A wobbly disc: radius(angle) = radius * (1 + sum of waves), pixels."""

    x: float
    y: float
    radius: float
    waves: NDArray[np.float32]
    """[W, 3]: how many waves around, height, phase."""

    def radius_at(self, angle: NDArray[np.float32]) -> NDArray[np.float32]:
        turns, heights, phases = self.waves.T[:, :, None]
        ripple = (heights * np.cos(turns * angle.reshape(1, -1) + phases)).sum(axis=0)
        return np.asarray(self.radius * (1 + ripple).reshape(angle.shape), np.float32)

    def box(self) -> NDArray[np.float32]:
        """[4] xyxy of the outline, pixels, not cut at the picture's rim."""
        angle = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False, dtype=np.float32)
        radius = self.radius_at(angle)
        across, down = self.x + radius * np.cos(angle), self.y + radius * np.sin(angle)
        return np.asarray((across.min(), down.min(), across.max(), down.max()), np.float32)


def draw_dataset(
    folder: Path,
    *,
    splits: Mapping[str, int] = SPLITS,
    size: int = 160,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
) -> dict[str, Dataset]:
    """Draw smears and write them as COCO: `folder/train.json`, ... and `folder/images`.

    The same arguments give the same files. Some images show no object.

    Args:
        folder: a new or empty one; it holds all of the data set in the end, or is not made.
        splits: how many images each split has.
        size: sides of the square images in pixels, at least 48.
        seed: of every random choice.
        classes: which kinds of object to draw, of `normal`, `infected` and `platelet`.

    Returns:
        The data set of each split, as `foveal.read` gives it.

    Raises:
        DataError: an unknown class, too small a size, a folder that is not empty or can't be made.
    """
    unknown = [name for name in classes if name not in CLASSES]
    if unknown or not classes:
        raise DataError(f"classes {unknown}: can't be drawn. Expected some of {list(CLASSES)}.")
    if size < _MIN_SIZE:
        raise DataError(f"size {size} is too small for a smear. Expected {_MIN_SIZE} or more.")
    records: list[Record] = []
    indices = {}
    with TemporaryDirectory() as scratch:
        for place, (split, count) in enumerate(splits.items()):
            indices[split] = range(len(records), len(records) + count)
            for number in range(count):
                generator = np.random.default_rng((seed, place, number))
                sample = draw_smear(generator, size=size, classes=classes)
                records.append(_write_image(Path(scratch) / f"{split}_{number:04d}.jpg", sample))
        drawn = Dataset(tuple(records), tuple(classes), Path(scratch))
        formats.write(drawn, folder, "coco", splits=indices)
    return {split: formats.read(Path(folder) / f"{split}.json") for split in splits}


def draw_smear(
    generator: Generator, *, size: int = 160, classes: Sequence[str] = CLASSES
) -> Sample:
    """Draw one smear.

    Args:
        generator: source of every random choice.
        size: sides of the square image in pixels.
        classes: the kinds of object to draw; labels are indices into them.

    Returns:
        A sample with [size, size, 3] RGB and the exact boxes of what is visible.
    """
    density = np.zeros((size, size, 3), np.float32)
    _add_debris(density, generator)
    boxes = []
    labels = []
    if generator.random() >= _EMPTY_FRACTION:
        for kind, shape in _place(generator, size, classes):
            _add_object(density, kind, shape, generator)
            boxes.append(np.clip(shape.box(), 0, size))
            labels.append(classes.index(kind))
    target = Target(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(labels, np.int64),
        np.zeros(len(labels), np.bool_),
    )
    return Sample(_expose(density, generator), target)


def _write_image(path: Path, sample: Sample) -> Record:
    _, encoded = cv2.imencode(
        ".jpg",
        cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR),
        [
            cv2.IMWRITE_JPEG_QUALITY,
            95,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ],
    )
    write_file(path, encoded.tobytes(), sync=False)
    height, width = sample.image.shape[:2]
    target = sample.target
    return Record(path, width, height, target.boxes, target.labels, target.ignored)


def _place(generator: Generator, size: int, classes: Sequence[str]) -> list[tuple[str, _Shape]]:
    """Choose what lies where: cells may overlap a little, platelets lie between them."""
    cells = [name for name in classes if name != "platelet"]
    crowd = generator.uniform(0.25, 1.0) * (size / 160) ** 2
    placed: list[tuple[str, _Shape]] = []
    for _ in range(round(17 * crowd) if cells else 0):
        infected = len(cells) == 2 and generator.random() < 0.32
        kind = "infected" if infected else cells[0]
        shape = _free_shape(generator, size, generator.uniform(10.5, 16.5), placed, touch=0.78)
        if shape is not None:
            placed.append((kind, shape))
    for _ in range(generator.integers(0, round(7 * crowd) + 2) if "platelet" in classes else 0):
        shape = _free_shape(generator, size, generator.uniform(4.6, 6.8), placed, touch=1.15)
        if shape is not None:
            placed.append(("platelet", shape))
    return placed


def _free_shape(
    generator: Generator,
    size: int,
    radius: float,
    placed: list[tuple[str, _Shape]],
    *,
    touch: float,
) -> _Shape | None:
    """A shape whose distance to each other one is at least `touch` times both radii together."""
    waves = np.asarray(
        [
            (2, generator.uniform(0.0, 0.09), generator.uniform(0, 2 * np.pi)),
            (3, generator.uniform(0.0, 0.04), generator.uniform(0, 2 * np.pi)),
            (5, generator.uniform(0.0, 0.02), generator.uniform(0, 2 * np.pi)),
        ],
        np.float32,
    )
    for _ in range(30):
        x, y = generator.uniform(0.25 * radius, size - 0.25 * radius, 2)
        if all(
            np.hypot(x - other.x, y - other.y) >= touch * (radius + other.radius)
            for _, other in placed
        ):
            return _Shape(float(x), float(y), radius, waves)
    return None


def _add_object(
    density: NDArray[np.float32], kind: str, shape: _Shape, generator: Generator
) -> None:
    rows, columns, across, down = _patch(density, shape)
    distance = np.hypot(across, down)
    edge = shape.radius_at(np.arctan2(down, across))
    inside = np.clip(edge - distance + 0.5, 0, 1)
    depth = np.clip(distance / np.maximum(edge, 1e-3), 0, 1)
    shade = generator.uniform(0.75, 1.3)
    if kind == "platelet":
        grain = 1 + 0.35 * generator.standard_normal(depth.shape, np.float32)
        layer = inside * (1.1 - 0.5 * depth**2) * np.clip(grain, 0.4, 1.6)
    else:
        pallor = generator.uniform(0.25, 0.6)
        layer = inside * (1 - pallor * np.exp(-((depth / 0.45) ** 2)))
    density[rows, columns] += (shade * layer)[..., None] * _STAIN[kind]
    if kind == "infected":
        for _ in range(1 + int(generator.random() < 0.3)):
            _add_parasite(density, shape, generator)


def _add_parasite(density: NDArray[np.float32], cell: _Shape, generator: Generator) -> None:
    """Draw a dark ring with a dot on it into a cell."""
    angle, far = generator.uniform(0, 2 * np.pi), generator.uniform(0, 0.38) * cell.radius
    x, y = np.clip(
        (cell.x + far * np.cos(angle), cell.y + far * np.sin(angle)), 4, len(density) - 4
    )
    radius = generator.uniform(0.22, 0.34) * cell.radius
    rows, columns, across, down = _patch(density, cell)
    across, down = across + (cell.x - x), down + (cell.y - y)
    width = generator.uniform(0.8, 1.2)
    ring = np.exp(-(((np.hypot(across, down) - radius) / width) ** 2))
    turn = generator.uniform(0, 2 * np.pi)
    dot_x, dot_y = radius * np.cos(turn), radius * np.sin(turn)
    dot = np.exp(-(np.hypot(across - dot_x, down - dot_y) ** 2) / generator.uniform(2.5, 5.0))
    layer = 0.55 * ring + 1.0 * dot
    density[rows, columns] += layer[..., None] * _PARASITE


def _add_debris(density: NDArray[np.float32], generator: Generator) -> None:
    """Draw what is no object: stain specks, pale bubbles, a fibre."""
    size = density.shape[0]
    layer = np.zeros(density.shape[:2], np.float32)
    for _ in range(generator.integers(0, 5)):
        where = generator.uniform(0, size, 2).astype(int).tolist()
        cv2.circle(
            layer, where, int(generator.integers(0, 2)), float(generator.uniform(0.3, 0.9)), -1
        )
    for _ in range(generator.integers(0, 3)):
        where = generator.uniform(0, size, 2).astype(int).tolist()
        strength = float(generator.uniform(0.1, 0.25))
        cv2.circle(layer, where, int(generator.integers(6, 12)), strength, 1, cv2.LINE_8)
    if generator.random() < 0.25:
        points = np.cumsum(generator.normal(0, size / 14, (6, 2)), axis=0)
        points += generator.uniform(0.2 * size, 0.8 * size, 2)
        cv2.polylines(layer, [points.astype(np.int32)], False, 0.35, 1)
    density += cv2.GaussianBlur(layer, (0, 0), 0.7)[..., None] * _DEBRIS


def _expose(density: NDArray[np.float32], generator: Generator) -> NDArray[np.uint8]:
    """Turn density into a picture: uneven light, a slightly different white, blur, noise."""
    size = density.shape[0]
    coarse = generator.normal(0, 0.05, (4, 4)).astype(np.float32)
    uneven = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    white = np.asarray((241, 233, 226), np.float32) * generator.uniform(0.86, 1.03)
    white = white * (1 + generator.normal(0, 0.012, 3).astype(np.float32))
    strength = generator.uniform(0.85, 1.2)
    light = white * (1 + uneven)[..., None] * np.exp(-strength * density)
    light = cv2.GaussianBlur(light, (0, 0), generator.uniform(0.4, 0.8))
    light += generator.normal(0, generator.uniform(1.5, 4.0), light.shape)
    return np.asarray(np.clip(np.round(light), 0, 255), np.uint8)


def _patch(
    density: NDArray[np.float32], shape: _Shape
) -> tuple[slice, slice, NDArray[np.float32], NDArray[np.float32]]:
    """The rows and columns around a shape, and each pixel's center seen from the shape's."""
    size = density.shape[0]
    reach = 1.3 * shape.radius + 2
    left, top = max(0, int(shape.x - reach)), max(0, int(shape.y - reach))
    right, bottom = min(size, int(shape.x + reach) + 1), min(size, int(shape.y + reach) + 1)
    down, across = np.mgrid[top:bottom, left:right].astype(np.float32) + 0.5
    return slice(top, bottom), slice(left, right), across - shape.x, down - shape.y
