"""Images of any size, read in windows: nothing is ever as large as the image.

`open_raster` reads GeoTIFF, COG, BigTIFF, VRT and large JPEG, PNG and JPEG 2000 by GDAL (the
optional rasterio), a window at a time. Images of a few megapixels that have no place on the map are
decoded whole, as `reading.read_image` does it, and so is what GDAL does not read. Either way pixels
are the same, by the policy of `reading`. Loads no torch.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from foveal.data.images.completeness import is_complete
from foveal.data.images.depth import Extent, extent_of, join, unknown_range
from foveal.data.images.gdal_values import GdalValues, import_rasterio, open_dataset
from foveal.data.images.georeferencing import (
    ground_resolution,
    may_be_geographic,
    read_georeference,
)
from foveal.data.images.inputs import path_of, to_pixels
from foveal.data.images.kinds import kind_of
from foveal.data.images.pages import split_page
from foveal.data.images.pixels import convert_bands, scale_to_bytes
from foveal.data.images.reading import (
    image_info,
    image_size,
    opened_file,
    percentile_range,
    read_alpha,
    read_stored,
)
from foveal.data.images.stored_values import EVERYWHERE, StoredValues, lies_in
from foveal.data.images.tiff_pages import orientation_of
from foveal.data.images.turned_values import TurnedValues
from foveal.data.images.virtual import is_virtual
from foveal.errors import ImageError, MissingExtraError
from foveal.structures import RGB, PixelRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from foveal.data.images.inputs import ImageLike
    from foveal.data.images.stored_values import Source
    from foveal.geometry.georeference import Georeference

__all__ = [
    "Raster", "RasterWindow", "georeference_of", "ground_resolution", "is_virtual_raster",
    "open_raster", "place_of", "raster_of", "raster_size",
]  # fmt: skip

SMALL = 1 << 24
"""Pixels up to which an image without a place on the map is decoded whole."""

_IN_WINDOWS = ("JPEG", "PNG", "JPEG2000", "TIFF", "")
"""Kinds that GDAL reads part by part; VRT is none that we know by its beginning."""

WHOLE = (1, 1)
"""The `block` of what is decoded whole."""
_VIRTUAL = ".vrt"

_STREAMED = 1 << 25
"""Bytes of pixels that are read at once to shrink them."""

_SAMPLES, _SAMPLE_SIDE = 100, 512
"""Windows that tell the range of deep values, and about the root of the pixels of one."""
_LONGEST_SEARCH = 2_000
"""Windows that are looked at where most hold no data."""
_GOLDEN = 0.618_033_988_75
_SAMPLED_PIXELS = 100_000
"""About so many tell how the values are spread for display."""


@dataclass(frozen=True, slots=True, eq=False)
class RasterWindow:
    """A part of a raster.

    Attributes:
        pixels: [h, w, bands] uint8, contiguous.
        valid: [h, w], which pixels hold data; None where all do.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None = None


class Raster:
    """An image that is read in windows; a context manager that closes its file.

    One thread may read while others compute; two that read wait for each other. It can be pickled,
    and read in a forked process: the file is opened again there.

    Attributes:
        name: what people call it.
        path: the file; None for an array.
        paths: the files that it is made of.
        width, height: pixels.
        bands: values a pixel, those of the pixel range.
        block: height and width of the parts in which the file is decoded; `WHOLE` where it is
            decoded whole, so that any window is as good as another.
        georeference: the place on the map, None where there is none.
        notes: what is to be told of the file, each as a sentence's end after its name, such as
            "has a transform and no coordinate reference system: boxes stay in pixels".

    Args:
        name: what people call it.
        make: opens it; called again in another process.
        pixel_range: which stored values become 0 and 255.
        paths: the files that it is made of.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Source],
        *,
        pixel_range: PixelRange = RGB,
        paths: tuple[Path, ...] = (),
    ) -> None:
        self.name, self.paths = name, paths
        self.path = paths[0] if len(paths) == 1 else None
        self.bands = pixel_range.bands
        self._make, self._range = make, pixel_range
        self._lock = threading.RLock()
        self._source: Source | None = make()
        self._process = os.getpid()
        source = self._source
        self.width, self.height, self.block = source.width, source.height, source.block
        self.georeference: Georeference | None = source.georeference
        self.notes: tuple[str, ...] = source.notes

    @property
    def is_decoded_whole(self) -> bool:
        """Whether all of its values are in memory once a window was read."""
        return self.block == WHOLE

    @property
    def is_deep(self) -> bool:
        """Whether values may be of more than 8 bits."""
        with self._lock:
            return self._source_now().deep

    @property
    def pixel_range(self) -> PixelRange:
        """Which stored values become 0 and 255.

        Of values of more than 8 bits whose range nothing states, those of windows spread evenly
        over the image tell it, by the rule of `foveal.data.images.depth`.

        Raises:
            ImageError: nothing says which; or the file can't be read.
        """
        with self._lock:
            if self._source_now().deep and not (self._range.low or self._range.deep):
                extent, values = self._extent()
                limits = extent.limits() if extent.low <= extent.high else (0.0, 1.0)
                if limits is None:
                    raise unknown_range(self.name, values, extent)
                self._range = replace(self._range, deep=limits)
                self.notes = (*self.notes, _describe_range(extent, limits))
            return self._range

    def read(self, left: int, top: int, right: int, bottom: int) -> RasterWindow:
        """The window of some whole pixels inside the raster.

        Args:
            left, top, right, bottom: pixels; right and bottom are behind the last.

        Raises:
            ImageError: the file can't be read there, or has another number of bands.
        """
        assert 0 <= left < right <= self.width, (left, right, self.width)
        assert 0 <= top < bottom <= self.height, (top, bottom, self.height)
        return self._window(left, top, right, bottom, None)

    def read_stored(self, left: int, top: int, right: int, bottom: int) -> StoredValues:
        """The values of a window as the file stores them, deep ones too; see `read`.

        Raises:
            ImageError: the file can't be read there.
        """
        with self._lock:
            return self._source_now().read(left, top, right, bottom, None)

    def is_empty(self, left: int, top: int, right: int, bottom: int) -> bool:
        """Whether a window lies between the files of a mosaic: nothing need be read to know it."""
        with self._lock:
            return not lies_in(self._source_now().boxes, left, top, right, bottom).any()

    def overview(self, max_side: int) -> RasterWindow:
        """The whole raster, shrunk until its longer side has at most so many pixels.

        From the smaller versions that a file holds, where it does; else it is streamed.

        Raises:
            ImageError: the file can't be read, or has another number of bands.
        """
        scale = min(1.0, max_side / max(self.width, self.height))
        shape = (max(1, round(self.height * scale)), max(1, round(self.width * scale)))
        if scale == 1:
            return self.read(0, 0, self.width, self.height)
        with self._lock:
            smaller = self._source_now().smaller
        if smaller:
            return self._window(0, 0, self.width, self.height, shape)
        return self._streamed(*shape)

    def for_display(self) -> Raster:
        """The same image as people want to see it, opened anew: close it too.

        Values of 8 bits stay as they are. Each band of deeper ones is spread between its own
        percentiles, which windows spread evenly over the image tell.

        Raises:
            ImageError: the file can't be read.
        """
        with self._lock:
            if not self._source_now().deep:
                return Raster(self.name, self._make, pixel_range=self._range, paths=self.paths)
            picked = self.some_values()
        spread = percentile_range([picked]) if len(picked) else PixelRange(self.bands, deep=(0, 1))
        return Raster(self.name, self._make, pixel_range=spread, paths=self.paths)

    def some_values(self, count: int = _SAMPLED_PIXELS) -> NDArray[np.float32]:
        """Stored values of pixels that hold data in all bands, of windows spread over the image.

        Args:
            count: about so many at the most.

        Returns:
            [N, bands]; N is 0 where nothing is found that holds data.

        Raises:
            ImageError: the file can't be read, or has another number of bands.
        """
        picked = [np.zeros((0, self.bands), np.float32)]
        with self._lock:
            for values, valid, present in self._samples():
                pixels = self._with_bands(values)
                mask = valid if present is None else present.all(axis=2)
                pixels = pixels.reshape(-1, self.bands) if mask is None else pixels[mask]
                some = pixels[:: max(1, len(pixels) * self._sampled() // count)]
                picked.append(some[np.isfinite(some).all(axis=1)].astype(np.float32))
        return np.concatenate(picked)

    def extent(self) -> Extent:
        """Between which values windows spread evenly over the raster lie, those with data.

        Raises:
            ImageError: the file can't be read.
        """
        with self._lock:
            return self._extent()[0]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._source is not None and self._process == os.getpid():
                self._source.close()
            self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Raster, pixel_range=self._range, paths=self.paths), (self.name, self._make)

    def _window(
        self, left: int, top: int, right: int, bottom: int, shape: tuple[int, int] | None
    ) -> RasterWindow:
        with self._lock:
            pixel_range = self.pixel_range
            source = self._source_now()
            values, valid, _ = source.read(left, top, right, bottom, shape)
        values = self._with_bands(values)
        pixels = scale_to_bytes(values, pixel_range, bits=source.bits)
        assert pixels is not None
        if valid is not None and valid.all():
            valid = None
        return RasterWindow(np.require(pixels, np.uint8, ["C", "W"]), valid)

    def _streamed(self, height: int, width: int) -> RasterWindow:
        """The whole raster, shrunk while some rows after the other are read."""
        pixels = np.zeros((height, width, self.bands), np.uint8)
        valid = np.ones((height, width), np.bool_)
        down = self.block[0]
        rows = max(down, _STREAMED // (self.width * self.bands) // down * down)
        step = max(1, rows * height // self.height)
        for first in range(0, height, step):
            last = min(height, first + step)
            top, bottom = first * self.height // height, -(-last * self.height // height)
            if self.is_empty(0, top, self.width, bottom):
                valid[first:last] = False
                continue
            window = self.read(0, top, self.width, bottom)
            size = width, last - first
            shrunk = cv2.resize(window.pixels, size, interpolation=cv2.INTER_AREA)
            pixels[first:last] = shrunk.reshape(last - first, width, -1)
            if window.valid is not None:
                mask = window.valid.astype(np.uint8)
                valid[first:last] = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        return RasterWindow(pixels, None if valid.all() else valid)

    def _source_now(self) -> Source:
        """The source, opened again after a fork: what GDAL holds can't be shared."""
        if self._source is None or self._process != os.getpid():
            self._source, self._process = self._make(), os.getpid()
        return self._source

    def _with_bands(self, values: NDArray[Any]) -> NDArray[Any]:
        converted = convert_bands(values, self.bands, alpha=False)
        if converted is not None:
            return converted
        given = values.shape[2]
        raise ImageError(
            f"{self.name}: has {given} bands, expected {self.bands}, as the model has. One for "
            f"{given} bands is trained with --set model.bands={given}."
        )

    def _extent(self) -> tuple[Extent, NDArray[Any]]:
        """Between which values windows spread evenly over the raster lie; and those of one."""
        extents = []
        values: NDArray[Any] = np.zeros((0, 0, 1))
        for sample in self._samples():
            values = sample.values
            extents.append(extent_of(sample.with_data(), self._source_now().bits))
        sampled = self._sampling()[3] > _SAMPLES
        return replace(join(extents), sampled=sampled), values

    def _samples(self) -> Iterator[StoredValues]:
        """Windows spread evenly over the raster."""
        source = self._source_now()
        with_data = 0
        for left, top, right, bottom in islice(self._sample_windows(), _LONGEST_SEARCH):
            sample = source.read(left, top, right, bottom)
            yield sample
            with_data += sample.valid is None or bool(sample.valid.any())
            if with_data == _SAMPLES:
                return

    def _sample_windows(self) -> Iterator[tuple[int, int, int, int]]:
        """Windows inside the boxes in which files lie, the first of them spread over all."""
        width, height, columns, count = self._sampling()
        boxes = np.minimum(self._source_now().boxes, (*[self.width, self.height] * 2,))
        if len(boxes) == 1:
            for index in _spread(count):
                top, left = index // columns * height, index % columns * width
                yield left, top, min(left + width, self.width), min(top + height, self.height)
            return
        for index in range(_LONGEST_SEARCH):
            # Another place in each box, whenever its turn comes: fractions of the golden ratio.
            number = index * len(boxes) // _SAMPLES if len(boxes) > _SAMPLES else index
            x1, y1, x2, y2 = boxes[number % len(boxes)].tolist()
            left = x1 + int(_GOLDEN * index % 1 * max(1, x2 - x1 - width + 1))
            top = y1 + int(_GOLDEN**2 * index % 1 * max(1, y2 - y1 - height + 1))
            yield left, top, min(left + width, x2), min(top + height, y2)

    def _sampling(self) -> tuple[int, int, int, int]:
        """Width and height of windows that are looked at, how many lie side by side, and all."""
        down, across = self.block
        width = min(self.width, max(across, _SAMPLE_SIDE))
        height = min(self.height, -(-max(1, _SAMPLE_SIDE**2 // width) // down) * down)
        columns, rows = -(-self.width // width), -(-self.height // height)
        return width, height, columns, columns * rows

    def _sampled(self) -> int:
        """How many windows are looked at."""
        several = len(self._source_now().boxes) > 1
        return _SAMPLES if several else min(_SAMPLES, self._sampling()[3])


def _spread(count: int) -> Iterator[int]:
    """The numbers below `count`, each once, the first of them spread evenly over all."""
    step = max(1, -(-count // _SAMPLES))
    for start in range(step):
        yield from range(start, count, step)


class WholeValues:
    """A `Source` that is decoded whole when it is first asked, or that is in memory.

    Args:
        decode: gives the values, and the bits of one where the header states fewer.
        width, height: pixels.
        deep: whether values may be of more than 8 bits.
        notes: what is to be told of the file.
    """

    block = WHOLE
    georeference: Georeference | None = None
    boxes = EVERYWHERE
    smaller = False

    def __init__(
        self,
        decode: Callable[[], tuple[StoredValues, int]],
        *,
        width: int,
        height: int,
        deep: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.width, self.height, self.deep, self.notes = width, height, deep, notes
        self.bits = 0
        self._decode = decode
        self._whole: StoredValues | None = None

    def read(
        self, left: int, top: int, right: int, bottom: int, shape: tuple[int, int] | None = None
    ) -> StoredValues:
        """See `Source.read`."""
        assert shape is None
        if self._whole is None:
            self._whole, self.bits = self._decode()
        values, valid, _ = self._whole
        part = slice(top, bottom), slice(left, right)
        return StoredValues(values[part], None if valid is None else valid[part])

    def close(self) -> None:
        """Forget what was decoded."""
        self._whole = None


def open_raster(path: Path | str, pixel_range: PixelRange = RGB) -> Raster:
    """Open an image file of any size, to be read in windows.

    Args:
        path: anything that `reading.read_image` reads, and GDAL's virtual rasters (VRT).
        pixel_range: as for `reading.read_image`.

    Raises:
        ImageError: it is missing, empty, broken, or of a kind that can't be read.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path = Path(path)
    make = partial(_open_source, path, pixel_range)
    return Raster(str(path), make, pixel_range=pixel_range, paths=(path,))


def raster_of(image: ImageLike, pixel_range: PixelRange = RGB) -> Raster:
    """A raster of whatever people call an image; one in memory stays there.

    Args:
        image: as for `inputs.to_pixels`.
        pixel_range: as for `inputs.to_pixels`.

    Raises:
        ImageError: the file can't be read, or the values are no image's.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path = path_of(image)
    if path is not None:
        return open_raster(path, pixel_range)
    pixels = to_pixels(image, pixel_range)
    height, width, bands = pixels.shape
    make = partial(WholeValues, partial(_itself, pixels), width=width, height=height)
    return Raster("the image", make, pixel_range=PixelRange(bands))


def raster_size(path: Path | str) -> tuple[int, int]:
    """Width and height of whatever `open_raster` opens, pixels, from the header alone.

    Raises:
        ImageError: as for `open_raster`.
        MissingExtraError: as for `open_raster`.
    """
    if is_virtual_raster(path):
        with open_raster(path) as raster:
            return raster.width, raster.height
    return image_size(path)


def is_virtual_raster(path: Path | str) -> bool:
    """Whether a file is one of GDAL's virtual rasters (VRT), which `open_raster` alone reads.

    Raises:
        ImageError: it is missing, or can't be read.
    """
    where, _ = split_page(Path(path))
    if where.suffix.lower() != _VIRTUAL:
        return False
    with opened_file(where, Path(path)) as file:
        return is_virtual(file.read(32))


def open_for_display(path: Path | str) -> Raster:
    """Open an image file of any size as people want to see it: its own bands, see `for_display`.

    Raises:
        ImageError: as for `open_raster`.
        MissingExtraError: as for `open_raster`.
    """
    try:
        bands = image_info(path).bands
    except ImageError:  # what only GDAL reads, such as virtual rasters
        bands = 3
    with open_raster(path, PixelRange(bands)) as raster:
        return raster.for_display()


def georeference_of(path: Path | str) -> Georeference | None:
    """The place on the map that a file states, from its header alone; None where it has none.

    Files that can't have one, as most JPEGs and PNGs, cost a look at their first bytes and beside
    them.

    Raises:
        ImageError: the file is missing, or what it states can't be a place.
        MissingExtraError: it may have one, and rasterio is not installed.
    """
    return place_of(path)[0]


def place_of(path: Path | str) -> tuple[Georeference | None, str]:
    """As `georeference_of`; and what is to be told of the place, as a `Raster`'s notes are.

    Raises:
        ImageError: as for `georeference_of`.
        MissingExtraError: as for `georeference_of`.
    """
    path = Path(path)
    where, page = split_page(path)
    with opened_file(where, path) as file:
        kind = kind_of(file.read(32))
        if page not in (None, 1):
            return None, ""
        if kind not in _IN_WINDOWS or not _may_be_geographic(file, where):
            return None, ""
        turned = kind == "TIFF" and orientation_of(file) != 1
    if turned:
        with open_raster(path) as raster:
            return raster.georeference, "".join(raster.notes[:1])
    dataset, stack = open_dataset(where)
    with stack:
        return read_georeference(dataset, path)


def _open_source(path: Path, pixel_range: PixelRange) -> Source:
    where, page = split_page(path)
    with opened_file(where, path) as file:
        kind = kind_of(file.read(32))
        geographic = _may_be_geographic(file, where, masks=True)
    in_windows = kind in _IN_WINDOWS and page in (None, 1)
    if in_windows and geographic:
        return _by_gdal(where, kind, pixel_range)
    info = image_info(path)
    large = info.width * info.height > SMALL
    if in_windows and large and (kind == "TIFF" or info.orientation == 1) and _has_rasterio():
        return _by_gdal(where, kind, pixel_range)
    return WholeValues(
        partial(_read_whole, path, pixel_range.bands),
        width=info.width,
        height=info.height,
        deep=info.bits > 8,
        notes=(_why_whole(in_windows=in_windows, turned=info.orientation != 1),) if large else (),
    )


def _by_gdal(path: Path, kind: str, pixel_range: PixelRange) -> Source:
    source = GdalValues(path, bands=pixel_range.bands)
    if kind != "TIFF":
        return source
    if not is_complete(str(path), kind):
        source.close()
        raise ImageError(
            f"{path}: is cut short: its pixels should go on behind the file's end. Fetch it again "
            "or remove it."
        )
    with path.open("rb") as file:
        orientation = orientation_of(file)
    return source if orientation == 1 else TurnedValues(source, orientation)


def _why_whole(*, in_windows: bool, turned: bool) -> str:
    if not in_windows:
        return "is decoded whole: images of its kind are not read in windows"
    if turned:
        return "is decoded whole: it is stored turned"
    return "is decoded whole: reading windows of it needs rasterio (pip install 'foveal[geo]')"


def _read_whole(path: Path, bands: int) -> tuple[StoredValues, int]:
    """The values of an image, and the bits of one where the header states fewer."""
    values, bits = read_stored(path, bands=bands)
    alpha = read_alpha(path)
    valid = None if alpha is None or alpha.all() else alpha != 0
    return StoredValues(values, valid), bits


def _may_be_geographic(file: Any, path: Path, *, masks: bool = False) -> bool:
    with suppress(ValueError):
        return may_be_geographic(file, path, masks=masks)
    return False


def _has_rasterio() -> bool:
    try:
        import_rasterio()
    except MissingExtraError:
        return False
    return True


def _itself(pixels: NDArray[np.uint8]) -> tuple[StoredValues, int]:
    return StoredValues(pixels), 0


def _describe_range(extent: Extent, limits: tuple[float, float]) -> str:
    low, high = limits
    return (
        f"holds more than 8 bits, {extent.describe()}: {low:,.6g} to {high:,.6g} become 0 to 255. "
        "--band-range LOW,HIGH states another range (in Python PixelRange(deep=(LOW, HIGH)))"
    )
