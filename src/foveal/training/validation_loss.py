"""The loss on validation images, from the same pass through the network that finds objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from foveal.data.loading.collate import make_batch
from foveal.data.transforms.boxes import move_target
from foveal.detection.assignment import BACKGROUND, Assignment
from foveal.structures import Sample

if TYPE_CHECKING:
    from foveal.data.loading.prefetch import Input
    from foveal.detection.criterion import Criterion
    from foveal.geometry.placement import Placement
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import Batch, RawOutput, Target

_MOST_REMEMBERED = 2**25
"""Anchors whose assignment is kept, 8 bytes each: 256 MB."""

ImageLoss = tuple[float, ...]
"""An image's losses before anything is divided, then what each is to be divided by (`LossSums`)."""
_NOTHING: ImageLoss = (0.0,) * 6


class ValidationLoss:
    """Computes the training's losses of images while objects are looked for in them.

    The losses of an image that is looked at in windows are those of all its windows together. What
    a window shows is cut as in training, and counts in each window that shows it.

    Args:
        criterion: of the training.
        min_visibility: an object of which a window shows less is a region to ignore in it.
    """

    def __init__(self, criterion: Criterion, *, min_visibility: float = 0.25) -> None:
        self._criterion = criterion
        self._min_visibility = min_visibility
        self._indices: Sequence[int] = ()
        self._targets: Sequence[Target] = ()
        self._assigned: dict[tuple[int, Placement, int, int], tuple[Tensor, Tensor]] = {}
        self._remembered = 0
        self._sums: dict[int, ImageLoss] = {}

    def begin(self, indices: Sequence[int], targets: Sequence[Target]) -> None:
        """Forget the sums of before; the next images are these.

        Args:
            indices: which of the validation images.
            targets: what each shows, in original pixels.
        """
        self._indices = indices
        self._targets = targets
        self._sums = {}

    def observer(
        self, model: RetinaNet
    ) -> Callable[[RawOutput[Any], list[Input], tuple[int, int]], None]:
        """What a predictor is to tell of each pass through a network."""

        def observe(raw: RawOutput[Any], inputs: list[Input], size: tuple[int, int]) -> None:
            device = model.mean.device
            tensors = raw.map(lambda level: torch.as_tensor(level)[: len(inputs)].to(device))
            batch = make_batch(
                [(self._sample(item, size), item.origin.placement) for item in inputs],
                images=np.empty((len(inputs), 1, 1, 3), np.uint8),
            ).to(device)
            anchors = model.anchors(*size)
            with torch.inference_mode():
                assignment = self._assignment(tensors, anchors, batch, inputs, size)
                found = self._criterion.sums(tensors, anchors, batch, assignment)
            for item, row in zip(inputs, torch.cat(found).double().T.tolist(), strict=True):
                before = self._sums.get(item.index, _NOTHING)
                self._sums[item.index] = tuple(map(sum, zip(before, row, strict=True)))

        return observe

    def take(self) -> list[ImageLoss]:
        """What was computed, for each of the images."""
        return [self._sums.get(index, _NOTHING) for index in range(len(self._targets))]

    def mean(self, losses: Sequence[ImageLoss]) -> dict[str, float]:
        """The losses over all images, divided as in training, as if they were one batch.

        Args:
            losses: of all images.
        """
        if not losses:
            return {}
        sums, divisors = np.split(np.asarray(losses, np.float64), 2, axis=1)
        if self._criterion.divide_by == "image":
            means = (sums / np.maximum(1, divisors)).mean(axis=0)
        else:
            means = sums.sum(axis=0) / np.maximum(1, divisors.sum(axis=0))
        classification, box = means[0], means[1] + means[2]
        return {
            "validation_loss": float(classification + box),
            "validation_classification": float(classification),
            "validation_box": float(box),
        }

    def _assignment(
        self,
        raw: RawOutput[Tensor],
        anchors: Tensor,
        batch: Batch,
        inputs: Sequence[Input],
        size: tuple[int, int],
    ) -> Assignment:
        """Which object each anchor gets: remembered where predictions have no part in it.

        Images and anchors stay. Assigning takes as long as the network where objects are many. Few
        anchors get an object or are ignored; only these are kept.
        """
        if self._criterion.assigner.follows_predictions:
            return self._criterion.match(raw, anchors, batch)
        keys = [(self._indices[item.index], item.origin.placement, *size) for item in inputs]
        if all(key in self._assigned for key in keys):
            known = torch.full((len(inputs), len(anchors)), BACKGROUND, device=anchors.device)
            for row, key in enumerate(keys):
                places, values = self._assigned[key]
                known[row, places.to(anchors.device).long()] = values.to(anchors.device).long()
            return Assignment(known)
        matched = self._criterion.match(raw, anchors, batch).matched
        for key, row in zip(keys, matched.cpu(), strict=True):
            places = torch.nonzero(row != BACKGROUND)[:, 0]
            if self._remembered + len(places) > _MOST_REMEMBERED:
                break
            self._assigned[key] = places.int(), row[places].int()
            self._remembered += len(places)
        return Assignment(matched)

    def _sample(self, item: Input, size: tuple[int, int]) -> Sample:
        """An input with what it shows, in input pixels; boxes without area are left out."""
        placement, target = item.origin.placement, self._targets[item.index]
        kept = np.flatnonzero((target.boxes[:, 2:] > target.boxes[:, :2]).all(axis=1))
        target = target.select(kept)
        if _shows_all(placement, size):
            target = target.transformed(placement.to_input(target.boxes))
        else:
            target = move_target(
                target,
                np.array(
                    [
                        [placement.scale_x, 0, placement.offset_x],
                        [0, placement.scale_y, placement.offset_y],
                    ]
                ),
                room=size,
                min_visibility=self._min_visibility,
                rule="corners",
                cut="ignore",
            )
        return Sample(item.sample.image, target, item.sample.name)


def _shows_all(placement: Placement, size: tuple[int, int]) -> bool:
    """Whether an input (height, width) shows a whole image, up to the rounding of its size."""
    right = placement.width * placement.scale_x + placement.offset_x
    bottom = placement.height * placement.scale_y + placement.offset_y
    whole = placement.offset_x >= 0 and placement.offset_y >= 0
    return whole and right <= size[1] + 1 and bottom <= size[0] + 1
