"""Models of DeepForest, which are torchvision's RetinaNet without a background channel.

A folder of its model hub has `config.json` beside `model.safetensors`; its trainings write
Lightning's checkpoints. Both know the classes by `label_dict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foveal.checkpoints import torchvision
from foveal.checkpoints.imported_model import ImportedModel, ImportOptions
from foveal.errors import WeightsError
from foveal.text import counted, listed

if TYPE_CHECKING:
    from foveal.checkpoints.foreign_files import ForeignFile

METRICS = ("iou_metric.", "mAP_metric.", "precision_recall_metric.")
"""How the names of tensors begin that a training keeps of its measurements."""
NMS_IOU, SCORE_THRESHOLD, MAX_DETECTIONS, TOP_PER_LEVEL = 0.05, 0.1, 300, 1000
"""What its configuration has where a file says nothing else."""
EPS_TODAY, EPS_BEFORE = 1e-5, 0.0
"""Of the norms: since 2.0, and in 1.x."""

PATCH_SCALE = 2.0
"""Its patches of 400 pixels, at 800."""

_EPS = "model.norm_eps"


def recognize(file: ForeignFile) -> str | None:
    """Why a file is of DeepForest, in a few words; None where it is not."""
    if _architecture(file) not in (None, "retinanet"):
        return f"its config says {_architecture(file)!r}" if _labels(file) is not None else None
    if torchvision.recognize(file) is None:
        return None
    if _labels(file) is not None:
        return "torchvision's names and DeepForest's label_dict are there"
    if any(name.partition(".")[0] == "deepforest" for name in file.stand_ins):
        return "torchvision's names are there, and objects of DeepForest's"
    if metrics := [key for key in file.tensors if key.startswith(METRICS)]:
        return f"torchvision's names and {metrics[0]} are there"
    return None


def convert(file: ForeignFile, options: ImportOptions) -> ImportedModel:
    """Turn a model of DeepForest into ours, with the same raw output.

    Every channel of its class layer is a class. The eps of its norms is not in the file: models of
    the hub have what DeepForest runs them with since 2.0; checkpoints of trainings with 1.x, and
    those begun from torchvision's weights, have 0.

    Raises:
        WeightsError: the network can't be held, or names and channels don't fit.
        SettingsError: an override is wrong.
    """
    architecture = _architecture(file)
    if architecture not in (None, "retinanet"):
        raise WeightsError(
            f"{file.path}: is DeepForest's {architecture!r}. Expected its architecture 'retinanet'."
        )
    options.check_no_background("DeepForest", where=file.path)
    names = options.classes or _classes(file)
    eps, why = _eps(file)
    found = (
        f"{_EPS}={eps:g}",
        f"decoding.nms_iou={_number(file, 'nms_thresh', NMS_IOU):g}",
        f"decoding.max_detections={_number(file, 'detections_per_img', MAX_DETECTIONS):.0f}",
        f"decoding.top_per_level={_number(file, 'topk_candidates', TOP_PER_LEVEL):.0f}",
    )
    least = _number(file, "score_thresh", SCORE_THRESHOLD)
    kept = {key: value for key, value in file.tensors.items() if not key.startswith(METRICS)}
    converted = torchvision.convert_network(
        replace(file, tensors=kept),
        replace(
            options,
            classes=names,
            background=False,
            overrides=(*found, *options.overrides),
        ),
    )
    notes = [
        *([] if any(part.startswith(_EPS) for part in options.overrides) else [why]),
        f"Its score threshold is {least:g}, as DeepForest has it.",
        "DeepForest trains on patches of 400 pixels and shows them at 800, so scenes are looked at "
        "at twice their size; for a model of other patches: foveal predict --scale FACTOR.",
    ]
    if names is not None and len(names) > 1:
        notes.append(
            "Of detections of different classes that overlap by more than 0.15 DeepForest keeps "
            "the best one: --class-agnostic --nms 0.15."
        )
    metrics = tuple(key for key in file.tensors if key.startswith(METRICS))
    return replace(
        converted,
        notes=(*converted.notes, *notes),
        unused=(*converted.unused, *metrics),
        score_threshold=least,
        scale=PATCH_SCALE,
    )


def _places(file: ForeignFile) -> Iterator[Mapping[str, Any]]:
    """Where a file may say something of its model, the plainest first."""
    values = file.values
    parameters = values.get("hyper_parameters")
    for place in (values.get("config"), values, parameters):
        if isinstance(place, Mapping):
            yield place
    if isinstance(parameters, Mapping):
        for name in ("config", "config_args"):
            if isinstance(parameters.get(name), Mapping):
                yield parameters[name]


def _said(file: ForeignFile, name: str) -> Any:
    """What a file says first that is not null; None for nothing."""
    return next((place[name] for place in _places(file) if place.get(name) is not None), None)


def _labels(file: ForeignFile) -> Mapping[str, Any] | None:
    labels = _said(file, "label_dict")
    return labels if isinstance(labels, Mapping) and labels else None


def _architecture(file: ForeignFile) -> str | None:
    value = _said(file, "architecture")
    return value if isinstance(value, str) else None


def _number(file: ForeignFile, name: str, default: float) -> float:
    """What a file says of a threshold or a limit; before 2.0 some stood under `retinanet`."""
    value = _said(file, name)
    if value is None and isinstance(old := _said(file, "retinanet"), Mapping):
        value = old.get(name)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if fits else default


def _classes(file: ForeignFile) -> tuple[str, ...] | None:
    """The names in the order of their labels; None where the file does not say them."""
    labels = _labels(file)
    if labels is None:
        return None
    ordered = sorted(labels, key=lambda name: (str(type(labels[name])), labels[name]))
    if [labels[name] for name in ordered] != list(range(len(labels))):
        raise WeightsError(
            f"{file.path}: its label_dict numbers {counted(len(labels), 'class')} "
            f"({listed([f'{name}: {labels[name]}' for name in ordered], 4)}). Expected 0, 1, 2 and "
            "so on; name them yourself: --classes FILE (in Python classes=...)."
        )
    return tuple(ordered)


def _eps(file: ForeignFile) -> tuple[float, str]:
    """The eps of the norms, and why."""
    if isinstance(file.values.get("config"), Mapping) or _begun_from_the_hub(file):
        return EPS_TODAY, (
            "The eps of its norms is taken to be 1e-5, with which DeepForest runs its models since "
            f"2.0; in 1.x it was 0: --set {_EPS}=0."
        )
    return EPS_BEFORE, (
        "The eps of its norms is taken to be 0, as in DeepForest 1.x and in trainings that began "
        f"from torchvision's weights; since 2.0 it is 1e-5: --set {_EPS}=1e-5."
    )


def _begun_from_the_hub(file: ForeignFile) -> bool:
    """Whether a configuration of 2.0 or later, with its own `score_thresh`, names such a model."""
    return any(
        place.get("score_thresh") is not None
        and isinstance(model := place.get("model"), Mapping)
        and model.get("name") is not None
        for place in _places(file)
    )
