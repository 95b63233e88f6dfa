"""Objects that no anchor is assigned to, which a training can't learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.text import counted
from foveal.tuning.anchor_fitting import gather_objects
from foveal.tuning.anchor_metrics import assigned_anchors, sample_images
from foveal.tuning.assignment import make_assigner

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.data.dataset import Dataset

MAX_IMAGES = 10
"""In how many images, drawn by seed, anchors are assigned."""


def describe_unassigned_objects(training: Dataset, settings: Settings) -> list[str]:
    """A warning where some of the objects get no anchor by the settings' method of assignment.

    Args:
        training: the images to learn from; some of them are looked at, as they are without
            augmentation.
        settings: of the anchors, the assignment and the preparation.
    """
    shown = [i for i, record in enumerate(training) if not record.ignored.all()]
    seed = settings.training.seed
    if len(shown) > MAX_IMAGES:
        rng = np.random.default_rng(seed)
        shown = sorted(rng.choice(shown, MAX_IMAGES, replace=False).tolist())
    objects = gather_objects(training.take(shown), settings.preparation)
    objects = objects.select(sample_images(objects, max_images=MAX_IMAGES, seed=seed))
    assigner = make_assigner(settings.assignment, settings.anchors)
    alone = int((assigned_anchors(objects, settings.anchors, assigner).sum(axis=1) == 0).sum())
    if not alone:
        return []
    finest = settings.anchors.strides[0]
    larger = "a larger input: --set preparation.shorter=N"
    if settings.preparation.mode == "windows":
        larger = f"a larger scale: --set preparation.scale=N (it is {settings.preparation.scale:g})"
    if settings.assignment.allow_low_quality_matches:
        other = ""
        if settings.assignment.method == "iou":
            other = " --set assignment.method=atss gives one to as many as it can."
        advice = (
            "Another object has the same box, or is so near that it has their anchors, which are "
            f"{finest} px apart at best.{other} What gives more room is {larger}; or finer "
            "strides. foveal data check DATA names objects that were labeled twice."
        )
    else:
        advice = (
            "--set assignment.allow_low_quality_matches=true gives one to as many as it can; "
            f"or take {larger}."
        )
    share = counted(len(objects), "object")
    return [
        f"{alone:,} of {share} in {counted(len(np.unique(objects.images)), 'training image')} "
        f"get no anchor (assignment.method is {settings.assignment.method!r}), so that the network "
        f"can't learn them. {advice}"
    ]
