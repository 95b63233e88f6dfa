"""The network imitates what a larger one that is trained already says of each anchor.

Scores are drawn to the teacher's by the quality focal loss, which takes any score as its target
(Li et al. 2020, arXiv 2006.04388, equation 2); the distributions of the box's distances by the
Kullback-Leibler divergence (localization distillation: Zheng et al. 2022, arXiv 2102.12252). Labels
take no part: the teacher has an opinion of each anchor, of objects without labels too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from foveal.detection.losses import at_least_float32, quality_focal_loss
from foveal.errors import SettingsError
from foveal.text import listed
from foveal.training.distillation import Distillation

if TYPE_CHECKING:
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import RawOutput
    from foveal.training.distillation import PyramidAndOutput
    from foveal.training.teacher import Teacher

WEIGHT = 1.0
"""Of this loss: as much as the losses against the labels."""
GAMMA = 2.0
"""Of the quality focal loss, the paper's beta."""
_NAMED = 5


class PredictionDistillation(Distillation):
    """The loss between what a student predicts and what a teacher does.

    Args:
        teacher, student: as for `Distillation`.
        classes: the student's, by name; the teacher's may be more, in another order.
        weight: of the loss; None for 1.

    Raises:
        SettingsError: the teacher is for images of other bands, or its predictions can't be
            compared with the student's.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: RetinaNet,
        *,
        classes: Sequence[str],
        weight: float | None,
    ) -> None:
        super().__init__(teacher, student, weight=WEIGHT if weight is None else weight)
        reason = why_not_comparable(teacher, student, classes)
        if reason:
            raise SettingsError(
                f"training.distillation is 'predictions', but {teacher.name} {reason}. Expected a "
                "teacher of the same classes with the network's anchors and bins, as one has that "
                "was trained with the same preset on the same data; or --set "
                "training.distillation=pyramid, which needs neither."
            )
        own = teacher.loaded.card.classes
        self._columns = [own.index(name) for name in classes]
        self.imitates = "its scores and boxes of each anchor"

    def targets(self, images: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
        """The teacher's scores [B, A, K] and its distributions' logarithms [B, A, 4, bins]."""
        with self.teaching(images, precision) as teacher:
            raw = teacher(images)
        logits = torch.cat(raw.logits, dim=1)[..., self._columns]
        return at_least_float32(logits).sigmoid(), _log_distributions(raw)

    def forward(self, student: PyramidAndOutput, targets: Sequence[Tensor]) -> Tensor:
        """The weighted loss, a scalar float32: of scores and of distributions, added up."""
        _, raw = student
        scores, expected = targets
        loss = score_loss(torch.cat(raw.logits, dim=1), scores)
        loss = loss + distribution_loss(_log_distributions(raw), expected, scores.amax(dim=-1))
        return self.weight * loss


def score_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """The quality focal loss against the teacher's scores, over their sum, a scalar.

    Args:
        logits: the student's, [B, A, K] any floating type.
        scores: the teacher's, [B, A, K] in 0..1.
    """
    return quality_focal_loss(logits, scores, gamma=GAMMA).sum() / scores.sum().clamp(min=1)


def distribution_loss(predicted: Tensor, expected: Tensor, weights: Tensor) -> Tensor:
    """The divergence KL(teacher, student) of the distances' distributions, a scalar.

    It is the mean of an anchor's four sides, and the weighted mean of the anchors: boxes matter
    where there are objects.

    Args:
        predicted, expected: the student's and the teacher's logarithms, [B, A, 4, bins].
        weights: of the anchors, [B, A]: the highest score that the teacher gives each.
    """
    divergence = (expected.exp() * (expected - predicted)).sum(dim=-1).mean(dim=-1)
    return (divergence * weights).sum() / weights.sum().clamp(min=1)


def why_not_comparable(teacher: Teacher, student: RetinaNet, classes: Sequence[str]) -> str:
    """What keeps predictions from being compared, as '<teacher> has ...'; '' where nothing does."""
    network = teacher.network
    missing = [name for name in classes if name not in teacher.loaded.card.classes]
    if missing or not classes:
        return f"does not know {listed(missing, _NAMED) or 'the classes'}"
    if network.grid.strides != student.grid.strides or not _same_anchors(network, student):
        return "has other anchors"
    bins = [getattr(each.box, "bins", 0) for each in (network, student)]
    if bins[0] != bins[1]:
        return f"predicts distances in {bins[0]} bins, where the network has {bins[1]}"
    return "" if bins[0] else "predicts no distances in bins (model.box_bins)"


def _same_anchors(one: RetinaNet, other: RetinaNet) -> bool:
    """Whether the networks' locations and the anchors around each are the same."""
    if one.grid.compat != other.grid.compat:
        return False
    pairs = [
        [grid.at_origin(level) for grid in (one.grid, other.grid)]
        for level in range(len(one.grid.strides))
    ]
    return all(a.shape == b.shape and np.allclose(a, b) for a, b in pairs)


def _log_distributions(raw: RawOutput[Tensor]) -> Tensor:
    """The logarithms of all levels' distributions, [B, A, 4, bins]."""
    return torch.log_softmax(at_least_float32(torch.cat(raw.distributions, dim=1)), dim=-1)
