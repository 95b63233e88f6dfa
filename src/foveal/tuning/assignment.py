"""From settings to the method that gives anchors their objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.detection.assigner import Assigner

if TYPE_CHECKING:
    from foveal.config import AnchorSettings, AssignmentSettings


def make_assigner(assignment: AssignmentSettings, anchors: AnchorSettings) -> Assigner:
    """The method of assignment that the settings describe, for these anchors."""
    return Assigner(
        method=assignment.method,
        foreground_iou=assignment.foreground_iou,
        background_iou=assignment.background_iou,
        candidates=assignment.candidates,
        allow_low_quality_matches=assignment.allow_low_quality_matches,
        ignored_overlap=assignment.ignored_overlap,
        strides=anchors.strides,
        per_location=anchors.per_location,
    )
