"""Distillation: the network learns from the labels and from one that is trained already."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from foveal.acceleration.accelerated import Accelerated
from foveal.acceleration.precision import autocast
from foveal.models.norms import set_norm
from foveal.training.teacher import check_bands

if TYPE_CHECKING:
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import RawOutput
    from foveal.training.teacher import Teacher

    PyramidAndOutput = tuple[tuple[Tensor, ...], RawOutput[Tensor]]


class Distillation(nn.Module, ABC):
    """A loss between a student and a teacher.

    The teacher is no part of this module: its weights are not trained, sent or saved.

    Args:
        teacher: is moved to the device of the student, and its weights are not trained.
        student: the network that is trained.
        weight: of the loss.

    Attributes:
        digest: of the teacher's file.
        notes: what was assumed of the teacher, a sentence each.
        imitates: for people, what is imitated: 'its ...'.

    Raises:
        SettingsError: the teacher is for images of other bands.
    """

    imitates: str

    def __init__(self, teacher: Teacher, student: RetinaNet, *, weight: float) -> None:
        super().__init__()
        check_bands(teacher, len(student.mean))
        self.digest = teacher.digest
        self.notes = teacher.notes
        self.weight = weight
        settings = teacher.loaded.settings
        self._of_teacher = (
            f"{teacher.name} ({settings.model.backbone}, made for {settings.preparation.shorter} "
            "px)"
        )
        network = teacher.network.to(student.mean.device).requires_grad_(False).eval()
        set_norm(network, norm="frozen")  # as it computes in evaluation, but folded away
        self._teacher = (Accelerated(network),)  # a tuple's modules are no children

    @property
    def lines(self) -> tuple[str, ...]:
        """For people, a sentence each: whose the teacher is, and what is imitated."""
        described = (
            f"The teacher is {self._of_teacher}: the network imitates {self.imitates}, with weight "
            f"{self.weight:g} (training.distillation_weight)."
        )
        return *self.notes, described

    @contextlib.contextmanager
    def teaching(self, images: Tensor, precision: torch.dtype) -> Iterator[Accelerated]:
        """The teacher, inside without gradients and in the precision of a step.

        Args:
            images: [B, bands, H, W], on the device where it is to compute.
            precision: type of the matrix products.
        """
        (teacher,) = self._teacher
        with torch.no_grad(), autocast(images.device, precision):
            yield teacher

    @abstractmethod
    def targets(self, images: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
        """What the student is to imitate, without a gradient.

        Computed in pieces of their own, apart from what torch.compile makes of the student.

        Args:
            images: [B, bands, H, W] as the student gets them, 0..255; the teacher has its own mean
                and deviation.
            precision: type of the matrix products.
        """

    @abstractmethod
    def forward(self, student: PyramidAndOutput, targets: Sequence[Tensor]) -> Tensor:
        """The weighted loss, a scalar float32.

        Args:
            student: its whole pyramid, [B, C_s, H_l, W_l] each, and what it predicts.
            targets: what `targets` gave for the same images.
        """
