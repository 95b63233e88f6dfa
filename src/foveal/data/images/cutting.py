"""Parts of an image as files of their own, values, bands and place on the map as they are."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from foveal.data.images import tiff
from foveal.data.images.gdal_values import gdal, open_dataset
from foveal.data.images.georeferencing import read_georeference
from foveal.data.images.pages import split_page
from foveal.data.images.rasters import open_raster
from foveal.data.images.reading import image_info
from foveal.errors import ImageError
from foveal.files import write_file
from foveal.structures import PixelRange
from foveal.text import shorten

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

_BLOCK = 256
_PLAIN = ((1, "uint8"), (3, "uint8"), (1, "uint16"))
"""Bands and types that a PNG holds."""


class TileWriter:
    """Cuts an image into files; a context manager that closes it.

    All that lies on the map is cut by GDAL into GeoTIFFs. Other images become PNGs, or TIFFs where
    a PNG can't hold their values or bands.

    Attributes:
        width, height: of the image, pixels, its orientation applied.
        ending: of the files.

    Args:
        path: the image.

    Raises:
        ImageError: it can't be read.
        MissingExtraError: it is on the map, and rasterio is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._dataset: Any = None
        info = image_info(path)
        self.width, self.height = info.width, info.height
        self.ending = ".png" if info.bands in (1, 3) and info.bits <= 8 else ".tif"
        try:
            self._raster = self._stack.enter_context(open_raster(path, PixelRange(info.bands)))
            if self._raster.georeference is not None:
                if split_page(path)[1] is not None:
                    raise ImageError(
                        f"{path}: pages of a stack are not cut. Save it as a file of its own."
                    )
                self._dataset, closes = open_dataset(path)
                self._stack.push(closes)
                self.ending = ".tif"
        except BaseException:
            self._stack.close()
            raise

    def write(
        self, path: Path, left: int, top: int, right: int, bottom: int, *, even_empty: bool = True
    ) -> bool:
        """Write a part of the image.

        Args:
            path: the file, with the ending.
            left, top, right, bottom: whole pixels; right and bottom are behind the last.
            even_empty: write it too where no pixel holds data.

        Returns:
            Whether it was written.

        Raises:
            ImageError: the image can't be read there.
            FovealError: the file can't be written.
        """
        stored = self._raster.read_stored(left, top, right, bottom)
        values, valid = stored.values, stored.valid
        if valid is not None and not valid.any() and not even_empty:
            return False
        if self._dataset is not None:
            self._write_map(path, left, top, right, bottom)
            return True
        encoded = BytesIO()
        if (values.shape[2], values.dtype.name) in _PLAIN and self.ending == ".png":
            gray = values.shape[2] == 1
            Image.fromarray(values[:, :, 0] if gray else values).save(encoded, format="PNG")
        else:
            tiff.write_tiff(encoded, np.ascontiguousarray(values))
        write_file(path, encoded.getvalue(), sync=False)
        return True

    def _write_map(self, path: Path, left: int, top: int, right: int, bottom: int) -> None:
        """Copy a part by GDAL, so that values, bands and their meaning stay."""
        import rasterio
        from rasterio.windows import Window

        source = self._dataset
        window = Window(left, top, right - left, bottom - top)
        georeference, _ = read_georeference(source, self._path)
        profile: dict[str, Any] = {
            "driver": "GTiff", "width": right - left, "height": bottom - top,
            "count": source.count, "dtype": source.dtypes[0], "nodata": source.nodata,
            "compress": "deflate", "predictor": 2 if _is_whole(source.dtypes[0]) else 3,
        }  # fmt: skip
        if min(right - left, bottom - top) >= _BLOCK:
            profile |= {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK}
        if georeference is not None:
            profile["crs"] = source.crs or source.gcps[1]
            profile["transform"] = rasterio.Affine(*georeference.moved(left, top).transform)
        palette = source.colorinterp[0].name == "palette"
        masked = "per_dataset" in {flag.name for flag in source.mask_flag_enums[0]}
        with gdal(self._path):
            values: NDArray[Any] = source.read(window=window)
            mask = source.read_masks(1, window=window) if masked else None
        try:
            with (
                warnings.catch_warnings(),
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                rasterio.open(path, "w", **profile) as file,
            ):
                warnings.simplefilter("ignore")
                file.write(values)
                if palette:
                    file.write_colormap(1, source.colormap(1))
                elif source.count > 1:
                    file.colorinterp = source.colorinterp
                file.descriptions = source.descriptions
                if mask is not None:
                    file.write_mask(mask)
        except rasterio.errors.RasterioError as error:
            why = shorten(str(error.__cause__ or error), 200)
            raise ImageError(f"{path}: can't be written ({why}). Make room on the disk.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()


def _is_whole(dtype: str) -> bool:
    return np.dtype(dtype).kind in "iu"
