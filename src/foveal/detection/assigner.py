"""Which of the methods decides what each anchor is trained to detect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from foveal.detection.assignment import Assignment, assign
from foveal.structures import Batch, RawOutput

Method = Literal["iou"]


@dataclass(frozen=True, slots=True)
class Assigner:
    """A method of assignment with what it needs to know.

    Attributes:
        method: 'iou' is the paper's, see `assign`.
        foreground_iou, background_iou: as `assign`.
        allow_low_quality_matches, ignored_overlap: as `assign`.
    """

    method: Method = "iou"
    foreground_iou: float = 0.5
    background_iou: float = 0.4
    allow_low_quality_matches: bool = True
    ignored_overlap: float = 0.5

    @property
    def follows_predictions(self) -> bool:
        """Whether the same image can be assigned otherwise when the network has learned more."""
        return False

    def __call__(self, raw: RawOutput[Tensor], anchors: Tensor, batch: Batch) -> Assignment:
        """Which object each anchor of each image gets.

        Args:
            raw: the network's output, levels with A_1 + ... + A_L = A.
            anchors: [A, 4] xyxy, input pixels.
            batch: targets on the same device, input pixels.
        """
        matched = assign(
            anchors,
            batch.boxes,
            batch.counts,
            ignored=batch.ignored if batch.has_ignored else None,
            foreground_iou=self.foreground_iou,
            background_iou=self.background_iou,
            allow_low_quality_matches=self.allow_low_quality_matches,
            ignored_overlap=self.ignored_overlap,
        )
        return Assignment(matched)
