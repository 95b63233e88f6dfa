"""What becomes of a backbone's batch norm: frozen, live or group norm."""

from __future__ import annotations

import math
import sys
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["frozen", "live", "group"]

GROUPS = 32

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Every batch norm is one of these or made from one, timm's too."""

_LEAST_EPS = sys.float_info.min
"""torch refuses an eps of 0, some versions only in training; this adds nothing to a variance."""

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class FrozenBatchNorm(nn.Module):
    """Batch norm with fixed statistics and a fixed scale and shift; all of them are buffers.

    One fused call with float32 inside, also for bfloat16 activations; eps may be 0.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, *, eps: float = 1e-5, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        """Normalize [B, C, H, W], then apply the activation where there is one."""
        normalized = nn.functional.batch_norm(
            features,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=False,
            eps=max(self.eps, _LEAST_EPS),
        )
        return normalized if self.activation is None else self.activation(normalized)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The norm as x * scale + shift, [C] each."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def extra_repr(self) -> str:
        """The number of channels and eps, for printing."""
        return f"{len(self.weight)}, eps={self.eps}"


class GroupNorm(nn.GroupNorm):
    """Group norm for maps of any size and any number of images.

    torch's module refuses a single image in whose groups there is one value each: one channel a
    group on a map of 1 x 1. Such a value equals its mean, so that the bias is left, as it is in
    a batch of several such images.
    """

    # Its parent's `input` would hide Python's own.
    def forward(self, features: Tensor) -> Tensor:  # pyrefly: ignore[bad-override-param-name]
        """Normalize [B, C, H, W]."""
        return torch.group_norm(features, self.num_groups, self.weight, self.bias, self.eps)


class ActivatedGroupNorm(GroupNorm):
    """Group norm followed by the activation of the batch norm that it replaces."""

    def __init__(self, channels: int, *, eps: float, activation: nn.Module | None = None) -> None:
        super().__init__(math.gcd(GROUPS, channels), channels, eps=eps)
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        """Normalize [B, C, H, W], then apply the activation where there is one."""
        normalized = super().forward(features)
        return normalized if self.activation is None else self.activation(normalized)


class LiveBatchNorm(nn.BatchNorm2d):
    """Batch norm for maps of any size and any number of images, with the activation behind it.

    One value a channel (one image, a map of 1 x 1) has no variance, which torch refuses in
    training. Such a map is normalized by the running statistics, and adds nothing to them.
    """

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.activation = activation

    # Its parent's `input` would hide Python's own.
    def forward(self, features: Tensor) -> Tensor:  # pyrefly: ignore[bad-override-param-name]
        """Normalize [B, C, H, W], then apply the activation where there is one."""
        if self.training and features.numel() == features.shape[1]:
            normalized = nn.functional.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        else:
            normalized = super().forward(features)
        return normalized if self.activation is None else self.activation(normalized)


def set_norm(module: nn.Module, *, norm: Norm, eps: float | None = None) -> None:
    """Turn every batch norm inside a module into the asked kind, keeping its values.

    Layer norms, which transformers and ConvNeXt have, stay as they are. Group norm takes over
    batch norm's scale and shift and has 32 groups, or the largest power of two below that
    divides the channels.

    Args:
        module: changed in place; must not itself be a batch norm.
        norm: 'frozen' fixes statistics, scale and shift; 'live' keeps batch norm.
        eps: replaces the norms' own where it is not None.
    """
    for name, child in module.named_children():
        if isinstance(child, BATCH_NORMS):
            if eps is not None:
                child.eps = max(eps, _LEAST_EPS) if norm == "live" else eps
            if norm != "live":
                setattr(module, name, _replaced(child, norm))
            elif isinstance(child, nn.BatchNorm2d) and child.affine and child.track_running_stats:
                setattr(module, name, _live(child))
        else:
            set_norm(child, norm=norm, eps=eps)


def _replaced(batch_norm: BatchNorm, norm: Norm) -> nn.Module:
    channels, activation = batch_norm.num_features, _activation_of(batch_norm)
    replacement: FrozenBatchNorm | ActivatedGroupNorm
    if norm == "frozen":
        replacement = FrozenBatchNorm(channels, eps=batch_norm.eps, activation=activation)
        names = ["weight", "bias", "running_mean", "running_var"]
    else:
        replacement = ActivatedGroupNorm(channels, eps=batch_norm.eps, activation=activation)
        names = ["weight", "bias"]
    with torch.no_grad():
        for name in names:
            value = getattr(batch_norm, name)
            if value is not None:
                getattr(replacement, name).copy_(value)
    return replacement


def _live(batch_norm: nn.BatchNorm2d) -> LiveBatchNorm:
    """The same norm for maps of any size; its weights and statistics are the same tensors."""
    live = LiveBatchNorm(
        batch_norm.num_features,
        eps=batch_norm.eps,
        momentum=batch_norm.momentum,
        activation=_activation_of(batch_norm),
    )
    live.weight, live.bias = batch_norm.weight, batch_norm.bias
    live.running_mean, live.running_var = batch_norm.running_mean, batch_norm.running_var
    live.num_batches_tracked = batch_norm.num_batches_tracked
    return live.train(batch_norm.training)


def _activation_of(batch_norm: nn.Module) -> nn.Module | None:
    """What follows the norm: ours, or in timm's BatchNormAct2d a dropout and an activation."""
    parts = [getattr(batch_norm, name, None) for name in ("drop", "act", "activation")]
    modules = [part for part in parts if part is not None and not isinstance(part, nn.Identity)]
    if not modules:
        return None
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)
