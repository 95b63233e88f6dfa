"""Settings that the data decides where nobody has: bands, their limits, anchors, detections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.errors import DataError, SettingsError
from foveal.tuning.images import follow_images
from foveal.tuning.limits import follow_objects

if TYPE_CHECKING:
    from collections.abc import Collection

    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.tuning.anchor_fitting import AnchorFit
    from foveal.tuning.location_fitting import LocationFit

ANCHOR_SHAPES = {"sizes", "scales", "ratios", "shapes"}


def fit_to_data(
    settings: Settings,
    data: Dataset,
    *,
    refit_anchors: bool = False,
    free_limits: Collection[str] = (),
) -> tuple[Settings, AnchorFit | LocationFit | None]:
    """Settings for a data set; what was set explicitly stays as it is.

    Args:
        settings: all of them.
        data: the training images.
        refit_anchors: fit the anchors though they are set, beginning with those.
        free_limits: limits of decoding that may be raised though they are set.

    Returns:
        The settings, and how well the fitted anchors, or locations with one anchor each, suit the
        data; None where sizes, scales or ratios of several were set, so that nothing was fitted.
        With windows the strides are fitted too, where nothing of the anchors was set.

    Raises:
        DataError: the data has no classes.
        ImageError: an image with more than 8 bits can't be read.
        SettingsError: the backbone's name is unknown, or anchors are to be fitted that have one
            shape only.
    """
    if not data.classes:
        raise DataError(
            f"{data.name or data.root} has no classes. Expected at least one "
            "labeled object; foveal data check says what was read."
        )
    settings = follow_objects(follow_images(settings, data), data, free=free_limits)
    if fixed := why_no_shapes(settings):
        if refit_anchors:
            raise SettingsError(f"{fixed}. Leave --refit-anchors out (in Python refit_anchors).")
        return _fit_locations(settings, data)
    if not refit_anchors and settings.anchors.model_fields_set & ANCHOR_SHAPES:
        return settings, None
    from foveal.tuning.anchor_fitting import fit_anchors

    fit = fit_anchors(
        data,
        anchors=settings.anchors,
        preparation=settings.preparation,
        assignment=settings.assignment,
        fit_strides=fits_strides(settings),
    )
    return settings.model_copy(update={"anchors": fit.settings}), fit


def _fit_locations(settings: Settings, data: Dataset) -> tuple[Settings, LocationFit | None]:
    """As `fit_to_data`, where each location has one anchor."""
    from foveal.tuning.location_fitting import fit_locations

    if not len(data):
        return settings, None
    fit = fit_locations(
        data,
        anchors=settings.anchors,
        preparation=settings.preparation,
        fit_strides=fits_strides(settings),
    )
    if fit.settings is settings.anchors:
        return settings, fit
    return settings.model_copy(update={"anchors": fit.settings}), fit


def why_no_shapes(settings: Settings) -> str:
    """Why anchors have no shapes to fit, in words; "" where they have."""
    named = {
        "assignment.method": (settings.assignment.method, "fcos"),
        "model.box_coding": (settings.model.box_coding, "distances"),
    }
    for name, (value, alone) in named.items():
        if value == alone:
            return (
                f"Anchors have no shapes to fit, since {name} is {value!r}: there is one square at "
                "each location, and none of its sides matters"
            )
    if settings.anchors.per_location == 1 and settings.assignment.method != "iou":
        return (
            "Anchors have no shapes to fit: there is one square at each location, and which "
            f"objects it learns is decided by assignment.method {settings.assignment.method!r}, "
            "whatever their shape"
        )
    return ""


def fits_strides(settings: Settings) -> bool:
    """Whether the data decides the anchors' strides: with windows, where nobody has set them.

    Sizes that are set for single anchors keep the strides that they were set for.
    """
    from foveal.tuning.location_fitting import are_squares_of_strides

    anchors = settings.anchors
    if settings.preparation.mode != "windows" or "strides" in anchors.model_fields_set:
        return False
    return not anchors.model_fields_set & ANCHOR_SHAPES or are_squares_of_strides(anchors)
