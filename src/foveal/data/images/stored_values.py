"""Parts of an image as its file stores them, however the file is read: what a raster is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.geometry.georeference import Georeference


class StoredValues(NamedTuple):
    """Values of a part of an image.

    Attributes:
        values: [h, w, C] of any type, alpha left out.
        valid: [h, w], which pixels hold data in any band; None where all do.
        present: [h, w, C], which values do, where they say more than `valid`.
    """

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    present: NDArray[np.bool_] | None = None

    def with_data(self) -> NDArray[Any]:
        """The values that hold data, [N] or [N, C]."""
        if self.present is not None:
            return np.asarray(self.values[self.present])
        return self.values if self.valid is None else np.asarray(self.values[self.valid])


EVERYWHERE = np.array([[0, 0, np.iinfo(np.int64).max, np.iinfo(np.int64).max]])
"""Where a single file lies in its own pixels."""


def lies_in(
    boxes: NDArray[np.int64], left: int, top: int, right: int, bottom: int
) -> NDArray[np.bool_]:
    """Which boxes [N, 4] lie in a window at least in part, [N]."""
    x1, y1, x2, y2 = boxes.T
    return np.asarray((x1 < right) & (x2 > left) & (y1 < bottom) & (y2 > top))


class Source(Protocol):
    """What reads parts of one image; one thread asks at a time."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def block(self) -> tuple[int, int]:
        """Height and width of the parts in which the file is decoded."""

    @property
    def bits(self) -> int:
        """What the header states of one value, where it is less than the type holds; else 0."""

    @property
    def deep(self) -> bool:
        """Whether values may be of more than 8 bits."""

    @property
    def georeference(self) -> Georeference | None:
        """The place on the map, None where there is none."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be told of the file, each as a sentence's end: "has no ..."."""

    @property
    def boxes(self) -> NDArray[np.int64]:
        """[N, 4] xyxy, pixels: where files lie; nothing holds data elsewhere."""

    @property
    def smaller(self) -> bool:
        """Whether the file holds smaller versions of the image, from which shrunk ones are read."""

    def read(
        self, left: int, top: int, right: int, bottom: int, shape: tuple[int, int] | None = None
    ) -> StoredValues:
        """The values of some whole pixels inside the image.

        Args:
            left, top, right, bottom: pixels.
            shape: height and width to which they are shrunk, each the mean of those it covers,
                where there are smaller versions; None leaves them as they are.

        Raises:
            ImageError: the file can't be read there.
        """

    def close(self) -> None:
        """Let go of the file."""
