"""The two losses of a batch (paper, sections 3 and 4): the one place that sums and divides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, distributed

from foveal.detection.assigner import Assigner
from foveal.detection.assignment import BACKGROUND, IGNORED, Assignment
from foveal.detection.box_coding import decode_boxes, encode_boxes
from foveal.detection.losses import ciou_loss, diou_loss, giou_loss, smooth_l1
from foveal.detection.losses_of_labels import focal_loss_of_labels
from foveal.structures import Batch, RawOutput

_LOSSES_OF_OVERLAP = {"giou": giou_loss, "diou": diou_loss, "ciou": ciou_loss}


class Losses(NamedTuple):
    """What training minimizes, and how many anchors were assigned to objects.

    Attributes:
        classification: scalar float32.
        box: scalar float32, 0 with a gradient where the batch has no object.
        assigned: scalar, anchors assigned to objects in this process's batch.
    """

    classification: Tensor
    box: Tensor
    assigned: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum, a scalar (paper, section 4)."""
        return self.classification + self.box


@dataclass(frozen=True, slots=True)
class Criterion:
    """Assignment, focal loss and box loss for a whole batch at once.

    Both losses are summed over the anchors and divided by the number of anchors that are assigned
    to objects: the focal loss of all anchors but the ignored ones, over all classes; the box loss
    of the assigned anchors alone.

    Attributes:
        assigner: gives anchors their objects.
        alpha: weight of objects in the classification loss; None leaves the balance out.
        gamma: focusing parameter; 0 is cross entropy.
        box: the box loss's kind; 'smooth_l1' and 'l1' compare offsets, the others decoded boxes.
        beta: of smooth L1: below it the loss is quadratic.
        box_weight: factor on the box loss.
        class_weights: [K] factors on the classification loss of each class, of its objects and of
            its background; None leaves them out.
        divide_by: 'batch' divides by the assigned anchors of the batch over all processes;
            'image' divides each image's losses by its own, then takes the mean.
    """

    assigner: Assigner = field(default_factory=Assigner)
    alpha: float | None = 0.25
    gamma: float = 2.0
    box: Literal["smooth_l1", "l1", "giou", "diou", "ciou"] = "smooth_l1"
    beta: float = 0.11
    box_weight: float = 1.0
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
            assigned = (assignment.matched >= 0).sum(dim=1)
            factors = self._factors(assigned)
        classification, box = self.sums(raw, anchors, batch, assignment)
        return Losses(
            (classification * factors).sum(),
            (box * factors).sum() * self.box_weight,
            assigned.sum(),
        )

    def match(self, raw: RawOutput[Tensor], anchors: Tensor, batch: Batch) -> Assignment:
        """Which object each anchor [A, 4] gets in each image, [B, A]; see `Assigner`."""
        return self.assigner(raw, anchors, batch)

    def sums(
        self, raw: RawOutput[Tensor], anchors: Tensor, batch: Batch, assignment: Assignment
    ) -> tuple[Tensor, Tensor]:
        """The two losses of each image before anything is divided.

        Args:
            raw, anchors, batch: as for a call.
            assignment: what `match` gave.

        Returns:
            Classification and box loss, [B] float32 each; the box loss is without its weight.
        """
        matched = assignment.matched
        classification = anchors.new_zeros(len(matched))
        box = anchors.new_zeros(len(matched))
        start = 0
        for logits, deltas in zip(raw.logits, raw.deltas, strict=True):
            level = slice(start, start + logits.shape[1])
            start += logits.shape[1]
            classification = classification + self._classification(
                logits, matched[:, level], batch.labels
            )
            box = box + self._box(deltas, anchors[level], matched[:, level], batch.boxes)
        return classification, box

    def _classification(self, logits: Tensor, matched: Tensor, labels: Tensor) -> Tensor:
        """The sum for each image [B]; anchors that are ignored have none."""
        if labels.shape[1]:
            anchor_labels = labels.gather(1, matched.clamp(min=0))
            anchor_labels = torch.where(matched >= 0, anchor_labels, BACKGROUND)
        else:
            anchor_labels = matched  # no image has an object: all below 0, which is no class
        weights = None
        if self.class_weights is not None:
            weights = torch.tensor(self.class_weights, device=logits.device)
        loss = focal_loss_of_labels(
            logits, anchor_labels, gamma=self.gamma, alpha=self.alpha, weights=weights
        )
        return torch.where(matched == IGNORED, 0.0, loss).sum(dim=1)

    def _box(self, deltas: Tensor, anchors: Tensor, matched: Tensor, boxes: Tensor) -> Tensor:
        """The sum for each image [B] over the anchors that are assigned to objects."""
        is_object = matched >= 0
        if boxes.shape[1] == 0:
            return (deltas.float() * 0.0).sum(dim=(1, 2))
        index = matched.clamp(min=0)[..., None].expand(-1, -1, 4)
        # An anchor without an object is compared with itself: no logarithm of an empty box.
        expected = torch.where(is_object[..., None], boxes.gather(1, index), anchors)
        if self.box in _LOSSES_OF_OVERLAP:
            loss = _LOSSES_OF_OVERLAP[self.box](decode_boxes(deltas, anchors), expected)
        else:
            beta = self.beta if self.box == "smooth_l1" else 0.0
            loss = smooth_l1(deltas, encode_boxes(expected, anchors), beta=beta)
        return torch.where(is_object, loss, 0.0).sum(dim=1)

    def _factors(self, assigned: Tensor) -> Tensor:
        """What each image's sum is multiplied by, [B] float32: one over a number of anchors."""
        if self.divide_by == "image":
            return 1 / (assigned.clamp(min=1) * len(assigned))
        total = assigned.sum().float()
        if distributed.is_available() and distributed.is_initialized():
            # Gradients are averaged over the processes: the sum over all, divided by their number.
            distributed.all_reduce(total)
            return (distributed.get_world_size() / total.clamp(min=1)).expand(len(assigned))
        return (1 / total.clamp(min=1)).expand(len(assigned))
