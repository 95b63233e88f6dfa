"""Parts of GeoTIFFs and other large images, decoded by GDAL (the optional rasterio).

GDAL keeps blocks that it has decoded. Rows are read from above to below with some overlap, so each
read allows it as many blocks as the whole width holds over the rows that are read: none is decoded
twice, however wide the image is (up to `_LARGEST_CACHE`). What else GDAL is set to holds for one
call alone. It may open images only, never fetches anything, and runs nothing that a file names.
"""

from __future__ import annotations

import os
import threading
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from foveal.data.images.georeferencing import read_georeference
from foveal.data.images.kinds import kind_of
from foveal.data.images.stored_values import EVERYWHERE, StoredValues
from foveal.data.images.virtual import check_virtual
from foveal.errors import FovealError, ImageError, MissingExtraError
from foveal.files import readable_path
from foveal.text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.geometry.georeference import Georeference

MISSING = "Reading GeoTIFFs needs rasterio: pip install 'foveal[geo]'"

_DRIVERS = {"TIFF": "GTiff", "JPEG": "JPEG", "PNG": "PNG", "JPEG2000": "JP2OpenJPEG", "": "VRT"}
"""What may open a file of a kind, and nothing else; the virtual raster is none that we know."""
_SMALLEST_CACHE, _LARGEST_CACHE = 64 << 20, 1 << 30
"""Bytes of decoded blocks."""
_LONGEST_REASON = 200
_RGB = ("red", "green", "blue")

_open_lock = threading.Lock()


def import_rasterio(path: Path | str = "") -> Any:
    """The package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import rasterio
    except ImportError:
        raise MissingExtraError(MISSING, str(path)) from None
    return rasterio


@contextmanager
def gdal(path: Path, *, cache: int = _SMALLEST_CACHE) -> Iterator[None]:
    """GDAL's settings for one call, with what it raises turned into an error that names the file.

    Args:
        path: the file.
        cache: bytes of decoded blocks to keep. $GDAL_CACHEMAX goes before.

    Raises:
        ImageError: GDAL raises something.
    """
    rasterio = import_rasterio(path)
    options: dict[str, Any] = {
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",  # nothing is fetched
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # else what is cut short comes out gray
        "GTIFF_IMPLICIT_JPEG_OVR": "YES",
    }
    if "GDAL_CACHEMAX" not in os.environ:
        options["GDAL_CACHEMAX"] = min(max(cache, _SMALLEST_CACHE), _LARGEST_CACHE)
    try:
        with rasterio.Env(session=rasterio.session.DummySession(), **options):
            yield
    except FovealError:
        raise
    except MemoryError:
        raise ImageError(f"{path}: this part does not fit into memory.") from None
    except (rasterio.errors.RasterioError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        reason = shorten(str(cause), _LONGEST_REASON) or type(error).__name__
        raise ImageError(
            f"{path}: can't be read ({reason}). It may be cut short or damaged: fetch it again."
        ) from error


def open_dataset(path: Path, name: str = "") -> tuple[Any, ExitStack]:
    """Open a file by GDAL.

    Args:
        path: the file.
        name: what GDAL shall open in place of the path, such as one of its pages.

    Returns:
        rasterio's dataset, and what closes it.

    Raises:
        ImageError: it can't be opened.
        MissingExtraError: rasterio is not installed.
    """
    rasterio = import_rasterio(path)
    stack = ExitStack()
    try:
        with gdal(path), _open_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has no place on the map
            file = stack.enter_context(readable_path(path.absolute()))
            with path.open("rb") as content:
                kind = kind_of(content.read(32))
            if kind not in _DRIVERS:
                raise ImageError(f"{path}: is {kind}, which has no place on the map.")
            if not kind:
                check_virtual(path)
            dataset = rasterio.open(name or file, driver=_DRIVERS[kind], sharing=False)
            stack.enter_context(dataset)
            if dataset.count == 0:
                raise ImageError(f"{path}: has no bands. Expected an image.")
            if any(kind.startswith("complex") for kind in dataset.dtypes):
                raise ImageError(
                    f"{path}: holds complex numbers. Expected real ones: save magnitudes."
                )
            if len(set(dataset.dtypes)) > 1:
                raise ImageError(
                    f"{path}: its bands hold values of different types "
                    f"({', '.join(sorted(set(dataset.dtypes)))}). Expected one: gdal_translate -ot."
                )
    except BaseException:
        stack.close()
        raise
    return dataset, stack


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels on the map.

    Attributes:
        georeference: where they lie.
        width, height: how many.
    """

    georeference: Georeference
    width: int
    height: int


class GdalValues:
    """A `Source` that GDAL reads.

    Attributes:
        width, height, block, bits, deep, georeference, notes, boxes, smaller: see `Source`.

    Args:
        path: the file.
        bands: as many values a pixel as are wanted: those of a file with more, such as alpha, are
            left out.
        name: what GDAL shall open in place of the path.
        grid: pixels on the map into which the file is resampled while it is read.

    Raises:
        ImageError: it can't be opened, or what it says of its place can't be.
        MissingExtraError: rasterio is not installed.
    """

    boxes = EVERYWHERE

    def __init__(self, path: Path, *, bands: int, name: str = "", grid: Grid | None = None) -> None:
        self._path = path
        self._dataset, self._stack = open_dataset(path, name)
        try:
            if grid is not None:
                with gdal(path):
                    self._dataset = self._stack.enter_context(_warped(self._dataset, grid))
            self._look(bands)
        except BaseException:
            self._stack.close()
            raise

    def _look(self, bands: int) -> None:
        dataset = self._dataset
        self.width, self.height = int(dataset.width), int(dataset.height)
        height, width = dataset.block_shapes[0]
        self.block = (int(height), int(width))
        self.georeference: Georeference | None
        self.georeference, told = read_georeference(dataset, self._path)
        self.notes: tuple[str, ...] = (told,) if told else ()
        stored = int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 0))
        itemsize = np.dtype(dataset.dtypes[0]).itemsize
        self.deep = dataset.dtypes[0] not in ("uint8",)
        # Pillow brings JPEG 2000 of any depth to the full range of 16 bits; so is it done here.
        full = dataset.driver == "JP2OpenJPEG" and self.deep
        self._shift = 16 - stored if full and 8 < stored < 16 else 0
        self.bits = 16 if full else stored if 8 < stored < 16 else 0
        self._table = self._palette(bands)
        self._spread = 255 // (2**stored - 1) if self._table is None and 0 < stored < 8 else 1
        self._picked, self._alpha = _pick_bands(dataset, bands)
        color = bands == 1 and len(self._picked) == 3 and not self.deep
        self._gray = color and dataset.driver != "JPEG"
        self.smaller = bool(dataset.overviews(1))
        mask = self._path.with_name(f"{self._path.name}.msk")
        if not self._alpha and mask.is_file() and "per_dataset" not in _flags(dataset):
            self.notes += (f"has {mask.name} beside it, which is no mask, and is left out",)
        self._row = self.width * dataset.count * itemsize

    def _palette(self, bands: int) -> NDArray[np.uint8] | None:
        """The colors of a palette, [N, 3], or [N, 1] where gray is wanted."""
        dataset = self._dataset
        if dataset.colorinterp[0].name != "palette":
            return None
        colors = dataset.colormap(1)
        table = np.zeros((max(colors) + 1, 3), np.uint8)
        for index, color in colors.items():
            table[index] = color[:3]
        if bands == 1 or (table == table[:, :1]).all():
            return np.asarray(_to_gray(table[None])[0])
        return table

    def read(
        self, left: int, top: int, right: int, bottom: int, shape: tuple[int, int] | None = None
    ) -> StoredValues:
        """See `Source.read`."""
        from rasterio.enums import Resampling
        from rasterio.windows import Window

        dataset, picked = self._dataset, list(self._picked)
        window = Window(left, top, right - left, bottom - top)
        bands = [*picked, self._alpha] if self._alpha else picked
        how: dict[str, Any] = {"window": window}
        if shape is not None:
            mean = Resampling.average if self._table is None else Resampling.nearest
            how |= {"out_shape": (len(bands), *shape), "resampling": mean}
        cache = self._row * (bottom - top + 2 * self.block[0])
        with gdal(self._path, cache=cache if shape is None else 0):
            read = dataset.read(bands, **how)
            mask: NDArray[np.bool_] | None = None
            if not self._alpha and "per_dataset" in _flags(dataset):
                how = {"window": window} | ({"out_shape": shape} if shape else {})
                mask = dataset.read_masks(1, **how) != 0
        values = read[: len(picked)]
        present = None
        if self._alpha:
            mask = read[-1] != 0
        elif mask is None:
            present = _present(values, [dataset.nodatavals[band - 1] for band in picked])
            mask = None if present is None else np.asarray(present.any(axis=0))
        if mask is not None and mask.all():
            mask = None
        if present is not None:
            present = None if present.all() else np.moveaxis(present, 0, 2)
        return StoredValues(self._as_stored(np.moveaxis(values, 0, 2)), mask, present)

    def _as_stored(self, values: NDArray[Any]) -> NDArray[Any]:
        """What other readers of the same file call its values."""
        if self._table is not None:
            return np.asarray(self._table[np.minimum(values[:, :, 0], len(self._table) - 1)])
        if self._gray:
            return _to_gray(np.ascontiguousarray(values))
        if self._shift:
            return np.asarray(values << self._shift)
        if self._spread > 1:
            return np.asarray(values * values.dtype.type(self._spread))
        return values

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()


def _warped(dataset: Any, grid: Grid) -> Any:
    """An opened file as if it had been written on other pixels of the map."""
    from rasterio import Affine
    from rasterio.enums import MaskFlags, Resampling
    from rasterio.vrt import WarpedVRT

    _, points_system = dataset.gcps
    palette = dataset.colorinterp[0].name == "palette"
    # Where nothing of the file says that a pixel is empty, those around it must be known to be.
    bare = dataset.nodata is None and not any(
        MaskFlags.alpha in flags for flags in dataset.mask_flag_enums
    )
    return WarpedVRT(
        dataset,
        src_crs=dataset.crs or points_system,
        crs=grid.georeference.crs,
        transform=Affine(*grid.georeference.transform),
        width=grid.width,
        height=grid.height,
        resampling=Resampling.nearest if palette else Resampling.bilinear,
        add_alpha=bare,
    )


def _pick_bands(dataset: Any, bands: int) -> tuple[tuple[int, ...], int]:
    """Which bands are the image's values where so many are wanted, and which is alpha, 0 if none.

    Alpha is left out unless `bands` counts it, and so is what stands behind RGB where that is
    wanted.
    """
    names = [color.name for color in dataset.colorinterp]
    everything = tuple(range(1, dataset.count + 1))
    if len(everything) == bands:
        return everything, 0
    alpha = next((index + 1 for index, name in enumerate(names) if name == "alpha"), 0)
    data = tuple(band for band in everything if band != alpha)
    if len(data) > 3 and bands in (1, 3) and tuple(names[:3]) == _RGB:
        data = data[:3]
    return data, alpha


def _flags(dataset: Any) -> set[str]:
    return {flag.name for flag in dataset.mask_flag_enums[0]}


def _present(values: NDArray[Any], nodata: Sequence[float | None]) -> NDArray[np.bool_] | None:
    """Which values hold data, [C, h, w]; None where nothing says that some do not.

    Args:
        values: [C, h, w].
        nodata: of each band the value that stands for no data.
    """
    stand = [
        values.dtype.type(value)
        for value in nodata
        if value is not None and not np.isnan(value) and _holds(values.dtype, value)
    ]
    present = ~np.isnan(values) if np.issubdtype(values.dtype, np.floating) else None
    if len(stand) < len(values):  # a band without such a value always holds data
        return present
    there = np.asarray(values != np.array(stand)[:, None, None])
    return there if present is None else np.asarray(there & present)


def _holds(kind: np.dtype[Any], value: float) -> bool:
    """Whether a type of values has this one."""
    if np.issubdtype(kind, np.floating):
        return True
    limits = np.iinfo(kind)
    return value == int(value) and limits.min <= value <= limits.max


def _to_gray(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gray [H, W, 1] of RGB [H, W, 3], rounded as Pillow does it."""
    return np.asarray(Image.fromarray(colors).convert("L"))[:, :, None]
