"""The inputs and outputs of exported models: what they are called, and which shapes are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import ModelFileError, SettingsError
from foveal.structures import PaddedDetections, RawOutput

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from foveal.runtimes.base import InputSizes

INPUT = "images"
"""[B, C, H, W] uint8, 0..255."""

DETECTIONS = ("boxes", "scores", "labels", "counts")
"""The outputs of a model with decoding and NMS inside, as in `PaddedDetections`."""


def raw_outputs(levels: int) -> tuple[str, ...]:
    """The outputs of a model without: logits_0, logits_1 ... deltas_0, deltas_1 ..."""
    return tuple(f"{part}_{level}" for part in ("logits", "deltas") for level in range(levels))


@dataclass(frozen=True, slots=True)
class OutputOrder:
    """Where each output stands in a runtime's list of them.

    Attributes:
        indices: of `DETECTIONS` or of `raw_outputs`, in their order.
        nms: whether decoding and NMS are inside.
    """

    indices: tuple[int, ...]
    nms: bool

    def collect(
        self, values: Sequence[NDArray[Any]]
    ) -> RawOutput[NDArray[np.float32]] | PaddedDetections[NDArray[Any]]:
        """Make of a runtime's outputs what a `Runtime` gives; floating point becomes float32.

        Args:
            values: in the file's order, each [B, ...].
        """
        ordered = [_as_float32(values[index]) for index in self.indices]
        if self.nms:
            return PaddedDetections(*ordered)
        levels = len(ordered) // 2
        return RawOutput(tuple(ordered[:levels]), tuple(ordered[levels:]))


def order_outputs(names: Sequence[Collection[str]], *, where: object) -> OutputOrder:
    """Find the order of a model's outputs.

    Args:
        names: of each output all the names that it has.
        where: the file, for messages.

    Raises:
        ModelFileError: they are not those of an exported model of foveal's.
    """
    places = {name: index for index, some in enumerate(names) for name in some}
    for wanted in (DETECTIONS, raw_outputs(len(names) // 2)):
        if names and set(wanted) <= set(places) and len(wanted) == len(names):
            return OutputOrder(tuple(places[name] for name in wanted), nms=wanted is DETECTIONS)
    found = ", ".join(sorted(places)) or "none"
    raise ModelFileError(
        f"{where}: has the outputs {found}. Expected {', '.join(DETECTIONS)}, or logits_0 ... and "
        "deltas_0 ...: a model that foveal export wrote. Export it again."
    )


def check_shape(
    shape: tuple[int, ...], *, sizes: InputSizes, bands: int | None, where: object
) -> None:
    """See whether a batch of images [B, C, H, W] is taken.

    Raises:
        SettingsError: its size, its number of images or of bands is not.
    """
    batch, channels, height, width = shape
    sizes.check(height, width, where=where)
    if sizes.batch is not None and batch != sizes.batch:
        raise SettingsError(
            f"{where}: takes {sizes.batch} images at once, and these are {batch}. Export the "
            "model without --batch for any number."
        )
    if bands is not None and channels != bands:
        raise SettingsError(f"{where}: takes images with {bands} bands, and these have {channels}.")


def _as_float32(values: NDArray[Any]) -> NDArray[Any]:
    if np.issubdtype(values.dtype, np.floating):
        return np.asarray(values, np.float32)
    return values
