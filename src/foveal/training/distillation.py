"""Distillation: the network imitates the pyramid of a larger one that is trained already.

PKD (Cao et al. 2022, arXiv 2207.02039) compares patterns, not values: every channel of both
pyramids is brought to mean 0 and variance 1 over batch and space. Half the mean squared difference
is then 1 - r, with r Pearson's correlation of the channels. No boxes take part, so that images
without objects teach too. Batch means what one process computes at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.acceleration.accelerated import Accelerated
from foveal.acceleration.precision import autocast
from foveal.checkpoints import model_file
from foveal.checkpoints.finding import network_file
from foveal.checkpoints.foreign_files import is_foreign
from foveal.checkpoints.importing import import_on_the_way
from foveal.errors import ModelFileError, SettingsError
from foveal.models.norms import set_norm

if TYPE_CHECKING:
    from foveal.checkpoints.model_file import LoadedModel
    from foveal.config import Settings
    from foveal.models.retinanet import RetinaNet

EPSILON = 1e-6
"""Added to a channel's variance: one that is the same everywhere becomes 0."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained model to learn from.

    Attributes:
        name: what people call it: its file.
        loaded: the network with its settings.
        digest: of the file's content; a run that goes on needs the same.
        notes: whose foreign checkpoint it is, and what was assumed of it, a sentence each.
    """

    name: str
    loaded: LoadedModel
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def network(self) -> RetinaNet:
        """The network, in evaluation mode."""
        return self.loaded.model


class Distillation(nn.Module):
    """The loss between a student's pyramid and a teacher's.

    The levels of the same stride are compared. Where their channels are not as many, a 1x1
    convolution, which is trained too, brings the student's to the teacher's number; it belongs to
    the run's state and to no model.

    The teacher is no part of this module: its weights are not trained, sent or saved.

    Args:
        teacher: is moved to the device of the student, and its weights are not trained.
        student: the network that is trained.
        weight: of the loss; 10 in the paper for detectors of one stage.

    Attributes:
        pairs: of each level that is compared the student's number and the teacher's.
        connections: of each the convolution, or the identity.
        lines: for people, a sentence each: whose the teacher is, and what is imitated.

    Raises:
        SettingsError: the teacher is for images of other bands, or has no stride of the student's.
    """

    def __init__(self, teacher: Teacher, student: RetinaNet, *, weight: float) -> None:
        super().__init__()
        check_bands(teacher, len(student.mean))
        self.digest = teacher.digest
        self.weight = weight
        network = teacher.network.to(student.mean.device).requires_grad_(False).eval()
        set_norm(network, norm="frozen")  # as it computes in evaluation, but folded away
        self._teacher = (Accelerated(network),)  # a tuple's modules are no children
        self.pairs = match_levels(student.grid.strides, network.grid.strides)
        channels = student.fpn.channels, network.fpn.channels
        self.connections = nn.ModuleList(
            nn.Identity() if channels[0] == channels[1] else nn.Conv2d(*channels, 1)
            for _ in self.pairs
        )
        # pyrefly: ignore[no-matching-overload]
        self.to(device=student.mean.device, memory_format=torch.channels_last)
        described = _describe(teacher, student, self.pairs, weight=weight)
        self.lines = (*teacher.notes, described)

    def targets(self, images: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
        """What the student is to imitate: the teacher's standardized levels, without a gradient.

        Computed in pieces of their own, apart from what torch.compile makes of the student.

        Args:
            images: [B, bands, H, W] as the student gets them, 0..255; the teacher has its own mean
                and deviation.
            precision: type of the matrix products.

        Returns:
            One [B, C, H_l, W_l] float32 for each of `pairs`.
        """
        (teacher,) = self._teacher
        with torch.no_grad():
            with autocast(images.device, precision):
                levels = teacher.pyramid(images)
            return tuple(standardize(levels[number]) for _, number in self.pairs)

    def forward(self, levels: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """The weighted loss, a scalar float32: of each level `pkd_loss`, added up.

        Args:
            levels: the student's whole pyramid, [B, C_s, H_l, W_l] each.
            targets: what `targets` gave for the same images.
        """
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


def check_bands(teacher: Teacher, bands: int) -> None:
    """See whether a teacher can look at the images.

    Args:
        teacher: the model.
        bands: of the images.

    Raises:
        SettingsError: it is for another number of bands.
    """
    expected = len(teacher.network.mean)
    if expected != bands:
        raise SettingsError(
            f"training.teacher: {teacher.name} is for images of {expected} band(s), and here they "
            f"have {bands} (model.bands). Expected a teacher of images like these: train one with "
            f"--set model.bands={bands}."
        )


def read_teacher(path: Path | str) -> Teacher:
    """Read a model to learn from.

    Args:
        path: a model file, the folder of a run (its best model), or a checkpoint that `foveal
            import` can read.

    Raises:
        ModelFileError: it is missing, exported, or no model.
        WeightsError: it is a foreign checkpoint that can't be imported.
    """
    file = network_file(path)
    if not file.is_file():
        raise ModelFileError(
            f"training.teacher: {file}: no such file. Expected a model that foveal wrote, the "
            "folder of a run, or a checkpoint that foveal import can read (--teacher MODEL; in "
            "Python teacher=...)."
        )
    notes: tuple[str, ...] = ()
    if is_foreign(file):
        loaded, notes = import_on_the_way(file)
    else:
        loaded = model_file.load(file)
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    loaded.model.eval()
    return Teacher(str(file), loaded, digest, notes)


def check_teacher(settings: Settings) -> None:
    """Read the teacher that the settings name, if any, to know at once that it can teach.

    Raises:
        ModelFileError, WeightsError: as `read_teacher`.
        SettingsError: it is for images of other bands, or has no stride of the network's.
    """
    if settings.training.teacher is None:
        return
    teacher = read_teacher(settings.training.teacher)
    check_bands(teacher, settings.model.bands)
    match_levels(settings.anchors.strides, teacher.network.grid.strides)


def make_distillation(model: RetinaNet, settings: Settings) -> Distillation | None:
    """What the settings say of a teacher; None where there is none.

    Args:
        model: the network that is trained, on its device.
        settings: of the training.

    Raises:
        ModelFileError, WeightsError, SettingsError: as `check_teacher`.
    """
    training = settings.training
    if training.teacher is None:
        return None
    teacher = read_teacher(training.teacher)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        return Distillation(teacher, model, weight=training.distillation_weight)


def _in_words(strides: Sequence[int]) -> str:
    return ", ".join(map(str, strides))


def _describe(
    teacher: Teacher, student: RetinaNet, pairs: Sequence[tuple[int, int]], *, weight: float
) -> str:
    settings, network = teacher.loaded.settings, teacher.network
    strides = [student.grid.strides[number] for number, _ in pairs]
    channels = student.fpn.channels, network.fpn.channels
    joined = (
        "" if channels[0] == channels[1] else f", {channels[0]} channels brought to {channels[1]}"
    )
    return (
        f"The teacher is {teacher.name} ({settings.model.backbone}, made for "
        f"{settings.preparation.shorter} px): the network imitates its pyramid at strides "
        f"{_in_words(strides)}{joined}, with weight {weight:g} "
        "(training.distillation_weight)."
    )
