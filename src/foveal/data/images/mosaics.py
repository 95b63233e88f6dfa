"""Several files side by side on the map, read as one raster.

Files on the first one's pixels are read as they are. Others, in another coordinate reference
system or of other pixels, are resampled to its pixels while they are read. Where files overlap the
first that holds data is taken, and what lies between them holds none. Few files are open at once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.folders import files_in
from foveal.data.images.gdal_values import GdalValues, Grid, gdal, open_dataset
from foveal.data.images.georeferencing import read_georeference
from foveal.data.images.kinds import is_image_file
from foveal.data.images.pixels import convert_bands
from foveal.data.images.rasters import Raster, open_raster
from foveal.data.images.stored_values import StoredValues, lies_in
from foveal.errors import ImageError
from foveal.structures import RGB, PixelRange
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.geometry.georeference import Georeference

_OPEN = 32
"""Files that are open at once."""

_SAME = 0.1
"""Pixels by which a file's may be off those of the first and still count as the same."""

_WIDEST = 10_000
"""Times that the rectangle around all files may be as large as they are."""

_BORDER = 21
"""Points along each side of a file whose place in another system is looked for."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of a mosaic.

    Attributes:
        path: the file.
        grid: the pixels to which it is resampled, None where it is read as it is.
    """

    path: Path
    grid: Grid | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a mosaic is made of.

    Attributes:
        parts: the files.
        boxes: [N, 4] int64 xyxy, where they lie, pixels of the mosaic.
        georeference: the mosaic's.
        block: height and width of the parts in which the first file is decoded.
        kind: the type of its values.
        bits: what its header states of one.
        notes: what is to be told.
    """

    parts: tuple[_Part, ...]
    boxes: NDArray[np.int64]
    georeference: Georeference
    block: tuple[int, int]
    kind: str
    bits: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Header:
    """What is known of a file before it is laid beside others."""

    path: Path
    width: int
    height: int
    georeference: Georeference
    kind: str


def open_mosaic(paths: Sequence[Path | str] | Path | str, pixel_range: PixelRange = RGB) -> Raster:
    """Open several files as one raster.

    Args:
        paths: files with places on the map; or a folder of them; or a single file, such as a VRT.
        pixel_range: as for `reading.read_image`.

    Raises:
        ImageError: there are none, one can't be read or has no place on the map, or their values
            are of different types.
        MissingExtraError: rasterio is not installed.
    """
    if isinstance(paths, Path | str):
        folder = Path(paths)
        found = _images_in(folder) if folder.is_dir() else [folder]
        name = str(folder)
    else:
        found = [Path(path) for path in paths]
        more = f" and {counted(len(found) - 1, 'other file')}" if len(found) > 1 else ""
        name = f"{found[0]}{more}" if found else ""
    if not found:
        where = f"{name}: holds no image" if name else "There is no file"
        raise ImageError(f"{where}. Expected images with places on the map, to lay side by side.")
    if len(found) == 1:
        return open_raster(found[0], pixel_range)
    plan = _plan([_read_header(path) for path in found], pixel_range)
    make = partial(MosaicValues, plan, bands=pixel_range.bands)
    return Raster(name, make, pixel_range=pixel_range, paths=tuple(found))


class MosaicValues:
    """A `Source` of several files.

    Attributes:
        width, height, block, bits, deep, georeference, notes, boxes, smaller: see `Source`.

    Args:
        plan: where which file lies.
        bands: values a pixel.
    """

    def __init__(self, plan: _Plan, *, bands: int) -> None:
        self._plan, self._bands = plan, bands
        self._open: OrderedDict[int, GdalValues] = OrderedDict()
        self.width, self.height = (int(side) for side in plan.boxes[:, 2:].max(axis=0))
        self.boxes = plan.boxes
        self.block, self.bits, self.deep = plan.block, plan.bits, plan.kind != "uint8"
        self.georeference: Georeference | None = plan.georeference
        self.notes, self.smaller = plan.notes, False

    def read(
        self, left: int, top: int, right: int, bottom: int, shape: tuple[int, int] | None = None
    ) -> StoredValues:
        """See `Source.read`."""
        assert shape is None
        values = np.zeros((bottom - top, right - left, self._bands), self._plan.kind)
        filled = np.zeros(values.shape[:2], np.bool_)
        present: NDArray[np.bool_] | None = None
        for index in np.flatnonzero(lies_in(self.boxes, left, top, right, bottom)).tolist():
            x1, y1, x2, y2 = (int(side) for side in self.boxes[index])
            # The part of the window in which the file lies.
            x_range = slice(max(left, x1) - left, min(right, x2) - left)
            y_range = slice(max(top, y1) - top, min(bottom, y2) - top)
            free = ~filled[y_range, x_range]
            if not free.any():
                continue
            inside = (
                max(left, x1) - x1,
                max(top, y1) - y1,
                min(right, x2) - x1,
                min(bottom, y2) - y1,
            )
            read, valid, part_present = self._part(index).read(*inside)
            wanted = free if valid is None else free & valid
            read = self._with_bands(read, self._plan.parts[index].path)
            values[y_range, x_range][wanted] = read[wanted]
            if part_present is not None:
                present = np.ones(values.shape, np.bool_) if present is None else present
                present[y_range, x_range][wanted] = part_present[wanted]
            filled[y_range, x_range] |= wanted
        if present is not None:
            present &= filled[:, :, None]
        return StoredValues(values, None if filled.all() else filled, present)

    def close(self) -> None:
        """Let go of the files."""
        while self._open:
            self._open.popitem()[1].close()

    def _part(self, index: int) -> GdalValues:
        """An opened file; the one that was read longest ago is closed for it."""
        if index not in self._open:
            while len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1].close()
            part = self._plan.parts[index]
            self._open[index] = GdalValues(part.path, bands=self._bands, grid=part.grid)
        self._open.move_to_end(index)
        return self._open[index]

    def _with_bands(self, values: NDArray[Any], path: Path) -> NDArray[Any]:
        converted = convert_bands(values, self._bands, alpha=False)
        if converted is None:
            raise ImageError(
                f"{path}: has {values.shape[2]} bands, expected {self._bands}, as the model has. "
                "Lay only images of one kind side by side."
            )
        return converted


def _images_in(folder: Path) -> list[Path]:
    return [path for path in files_in(folder) if is_image_file(str(path))]


def _read_header(path: Path) -> _Header:
    dataset, stack = open_dataset(path)
    with stack:
        place, _ = read_georeference(dataset, path)
        if place is None:
            raise ImageError(
                f"{path}: has no place on the map, so it can't be laid beside others. Expected a "
                "GeoTIFF, or an image with a world file and a coordinate reference system."
            )
        kind = str(dataset.dtypes[0])
        size = int(dataset.width), int(dataset.height)
        return _Header(path, *size, place, kind)


def _plan(headers: Sequence[_Header], pixel_range: PixelRange) -> _Plan:
    first = headers[0]
    for header in headers:
        if header.kind != first.kind:
            raise ImageError(
                f"{header.path}: holds {header.kind} values, {first.path} {first.kind}. Expected "
                "one type in all files of a mosaic: gdal_translate -ot makes it so."
            )
    to = first.georeference.straight()
    placed = [_place(header, to) for header in headers]
    boxes = np.array([box for box, _ in placed], np.int64)
    _expect_neighbors(boxes, headers)
    left, top = (int(side) for side in boxes[:, :2].min(axis=0))
    resampled = [header.path for header, (_, grid) in zip(headers, placed, strict=True) if grid]
    notes: tuple[str, ...] = ()
    if resampled:
        notes = (
            f"holds {counted(len(resampled), 'file')} with other pixels on the map than "
            f"{first.path}, the first of them {resampled[0]}: they are resampled to its",
        )
    opened = GdalValues(first.path, bands=pixel_range.bands)
    block, bits = opened.block, opened.bits
    opened.close()
    return _Plan(
        tuple(_Part(header.path, grid) for header, (_, grid) in zip(headers, placed, strict=True)),
        boxes - (left, top, left, top),
        to.moved(left, top),
        block,
        first.kind,
        bits,
        notes,
    )


def _expect_neighbors(boxes: NDArray[np.int64], headers: Sequence[_Header]) -> None:
    """Refuse files that lie so far apart that a mosaic would be nearly all gap."""
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    width, height = (boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0)).astype(np.float64)
    share = width * height / sides.prod(axis=1).sum()
    if share > _WIDEST:
        raise ImageError(
            f"{headers[0].path} and {counted(len(headers) - 1, 'other file')} lie far apart: the "
            f"rectangle around them is {share:,.0f} times as large as they are. Expected images "
            "that lie side by side. Look at each by itself, without --mosaic (in Python "
            "open_raster)."
        )


def _place(header: _Header, to: Georeference) -> tuple[tuple[int, int, int, int], Grid | None]:
    """Where a file lies in the first one's pixels, and the pixels to which it is resampled."""
    width, height = header.width, header.height
    if header.georeference.crs == to.crs and not header.georeference.bend:
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
        there = to.to_pixels(header.georeference.to_map(corners))
        offset = np.rint(there[0])
        if np.abs(there - corners - offset).max() <= _SAME:
            left, top = (int(side) for side in offset)
            return (left, top, left + width, top + height), None
    along = np.linspace(0, 1, _BORDER)
    sides = [(along, 0 * along), (along, 0 * along + 1), (0 * along, along), (0 * along + 1, along)]
    border = np.concatenate([np.column_stack(side) for side in sides]) * (width, height)
    places = header.georeference.to_map(border)
    if header.georeference.crs != to.crs:
        places = _to_system(places, header, to.crs)
    there = to.to_pixels(places)
    left, top = (int(side) for side in np.floor(there.min(axis=0)))
    right, bottom = (int(side) for side in np.ceil(there.max(axis=0)))
    grid = Grid(to.moved(left, top), right - left, bottom - top)
    return (left, top, right, bottom), grid


def _to_system(places: NDArray[np.float64], header: _Header, system: str) -> NDArray[np.float64]:
    """Places [N, 2] of a file in another coordinate reference system."""
    from rasterio.warp import transform

    with gdal(header.path):
        x, y = transform(header.georeference.crs, system, *places.T.tolist())
    there = np.column_stack([x, y])
    if not np.isfinite(there).all():
        raise ImageError(
            f"{header.path}: lies where the first file's coordinate reference system does not "
            "reach. Look at it by itself, or put one of its own kind first."
        )
    return there
