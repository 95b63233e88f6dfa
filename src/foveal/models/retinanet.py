"""RetinaNet (paper, section 4): backbone, feature pyramid and two subnets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.detection.anchors import AnchorGrid
from foveal.models.backbones import Backbone
from foveal.models.box_heads import BoxHead
from foveal.models.fpn import FeaturePyramid
from foveal.models.heads import Head
from foveal.structures import RawOutput

COARSEST_STRIDE = 32
"""The stride of C5, in input pixels; inputs are padded to multiples of it, right and bottom."""


class RetinaNet(nn.Module):
    """The network: images in, a score for each class and a box for each anchor out.

    Args:
        backbone: gives C3, C4 and C5; C2 or C1 and C2 too where the grid begins finer.
        fpn: makes the pyramid of them.
        classification, box: the two subnets, with K and with 4 values an anchor.
        grid: the anchors; its levels and anchors a location are those of pyramid and subnets.
        mean, std: of each band, in 0..1 of the range 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        fpn: FeaturePyramid,
        classification: Head,
        box: Head | BoxHead,
        grid: AnchorGrid,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fpn = fpn
        self.classification = classification
        self.box = box
        self.grid = grid
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    @property
    def num_classes(self) -> int:
        """The number of classes (K)."""
        return self.classification.values

    def forward(self, images: Tensor) -> RawOutput[Tensor]:
        """Compute the raw output for a batch.

        A height or width that is no multiple of 32 is filled up with the mean color at the right
        and the bottom; the anchors follow.

        Args:
            images: [B, C, H, W], uint8 or floating point, 0..255, not normalized.

        Returns:
            For each level the logits [B, A_l, K] and the deltas [B, A_l, 4]; and what else the
            network was made for (`RawOutput`).
        """
        return self.predict(self.pyramid(images))

    def pyramid(self, images: Tensor) -> tuple[Tensor, ...]:
        """The levels of the feature pyramid, [B, C, H_l, W_l] each, finest first.

        Args:
            images: as for `forward`.
        """
        levels: tuple[Tensor, ...] = self.fpn(self.backbone(self.normalize(images)))
        return levels

    def predict(self, levels: tuple[Tensor, ...]) -> RawOutput[Tensor]:
        """What the two subnets say of the pyramid's levels, each [B, C, H, W]."""
        logits = self.classification(levels)
        if isinstance(self.box, Head):  # the paper's
            return RawOutput(logits, self.box(levels))
        return RawOutput(logits, *self.box(levels))

    def normalize(self, images: Tensor) -> Tensor:
        """Bring [B, C, H, W] from 0..255 to mean 0 and variance 1, padded to multiples of 32.

        The padding is 0, which is the mean color.
        """
        mean, std = (255 * values[:, None, None] for values in (self.mean, self.std))
        height, width = images.shape[-2:]
        normalized = (images.to(mean.dtype) - mean) / std
        if height % COARSEST_STRIDE or width % COARSEST_STRIDE:
            normalized = F.pad(normalized, (0, _padding(width), 0, _padding(height)))
        return normalized.contiguous(memory_format=torch.channels_last)

    def anchors(self, height: int, width: int) -> Tensor:
        """The anchors for an input size: [A, 4] float32 xyxy, input pixels, on the model's device.

        They are in the order of `forward`'s outputs, level after level; cached, not to be changed.
        """
        return self.grid.tensor(
            height + _padding(height), width + _padding(width), device=self.mean.device
        )


def _padding(side: int) -> int:
    """Pixels up to the next multiple; written without a negative number for torch.compile."""
    return (COARSEST_STRIDE - side % COARSEST_STRIDE) % COARSEST_STRIDE
