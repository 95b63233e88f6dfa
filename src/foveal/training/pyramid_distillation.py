"""The network imitates the pyramid of a larger one that is trained already.

PKD (Cao et al. 2022, arXiv 2207.02039) compares patterns, not values: every channel of both
pyramids is brought to mean 0 and variance 1 over batch and space. Half the mean squared difference
is then 1 - r, with r Pearson's correlation of the channels. No boxes take part, so that images
without objects teach too, and teacher and student may have other classes and anchors. Batch means
what one process computes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.errors import SettingsError
from foveal.training.distillation import Distillation

if TYPE_CHECKING:
    from foveal.models.retinanet import RetinaNet
    from foveal.training.distillation import PyramidAndOutput
    from foveal.training.teacher import Teacher

EPSILON = 1e-6
"""Added to a channel's variance: one that is the same everywhere becomes 0."""
WEIGHT = 10.0
"""Of this loss; the paper's for detectors of one stage."""


class PyramidDistillation(Distillation):
    """The loss between a student's pyramid and a teacher's.

    The levels of the same stride are compared. Where their channels are not as many, a 1x1
    convolution, which is trained too, brings the student's to the teacher's number; it belongs to
    the run's state and to no model.

    Args:
        teacher, student: as for `Distillation`.
        weight: of the loss; None for the paper's.

    Attributes:
        pairs: of each level that is compared the student's number and the teacher's.
        connections: of each the convolution, or the identity.

    Raises:
        SettingsError: the teacher is for images of other bands, or has no stride of the student's.
    """

    def __init__(self, teacher: Teacher, student: RetinaNet, *, weight: float | None) -> None:
        super().__init__(teacher, student, weight=WEIGHT if weight is None else weight)
        network = teacher.network
        self.pairs = match_levels(student.grid.strides, network.grid.strides)
        channels = student.fpn.channels, network.fpn.channels
        self.connections = nn.ModuleList(
            nn.Identity() if channels[0] == channels[1] else nn.Conv2d(*channels, 1)
            for _ in self.pairs
        )
        # pyrefly: ignore[no-matching-overload]
        self.to(device=student.mean.device, memory_format=torch.channels_last)
        strides = _in_words([student.grid.strides[number] for number, _ in self.pairs])
        self.imitates = f"its pyramid at strides {strides}"
        if channels[0] != channels[1]:
            self.imitates += f", {channels[0]} channels brought to {channels[1]}"

    def targets(self, images: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
        """The teacher's standardized levels: one [B, C, H_l, W_l] float32 for each of `pairs`."""
        with self.teaching(images, precision) as teacher:
            levels = teacher.pyramid(images)
        return tuple(standardize(levels[number]) for _, number in self.pairs)

    def forward(self, student: PyramidAndOutput, targets: Sequence[Tensor]) -> Tensor:
        """The weighted loss, a scalar float32: of each level `pkd_loss`, added up."""
        levels, _ = student
        losses = [
            pkd_loss(connection(levels[number]), target)
            for (number, _), connection, target in zip(
                self.pairs, self.connections, targets, strict=True
            )
        ]
        return self.weight * torch.stack(losses).sum()


def standardize(features: Tensor) -> Tensor:
    """Bring each channel of [B, C, H, W] to mean 0 and variance 1 over batch and space.

    Returns:
        float32, whatever the type of the features.
    """
    values = features.float()
    variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0, keepdim=True)
    return (values - mean) * torch.rsqrt(variance + EPSILON)


def pkd_loss(features: Tensor, target: Tensor) -> Tensor:
    """Half the mean squared difference of standardized maps (PKD, equation 3), a scalar float32.

    It is 1 - r, the mean over the channels: from 0, where each channel is the target's up to
    scale and shift, to 2 for its opposite.

    Args:
        features: the student's, [B, C, H, W].
        target: what `standardize` made of the teacher's.
    """
    return F.mse_loss(standardize(features), target) / 2


def match_levels(student: Sequence[int], teacher: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The levels of the same stride: the student's number and the teacher's.

    Args:
        student, teacher: the strides of their levels, in input pixels.

    Raises:
        SettingsError: there is none.
    """
    pairs = tuple(
        (number, teacher.index(stride))
        for number, stride in enumerate(student)
        if stride in teacher
    )
    if not pairs:
        raise SettingsError(
            f"training.teacher: its pyramid has strides {_in_words(teacher)}, "
            f"the network's {_in_words(student)}. Expected at least one in "
            "common: --set anchors.strides=[...] as the teacher has them."
        )
    return pairs


def _in_words(strides: Sequence[int]) -> str:
    return ", ".join(map(str, strides))
