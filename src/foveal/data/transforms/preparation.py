"""From an image of any size to one of the few input sizes of the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from foveal.data.transforms.resampling import paint, resize_into
from foveal.geometry.placement import Placement
from foveal.structures import PixelRange, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.config import ModelSettings, PreparationSettings

_STEPS = 8
"""A side of the input grows in steps of about this fraction of `shorter`, so that sizes are few."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """Resize with the aspect ratio kept, then pad to one of few input sizes.

    With mode "keep" the image is scaled until its shorter side is `shorter`, or its longer side is
    `longer` where that comes first, and the input's sides are the next steps of a ladder. With mode
    "square" the image is scaled into shorter x shorter. Both sides of every input are multiples of
    `multiple`. The image lies in the upper left corner and the rest is filled.

    With mode "windows" every image has the same scale, and the input is a window of shorter x
    shorter pixels; of a larger image windows are cut, which is done before it comes here.

    With compat "torchvision" and mode "keep" the image has the size and the pixels that
    torchvision's detectors give it, to the rounding of pixels to whole numbers: sides are rounded
    down, pixels are interpolated without a filter, and the input is padded to the next multiple.

    Attributes:
        mode: "keep", "square" or "windows".
        shorter, longer: limits of the resized image's sides, input pixels.
        multiple: what the input's height and width are multiples of.
        fill: the padding's value in each band; for another number of bands, their mean.
        scale: with "windows", input pixels that one original pixel becomes.
        compat: "none", or "torchvision" for what it does with mode "keep".
    """

    mode: Literal["keep", "square", "windows"] = "keep"
    shorter: int = 640
    longer: int = 1066
    multiple: int = 32
    fill: tuple[int, ...] = (124, 116, 104)
    scale: float = 1.0
    compat: Literal["none", "torchvision"] = "none"

    @property
    def filtered(self) -> bool:
        """Whether an image that shrinks is filtered against aliasing."""
        return not self._as_torchvision

    @property
    def _as_torchvision(self) -> bool:
        return self.compat == "torchvision" and self.mode == "keep"

    def with_shorter(self, shorter: int) -> Preparation:
        """The same preparation at another scale; `longer` keeps its proportion.

        Windows stay as large as they are: what they show of the image grows or shrinks.
        """
        if self.mode == "windows":
            return replace(self, scale=self.scale * shorter / self.shorter)
        longer = max(shorter, round(self.longer * shorter / self.shorter))
        return replace(self, shorter=shorter, longer=longer)

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """The input's (height, width) for an image of this size; there are only few of them."""
        if self.mode != "keep":
            side = _round_up(self.shorter, self.multiple)
            return side, side
        resized_width, resized_height = self.scaled_size(width, height)
        return self._rung(resized_height), self._rung(resized_width)

    def scaled_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image of this size once it is scaled, at least one pixel each."""
        if self.mode == "windows":
            scale = self.scale
        elif self.mode == "square":
            scale = self.shorter / max(width, height)
        else:
            scale = min(self.shorter / min(width, height), self.longer / max(width, height))
        if self._as_torchvision:
            return max(1, int(width * scale)), max(1, int(height * scale))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def placement_for(
        self, width: int, height: int, *, size: tuple[int, int] | None = None
    ) -> Placement:
        """Where an image of this size lies in its input.

        Args:
            width, height: of the original image, pixels.
            size: (height, width) of an input that it must fit into, where it is not `size_for`'s.
        """
        resized_width, resized_height = self.scaled_size(width, height)
        if size is not None and (resized_height > size[0] or resized_width > size[1]):
            scale = min(size[1] / width, size[0] / height)
            resized_width = min(size[1], max(1, round(width * scale)))
            resized_height = min(size[0], max(1, round(height * scale)))
        return Placement(
            width, height, scale_x=resized_width / width, scale_y=resized_height / height
        )

    def __call__(
        self,
        sample: Sample,
        *,
        size: tuple[int, int] | None = None,
        out: NDArray[np.uint8] | None = None,
    ) -> tuple[Sample, Placement]:
        """Resize and pad a sample.

        Args:
            sample: image [H, W, C] and boxes in its pixels.
            size: (height, width) of the input, where it is not `size_for`'s.
            out: [*size, C] to write the image into.

        Returns:
            The sample in input pixels, padded, and the way back to the original ones.
        """
        height, width, bands = sample.image.shape
        size = size or self.size_for(width, height)
        placement = self.placement_for(width, height, size=size)
        if out is None:
            out = np.empty((*size, bands), np.uint8)
        resized_height = round(height * placement.scale_y)
        resized_width = round(width * placement.scale_x)
        resize_into(sample.image, out[:resized_height, :resized_width], filtered=self.filtered)
        fill = fill_values(self.fill, bands)
        paint(out[resized_height:], fill)
        paint(out[:resized_height, resized_width:], fill)
        target = sample.target.transformed(placement.to_input(sample.target.boxes))
        return Sample(out, target, sample.name), placement

    def _rung(self, side: int) -> int:
        """The next step of a ladder on which `shorter`, the side of most images, is a step.

        torchvision's ladder has every multiple.
        """
        if self._as_torchvision:
            return _round_up(side, self.multiple)
        middle = _round_up(self.shorter, self.multiple)
        step = max(1, round(self.shorter / _STEPS / self.multiple)) * self.multiple
        lowest = middle % step or step
        rung = max(lowest, middle + _round_up(side - middle, step))
        return min(_round_up(self.longer, self.multiple), rung)


def make_preparation(settings: PreparationSettings) -> Preparation:
    """The preparation that the settings describe; the padding is the mean color."""
    return Preparation(
        mode=settings.mode,
        shorter=settings.shorter,
        longer=settings.longer,
        multiple=settings.multiple,
        fill=tuple(round(255 * mean) for mean in settings.mean),
        scale=settings.scale,
        compat=settings.compat,
    )


def make_pixel_range(model: ModelSettings, preparation: PreparationSettings) -> PixelRange:
    """The bands and limits that the settings describe.

    Raises:
        ImageError: there are not as many limits as bands.
    """
    return PixelRange(model.bands, low=preparation.band_low, high=preparation.band_high)


def fill_values(fill: tuple[int, ...], bands: int) -> NDArray[np.uint8]:
    """[bands] uint8: the padding's value in each band."""
    if len(fill) != bands:
        fill = (round(sum(fill) / len(fill)),) * bands if fill else (0,) * bands
    return np.array(fill, np.uint8)


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
