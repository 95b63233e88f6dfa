"""foveal: RetinaNet end to end, from a folder of labeled images to a deployed object detector."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.data.formats import read
    from foveal.detector import Detector, load
    from foveal.errors import FovealError
    from foveal.evaluation.results import Evaluation
    from foveal.inference.draw import draw
    from foveal.inference.predictor import Predictor
    from foveal.outputs.files import to_supervision, write
    from foveal.reports.contact_sheet import show
    from foveal.structures import Detections, ModelCard, Sample, Target

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "foveal.data.dataset",
    "Detections": "foveal.structures",
    "Detector": "foveal.detector",
    "Evaluation": "foveal.evaluation.results",
    "FovealError": "foveal.errors",
    "ModelCard": "foveal.structures",
    "Predictor": "foveal.inference.predictor",
    "Sample": "foveal.structures",
    "Settings": "foveal.config",
    "Target": "foveal.structures",
    "draw": "foveal.inference.draw",
    "load": "foveal.detector",
    "read": "foveal.data.formats",
    "show": "foveal.reports.contact_sheet",
    "to_supervision": "foveal.outputs.files",
    "write": "foveal.outputs.files",
}

__all__ = [
    "Dataset",
    "Detections",
    "Detector",
    "Evaluation",
    "FovealError",
    "ModelCard",
    "Predictor",
    "Sample",
    "Settings",
    "Target",
    "__version__",
    "draw",
    "load",
    "read",
    "show",
    "to_supervision",
    "write",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home at its first use, so that `import foveal` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'foveal' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
