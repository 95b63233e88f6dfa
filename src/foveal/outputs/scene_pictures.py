"""A scene with what was found in it, as picture files: the whole shrunk, or all of its pixels."""

from __future__ import annotations

import errno
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from foveal.data.images.encoding import write_image
from foveal.errors import FovealError, MissingExtraError
from foveal.files import MAKE_ROOM, replacing, unwritable
from foveal.visualization.overviews import draw_overview
from foveal.visualization.scene_drawing import SceneDrawing, plan_drawing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from foveal.data.images.rasters import Raster
    from foveal.structures import Detections

OVERVIEW_SIDE = 2000
"""Pixels of an overview's longer side at most."""
_TILE = 512
_WINDOW = 2048
"""Columns of the scene that are drawn at once, and so many rows as a tile is high."""
_CACHE = 64 << 20
"""Bytes of the picture that GDAL may keep before it writes them."""
_QUALITY = 90


def write_overview(
    path: Path,
    raster: Raster,
    detections: Detections,
    *,
    max_side: int = OVERVIEW_SIDE,
    advice: str = MAKE_ROOM,
) -> None:
    """Write a scene with what was found in it as one small picture.

    Args:
        path: the file; its ending says the format.
        raster: the scene; values of more than 8 bits are spread for display.
        detections: boxes in the scene's pixels, best first.
        max_side: pixels of the picture's longer side at most.
        advice: what to do where the file can't be written.

    Raises:
        ImageError: the scene can't be read.
        FovealError: the picture can't be written.
    """
    write_image(path, draw_scene(raster, detections, max_side=max_side), advice=advice)


def draw_scene(
    raster: Raster,
    detections: Detections,
    *,
    labels: bool = True,
    legend: bool = True,
    max_side: int = OVERVIEW_SIDE,
) -> NDArray[np.uint8]:
    """Draw a scene with what was found in it as one small picture.

    Args:
        raster: the scene; values of more than 8 bits are spread for display.
        detections: boxes in the scene's pixels, best first.
        labels, legend: as for `foveal.visualization.overviews.draw_overview`.
        max_side: pixels of the picture's longer side at most.

    Returns:
        [h, w, 3] uint8 RGB.

    Raises:
        ImageError: the scene can't be read.
    """
    with raster.for_display() as shown:
        pixels = shown.overview(max_side).pixels
    return draw_overview(pixels, detections, labels=labels, legend=legend)


def write_scene_picture(
    path: Path,
    raster: Raster,
    detections: Detections,
    *,
    labels: bool = True,
    on_rows: Callable[[int], None] | None = None,
    advice: str = MAKE_ROOM,
) -> None:
    """Write all of a scene's pixels with what was found in it, as a tiled GeoTIFF of JPEGs.

    The scene is read, drawn and written in windows, so that it takes no more memory than one of
    them. The picture holds smaller versions of itself, and lies on the map where the scene does; a
    scene without a place on the map gives a picture without one.

    Args:
        path: the file, .tif.
        raster: the scene; values of more than 8 bits are spread for display.
        detections: boxes in the scene's pixels, best first, with the scene's size.
        labels: write class and score beside the boxes, where there is room.
        on_rows: is told how many more of the scene's rows are drawn.
        advice: what to do where the file can't be written.

    Raises:
        ImageError: the scene can't be read.
        FovealError: the picture can't be written.
        MissingExtraError: rasterio or shapely is not installed.
    """
    try:
        import rasterio
    except ImportError:
        raise MissingExtraError(
            "Writing a scene's pixels needs rasterio: pip install 'foveal[geo]'"
        ) from None
    drawing = plan_drawing(detections, labels=labels)
    try:
        with raster.for_display() as shown, replacing(path) as temporary, _gdal():
            with rasterio.open(temporary, "w", **_profile(raster)) as written:
                _draw_rows(written, shown, drawing, on_rows)
            with rasterio.open(temporary, "r+") as written:
                written.build_overviews(_shrinks(raster), rasterio.enums.Resampling.average)
            _check(temporary, versions=1 + len(_shrinks(raster)))
    except FovealError:
        raise
    except (rasterio.errors.RasterioError, OSError) as cause:
        raise unwritable(path, cause.__cause__ or cause, advice=advice) from cause


def _draw_rows(
    written: Any, raster: Raster, drawing: SceneDrawing, on_rows: Callable[[int], None] | None
) -> None:
    from rasterio.windows import Window

    for top in range(0, raster.height, _TILE):
        bottom = min(top + _TILE, raster.height)
        for left in range(0, raster.width, _WINDOW):
            right = min(left + _WINDOW, raster.width)
            pixels = drawing.draw(raster.read(left, top, right, bottom).pixels, left, top)
            window = Window(left, top, right - left, bottom - top)
            written.write(pixels.transpose(2, 0, 1), window=window)
        if on_rows is not None:
            on_rows(bottom - top)


def _profile(raster: Raster) -> dict[str, Any]:
    from rasterio import Affine

    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": raster.width,
        "height": raster.height,
        "count": 3,
        "dtype": "uint8",
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "JPEG",
        "photometric": "YCBCR",
        "jpeg_quality": _QUALITY,
        "bigtiff": "IF_SAFER",
    }
    if raster.georeference is not None:
        where = raster.georeference
        profile |= {"crs": where.crs, "transform": Affine(*where.transform)}
    return profile


def _shrinks(raster: Raster) -> list[int]:
    """By what the smaller versions are shrunk, until one fits into a tile."""
    shrinks = [2]
    while max(raster.width, raster.height) > _TILE * shrinks[-1]:
        shrinks.append(2 * shrinks[-1])
    return shrinks


@contextmanager
def _gdal() -> Iterator[None]:
    import rasterio

    options = {
        "GDAL_CACHEMAX": _CACHE,
        "COMPRESS_OVERVIEW": "JPEG",
        "PHOTOMETRIC_OVERVIEW": "YCBCR",
        "INTERLEAVE_OVERVIEW": "PIXEL",
        "JPEG_QUALITY_OVERVIEW": _QUALITY,
        "GDAL_TIFF_OVR_BLOCKSIZE": _TILE,
        "GDAL_PAM_ENABLED": "NO",
    }
    with rasterio.Env(**options), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def _check(path: Path, *, versions: int) -> None:
    """See that every tile is in the file: where a disk fills, GDAL does not always say it.

    Raises:
        OSError: one is not.
    """
    import rasterio

    size = path.stat().st_size
    with rasterio.open(path) as whole:
        shrinks = [1, *whole.overviews(1)]
        for level, shrink in enumerate(shrinks):
            down, across = (-(-side // (shrink * _TILE)) for side in whole.shape)
            for tile in (f"{x}_{y}" for y in range(down) for x in range(across)):
                where = {"dm": "TIFF", "bidx": 1, "ovr": level - 1 if level else None}
                offset = whole.get_tag_item(f"BLOCK_OFFSET_{tile}", **where)
                length = whole.get_tag_item(f"BLOCK_SIZE_{tile}", **where)
                if offset is None or int(offset) + int(length) > size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if len(shrinks) < versions:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
