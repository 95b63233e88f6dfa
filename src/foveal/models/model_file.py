"""Model files: one safetensors file with all that prediction needs, read without pickle."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from foveal.config import Settings, parse_settings
from foveal.errors import ModelFileError, SettingsError
from foveal.models.build import build_model
from foveal.models.checkpoints import replacing, why_unwritable
from foveal.models.quantisation import from_json, quantise, to_json
from foveal.models.retinanet import RetinaNet

FORMAT_VERSION = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a model file holds.

    Attributes:
        model: the network in evaluation mode, on the CPU.
        settings: with which it was made.
        classes: the K class names.
        notes: anything else that was saved with it, as JSON values.
    """

    model: RetinaNet
    settings: Settings
    classes: tuple[str, ...]
    notes: dict[str, Any]


def save(
    path: Path | str,
    model: RetinaNet,
    settings: Settings,
    classes: tuple[str, ...] | list[str],
    notes: dict[str, Any] | None = None,
) -> None:
    """Write a model file; an older one is replaced only once the new one is complete.

    Raises:
        ModelFileError: the names are not as many as the model's classes, or it can't be written.
    """
    path = Path(path)
    if len(classes) != model.classes:
        raise ModelFileError(
            f"{path}: {len(classes)} class names for a model with {model.classes} classes."
        )
    description = {
        "version": FORMAT_VERSION,
        "settings": settings.model_dump(mode="json"),
        "classes": list(classes),
        "notes": notes or {},
    }
    if model.quantisation is not None and model.quantisation.is_current():
        description["int8"] = to_json(model.quantisation.ranges)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    try:
        with replacing(path) as temporary:
            save_file(state, temporary, {"foveal": json.dumps(description, ensure_ascii=False)})
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{path}: can't be written ({why_unwritable(error)}). An older file, if there was any, "
            "is still there. Make room or mend the folder's permissions."
        ) from None


def load(path: Path | str) -> LoadedModel:
    """Read a model file; nothing else is needed, in particular no network and no weights.

    Raises:
        ModelFileError: the file is missing, cut short, not foveal's, of another format version,
            or contradicts itself.
    """
    path = Path(path)
    description, state = _read(path)
    settings, classes = _settings(path, description), tuple(description["classes"])
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_model(settings, len(classes), empty=True)
    except SettingsError as error:
        raise ModelFileError(f"{path}: its settings can't be built. {error}") from None
    problems = _differences(model, state)
    if problems:
        raise ModelFileError(
            f"{path}: its tensors don't fit its settings: {'; '.join(problems[:5])}. "
            "The file was changed after it was written; get it again."
        )
    model.load_state_dict(state)
    try:
        quantise(model, from_json(description.get("int8", {})))
    except ValueError as error:
        raise ModelFileError(
            f"{path}: what it says for prediction in 8 bits does not fit ({error}). "
            "The file was changed after it was written; get it again."
        ) from None
    return LoadedModel(model.eval(), settings, classes, description["notes"])


def load_weights_into(
    model: RetinaNet, path: Path | str, classes: tuple[str, ...] | list[str]
) -> tuple[str, ...]:
    """Start a model from another's file: everything but a class layer for other classes.

    Args:
        model: changed in place.
        path: a model file.
        classes: the names of the model's classes; where they differ from the file's, the class
            layer keeps its initial values.

    Returns:
        The names of the tensors that were left as they were.

    Raises:
        ModelFileError: as `load`, or the networks differ in more than the class layer.
    """
    path = Path(path)
    description, state = _read(path)
    left: tuple[str, ...] = ()
    if tuple(description["classes"]) != tuple(classes):
        left = ("classification.output.weight", "classification.output.bias")
        own = model.state_dict()
        state |= {name: own[name] for name in left}
    problems = _differences(model, state)
    if problems:
        raise ModelFileError(
            f"{path}: is of another network: {'; '.join(problems[:5])}. "
            "Expected the same [model] and [anchors] settings as in the file."
        )
    model.load_state_dict(state)
    if left:
        logger.warning(
            "%s has %d classes, expected %d (%s): all but the class layer is taken from it",
            path.name,
            len(description["classes"]),
            len(classes),
            ", ".join(classes[:5]),
        )
    return left


def _settings(path: Path, description: dict[str, Any]) -> Settings:
    try:
        return parse_settings(description["settings"], where=str(path))
    except SettingsError as error:
        raise ModelFileError(
            f"{error} The file was written by another version of foveal."
        ) from None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file. Expected a model that foveal wrote.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            description = _description(path, metadata)
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path}: is no complete safetensors file ({error}). It was cut short or is something "
            "else; get it again, or turn a foreign checkpoint into a model with foveal import."
        ) from None
    return description, state


def _description(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if "foveal" not in metadata:
        raise ModelFileError(
            f"{path}: is a safetensors file, but no model of foveal's. "
            "Backbone weights are passed with --set model.weights=FILE; "
            "a foreign checkpoint becomes a model with foveal import."
        )
    try:
        description: dict[str, Any] = json.loads(metadata["foveal"])
        version = description["version"]
    except (ValueError, KeyError, TypeError):
        raise ModelFileError(f"{path}: its description can't be read; get it again.") from None
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: has format version {version}, expected {FORMAT_VERSION}. "
            "Use the version of foveal that wrote it, or write it again."
        )
    if not all(isinstance(description.get(name), kind) for name, kind in _PARTS.items()):
        raise ModelFileError(f"{path}: its description is incomplete; get it again.")
    return description


_PARTS: dict[str, type] = {"settings": dict, "classes": list, "notes": dict}


def _differences(model: RetinaNet, state: dict[str, Tensor]) -> list[str]:
    own = model.state_dict()
    lacking = [f"{key} is missing" for key in own if key not in state]
    foreign = [f"{key} is unknown" for key in state if key not in own]
    reshaped = [
        f"{key} is {list(state[key].shape)} instead of {list(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    return reshaped + lacking + foreign
