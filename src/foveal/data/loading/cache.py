"""Decoded images kept in memory, shared by all workers, within a stated amount."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEGABYTE = 1_000_000


class ImageCache:
    """A fixed place for each of the first images that fit into the memory.

    In an epoch each image is wanted once, so that a fixed choice of images is found as often as
    any that forgets could be. The memory is anonymous and shared with the processes that are forked
    later: what one of them decodes, all find, in this epoch and the next. Places are only written
    with what belongs there, so that two who write at once do no harm, and pages are only taken when
    written. A process that is started afresh instead of forked has a memory of its own, with its
    share of the amount.
    """

    def __init__(
        self, sizes: NDArray[np.int64], *, bands: int, megabytes: int, shares: int = 1
    ) -> None:
        """Choose the places; takes no memory yet.

        Args:
            sizes: [N, 2] width and height of each image, pixels.
            bands: values a pixel.
            megabytes: memory for all of them.
            shares: among how many the memory is divided where it can't be shared.
        """
        self._sizes, self._bands = sizes, bands
        self._megabytes, self._shares = megabytes, max(1, shares)
        self._reserve(megabytes)

    def _reserve(self, megabytes: int) -> None:
        lengths = self._sizes.prod(axis=1) * self._bands
        ends = lengths.cumsum()
        self._count = int(np.searchsorted(ends, megabytes * _MEGABYTE, side="right"))
        self._starts = (ends - lengths)[: self._count]
        total = int(ends[self._count - 1]) if self._count else 0
        self._memory = np.frombuffer(mmap.mmap(-1, max(1, total + self._count)), np.uint8)
        self._filled = self._memory[total : total + self._count]

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """Image `index` [H, W, C], not to be written to, or None where it is not kept."""
        if index >= self._count or not self._filled[index]:
            return None
        place = self._place(index)
        place.flags.writeable = False
        return place

    def put(self, index: int, image: NDArray[np.uint8]) -> None:
        """Keep an image [H, W, C], if there is room for it and it has the size that was said."""
        if index < self._count:
            place = self._place(index)
            if place.shape == image.shape:
                place[...] = image
                self._filled[index] = 1

    def __len__(self) -> int:
        """How many images are kept now."""
        return int(np.count_nonzero(self._filled))

    @property
    def places(self) -> int:
        """How many images have a place."""
        return self._count

    def _place(self, index: int) -> NDArray[np.uint8]:
        width, height = self._sizes[index]
        start = self._starts[index]
        flat = self._memory[start : start + width * height * self._bands]
        return flat.reshape(height, width, self._bands)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "sizes": self._sizes,
            "bands": self._bands,
            "megabytes": self._megabytes // self._shares,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)
