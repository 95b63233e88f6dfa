"""What a model file keeps of its making: settings, data, backbone weights, how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.checkpoints.description import training_record
from foveal.data.statistics import measure_dataset
from foveal.text import without_nan

if TYPE_CHECKING:
    from foveal.config import ModelSettings, Settings
    from foveal.data.dataset import Dataset
    from foveal.evaluation.results import Evaluation


def make_record(
    settings: Settings,
    *,
    training: Dataset,
    validation: Dataset,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a training, as JSON values: for people, see `foveal.checkpoints.model_page`.

    Args:
        settings: of the run.
        training, validation: the images; names are kept, without the folders above them.
        before: the record of the model that it begins from, None where it begins from none: that
            one's backbone weights are its own.
    """
    record = training_record(settings)
    record["data"] = {"training": _counted(training), "validation": _counted(validation)}
    weights = backbone_weights(settings.model) if before is None else before.get("backbone_weights")
    return record | ({"backbone_weights": weights} if weights else {})


def backbone_weights(model: ModelSettings) -> dict[str, str] | None:
    """With which weights a backbone begins, and their license where it is known; None: random."""
    from foveal.models.package_weights import PACKAGES
    from foveal.models.pretrained import published_license

    match model.weights:
        case "none":
            return None
        case "pretrained":
            name, license_ = published_license(model.backbone)
            return {"name": name, "license": license_}
        case "package":
            package = PACKAGES[model.backbone]
            return {"name": package.package, "license": package.license}
        case path:
            return {"name": Path(path).name, "license": ""}


def measured_by(evaluation: Evaluation) -> dict[str, Any]:
    """The intervals of an evaluation, as JSON values."""
    return {
        "images": evaluation.images,
        "AP": _ends(evaluation.ap_interval.low, evaluation.ap_interval.high),
        "AP50": _ends(evaluation.ap50_interval.low, evaluation.ap50_interval.high),
    }


def _ends(low: float, high: float) -> list[float | None]:
    ends: list[float | None] = without_nan([low, high])
    return ends


def _counted(data: Dataset) -> dict[str, Any]:
    statistics = measure_dataset(data)
    return {
        "name": Path(data.name).name,
        "images": statistics.images,
        "without_objects": statistics.without_objects,
        "objects": statistics.objects,
        "classes": {each.name: each.objects for each in statistics.classes},
    }
