"""Settings that follow from the images and the backbone: bands, their limits, normalization."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from foveal.config import Settings, change_settings
from foveal.data.images.reading import ImageInfo, image_info
from foveal.data.images.survey import band_percentiles
from foveal.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.data.dataset import Dataset

logger = logging.getLogger(__name__)

IMAGES_FOR_PERCENTILES = 64


def follow_images(settings: Settings, data: Dataset) -> Settings:
    """Fill in what was not set explicitly from the first images and the backbone's weights.

    More than three bands set `model.bands`. More than 8 bits set the band limits, by percentiles
    over the first images; where some of these hold 8 bits and others more, one range does not suit
    them, and it is logged that the deeper ones are taken by their own values. Mean and deviation
    become those of the backbone's weights, averaged over the bands where the images have another
    number of them.

    Raises:
        SettingsError: the backbone's name is unknown.
        ImageError: an image with more than 8 bits can't be read.
    """
    changes: dict[str, dict[str, Any]] = {"model": {}, "preparation": {}}
    preparation, bands = settings.preparation, settings.model.bands
    first = data[:IMAGES_FOR_PERCENTILES]
    infos = _infos(first)
    info = infos[0] if infos else None
    deep = [each.bits > 8 for each in infos]
    if info is not None and info.bands > 3 and "bands" not in settings.model.model_fields_set:
        bands = changes["model"]["bands"] = info.bands
    if any(deep) and not all(deep) and not preparation.band_low:
        logger.warning(
            "%d of the first %d images hold more than 8 bits, the others 8: the deeper ones are "
            "taken by their own values. preparation.band_low and band_high state one range.",
            sum(deep), len(deep),
        )  # fmt: skip
    elif any(deep) and not preparation.band_low:
        measured = band_percentiles(first.paths, bands=bands)
        changes["preparation"] |= {"band_low": measured.low, "band_high": measured.high}
        if len(data) > len(first):
            logger.warning(
                "Which values become 0 and 255 was measured on the first %d of %d images: %s and "
                "%s. Where others have darker or brighter objects, set them: "
                "--set preparation.band_low=[...] --set preparation.band_high=[...].",
                len(first), len(data), _numbers(measured.low), _numbers(measured.high),
            )  # fmt: skip
    if not preparation.model_fields_set & {"mean", "std"}:
        from foveal.models.backbones import backbone_normalization

        mean, std = backbone_normalization(settings.model.backbone, weights=settings.model.weights)
        if len(mean) != bands:
            mean, std = ((sum(part) / len(part),) * bands for part in (mean, std))
        changes["preparation"] |= {"mean": mean, "std": std}
    return change_settings(settings, changes)


def _numbers(limits: Sequence[float]) -> str:
    return ", ".join(f"{limit:g}" for limit in limits)


def _infos(data: Dataset) -> list[ImageInfo]:
    """What the images' headers say, but for those that can't be read: loading will say why."""
    infos = []
    for path in data.paths:
        with suppress(ImageError):
            infos.append(image_info(path))
    return infos
