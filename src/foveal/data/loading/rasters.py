"""Images kept open, so that windows of them are read without opening them each time."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING

from foveal.data.images.rasters import open_raster

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.data.images.rasters import Raster
    from foveal.structures import PixelRange

_MOST_OPEN = 32
"""Of a data set's images so many stay open."""
_MOST_DECODED = 4
"""So many of those that are decoded whole: they are in memory until they are closed."""


class OpenRasters:
    """The images used last, open; each process opens its own."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._process = os.getpid()
        self._open: OrderedDict[Path, Raster] = OrderedDict()

    def open(self, path: Path, pixel_range: PixelRange) -> Raster:
        """The image, opened now or before.

        Raises:
            ImageError: it can't be opened.
            MissingExtraError: what reads it is not installed.
        """
        if self._process != os.getpid():  # a forked process must not read with its parent's files
            self.__init__()
        raster = self._open.pop(path, None) or open_raster(path, pixel_range)
        self._open[path] = raster
        decoded = [name for name, each in self._open.items() if each.is_decoded_whole]
        for name in (*decoded[:-_MOST_DECODED], *list(self._open)[:-_MOST_OPEN]):
            if name in self._open:
                self._open.pop(name).close()
        return raster

    def __reduce__(self) -> tuple[type[OpenRasters], tuple[()]]:
        """Another process opens its own."""
        return OpenRasters, ()
