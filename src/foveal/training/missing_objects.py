"""What the data lacks for a training that can succeed: objects at all, or those of some classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.text import counted, listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset

_MAX_NAMES = 8


def describe_missing_objects(training: Dataset, validation: Dataset) -> list[str]:
    """A warning for each kind of objects that a run would look for in vain.

    Regions to ignore are no objects.

    Args:
        training: the images to learn from.
        validation: the images to measure on, with the same classes; none where nothing is measured.
    """
    warnings = []
    learned, measured = objects_by_class(training), objects_by_class(validation)
    if not learned.any():
        warnings.append(
            f"There is no object in the {counted(len(training), 'training image')}: the network "
            "can only learn to find nothing. Look at what was read: foveal data check DATA."
        )
    elif absent := _absent(learned, training.classes):
        warnings.append(
            f"The training images have no object of {absent}, which the network can't learn. "
            "foveal data check DATA says what was read."
        )
    if not len(validation):
        return warnings
    if not measured.any():
        warnings.append(
            f"There is no object in the {counted(len(validation), 'validation image')}: AP is "
            "undefined, and no epoch can be told to be the best. Give images with objects: --valid "
            "DATA (in Python fit(valid=...)), or hold out more: --set "
            "training.validation_fraction=F."
        )
    elif absent := _absent(measured, training.classes, unless=learned == 0):
        warnings.append(
            f"The validation images have no object of {absent}: AP is the mean over the other "
            "classes."
        )
    return warnings


def objects_by_class(data: Dataset) -> NDArray[np.int64]:
    """The number of objects of each class, [K]; regions to ignore are left out."""
    if not len(data):
        return np.zeros(len(data.classes), np.int64)
    labels = np.concatenate([record.labels for record in data.records])
    ignored = np.concatenate([record.ignored for record in data.records])
    return np.bincount(labels[~ignored & (labels >= 0)], minlength=len(data.classes))


def _absent(
    counts: NDArray[np.int64], classes: tuple[str, ...], *, unless: NDArray[np.bool_] | None = None
) -> str:
    """The classes without objects, in words; '' for none.

    Args:
        counts: [K] objects.
        classes: their names.
        unless: [K] classes that were named already.
    """
    empty = counts == 0 if unless is None else (counts == 0) & ~unless
    names = [classes[index] for index in np.flatnonzero(empty)]
    if not names:
        return ""
    return f"{listed(names, _MAX_NAMES)} ({len(names)} of {counted(len(classes), 'class')})"
