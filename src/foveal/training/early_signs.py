"""Whether a run learns, by its first epoch; and if not, the likeliest reasons, each measured.

The loss of the steps and the validation are there anyway. The data is looked at only where they say
that nothing is learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from foveal.structures import DEFAULT_SCORE_THRESHOLD
from foveal.text import counted, decimal, percent
from foveal.training.missing_objects import objects_by_class
from foveal.training.outlook import images_without_objects
from foveal.training.schedule import (
    MAX_WARMUP_FRACTION,
    REFERENCE_BATCH,
    peak_learning_rate,
)
from foveal.tuning.anchor_fitting import gather_objects

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.config import Settings, TrainingSettings
    from foveal.data.dataset import Dataset
    from foveal.structures import Batch, Detections

_FEWEST_STEPS = 8
"""Of fewer steps nobody can say whether the loss falls."""
_FALLEN = 0.97
"""The loss of the last quarter of the steps is below this share of the first quarter's."""
_SHOWN_REASONS = 3
_WORTH_SAYING = 0.2
_GOOD = 0.05
"""AP from which a network has learned something, whatever its scores are."""

_FEW_STEPS, _FEW_IMAGES, _FEW_OBJECTS = 100, 50, 10
_ENOUGH_STEPS = 500
"""A run of fewer may well have learned nothing, whatever else is right."""
_FLAT = 6.0
"""Standard deviation in gray levels, 0..255; a photograph has 30 to 80."""
_MOST_PIXELS = 2048


@dataclass(frozen=True, slots=True)
class Sightings:
    """What a model detects in the validation images.

    Attributes:
        images: that were looked at.
        detections: with the default score threshold or above.
        images_with: in which these are.
        highest: score; 0 without any detection.
    """

    images: int
    detections: int
    images_with: int
    highest: float

    @staticmethod
    def of(detections: Sequence[Detections]) -> Sightings:
        """Count the detections of all images."""
        above = [int((each.scores >= DEFAULT_SCORE_THRESHOLD).sum()) for each in detections]
        highest = max((float(each.scores.max(initial=0)) for each in detections), default=0.0)
        return Sightings(len(detections), sum(above), sum(count > 0 for count in above), highest)


@dataclass(slots=True)
class EarlySigns:
    """What an epoch showed.

    Attributes:
        losses: of its steps, in order, those left out that were not finite.
        lost: how many were not finite.
        contrast: standard deviation of the pixels of the first images, 0..255; None where no image
            was looked at.
    """

    losses: list[float] = field(default_factory=list)
    lost: int = 0
    contrast: float | None = None

    def look_at(self, batch: Batch) -> None:
        """Measure how much the images of the first batch vary, on some of their inner pixels."""
        if self.contrast is None and len(batch):
            self.contrast = _contrast(batch.images)

    def falls(self) -> tuple[float, float] | None:
        """The loss of the first and of the last quarter of the steps; None where they are few."""
        if len(self.losses) < _FEWEST_STEPS:
            return None
        quarter = len(self.losses) // 4
        return float(np.mean(self.losses[:quarter])), float(np.mean(self.losses[-quarter:]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run learns.

    Attributes:
        learns: whether the loss falls and, where it was measured, something is detected.
        text: what was seen, in a sentence or two.
    """

    learns: bool
    text: str


def judge_epoch(
    signs: EarlySigns, *, ap: float | None, seen: Sightings | None, started: bool = False
) -> Verdict:
    """Whether a run learns, by its first epoch.

    Args:
        signs: of the epoch.
        ap: of its validation; None where there was none, NaN where it is undefined.
        seen: what was detected then; None where that is not known.
        started: whether the network began with the weights of a trained one.
    """
    falls = signs.falls()
    good = ap is not None and ap >= _GOOD
    if falls is None:
        few = "is" if len(signs.losses) == 1 else "are"
        said = f"{counted(len(signs.losses), 'step')} {few} too few to say whether the loss falls"
        fell = True
    else:
        fell = falls[1] < _FALLEN * falls[0]
        word = "falls" if fell else "hardly falls" if falls[1] < falls[0] else "does not fall"
        said = f"the loss {word}, from {falls[0]:.3g} to {falls[1]:.3g}"
    detects = True
    if ap is not None and ap == ap and seen is not None:
        detects = seen.detections > 0 or ap >= _GOOD
        threshold = f"a score of {DEFAULT_SCORE_THRESHOLD:.2f} or more"
        if seen.detections:
            said += (
                f", and {counted(seen.detections, 'detection')} in {seen.images_with:,} of "
                f"{counted(seen.images, 'validation image')} have {threshold}"
            )
        else:
            said += (
                f", and no detection in {counted(seen.images, 'validation image')} has {threshold} "
                f"(the highest {seen.highest:.2f})"
            )
    if started and good and not fell:
        return Verdict(
            True,
            f"After the first epoch {said}. It need not fall where the weights at the start are "
            f"good already: AP is {decimal(ap)}.",
        )
    learns = fell and detects
    if learns and falls is None and not good:  # nobody can say
        return Verdict(learns, f"After the first epoch {said}.")
    return Verdict(
        learns, f"After the first epoch {said}: it {'learns' if learns else 'does not learn yet'}."
    )


def describe_reasons(reasons: Sequence[str]) -> str:
    """The likeliest reasons why nothing is learned, a line each."""
    if not reasons:
        return (
            "Nothing that was measured explains it. Look at what the network is shown: foveal data "
            "show DATA --as-trained; and let the run go on for some epochs."
        )
    lines = [f"  {number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join(["The likeliest reasons, by what was measured:", *lines])


def likely_reasons(
    data: Dataset,
    settings: Settings,
    signs: EarlySigns,
    *,
    steps: int,
    total: int,
    started: bool,
    over: bool = False,
) -> list[str]:
    """Why nothing is learned, at most three reasons, the likeliest first.

    Args:
        data: the training images.
        settings: of the run.
        signs: of its first epoch.
        steps: of an epoch.
        total: steps of the run.
        started: whether the network began with the weights of a trained one.
        over: whether the run has ended.
    """
    reasons = [
        *_of_the_steps(signs, settings.training, steps=steps, total=total, over=over),
        *_of_the_weights(settings, started=started),
        *_of_the_pixels(signs),
        *_of_the_images(data),
        *_of_the_boxes(data, settings),
    ]
    ranked = sorted(reasons, key=lambda each: -each[0])
    return [text for weight, text in ranked if weight >= _WORTH_SAYING][:_SHOWN_REASONS]


_Reason = tuple[float, str]
"""How likely it is, 0..1, by the size of what was measured; and the reason."""


def _of_the_steps(
    signs: EarlySigns, training: TrainingSettings, *, steps: int, total: int, over: bool
) -> list[_Reason]:
    reasons: list[_Reason] = []
    if signs.lost:
        reasons.append(
            (
                1.0,
                f"In {counted(signs.lost, 'step')} of {steps:,} the loss was not finite. A lower "
                "learning rate helps (--find-learning-rate), or --set training.precision=float32.",
            )
        )
    warmup = 0
    if training.schedule != "one_cycle":
        warmup = min(training.warmup_steps, int(MAX_WARMUP_FRACTION * total), steps)
    if over and total < _ENOUGH_STEPS:
        reasons.append(
            (
                0.9 + 0.1 * (1 - total / _ENOUGH_STEPS),
                f"The run had only {counted(total, 'step')} of {training.batch} images in all; a "
                f"first model takes some {_ENOUGH_STEPS:,}. More epochs: --set training.epochs=N, "
                "or --minutes N.",
            )
        )
    if not over and (steps < _FEW_STEPS or 2 * warmup >= steps):
        weight = max(0.85 * (1 - steps / _FEW_STEPS), 0.85 * warmup / steps if warmup else 0)
        still = f", {warmup:,} of them with a learning rate that still rises" if warmup else ""
        reasons.append(
            (
                weight,
                f"The epoch had only {counted(steps, 'step')}{still}: nothing may be wrong yet. "
                "The next epochs will tell.",
            )
        )
    rate, usual = (
        peak_learning_rate(each, optimizer=training.optimizer, batch=REFERENCE_BATCH)
        for each in (training.learning_rate, None)
    )
    ratio = rate / usual
    if ratio > 2 or ratio < 0.2:
        word = f"{ratio:.3g} times" if ratio > 1 else f"1/{1 / ratio:.0f} of"
        reasons.append(
            (
                min(1.0, 0.5 + abs(math.log10(ratio)) / 2),
                f"training.learning_rate is {rate:.2g}, {word} the usual {usual:.2g} of "
                f"{training.optimizer}. --find-learning-rate tries which one suits.",
            )
        )
    return reasons


def _of_the_weights(settings: Settings, *, started: bool) -> list[_Reason]:
    model = settings.model
    if started or model.weights != "none":
        return []
    frozen = (
        f", and its first {counted(model.frozen_stages, 'stage')} stay so (model.frozen_stages)"
        if model.frozen_stages
        else ""
    )
    return [
        (
            0.95 if frozen else 0.75,
            f"The backbone begins with random weights (model.weights is 'none'){frozen}, which "
            "takes many more epochs and images. --set model.weights=pretrained or package begins "
            "with trained ones.",
        )
    ]


def _of_the_pixels(signs: EarlySigns) -> list[_Reason]:
    if signs.contrast is None or signs.contrast >= _FLAT:
        return []
    return [
        (
            0.98,
            f"The images are nearly flat: pixels of the first ones vary by {signs.contrast:.1f} of "
            "255 gray levels. Values of more than 8 bits need preparation.band_low and "
            "band_high (foveal data check DATA says which).",
        )
    ]


def _of_the_images(data: Dataset) -> list[_Reason]:
    reasons: list[_Reason] = []
    images, empty = len(data), images_without_objects(data)
    if images < _FEW_IMAGES:
        reasons.append(
            (
                0.2 + 0.6 * (1 - images / _FEW_IMAGES),
                f"There {'is' if images == 1 else 'are'} only {counted(images, 'training image')}.",
            )
        )
    if empty > 0.5 * images:
        reasons.append(
            (
                0.6 * empty / images,
                f"{empty:,} of {counted(images, 'training image')} show no object.",
            )
        )
    counts = objects_by_class(data)
    rare = [index for index in np.argsort(counts) if counts[index] < _FEW_OBJECTS]
    if rare:
        first = data.classes[rare[0]]
        reasons.append(
            (
                0.3 * len(rare) / len(counts) + 0.15,
                f"{len(rare):,} of {counted(len(counts), 'class')} have fewer than {_FEW_OBJECTS} "
                f"training objects, the fewest {first} ({counts[rare[0]]}).",
            )
        )
    return reasons


def _of_the_boxes(data: Dataset, settings: Settings) -> list[_Reason]:
    original = gather_objects(data, None)
    if not len(original):
        return []
    reasons: list[_Reason] = []
    sides = original.sides.max(axis=1)
    if np.median(sides) < 3:
        reasons.append(
            (
                0.97,
                f"Half of the boxes are below {np.median(sides):.2g} pixels in their images. Are "
                "they in another unit than pixels? foveal data show DATA draws them.",
            )
        )
    covered = original.sides.prod(axis=1) / original.inputs.prod(axis=1)
    large = float((covered > 0.8).mean())
    if large > 0.2:
        reasons.append(
            (
                large,
                f"{percent(large)} of the boxes cover more than 80% of their image. Were corners "
                "and sizes confused? foveal data show DATA draws them.",
            )
        )
    shown = np.sqrt(gather_objects(data, settings.preparation).sides.prod(axis=1))
    finest, preparation = settings.anchors.strides[0], settings.preparation
    small = float((shown < finest).mean()) if len(shown) else 0.0
    if small > _WORTH_SAYING:
        larger = (
            f"preparation.scale=N (it is {preparation.scale:g})"
            if preparation.mode == "windows"
            else f"preparation.shorter=N (it is {preparation.shorter})"
        )
        reasons.append(
            (
                small,
                f"{percent(small)} of the objects are smaller than {finest} px at the network's "
                f"input, its finest stride. --set {larger} shows them larger; --preset scenes is "
                "made for small ones.",
            )
        )
    return reasons


def _contrast(images: Tensor) -> float:
    """The median over images [B, C, H, W] of their inner pixels' standard deviation."""
    height, width = images.shape[2:]
    inner = images[:, :, height // 4 : max(height // 4 + 1, 3 * height // 4)]
    inner = inner[..., width // 4 : max(width // 4 + 1, 3 * width // 4)]
    every = max(1, math.isqrt(inner.shape[2] * inner.shape[3] // _MOST_PIXELS))
    values = inner[:, :, ::every, ::every].flatten(1).cpu().numpy().astype(np.float32)
    return float(np.median(values.std(axis=1)))
