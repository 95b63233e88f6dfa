"""What the predictor asks of whatever computes the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from foveal.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foveal.structures import PaddedDetections, RawOutput

RuntimePrecision = Literal["auto", "float32", "bf16"]
"""What to compute in; 'auto' leaves it to the runtime, which takes what is fastest here."""


@dataclass(frozen=True, slots=True)
class InputSizes:
    """The inputs that a runtime takes.

    Attributes:
        multiple: height and width must be multiples of it.
        height, width: the only ones that it takes; None: any.
        batch: the only number of images that it takes; None: any.
    """

    multiple: int = 32
    height: int | None = None
    width: int | None = None
    batch: int | None = None

    def check(self, height: int, width: int, *, where: object) -> None:
        """See whether an input size is taken.

        Raises:
            SettingsError: it is not.
        """
        fixed = (self.height or height, self.width or width)
        if (height, width) != fixed:
            raise SettingsError(
                f"{where}: takes inputs of {fixed[1]} x {fixed[0]} pixels only, and this image "
                f"becomes one of {width} x {height}. Export the model without --size for any "
                f"size, or with --size {height}x{width} for this one."
            )
        if height % self.multiple or width % self.multiple:
            raise SettingsError(
                f"{where}: an input of {width} x {height} pixels. Expected multiples of "
                f"{self.multiple}: a model that gives them is trained with --set "
                f"preparation.multiple={self.multiple}."
            )


class Runtime(Protocol):
    """A network that is ready to compute, wherever and by whatever."""

    @property
    def name(self) -> str:
        """What computes, for people: 'PyTorch', 'OpenVINO' or 'ONNX Runtime'."""

    @property
    def device(self) -> str:
        """On which device: 'cpu', 'cuda:0' ..."""

    @property
    def precision(self) -> str:
        """What it computes in: 'float32', 'bf16', 'float16' or 'int8'."""

    @property
    def sizes(self) -> InputSizes:
        """The inputs that it takes."""

    def __call__(
        self, images: NDArray[np.uint8]
    ) -> RawOutput[Any] | PaddedDetections[NDArray[Any]]:
        """Compute a batch.

        Args:
            images: [B, C, H, W] uint8, 0..255, RGB where C is 3; any memory order. Height and
                width are multiples of 32.

        Returns:
            For each level logits [B, A_l, K] and deltas [B, A_l, 4]: numpy float32 from a runtime
            on the CPU, tensors on the device from one on another. Detections in input pixels,
            padded, from a file that has decoding and NMS inside.

        Raises:
            SettingsError: an input that it does not take.
        """
