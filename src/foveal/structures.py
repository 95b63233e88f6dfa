"""What travels between the rooms.

Sample, Target and Detections live on the host, Batch on the device, RawOutput and PaddedDetections
where the network was computed. Host structures hold numpy arrays, so that reading data, predicting
with an exported model and looking at results need no torch.
Boxes are float32 xyxy in continuous pixels without "+1"; labels are 0..K-1 and there is no
background class. The frame (original or input pixels) is said where a structure is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.geometry.placement import Placement

DEFAULT_SCORE_THRESHOLD = 0.3
"""From which score a detection counts where no validation images chose one."""

ArrayT = TypeVar("ArrayT", bound="Tensor | NDArray[Any]")
"""Tensors on a device or numpy arrays on the host, all of one kind."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an image is known to show.

    Attributes:
        boxes: [N, 4] float32 xyxy.
        labels: [N] int64, 0..K-1.
        ignored: [N] bool; such a box is a region to ignore, neither object nor background.
        areas: [N] float64, pixels in the original frame, where the annotations state an area that
            is not the box's (COCO's masks); evaluation sorts objects by it into sizes.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    areas: NDArray[np.float64] | None = None

    @staticmethod
    def empty() -> Target:
        """A target without objects."""
        return Target(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its target, in one frame (original pixels when it comes out of a Dataset).

    Attributes:
        image: [H, W, C] uint8, RGB where C is 3.
        target: boxes in the image's own pixels.
        name: what people call the image, used in messages.
    """

    image: NDArray[np.uint8]
    target: Target
    name: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one input size with their padded targets.

    Attributes:
        images: [B, C, H, W] uint8, channels_last in memory.
        boxes: [B, N, 4] float32 xyxy, input pixels, zeros where padded.
        labels: [B, N] int64, zero where padded.
        ignored: [B, N] bool, regions to ignore, False where padded.
        counts: [B] int64, how many of the N are real.
        placements: one for each image.
        names: what people call each image.
        has_ignored: whether any image holds a region to ignore, known on the host so that the
            device need not be asked.
        indices: each image's position in its data set, where it came from one.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    counts: Tensor
    placements: tuple[Placement, ...] = ()
    names: tuple[str, ...] = ()
    has_ignored: bool = True
    indices: tuple[int, ...] = ()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (the hook that torch's DataLoader calls)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            images=change(self.images),
            boxes=change(self.boxes),
            labels=change(self.labels),
            ignored=change(self.ignored),
            counts=change(self.counts),
        )

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What people and programs should know of a model; it travels in every file of the model.

    Attributes:
        classes: the K class names.
        score_threshold: from which score a detection counts, the default of all commands.
        threshold_is_chosen: whether validation images chose it.
        ignored_classes: classes of the training data whose boxes mark regions to ignore.
        metrics: what was measured on the validation images, such as AP and AP50.
        epoch: after which epoch the weights were taken, from 1; None where there is none.
        origin: where the model came from, in words.
    """

    classes: tuple[str, ...]
    score_threshold: float = DEFAULT_SCORE_THRESHOLD
    threshold_is_chosen: bool = False
    ignored_classes: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: int | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise DataError(
                f"Class names {list(self.classes)}: expected at least one, none of them twice."
            )
        if not 0 <= self.score_threshold <= 1:
            raise DataError(f"Score threshold {self.score_threshold:g}: expected 0 to 1.")


class RawOutput(NamedTuple, Generic[ArrayT]):
    """What the network says, the same in training, evaluation and export.

    Tensors on the device from PyTorch, numpy arrays from a runtime that knows no PyTorch:
    `RawOutput[Tensor]` and `RawOutput[NDArray[np.float32]]`.

    Attributes:
        logits: for each level [B, A_l, K].
        deltas: for each level [B, A_l, 4], (dx, dy, dw, dh) from the anchors.
    """

    logits: tuple[ArrayT, ...]
    deltas: tuple[ArrayT, ...]


class PaddedDetections(NamedTuple, Generic[ArrayT]):
    """A batch's detections, best first, input pixels: `PaddedDetections[Tensor]` or `[NDArray]`.

    Attributes:
        boxes: [B, M, 4] float32 xyxy, zeros where padded.
        scores: [B, M] float32, zero where padded.
        labels: [B, M] int64, zero where padded.
        counts: [B] int64, how many of the M are real.
    """

    boxes: ArrayT
    scores: ArrayT
    labels: ArrayT
    counts: ArrayT


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one image, best first.

    Attributes:
        boxes: [N, 4] float32 xyxy, original pixels.
        scores: [N] float32 in 0..1.
        labels: [N] int64, 0..K-1.
        classes: the K class names.
        width, height: the original image's size in pixels, 0 where unknown.
        path: the image's file, where it came from one.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = field(default=())
    width: int = 0
    height: int = 0
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.classes[label] for label in self.labels]

    def select(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Detections:
        """The detections that a mask or an index array picks, in its order."""
        return Detections(
            self.boxes[keep],
            self.scores[keep],
            self.labels[keep],
            classes=self.classes,
            width=self.width,
            height=self.height,
            path=self.path,
        )

    def above(self, score_threshold: float) -> Detections:
        """The detections whose score is at least the threshold."""
        return self.select(self.scores >= score_threshold)

    def filter(self, *names: str, score_threshold: float = 0.0) -> Detections:
        """The detections of some classes.

        Args:
            names: of the classes; without any, all of them.
            score_threshold: the least score.

        Raises:
            DataError: there is no class of such a name.
        """
        unknown = [name for name in names if name not in self.classes]
        if unknown:
            raise DataError(
                f"There is no class {unknown[0]!r}. Expected some of: {', '.join(self.classes)}."
            )
        keep = self.scores >= score_threshold
        if names:
            keep &= np.isin(self.labels, [self.classes.index(name) for name in names])
        return self.select(keep)

    def counts(self) -> dict[str, int]:
        """How many were found of each class, zeros included."""
        found = np.bincount(self.labels, minlength=len(self.classes))
        return {name: int(found[label]) for label, name in enumerate(self.classes)}
