"""The network imitates what a larger one that is trained already says of each anchor.

Scores are drawn to the teacher's by the quality focal loss, which takes any score as its target
(Li et al. 2020, arXiv 2006.04388, equation 2); the distributions of the box's distances by the
Kullback-Leibler divergence (localization distillation: Zheng et al. 2022, arXiv 2102.12252), and so
is the probability of a quality branch. Labels take no part: the teacher has an opinion of each
anchor, of objects without labels too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from foveal.detection.losses import at_least_float32, quality_focal_loss, quality_loss
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
        teacher, student: as for `Distillation`; their predictions can be compared, see
            `why_not_comparable`.
        classes: the student's, by name; the teacher's may be more, in another order.
        weight: of the loss; None for 1.

    Raises:
        SettingsError: the teacher is for images of other bands.
    """

    imitates = "its scores and boxes of each anchor"

    def __init__(
        self,
        teacher: Teacher,
        student: RetinaNet,
        *,
        classes: Sequence[str],
        weight: float | None,
    ) -> None:
        super().__init__(teacher, student, weight=WEIGHT if weight is None else weight)
        own = teacher.loaded.card.classes
        self._columns = [own.index(name) for name in classes]

    def targets(self, images: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
        """What the teacher predicts.

        Returns:
            Its scores [B, A, K], its distributions' logarithms [B, A, 4, bins] and, where it has a
            quality branch, that one's logits [B, A].
        """
        with self.teaching(images, precision) as teacher:
            raw = teacher(images)
        logits = torch.cat(raw.logits, dim=1)[..., self._columns]
        quality = (torch.cat(raw.quality, dim=1),) if raw.quality else ()
        return at_least_float32(logits).sigmoid(), _log_distributions(raw), *quality

    def forward(self, student: PyramidAndOutput, targets: Sequence[Tensor]) -> Tensor:
        """The weighted loss, a scalar float32: of scores, distributions and quality, added up."""
        _, raw = student
        scores, expected, *quality = targets
        highest = scores.amax(dim=-1)
        loss = score_loss(torch.cat(raw.logits, dim=1), scores)
        loss = loss + distribution_loss(_log_distributions(raw), expected, highest)
        for logits in quality:
            loss = loss + branch_loss(torch.cat(raw.quality, dim=1), logits, highest)
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
    return _weighted_mean(divergence, weights)


def branch_loss(predicted: Tensor, expected: Tensor, weights: Tensor) -> Tensor:
    """The divergence KL(teacher, student) of the quality branch's probability, a scalar.

    It is the weighted mean of the anchors.

    Args:
        predicted, expected: the student's and the teacher's logits, [B, A] any floating type.
        weights: of the anchors, as for `distribution_loss`.
    """
    wanted = at_least_float32(expected).sigmoid()
    divergence = quality_loss(predicted, wanted) - quality_loss(expected, wanted)
    return _weighted_mean(divergence, weights)


def why_not_comparable(
    teacher: Teacher, student: RetinaNet, *, classes: Sequence[str], quality: str
) -> str:
    """What keeps predictions from being compared.

    Args:
        teacher: the trained one.
        student: the network that is to imitate it.
        classes: the student's, by name; () where they are not known.
        quality: what the student's quality branch learns, the setting `model.quality`. Without one
            scores say how well boxes fit, which they don't with one.

    Returns:
        'has ...', of the teacher; '' where nothing does.
    """
    network, learned = teacher.network, teacher.loaded.settings.model.quality
    missing = [name for name in classes if name not in teacher.loaded.card.classes]
    if missing or not classes:
        return f"does not know {listed(missing, _NAMED) or 'the classes'}"
    if network.grid.strides != student.grid.strides or not _same_anchors(network, student):
        return "has other anchors"
    bins = [getattr(each.box, "bins", 0) for each in (network, student)]
    if bins[0] != bins[1]:
        return f"predicts distances in {bins[0]} bins, where the network has {bins[1]}"
    if learned != quality:
        return f"has model.quality={learned}, where the network has {quality}"
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


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Of values and weights [B, A], a scalar; divided by 1 where the weights are less."""
    return (values * weights).sum() / weights.sum().clamp(min=1)


def _log_distributions(raw: RawOutput[Tensor]) -> Tensor:
    """The logarithms of all levels' distributions, [B, A, 4, bins]."""
    return torch.log_softmax(at_least_float32(torch.cat(raw.distributions, dim=1)), dim=-1)
