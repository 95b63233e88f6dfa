"""PyTorch, the reference that the other runtimes are compared with."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from foveal.acceleration.accelerated import Accelerated
from foveal.acceleration.precision import autocast, choose_precision
from foveal.devices import choose_device
from foveal.runtimes.base import InputSizes, RuntimePrecision

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from foveal.models.retinanet import RetinaNet
    from foveal.structures import RawOutput

_NAMES = {torch.bfloat16: "bf16", torch.float32: "float32"}


class PyTorchRuntime:
    """A network in PyTorch, on a CPU or on an accelerator.

    Args:
        model: the network; it is moved to the device, and its mode is left as it was.
        device: 'auto' takes an accelerator where there is one; None leaves the model where it is.
        precision: 'auto' measures which is faster here, once.
    """

    name = "PyTorch"
    sizes = InputSizes()

    def __init__(
        self,
        model: RetinaNet,
        *,
        device: str | None = "auto",
        precision: RuntimePrecision = "auto",
    ) -> None:
        if device is not None:
            model.to(choose_device(device))
        self.model = model
        self._compute = Accelerated(model)
        self._wanted = precision
        self._precision: torch.dtype | None = None

    @property
    def device(self) -> str:
        """Where the network is: 'cpu', 'cuda:0' ..."""
        return str(self.model.mean.device)

    @property
    def precision(self) -> str:
        """What it computes in; measured when it is first needed."""
        return _NAMES[self._chosen_precision()]

    def __call__(self, images: NDArray[np.uint8]) -> RawOutput[Any]:
        """Compute a batch; see `foveal.runtimes.base.Runtime`."""
        device = self.model.mean.device
        batch = torch.from_numpy(images)
        batch = batch.to(device, non_blocking=True, memory_format=torch.channels_last)
        with evaluating(self.model), torch.inference_mode():
            with autocast(device, self._chosen_precision()):
                raw: RawOutput[torch.Tensor] = self._compute(batch)
            if device.type != "cpu":
                return raw
            return raw.map(lambda part: part.float().numpy())

    def _chosen_precision(self) -> torch.dtype:
        if self._precision is None:
            self._precision = choose_precision(self._wanted, self.model.mean.device)
        return self._precision


@contextmanager
def evaluating(model: RetinaNet) -> Iterator[None]:
    """The model in evaluation mode, and afterwards each part in the mode in which it was."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
