"""The network as other programs get it: plain operators, float32, nothing only training needs.

A deep copy is changed, the model never. Frozen and live batch norms are folded into the
convolutions before them. ReLU6 and group norm are written in operators that are one thing
everywhere, and padding does not depend on the input's size.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from foveal.acceleration.norm_folding import find_pairs, fold
from foveal.detection.quality import rated
from foveal.models.heads import Head
from foveal.models.norms import set_norm
from foveal.structures import RawOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from foveal.models.box_heads import BoxOutput
    from foveal.models.retinanet import RetinaNet

_PROBE = (96, 160)
"""Height and width of the input with which is seen which norm follows which convolution."""


class ExportedNetwork(nn.Module):
    """What `RetinaNet` computes, for inputs whose sides are multiples of 32.

    Args:
        model: the network; it is copied.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        copied = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
        copied.to(memory_format=torch.contiguous_format)
        set_norm(copied, norm="frozen")
        replace_modules(copied, Conv2dSame, with_fixed_padding)
        self.bands = len(copied.mean)
        fold_norms(copied.backbone, torch.zeros(1, self.bands, *_PROBE))
        replace_modules(copied, nn.ReLU6, lambda _: Clamp6())
        replace_modules(copied, nn.GroupNorm, PlainGroupNorm)
        self.backbone = copied.backbone
        self.fpn = copied.fpn
        self.classification = copied.classification
        self.box = copied.box
        self.by_anchor = AnchorRows()
        self.levels = len(copied.grid.strides)
        self.coarsest_stride = copied.grid.strides[-1]
        self.register_buffer("mean", 255 * copied.mean[:, None, None])
        self.register_buffer("std", 255 * copied.std[:, None, None])
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw output.

        Args:
            images: [B, C, H, W] uint8, 0..255; H and W are multiples of 32.

        Returns:
            For each level the logits [B, A_l, K], then for each level the deltas [B, A_l, 4]. Where
            the network has a quality branch, its quality is in the logits.
        """
        normalized = (images.to(torch.float32) - self.mean) / self.std
        levels = self.fpn(self.backbone(normalized))
        logits = self._outputs(self.classification, levels)
        if isinstance(self.box, Head):
            return (*logits, *self._outputs(self.box, levels))
        boxes: BoxOutput = self.box(levels)
        raw = rated(RawOutput(logits, boxes.deltas, boxes.quality))
        return (*raw.logits, *raw.deltas)

    def _outputs(self, head: Head, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What a head says of each level, [B, A_l, values]."""
        return tuple(
            self.by_anchor(head.output(head.tower(level)), head.values) for level in levels
        )


class Clamp6(nn.Module):
    """ReLU6 in one operator that every exporter knows."""

    def forward(self, features: Tensor) -> Tensor:
        """Clamp features of any shape to 0..6."""
        return torch.clamp(features, 0, 6)


class PlainGroupNorm(nn.Module):
    """Group norm in elementary operators, with the activation behind it where there is one.

    Runtimes have several forms of group norm. OpenVINO 2026.4 crashes while it compiles its own in
    residual blocks for a given input size.

    Args:
        norm: what it computes.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        # Ours calls it so, timm's GroupNormAct the other way.
        self.activation = getattr(norm, "activation", None) or getattr(norm, "act", None)

    def forward(self, features: Tensor) -> Tensor:
        """Normalize [B, C, H, W]."""
        grouped = features.reshape(features.shape[0], self.groups, -1)
        centered = grouped - grouped.mean(2, keepdim=True)
        variance = (centered * centered).mean(2, keepdim=True)
        normalized = (centered / torch.sqrt(variance + self.eps)).reshape(features.shape)
        scaled = normalized * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled if self.activation is None else self.activation(scaled)


class AnchorRows(nn.Module):
    """The last step of the heads."""

    def forward(self, outputs: Tensor, values: int) -> Tensor:
        """Bring [B, anchors * values, H, W] to [B, H * W * anchors, values]."""
        return outputs.permute(0, 2, 3, 1).reshape(outputs.shape[0], -1, values)


def with_fixed_padding(conv: Conv2dSame) -> nn.Module:
    """TensorFlow's SAME padding where the stride divides height and width, and a convolution.

    That is so for all strides of a backbone whose input's sides are multiples of 32. Then the
    padding is (kernel - 1) * dilation + 1 - stride, its smaller half at the left and the top.
    """
    kernel, stride, dilation = (
        (both[0], both[1]) for both in (conv.kernel_size, conv.stride, conv.dilation)
    )
    high, wide = (max((kernel[axis] - 1) * dilation[axis] + 1 - stride[axis], 0) for axis in (0, 1))
    padding = nn.ZeroPad2d((wide // 2, wide - wide // 2, high // 2, high - high // 2))
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        kernel,
        stride=stride,
        dilation=dilation,
        groups=conv.groups,
    )
    plain.weight, plain.bias = conv.weight, conv.bias
    return nn.Sequential(padding, plain)


def replace_modules(
    module: nn.Module, kind: type[nn.Module], make: Callable[[Any], nn.Module]
) -> None:
    """Put what is made of it in the place of every module of a kind inside a module."""
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, make(child))
        else:
            replace_modules(child, kind, make)


def fold_norms(module: nn.Module, example: Tensor) -> int:
    """Let every convolution do the work of the frozen norm that directly follows it.

    What is left of a norm is its activation.

    Args:
        module: changed in place.
        example: an input, [B, C, H, W].

    Returns:
        How many norms were folded.
    """
    parents = {
        child: (parent, name)
        for parent in module.modules()
        for name, child in parent.named_children()
    }
    # Others than plain ones may do more with their weights than convolve.
    pairs = [pair for pair in find_pairs(module, example) if type(pair.conv) is nn.Conv2d]
    for conv, norm in pairs:
        conv.weight, conv.bias = (
            nn.Parameter(part, requires_grad=False) for part in fold(norm, conv.weight, conv.bias)
        )
        parent, name = parents[norm]
        setattr(parent, name, nn.Identity() if norm.activation is None else norm.activation)
    return len(pairs)
