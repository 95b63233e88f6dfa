"""From a loaded model file to a predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.data.preparation import make_preparation
from foveal.inference.predictor import Predictor

if TYPE_CHECKING:
    from foveal.models.model_file import LoadedModel


def make_predictor(
    loaded: LoadedModel,
    *,
    threshold: float | None = None,
    nms_iou: float | None = None,
    most: int | None = None,
    class_agnostic: bool | None = None,
    device: str | None = "auto",
) -> Predictor:
    """A predictor as the model's settings describe it.

    Args:
        loaded: what a model file holds.
        threshold, nms_iou, most, class_agnostic: in place of the model's own, where not None.
        device: as for `Predictor`.

    Returns:
        The predictor; `dataclasses.replace` changes anything else in it.
    """
    settings = loaded.settings
    decoding = settings.decoding
    return Predictor(
        loaded.model,
        loaded.classes,
        make_preparation(settings.preparation),
        bands=settings.model.bands,
        band_low=settings.preparation.band_low,
        band_high=settings.preparation.band_high,
        threshold=decoding.threshold if threshold is None else threshold,
        top_per_level=decoding.top_per_level,
        nms_iou=decoding.nms_iou if nms_iou is None else nms_iou,
        most=decoding.most if most is None else most,
        class_agnostic=decoding.class_agnostic if class_agnostic is None else class_agnostic,
        device=device,
    )
