"""The network with all that makes it faster on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.acceleration.functions import FasterFunctions
from foveal.acceleration.level_packing import (
    PackedLevels,
    apply_box_head,
    apply_head,
    can_pack,
    pack,
)
from foveal.acceleration.norm_folding import FoldedPair, find_pairs
from foveal.models.heads import Head
from foveal.models.retinanet import RetinaNet
from foveal.structures import RawOutput

EXAMPLE = (64, 64)
"""Height and width of the input that tells which norms can be folded."""


class Accelerated(nn.Module):
    """Computes what a network computes; on a CPU faster.

    The network itself is not changed: its modules, the names of its state and its devices are its
    own, and it may be trained, moved or copied as ever. On another device, and where the network is
    compiled or exported, this is the network's own `forward`.

    Args:
        model: the network; it becomes this module's child.
    """

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.model = model
        self._pairs: list[FoldedPair] | None = None

    def forward(self, images: Tensor) -> RawOutput[Tensor]:
        """Compute the raw output for [B, C, H, W] images, as `RetinaNet.forward` does."""
        return self.with_pyramid(images)[1]

    def with_pyramid(self, images: Tensor) -> tuple[tuple[Tensor, ...], RawOutput[Tensor]]:
        """The pyramid's levels of images [B, C, H, W], and the raw output."""
        model = self.model
        if not can_accelerate(model, images):
            levels = model.pyramid(images)
            return levels, model.predict(levels)
        with FasterFunctions(self._folded_pairs()):
            levels = model.pyramid(images)
            if packing_pays(levels) and can_pack(levels, model.classification, model.box):
                return levels, _predict_packed(model, pack(levels))
            return levels, model.predict(levels)

    def pyramid(self, images: Tensor) -> tuple[Tensor, ...]:
        """The pyramid's levels of images [B, C, H, W]; the subnets are not computed."""
        if not can_accelerate(self.model, images):
            return self.model.pyramid(images)
        with FasterFunctions(self._folded_pairs()):
            return self.model.pyramid(images)

    def _folded_pairs(self) -> list[FoldedPair]:
        if self._pairs is None:
            mean = self.model.mean
            example = mean.new_zeros(1, len(mean), *EXAMPLE)
            self._pairs = find_pairs(self.model.backbone, example)
        return self._pairs


def packing_pays(levels: tuple[Tensor, ...]) -> bool:
    """Whether small levels [B, C, H_l, W_l] cost more than their share: in bf16, not in float32."""
    return levels[0].dtype is torch.bfloat16


def _predict_packed(model: RetinaNet, levels: PackedLevels) -> RawOutput[Tensor]:
    """What the two subnets say of packed levels, as `RetinaNet.predict` does of the levels."""
    logits = apply_head(model.classification, levels)
    if isinstance(model.box, Head):  # the paper's
        return RawOutput(logits, apply_head(model.box, levels))
    return RawOutput(logits, *apply_box_head(model.box, levels))


def can_accelerate(model: RetinaNet, images: Tensor) -> bool:
    """Whether the faster ways apply to images [B, C, H, W]: on a CPU, not compiled or exported."""
    if torch.compiler.is_compiling():
        return False
    return model.mean.device.type == images.device.type == "cpu"
