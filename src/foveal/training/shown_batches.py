"""The batches that a run would begin with, to be looked at instead of learned from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.config import change_settings
from foveal.detection.anchors import AnchorGrid
from foveal.structures import Target
from foveal.text import counted
from foveal.training.loaders import describe_phases, describe_windows, open_batches
from foveal.tuning.anchor_metrics import match_untrained
from foveal.tuning.assignment import make_assigner
from foveal.visualization.targets import MatchedAnchors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.data.loading.loader import TrainingBatches
    from foveal.structures import Batch


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImage:
    """An image as the network gets it.

    Attributes:
        image: [H, W, C] uint8, the network's input.
        target: its objects, input pixels.
        name: of the file; the first of several that the image is made of.
        step: of the epoch, from 1.
        anchors: which anchors learn which object; None where that was not asked for.
    """

    image: NDArray[np.uint8]
    target: Target
    name: str
    step: int
    anchors: MatchedAnchors | None


class ShownBatches:
    """The first epoch's batches, made as a run makes them, in this process.

    Args:
        settings: of the run, those that follow from the data included.
        data: the training images.
        anchors: match anchors too.

    Attributes:
        images: how many the epoch has.
        steps: in how many batches.

    Raises:
        ImageError: there is no image, or one of unknown size is broken.
        SettingsError: settings contradict one another.
    """

    def __init__(self, settings: Settings, data: Dataset, *, anchors: bool = False) -> None:
        self._settings, self._anchors = settings, anchors
        alone = {"workers": 0, "cache_megabytes": 0}  # the batches are the same
        self._batches: TrainingBatches = open_batches(
            change_settings(settings, {"training": alone}), data
        )
        self.images, self.steps = self._batches.images, self._batches.steps

    def __iter__(self) -> Iterator[TrainingImage]:
        """The images in their order.

        Raises:
            ImageError: an image can't be read, and is not to be skipped.
        """
        for step, batch in enumerate(self._batches.epoch(0, progress=0.0), start=1):
            matched = self._match(batch) if self._anchors else [None] * len(batch)
            pixels = batch.images.permute(0, 2, 3, 1).contiguous().numpy()
            for index, anchors in enumerate(matched):
                target = _target_of(batch, index)
                yield TrainingImage(pixels[index], target, batch.names[index], step, anchors)

    def describe(self) -> list[str]:
        """What the batches are, in sentences."""
        training, augmentation = self._settings.training, self._settings.augmentation
        noun = "image" if self._batches.windows is None else "window"
        lines = [
            f"An epoch has {counted(self.images, noun)} in {counted(self.steps, 'step')} of "
            f"{training.batch}; these are the first of the first epoch. Each epoch changes them "
            "anew."
        ]
        if augmentation.custom is not None:
            lines.append(f"They are augmented by {augmentation.custom}.")
        if self._batches.windows is not None:
            lines.append(describe_windows(self._batches.windows, self._settings.preparation))
        if phases := describe_phases(self._settings):
            lines.append(phases)
        if self._anchors:
            method = self._settings.assignment.method
            text = "A dot is the center of an anchor that learns the object of its color"
            text += f" (assignment.method is {method!r})."
            if make_assigner(self._settings.assignment, self._settings.anchors).follows_predictions:
                text += (
                    " That method goes by what the network predicts: shown is what one gets that "
                    "has learned nothing yet."
                )
            lines.append(text)
        return lines

    def _match(self, batch: Batch) -> list[MatchedAnchors]:
        """The anchors of each image that get an object."""
        settings = self._settings
        grid = AnchorGrid(**settings.anchors.model_dump())
        height, width = batch.images.shape[2:]
        assigner = make_assigner(settings.assignment, settings.anchors)
        matched = match_untrained(batch, (height, width), grid, assigner).numpy()
        boxes = grid.boxes(height, width)
        return [
            MatchedAnchors(boxes[of >= 0], of[of >= 0], framed=assigner.method == "iou")
            for of in matched
        ]


def _target_of(batch: Batch, index: int) -> Target:
    real = slice(int(batch.counts[index]))
    return Target(
        batch.boxes[index, real].numpy(),
        batch.labels[index, real].numpy(),
        batch.ignored[index, real].numpy(),
    )
