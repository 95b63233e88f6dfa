"""Scenes of any size with drawn objects at known places, made block by block.

Boats lie on textured water: bright ellipses of any heading. What is no
boat (buoys, shoals) lies there too. The same side and seed give the same pixels, and nothing is
ever as large as the scene but the list of objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK = 512
"""Sides of the file's blocks, pixels."""
_CELL = 128
"""At most one object lies in each square of this side, so none hides another."""
_REACH = 40
"""No object reaches further from its center, pixels."""
_FRACTION = 0.5
"""Of the squares that hold an object."""
_BOATS = 0.7
"""Of the objects that are boats."""
_TEXTURE = 1024
_FRACTIONAL_BITS = 4


@dataclass(frozen=True)
class Objects:
    """What lies where.

    Attributes:
        centers: [N, 2] x and y, pixels.
        lengths, widths: [N] of half axes, pixels.
        angles: [N] radians, clockwise from the x axis.
        boats: [N] bool; the others are no objects for the detector.
        shades: [N] gray levels.
    """

    centers: NDArray[np.float64]
    lengths: NDArray[np.float64]
    widths: NDArray[np.float64]
    angles: NDArray[np.float64]
    boats: NDArray[np.bool_]
    shades: NDArray[np.float64]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """[M, 4] xyxy of the boats: what an ellipse's outline reaches."""
        half = np.stack(
            [
                np.hypot(self.lengths * np.cos(self.angles), self.widths * np.sin(self.angles)),
                np.hypot(self.lengths * np.sin(self.angles), self.widths * np.cos(self.angles)),
            ],
            axis=1,
        )
        boxes = np.concatenate([self.centers - half, self.centers + half], axis=1)
        return boxes[self.boats].astype(np.float32)


def draw_objects(side: int, *, seed: int = 0) -> Objects:
    """Place objects in a square scene: anywhere, on the seams of any tiles too, none cut off."""
    generator = np.random.default_rng([seed, side])
    cells = side // _CELL
    taken = np.argwhere(generator.random((cells, cells)) < _FRACTION)[:, ::-1]
    count = len(taken)
    centers = _CELL * taken + generator.uniform(_REACH, _CELL - _REACH, (count, 2))
    boats = generator.random(count) < _BOATS
    lengths = np.where(boats, generator.uniform(10, 22, count), generator.uniform(4, 9, count))
    widths = np.where(boats, lengths * generator.uniform(0.28, 0.4, count), lengths)
    return Objects(
        centers,
        lengths,
        widths,
        generator.uniform(0, math.pi, count),
        boats,
        np.where(boats, generator.uniform(190, 250, count), generator.uniform(20, 60, count)),
    )


def draw_part(
    objects: Objects, left: int, top: int, *, width: int, height: int, seed: int = 0
) -> NDArray[np.uint8]:
    """The pixels of a part of a scene, [height, width, 3] uint8; parts fit without a seam."""
    rows = (np.arange(top, top + height) % _TEXTURE)[:, None]
    columns = (np.arange(left, left + width) % _TEXTURE)[None]
    part = np.ascontiguousarray(_texture(seed)[rows, columns])
    x, y = objects.centers.T
    near = (x > left - _REACH) & (x < left + width + _REACH)
    near &= (y > top - _REACH) & (y < top + height + _REACH)
    one = 1 << _FRACTIONAL_BITS
    for index in np.flatnonzero(near).tolist():
        # OpenCV counts from a pixel's center.
        center = [round((value - 0.5) * one) for value in (x[index] - left, y[index] - top)]
        half = [round((v - 0.5) * one) for v in (objects.lengths[index], objects.widths[index])]
        shade = float(objects.shades[index])
        color = (shade, shade, shade * 0.92) if objects.boats[index] else (shade, shade, 90.0)
        cv2.ellipse(
            part, center, half, math.degrees(objects.angles[index]), 0, 360, color, -1,
            cv2.LINE_AA, _FRACTIONAL_BITS,
        )  # fmt: skip
    return part


def write_scene(path: Path, side: int, *, seed: int = 0) -> Objects:
    """Write a scene as a tiled, georeferenced GeoTIFF of JPEG blocks, unless it is there.

    Pixels of 0.5 m in EPSG:32631. It is written beside its place and moved there when whole.
    """
    objects = draw_objects(side, seed=seed)
    if path.exists():
        return objects
    import rasterio
    from rasterio.windows import Window

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.stem}.part.tif")
    form: dict[str, Any] = {
        "driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8",
        "crs": "EPSG:32631", "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_700_000),
        "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "jpeg",
        "jpeg_quality": 90, "photometric": "ycbcr", "bigtiff": "if_safer",
    }  # fmt: skip
    with rasterio.open(beside, "w", **form) as file:
        for left, top, width, height in _blocks(side):
            part = draw_part(objects, left, top, width=width, height=height, seed=seed)
            file.write(part.transpose(2, 0, 1), window=Window(left, top, width, height))
    beside.replace(path)
    return objects


def _blocks(side: int) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, side, BLOCK):
        for left in range(0, side, BLOCK):
            yield left, top, min(BLOCK, side - left), min(BLOCK, side - top)


_TEXTURES: dict[int, NDArray[np.uint8]] = {}


def _texture(seed: int) -> NDArray[np.uint8]:
    """[T, T, 3] water that repeats without a seam: waves of all lengths, and fine noise."""
    if seed not in _TEXTURES:
        generator = np.random.default_rng([seed, 7])
        frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(_TEXTURE)] * 2)) * _TEXTURE
        layers = []
        for power, height in ((1.6, 14.0), (0.4, 5.0)):
            noise = np.fft.fft2(generator.standard_normal((_TEXTURE, _TEXTURE)))
            wave = np.fft.ifft2(noise / np.maximum(1, frequency) ** power).real
            layers.append(height * wave / wave.std())
        gray = sum(layers)
        color = np.array([60.0, 85.0, 105.0]) + gray[..., None] * np.array([0.9, 1.0, 0.8])
        _TEXTURES[seed] = np.clip(np.round(color), 0, 255).astype(np.uint8)
    return _TEXTURES[seed]
