"""The losses of a batch (paper, sections 3 and 4): the one place that sums and divides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, distributed

from foveal.detection.assigner import Assigner
from foveal.detection.assignment import BACKGROUND, IGNORED, Assignment
from foveal.detection.box_coding import decode_boxes, encode_boxes, encode_distances
from foveal.detection.centerness import centerness
from foveal.detection.losses import (
    distribution_focal_loss,
    giou_loss,
    quality_loss,
    smooth_l1,
)
from foveal.detection.losses_of_labels import focal_loss_of_labels, quality_focal_loss_of_labels
from foveal.errors import SettingsError
from foveal.geometry.boxes import iou
from foveal.structures import Batch, RawOutput


class Losses(NamedTuple):
    """What training minimizes, and what it was divided by.

    Attributes:
        classification: scalar float32.
        box: scalar float32, the losses of quality and distributions included; 0 with a gradient
            where the batch has no object.
        divisor: scalar float32, what this process's batch adds to the divisor of the
            classification loss: its assigned anchors, or the sum of their scores.
    """

    classification: Tensor
    box: Tensor
    divisor: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum, a scalar (paper, section 4)."""
        return self.classification + self.box


class LossSums(NamedTuple):
    """The losses of each image before anything is divided, and what each is to be divided by.

    Attributes:
        losses: [3, B] float32, each with its weight: classification; boxes and distributions;
            quality.
        divisors: [3, B] float32.
    """

    losses: Tensor
    divisors: Tensor


@dataclass(frozen=True, slots=True)
class Criterion:
    """Assignment, classification loss and box loss for a whole batch at once.

    The losses are summed over the anchors: the classification loss of all anchors but the ignored
    ones, over all classes; the others of the anchors that are assigned to objects. They are divided
    by the number of assigned anchors, but for two cases:

    - with `weigh_boxes` the losses of boxes and distributions are divided by the sum of the weights
      (as in FCOS and in generalized focal loss, Li et al. 2020);
    - where the assignment wants a certain score of each anchor, and that is learned, the
      classification loss is divided by the sum of these scores (TOOD, Feng et al. 2021).

    The quality focal loss teaches each assigned anchor a score: the one that the assignment wants,
    or the IoU of the predicted box with the object. It has no gradient.

    A quality branch learns the centerness of each assigned anchor, or that IoU, by cross entropy.
    Where the network predicts distributions of distances, they are drawn to the object's by the
    distribution focal loss, the mean of the four sides.

    Attributes:
        assigner: gives anchors their objects.
        classification: the classification loss's kind.
        alpha: weight of objects in the focal loss, background has 1 - alpha; 'quality_focal' has
            none. None leaves the balance out.
        gamma: focusing parameter; 0 is cross entropy.
        box: the box loss's kind; 'smooth_l1' and 'l1' compare offsets, the others decoded boxes.
        beta: of smooth L1: below it the loss is quadratic.
        box_weight: factor on the box loss.
        weigh_boxes: whether the box loss of each anchor is multiplied by the score that the
            assignment wants; where it wants none, by what the quality branch learns, or by the IoU.
        quality: what the quality branch learns, where the network has one.
        quality_weight: factor on its loss.
        distribution_weight: factor on the distribution focal loss.
        class_weights: [K] factors on the classification loss of each class, of its objects and of
            its background; None leaves them out.
        divide_by: 'batch' divides by the assigned anchors of the batch over all processes;
            'image' divides each image's losses by its own, then takes the mean.
    """

    assigner: Assigner = field(default_factory=Assigner)
    classification: Literal["focal", "quality_focal"] = "focal"
    alpha: float | None = 0.25
    gamma: float = 2.0
    box: Literal["smooth_l1", "l1", "giou"] = "smooth_l1"
    beta: float = 0.11
    box_weight: float = 1.0
    weigh_boxes: bool = False
    quality: Literal["none", "centerness", "iou"] = "none"
    quality_weight: float = 1.0
    distribution_weight: float = 0.25
    class_weights: tuple[float, ...] | None = None
    divide_by: Literal["batch", "image"] = "batch"

    def __call__(self, raw: RawOutput[Tensor], anchors: Tensor, batch: Batch) -> Losses:
        """Losses of one batch.

        Args:
            raw: the network's output, levels with A_1 + ... + A_L = A.
            anchors: [A, 4] xyxy, input pixels.
            batch: targets on the same device, input pixels.

        Returns:
            Losses in float32, whatever the type of raw.
        """
        with torch.no_grad():
            assignment = self.match(raw, anchors, batch)
        losses, divisors = self.sums(raw, anchors, batch, assignment)
        classification, box, quality = (losses * self._factors(divisors)).sum(dim=1)
        return Losses(classification, box + quality, divisors[0].sum())

    def match(self, raw: RawOutput[Tensor], anchors: Tensor, batch: Batch) -> Assignment:
        """Which object each anchor [A, 4] gets in each image, [B, A]; see `Assigner`."""
        return self.assigner(raw, anchors, batch)

    def sums(
        self, raw: RawOutput[Tensor], anchors: Tensor, batch: Batch, assignment: Assignment
    ) -> LossSums:
        """The losses of each image before anything is divided.

        Args:
            raw, batch: as for a call.
            anchors: [A, 4] xyxy, input pixels.
            assignment: what `match` gave.

        Returns:
            Losses and divisors, [3, B] each.

        Raises:
            SettingsError: the network has a quality branch, and `quality` is 'none'.
        """
        if raw.quality and self.quality == "none":
            raise SettingsError(
                "The network has a quality branch, and the criterion's quality is 'none'. Expected "
                "one whose quality is 'iou' or 'centerness', as model.quality of the network's "
                "settings says."
            )
        images = len(assignment.matched)
        losses, divisors = anchors.new_zeros(3, images), anchors.new_zeros(3, images)
        start = 0
        for index, logits in enumerate(raw.logits):
            level = slice(start, start + logits.shape[1])
            start += logits.shape[1]
            of_level = self._sums_of_level(
                RawOutput(*(part[index : index + 1] for part in raw)),
                anchors[level],
                batch,
                assignment.of_level(level),
            )
            losses, divisors = losses + of_level.losses, divisors + of_level.divisors
        return LossSums(losses, divisors)

    def _sums_of_level(
        self, raw: RawOutput[Tensor], anchors: Tensor, batch: Batch, assignment: Assignment
    ) -> LossSums:
        """`sums` of one level, the only one in `raw`."""
        (logits,), (deltas,) = raw.logits, raw.deltas
        matched, scores = assignment
        learns_scores = self.classification != "focal"
        expected = _boxes_of_anchors(matched, batch.boxes, anchors)
        fit = None
        if self.quality != "none" or (scores is None and (learns_scores or self.weigh_boxes)):
            fit = self._fit(deltas, anchors, expected)

        ones = torch.ones_like(matched, dtype=torch.float32)
        amounts = ones if scores is None or not learns_scores else scores
        scores = fit if scores is None else scores
        weights = ones if scores is None or not self.weigh_boxes else scores
        box = self._box(raw, anchors, expected) * weights
        quality = torch.zeros_like(box)
        for of_level in raw.quality:
            assert fit is not None
            quality = quality_loss(of_level, fit) * self.quality_weight
        classification = self._classification(logits, matched, batch.labels, scores)
        box, quality, amounts, weights, ones = (
            torch.where(matched >= 0, values, 0.0).sum(dim=1)
            for values in (box, quality, amounts, weights, ones)
        )
        return LossSums(
            torch.stack([classification.sum(dim=1), box, quality]),
            torch.stack([amounts, weights, ones]),
        )

    @torch.no_grad()
    def _fit(self, deltas: Tensor, anchors: Tensor, expected: Tensor) -> Tensor:
        """How well each anchor [B, A] fits the box it is to predict, 0..1: centerness or IoU."""
        if self.quality == "centerness":
            return centerness(expected, anchors)
        return iou(decode_boxes(deltas, anchors), expected)

    def _classification(
        self, logits: Tensor, matched: Tensor, labels: Tensor, scores: Tensor | None
    ) -> Tensor:
        """The loss of each anchor over all classes [B, A]; anchors that are ignored have none."""
        if labels.shape[1]:
            anchor_labels = labels.gather(1, matched.clamp(min=0))
            anchor_labels = torch.where(matched >= 0, anchor_labels, BACKGROUND)
        else:
            anchor_labels = matched  # no image has an object: all below 0, which is no class
        weights = None
        if self.class_weights is not None:
            weights = torch.tensor(self.class_weights, device=logits.device)
        if self.classification == "focal":
            loss = focal_loss_of_labels(
                logits, anchor_labels, gamma=self.gamma, alpha=self.alpha, weights=weights
            )
        else:
            assert scores is not None
            loss = quality_focal_loss_of_labels(
                logits, anchor_labels, scores, gamma=self.gamma, weights=weights
            )
        return torch.where(matched == IGNORED, 0.0, loss)

    def _box(self, raw: RawOutput[Tensor], anchors: Tensor, expected: Tensor) -> Tensor:
        """The loss of each anchor's box and distributions [B, A], before `weigh_boxes`."""
        (deltas,) = raw.deltas
        if self.box == "giou":
            loss = giou_loss(decode_boxes(deltas, anchors), expected)
        else:
            beta = self.beta if self.box == "smooth_l1" else 0.0
            loss = smooth_l1(deltas, encode_boxes(expected, anchors), beta=beta)
        loss = loss * self.box_weight
        for of_level in raw.distributions:
            of_sides = distribution_focal_loss(of_level, encode_distances(expected, anchors))
            loss = loss + of_sides.mean(dim=-1) * self.distribution_weight
        return loss

    def _factors(self, divisors: Tensor) -> Tensor:
        """What each image's sums are multiplied by, [3, B] float32: one over a divisor."""
        if self.divide_by == "image":
            return 1 / (divisors.clamp(min=1) * divisors.shape[1])
        totals = divisors.sum(dim=1, keepdim=True)
        if distributed.is_available() and distributed.is_initialized():
            # Gradients are averaged over the processes: the sum over all, divided by their number.
            distributed.all_reduce(totals)
            return distributed.get_world_size() / totals.clamp(min=1)
        return 1 / totals.clamp(min=1)


def _boxes_of_anchors(matched: Tensor, boxes: Tensor, anchors: Tensor) -> Tensor:
    """The box of each anchor's object [B, A, 4]; an anchor without one gets itself.

    So it has an area, and no logarithm of an empty box is taken.
    """
    if boxes.shape[1] == 0:
        return anchors.expand(len(matched), -1, -1)
    index = matched.clamp(min=0)[..., None].expand(-1, -1, 4)
    return torch.where((matched >= 0)[..., None], boxes.gather(1, index), anchors)
