"""What a run will be, in words: images, steps, what is called the best, how long it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.text import counted, duration

if TYPE_CHECKING:
    from foveal.config import ModelSettings, TrainingSettings
    from foveal.data.dataset import Dataset

SLOW_STEPS = 2
"""So many steps of a process count for nothing: the first ones are slower."""
_STEPS_ENOUGH = 10
_STEPS_OF_LONG_ONES, _SECONDS_ENOUGH = 3, 10.0


def images_without_objects(data: Dataset) -> int:
    """How many images show no object; regions to ignore are none."""
    return sum(not np.any(~record.ignored & (record.labels >= 0)) for record in data.records)


def describe_weights(model: ModelSettings) -> str:
    """That the backbone's weights come out of a package; else ''."""
    if model.weights != "package":
        return ""
    return (
        f"The backbone {model.backbone} begins with the weights of an installed package "
        "(foveal[weights]). Where timm's hub can be reached, --set model.weights=pretrained gives "
        "the presets mobilenetv2_100, which learned better so far and trains faster on a CPU."
    )


def describe_run(
    data: Dataset, training: TrainingSettings, *, steps: int, images: int, windows: bool
) -> str:
    """Images, epochs and steps of a run.

    Args:
        data: the training images.
        training: of the settings.
        steps: of an epoch.
        images: an epoch shows so many, repeated ones several times.
        windows: whether these are windows of the images.
    """
    text = counted(len(data), "training image")
    if empty := images_without_objects(data):
        text += f", {empty:,} of them without objects (they teach what is no object)"
    else:
        text += ", all with objects"
    shown = f" of {counted(images, 'window')}" if windows else ""
    if training.minutes is None:
        total = counted(training.epochs * steps, "step")
        length = f"{counted(training.epochs, 'epoch')}{shown}, {counted(steps, 'step')} each: "
        return f"{text}. {length}{total} of {counted(training.batch, 'image')}."
    return f"{text}. Epochs{shown} have {counted(steps, 'step')} of {training.batch} images."


def describe_validation(
    training: TrainingSettings, *, images: int, without_objects: int, file: str
) -> str:
    """When the run is measured, on what, and which epoch is called the best.

    Args:
        training: of the settings.
        images: that are measured on; 0 where nothing is measured.
        without_objects: so many of them.
        file: with the best weights; '' for a run without a folder.
    """
    where = f"{file} has" if file else "the model gets"
    if not images:
        return f"Nothing is measured after an epoch: {where} the weights of the last one."
    every = training.evaluate_every
    when = "each epoch" if every == 1 else f"every {every:,} epochs and the last one"
    which = "The best epoch is the one with the highest AP"
    if every >= training.epochs and training.minutes is None:
        when, which = "the last epoch alone", "No other can be the best"
    empty = f" ({without_objects:,} without objects)" if without_objects else ""
    return (
        f"After {when} AP, the mean over overlaps of 0.50 to 0.95, is measured on "
        f"{counted(images, 'validation image')}{empty}. {which}: {where} its weights."
    )


def enough_steps(steps: int, seconds: float) -> bool:
    """Whether so many steps, which took so long, say how long the others will take."""
    return steps >= SLOW_STEPS + _STEPS_ENOUGH or (
        steps >= SLOW_STEPS + _STEPS_OF_LONG_ONES and seconds > _SECONDS_ENOUGH
    )


def describe_pace(*, step: float, measured: int, rest: float, steps: int, validates: bool) -> str:
    """How long the steps of a run will take.

    Args:
        step: seconds that one takes.
        measured: by so many of the run's own.
        rest: seconds of all that are left.
        steps: so many.
        validates: whether there are validations, whose time is not known yet.
    """
    more = " Validations come on top." if validates else ""
    return (
        f"A step takes {step:.2g} s, by {counted(measured, 'step')} of this run: the other "
        f"{steps:,} take about {duration(rest)}.{more}"
    )


def describe_rest(*, epoch: int, seconds: float, validation: float, rest: float) -> str:
    """How long a run will still take, after an epoch that was measured whole.

    Args:
        epoch: from 1.
        seconds: that its steps took.
        validation: seconds of its validation; 0 where there was none.
        rest: seconds of all that is left, validations included.
    """
    measured = f" and its validation {duration(validation)}" if validation else ""
    return (
        f"Epoch {epoch} took {duration(seconds)}{measured}: the run will take about "
        f"{duration(rest)} more."
    )
