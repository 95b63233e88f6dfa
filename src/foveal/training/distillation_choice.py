"""From the settings to a distillation: what of a teacher can be imitated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from foveal.errors import SettingsError
from foveal.training.prediction_distillation import PredictionDistillation, why_not_comparable
from foveal.training.pyramid_distillation import PyramidDistillation, match_levels
from foveal.training.teacher import check_bands, read_teacher

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.models.retinanet import RetinaNet
    from foveal.training.distillation import Distillation


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


def make_distillation(
    model: RetinaNet, settings: Settings, *, classes: Sequence[str] = ()
) -> Distillation | None:
    """What the settings say of a teacher; None where there is none.

    Args:
        model: the network that is trained, on its device.
        settings: of the training.
        classes: the network's, by name; () where they are not known.

    Raises:
        ModelFileError, WeightsError, SettingsError: as `check_teacher`.
        SettingsError: predictions are to be imitated that can't be compared.
    """
    training = settings.training
    if training.teacher is None:
        return None
    teacher, weight = read_teacher(training.teacher), training.distillation_weight
    reason = why_not_comparable(teacher, model, classes=classes, quality=settings.model.quality)
    if training.distillation == "predictions" and reason:
        raise SettingsError(
            f"training.distillation is 'predictions', but {teacher.name} {reason}. Expected a "
            "teacher of the same classes with the network's anchors, bins and quality branch, as "
            "one has that was trained with the same preset on the same data; or --set "
            "training.distillation=pyramid, which needs none of them."
        )
    if training.distillation != "pyramid" and not reason:
        return PredictionDistillation(teacher, model, classes=classes, weight=weight)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        distillation = PyramidDistillation(teacher, model, weight=weight)
    if training.distillation == "auto":
        distillation.imitates += f" (its predictions can't be compared: it {reason})"
    return distillation
