"""To begin a training from another model: its settings, and its weights class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from foveal.checkpoints.finding import network_file
from foveal.config import (
    NETWORK_SECTIONS,
    PRESETS,
    AssignmentSettings,
    LossSettings,
    ModelSettings,
    Settings,
    parse_settings,
)
from foveal.config.renamed import rename_settings
from foveal.errors import ModelFileError
from foveal.text import counted, listed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from foveal.checkpoints.description import Description
    from foveal.checkpoints.model_file import LoadedModel
    from foveal.models.retinanet import RetinaNet

_MAX_NAMES = 8
_BEGUN = "trained by foveal, begun from"
START_SECTIONS = (*NETWORK_SECTIONS, "assignment", "loss")
"""What a training takes from the model that it begins from, rather than from a preset: the losses
and the assignment suit its anchors and what its scores mean."""
_OF_CLASSES = "class_weights"
"""The setting of the losses that belongs to other data."""
_BOX_ADDITIONS = ("box.quality.", "box.scales")
"""How the names of tensors begin that not every box subnet has."""
_NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A model from which another's training begins.

    Attributes:
        name: what people call it: its file, or in words where it came from.
        description: what it says of itself.
        tensors: its state dict.
        notes: whose foreign checkpoint it is, and what was assumed of it, a sentence each.
    """

    name: str
    description: Description
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, loaded: LoadedModel, *, name: str) -> Start:
        """A network in memory.

        Args:
            loaded: the network with its card and settings.
            name: what people call it.
        """
        tensors = {key: value.detach().cpu() for key, value in loaded.model.state_dict().items()}
        return cls(name, loaded.description, tensors)

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the model that was trained before."""
        return self.description.card.classes

    @property
    def origin(self) -> str:
        """Where a model comes from whose training begins here, in words for its card.

        Of several trainings, each begun from the one before, it is what the first began from.
        """
        name, before = Path(self.name).name, self.description.card.origin
        if before.startswith(_BEGUN):
            return before
        return f"{_BEGUN} {name}" + (f" ({before})" if before else "")

    def learning(self) -> dict[str, dict[str, Any]]:
        """The assignment and the losses it was trained with, as far as its record says them.

        Without a record, as imported models may be, those of the presets that have as many anchors
        at a location as it has.
        """
        preset = "standard" if self.description.anchors.per_location == 1 else "retinanet"
        if self.description.model.quality != "none":
            preset = "atss"
        record = rename_settings(self.description.record)
        found: dict[str, dict[str, Any]] = {}
        for section, kind in (("assignment", AssignmentSettings), ("loss", LossSettings)):
            part = record.get(section)
            values: dict[str, Any] = dict(part) if isinstance(part, Mapping) else {}
            values.pop(_OF_CLASSES, None)
            try:
                kind.model_validate(values)
            except ValidationError:  # of a version that knows more: records are for people
                values = {}
            found[section] = values or dict(PRESETS[preset].get(section, {}))
        return found

    def settings(self, given: Mapping[str, Mapping[str, Any]]) -> Settings:
        """The settings to train with: its own, and on top what was set explicitly.

        Its own are those of its network, how its anchors got their objects, and its losses but for
        the weights of classes.

        Args:
            given: what was set, by section and name.

        Raises:
            SettingsError: they contradict one another.
        """
        values: dict[str, dict[str, Any]] = {
            section: getattr(self.description, section).model_dump() for section in NETWORK_SECTIONS
        } | self.learning()
        for section, part in given.items():
            values.setdefault(section, {}).update(part)
        return parse_settings(values, where=f"settings, on top of those of {self.name}")


def read_start(path: Path | str) -> Start:
    """Read a model file, the best one of a run's folder, or a foreign checkpoint.

    Raises:
        ModelFileError: there is none, or it is an exported model.
        WeightsError: it is a foreign checkpoint that can't be imported.
    """
    from foveal.checkpoints.foreign_files import is_foreign
    from foveal.checkpoints.model_file import read_tensors

    file = network_file(path)
    if file.is_file() and is_foreign(file):
        from foveal.checkpoints.importing import import_on_the_way

        loaded, notes = import_on_the_way(file)
        return replace(Start.of(loaded, name=str(file)), notes=notes)
    description, tensors = read_tensors(file)
    return Start(str(file), description, tensors)


def load_start(model: RetinaNet, start: Start, classes: Sequence[str]) -> tuple[str, ...]:
    """Give a network the weights of another one, as far as they mean the same.

    Of the class layer the rows go from class to class by their names; a class that is new keeps
    its initial values. Where the anchors of a location are not as many, the output layers keep
    their initial values; so does the box subnet's where it predicts something else, and its
    additions that the other network does not have. Mean and deviation stay the network's own where
    others were set.

    Args:
        model: changed in place; it was built from the settings that `start` gave.
        start: where the weights come from.
        classes: the names of the network's classes.

    Returns:
        The names of the tensors of the output layers that stayed as they were.

    Raises:
        ModelFileError: the networks differ in more than the output layers.
    """
    import torch

    from foveal.checkpoints.model_file import differences

    own = model.state_dict()
    state = _with_norms(dict(start.tensors), own)
    for name in ("mean", "std"):
        stated = getattr(start.description.preparation, name)
        if own[name].tolist() != torch.tensor(stated).tolist():  # others were set
            state[name] = own[name]
    left: tuple[str, ...] = ()
    if not _same_anchors(start, model.grid.per_location):
        left = (*_last_layer(model, "classification"), *_last_layer(model, "box"))
        state |= {name: own[name] for name in left}
    elif tuple(classes) != start.classes:
        layer = _last_layer(model, "classification")
        rows = _rows(start.classes, classes)
        left = () if rows else layer
        state |= {
            name: _moved(state[name], own[name], rows, classes=(len(start.classes), len(classes)))
            for name in layer
            if name in state
        }
    box = _last_layer(model, "box")
    if box[0] not in left and _coding_of(start.description.model) != _coding_of(model.box):
        left += box
        state |= {name: own[name] for name in box}
    new = tuple(name for name in own if name.startswith(_BOX_ADDITIONS) and name not in state)
    state = {
        name: value
        for name, value in state.items()
        if name in own or not name.startswith(_BOX_ADDITIONS)
    } | {name: own[name] for name in new}
    left += new
    problems = differences(model, state)
    if problems:
        raise ModelFileError(
            f"{start.name}: is of another network: {'; '.join(problems[:5])}. Expected the same "
            "[model] settings as in the file: leave out what sets them (--set model...., --config; "
            "in Python backbone=, settings=), or don't begin from it."
        )
    model.load_state_dict(state)
    return left


def describe_start(start: Start, settings: Settings, classes: Sequence[str]) -> list[str]:
    """What a training takes from the model that it begins from, and what not.

    Args:
        start: the model.
        settings: the effective ones.
        classes: of the training.
    """
    others = [
        f"{section}.{name} = {_shown(value)} (there {_shown(before[name])})"
        for section in NETWORK_SECTIONS
        if (before := getattr(start.description, section).model_dump())
        for name, value in getattr(settings, section).model_dump().items()
        if value != before[name]
    ]
    kept = "weights, network, anchors, preparation (sizes, bands, normalization) and decoding"
    lines = [
        f"Begun from {start.name}: {kept} are its own"
        + (f", but for {listed(others, _MAX_NAMES, longest=120)}." if others else "."),
        *start.notes,
    ]
    grid = settings.anchors
    if not _same_anchors(start, grid.per_location):
        before = start.description.anchors
        return [
            *lines,
            f"The output layers begin anew: a location has {grid.per_location} "
            f"anchors and had {before.per_location}.",
        ]
    return [*lines, *_describe_box(start, settings), *_describe_classes(start.classes, classes)]


def _describe_box(start: Start, settings: Settings) -> list[str]:
    """What is new in the box subnet; nothing where it is the same."""
    before, now = start.description.model, settings.model
    lines = []
    if _coding_of(before) != _coding_of(now):
        lines.append(
            "The box subnet's output layer begins anew: model.box_coding is "
            f"{now.box_coding!r} with {counted(now.box_bins, 'bin')} and was {before.box_coding!r} "
            f"with {before.box_bins:,}."
        )
    new = [
        words
        for words, was, is_now in (
            ("the quality branch", before.quality != "none", now.quality != "none"),
            ("the factors of the levels", before.level_scales, now.level_scales),
        )
        if is_now and not was
    ]
    if new:
        lines.append(f"New in the box subnet: {' and '.join(new)}.")
    return lines


def describe_preset(preset: str, settings: Settings) -> str:
    """What of a preset is not taken since the model to begin from has it otherwise; '' for nothing.

    Args:
        preset: its name.
        settings: the effective ones.
    """
    sections = [
        section
        for section in START_SECTIONS
        if any(
            getattr(getattr(settings, section), name) != value
            for name, value in PRESETS[preset].get(section, {}).items()
        )
    ]
    if not sections:
        return ""
    learning = ""
    if {"assignment", "loss"} & set(sections):
        learning = (
            f" Its {counted(settings.anchors.per_location, 'anchor')} a location get their objects "
            f"by {settings.assignment.method!r}, and the losses are "
            f"{settings.loss.classification!r} and {settings.loss.box!r}."
        )
    return (
        f"Of the preset {preset}, {listed(sections, len(sections))} are not taken: they are those "
        f"of the model to begin from.{learning} --set changes single settings (in Python "
        "settings=)."
    )


def _describe_classes(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """What becomes of the class layer's rows; nothing where the classes are the same."""
    if tuple(before) == tuple(now):
        return []
    known = [name for name in now if name in before]
    new = [name for name in now if name not in before]
    gone = [name for name in before if name not in now]
    if not known:
        return [
            f"Classes: none of {listed(now, _MAX_NAMES)} is one of its classes "
            f"({listed(before, _MAX_NAMES)}): the class layer begins anew. If they mean the same, "
            "rename them: --rename OLD=NEW."
        ]
    if not new and not gone:
        return ["Classes: the same in another order; each keeps its weights."]
    parts = [f"{listed(known, _MAX_NAMES)} keep their weights"]
    if new:
        parts.append(f"{listed(new, _MAX_NAMES)} new, from the prior")
    if gone:
        parts.append(f"{listed(gone, _MAX_NAMES)} left out, which the data does not have")
    return [f"Classes: {'; '.join(parts)}."]


def _same_anchors(start: Start, per_location: int) -> bool:
    return start.description.anchors.per_location == per_location


def _coding_of(box: ModelSettings | nn.Module) -> tuple[str, int]:
    """What a box subnet predicts: the coding and the bins of each number."""
    if isinstance(box, ModelSettings):
        return box.box_coding, box.box_bins
    return getattr(box, "coding", "deltas"), getattr(box, "bins", 0)


def _rows(before: Sequence[str], now: Sequence[str]) -> list[tuple[int, int]]:
    """Where each class that both know was and is."""
    places = {name: place for place, name in enumerate(before)}
    return [(places[name], place) for place, name in enumerate(now) if name in places]


def _moved(
    stored: Tensor, own: Tensor, rows: Sequence[tuple[int, int]], *, classes: tuple[int, int]
) -> Tensor:
    """A class layer's tensor [A * K, ...] with the stored rows of known classes."""
    before, now = classes
    apart = own.clone().reshape(-1, now, *own.shape[1:])
    old = stored.reshape(-1, before, *stored.shape[1:])
    for source, target in rows:
        apart[:, target] = old[:, source]
    return apart.flatten(0, 1)


def _last_layer(model: RetinaNet, head: str) -> tuple[str, str]:
    """The tensors of a head's last convolution, which have an anchor's values as channels."""
    from torch import nn

    output = getattr(model, head).output
    # Of a depthwise and a pointwise convolution the last one.
    *_, last = [name for name, part in output.named_modules() if isinstance(part, nn.Conv2d)]
    prefix = ".".join(part for part in (f"{head}.output", last) if part)
    return f"{prefix}.weight", f"{prefix}.bias"


def _with_norms(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with the statistics that another kind of norm has, or without those it lacks."""
    statistics = {name for name in own if name.endswith(_NORM_STATISTICS[2])}
    state |= {name: own[name] for name in statistics - state.keys()}
    return {
        name: value
        for name, value in state.items()
        if name in own or not name.endswith(_NORM_STATISTICS)
    }


def _shown(value: object) -> str:
    """A setting's value in a message, numbers short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(part) for part in value)}]"
    return str(value)
