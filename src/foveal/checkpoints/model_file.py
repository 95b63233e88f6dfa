"""Model files: one safetensors file with all that prediction needs, read without pickle.

Its header holds the model's description (`foveal.checkpoints.description`), its tensors are the
network's. This is format 2; files of format 1 are read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from foveal.checkpoints.anchor_order import reorder_weights
from foveal.checkpoints.description import (
    METADATA_KEY,
    Description,
    describe,
    from_json,
    to_json,
)
from foveal.checkpoints.header import check_there, document_of, incomplete
from foveal.checkpoints.migration import ratio_major_anchors
from foveal.config import Settings
from foveal.errors import ModelFileError, SettingsError
from foveal.files import readable_path, replacing, unwritable
from foveal.models.build import build_model
from foveal.models.retinanet import RetinaNet
from foveal.structures import ModelCard


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network with all that its file says of it.

    Attributes:
        model: the network in evaluation mode, on the CPU.
        settings: with which it was made; of a file those that prediction needs, the others are the
            defaults.
        card: class names, score threshold, where it came from.
        record: how it was trained, as JSON values; for people.
    """

    model: RetinaNet
    settings: Settings
    card: ModelCard
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def description(self) -> Description:
        """What files of this model say of it."""
        return describe(self.settings, self.card, self.record or None)


def save(
    path: Path | str,
    model: RetinaNet,
    settings: Settings,
    card: ModelCard,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write a model file; an older one is replaced only once the new one is complete.

    Args:
        path: of the file.
        model: the network.
        settings: with which it was made.
        card: of the model.
        record: how it was trained, as JSON values; None keeps the settings of the training.

    Raises:
        ModelFileError: the names are not as many as the model's classes, or it can't be written.
    """
    path = Path(path)
    if len(card.classes) != model.num_classes:
        raise ModelFileError(
            f"{path}: {len(card.classes)} class names for a model with {model.num_classes} classes."
        )
    header = {METADATA_KEY: to_json(describe(settings, card, record))}
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    try:
        with replacing(path) as temporary:
            save_file(state, temporary, header)
    except (OSError, SafetensorError) as error:
        raise unwritable(path, error, error=ModelFileError) from None


def load(path: Path | str) -> LoadedModel:
    """Read a model file; nothing else is needed, in particular no network and no weights.

    Raises:
        ModelFileError: the file is missing, cut short, not foveal's, of a later format version,
            or contradicts itself.
    """
    path = Path(path)
    description, state = read_tensors(path)
    settings, card = description.settings(), description.card
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_model(settings, len(card.classes), empty=True)
    except SettingsError as error:
        raise ModelFileError(f"{path}: its settings can't be built. {error}") from None
    problems = differences(model, state)
    if problems:
        raise ModelFileError(
            f"{path}: its tensors don't fit its settings: {'; '.join(problems[:5])}. "
            "The file was changed after it was written; get it again."
        )
    model.load_state_dict(state)
    return LoadedModel(model.eval(), settings, card, description.record)


def read_tensors(path: Path) -> tuple[Description, dict[str, Tensor]]:
    """What a model file holds: its description, and the state dict of its network.

    Raises:
        ModelFileError: as `load`.
    """
    check_there(path)
    try:
        with readable_path(path) as name, safe_open(name, framework="pt") as file:
            text = document_of(file.metadata() or {}, where=path)
            description = from_json(text, where=path)
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise incomplete(path, error) from None
    return description, _migrated(path, text, state)


def _migrated(path: Path, text: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    counts = ratio_major_anchors(json.loads(text))
    if counts is None:
        return state
    try:
        return reorder_weights(state, scales=counts[0], ratios=counts[1])
    except RuntimeError as error:
        raise ModelFileError(
            f"{path}: its tensors don't fit its anchors ({error}). "
            "The file was changed after it was written; get it again."
        ) from None


def differences(model: RetinaNet, state: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state dict from being a network's: names and shapes, in words."""
    own = model.state_dict()
    lacking = [f"{key} is missing" for key in own if key not in state]
    foreign = [f"{key} is unknown" for key in state if key not in own]
    reshaped = [
        f"{key} is {list(state[key].shape)} instead of {list(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    return reshaped + lacking + foreign
