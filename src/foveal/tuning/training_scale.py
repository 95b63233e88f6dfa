"""At which scale a data set's images and objects reach the network, for the model's card."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from foveal.data.images.rasters import georeference_of, ground_resolution
from foveal.data.images.reading import image_size
from foveal.data.transforms.preparation import make_preparation
from foveal.errors import DataError, ImageError, MissingExtraError
from foveal.tuning.anchor_fitting import gather_objects

if TYPE_CHECKING:
    from foveal.config import PreparationSettings
    from foveal.data.dataset import Dataset, Record
    from foveal.data.transforms.preparation import Preparation

logger = logging.getLogger(__name__)

_MOST_LOOKED_AT = 256
"""Of so many images, spread over the data set, the place on the map is asked for."""
_LARGEST = 99
"""Percentile of the objects' longer sides that counts as the largest: the few beyond may be any."""


class TrainingScale(NamedTuple):
    """What a model's card says of it; see `foveal.structures.ModelCard`."""

    scale: float | None
    ground_resolution: float | None
    largest_object: float | None


def measure_scale(data: Dataset, preparation: PreparationSettings) -> TrainingScale:
    """Measure a data set as the network sees it.

    Args:
        data: the images. Only headers are read.
        preparation: how images become inputs.

    Returns:
        Medians over the images, and a percentile of the objects; None where nothing is known.
    """
    prepare = make_preparation(preparation)
    scales = [scale for record in data if (scale := _scale_of(record, prepare)) is not None]
    sides = gather_objects(data, preparation).sides.max(axis=1, initial=0)
    return TrainingScale(
        float(np.median(scales)) if scales else None,
        _ground_resolution(data, prepare),
        float(np.percentile(sides, _LARGEST)) if len(sides) else None,
    )


def _ground_resolution(data: Dataset, preparation: Preparation) -> float | None:
    """Meters that an input pixel shows, the median of the images that have a place on the map."""
    count = len(data)
    looked_at = np.unique(np.linspace(0, max(0, count - 1), min(count, _MOST_LOOKED_AT)).round())
    meters = []
    for index in looked_at.astype(int).tolist():
        record = data.records[index]
        try:
            place = georeference_of(record.path)
            if place is None:
                continue
            width, height = _size_of(record)
            ground = ground_resolution(place, width, height)
            scale = _scale_of(record, preparation)
        except MissingExtraError as error:
            logger.warning(
                "How many meters a pixel shows is not looked at, and the model will not know it: "
                "%s",
                error,
            )
            return None
        except ImageError:  # what is wrong with it is said where it is read
            continue
        if ground is not None and scale is not None:
            meters.append(ground / scale)
    return float(np.median(meters)) if meters else None


def _scale_of(record: Record, preparation: Preparation) -> float | None:
    with suppress(DataError):
        placement = preparation.placement_for(*_size_of(record))
        return math.sqrt(placement.scale_x * placement.scale_y)
    return None


def _size_of(record: Record) -> tuple[int, int]:
    if record.width > 0 and record.height > 0:
        return record.width, record.height
    return image_size(record.path)
