"""Which of the methods decides what each anchor is trained to detect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from foveal.detection import assignment_atss, assignment_task_aligned
from foveal.detection.assignment import Assignment, assign
from foveal.detection.assignment_atss import assign_atss
from foveal.detection.assignment_fcos import assign_fcos
from foveal.detection.assignment_task_aligned import assign_task_aligned
from foveal.structures import Batch, RawOutput

Method = Literal["iou", "atss", "task_aligned", "fcos"]


@dataclass(frozen=True, slots=True)
class Assigner:
    """A method of assignment with what it needs to know.

    Attributes:
        method: 'iou' is the paper's, see `assign`; 'atss', see `assign_atss`; 'task_aligned', see
            `assign_task_aligned`; 'fcos', see `assign_fcos`.
        foreground_iou, background_iou: of 'iou'.
        candidates: of 'atss', locations of each level that an object looks at; of 'task_aligned',
            anchors that it gets at most. None: 9 and 13, as in the papers.
        allow_low_quality_matches: whether objects that the method gives no anchor get one.
        ignored_overlap: as `assign`; 'fcos' ignores the locations inside a region instead.
        strides: of 'fcos', input pixels between the locations of each level.
        per_location: anchors of each location, which 'atss' and 'task_aligned' need to know.
    """

    method: Method = "iou"
    foreground_iou: float = 0.5
    background_iou: float = 0.4
    candidates: int | None = None
    allow_low_quality_matches: bool = True
    ignored_overlap: float = 0.5
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    per_location: int = 9

    @property
    def follows_predictions(self) -> bool:
        """Whether the same image can be assigned otherwise when the network has learned more."""
        return self.method == "task_aligned"

    def __call__(self, raw: RawOutput[Tensor], anchors: Tensor, batch: Batch) -> Assignment:
        """Which object each anchor of each image gets.

        Args:
            raw: the network's output, levels with A_1 + ... + A_L = A.
            anchors: [A, 4] xyxy, input pixels.
            batch: targets on the same device, input pixels.
        """
        if self.method == "task_aligned":
            return assign_task_aligned(
                raw,
                anchors,
                batch,
                per_location=self.per_location,
                candidates=self.candidates or assignment_task_aligned.CANDIDATES,
                allow_low_quality_matches=self.allow_low_quality_matches,
                ignored_overlap=self.ignored_overlap,
            )
        level_lengths = tuple(level.shape[1] for level in raw.logits)
        ignored = batch.ignored if batch.has_ignored else None
        if self.method == "atss":
            matched = assign_atss(
                anchors,
                batch.boxes,
                batch.counts,
                level_lengths=level_lengths,
                per_location=self.per_location,
                ignored=ignored,
                candidates=self.candidates or assignment_atss.CANDIDATES,
                allow_low_quality_matches=self.allow_low_quality_matches,
                ignored_overlap=self.ignored_overlap,
            )
        elif self.method == "fcos":
            matched = assign_fcos(
                anchors,
                batch.boxes,
                batch.counts,
                level_lengths=level_lengths,
                strides=self.strides,
                ignored=ignored,
                allow_low_quality_matches=self.allow_low_quality_matches,
            )
        else:
            matched = assign(
                anchors,
                batch.boxes,
                batch.counts,
                ignored=ignored,
                foreground_iou=self.foreground_iou,
                background_iou=self.background_iou,
                allow_low_quality_matches=self.allow_low_quality_matches,
                ignored_overlap=self.ignored_overlap,
            )
        return Assignment(matched)
