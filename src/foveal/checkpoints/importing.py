"""Foreign checkpoints turned into models: the source found by looking, the rest by its importer.

An importer is a module with two functions. `recognize(file)` says in a few words why a file is of
its kind, or None. `convert(file, options)` gives an `ImportedModel`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from foveal.checkpoints import deepforest, detectron2, mmdetection, odtk, torchvision, yhenon
from foveal.checkpoints.diagnosis import looks_like
from foveal.checkpoints.foreign_files import ForeignFile, read_foreign
from foveal.checkpoints.imported_model import ImportedModel, ImportOptions, StrideIn
from foveal.checkpoints.model_file import LoadedModel
from foveal.errors import WeightsError
from foveal.models.build import build_model
from foveal.models.retinanet import RetinaNet
from foveal.structures import DEFAULT_SCORE_THRESHOLD, ModelCard
from foveal.text import counted, listed

_MAX_NAMES = 3


class Importer(Protocol):
    """A module that knows the checkpoints of one source."""

    def recognize(self, file: ForeignFile) -> str | None:
        """Why the file is of this source, in a few words; None where it is not."""
        ...

    def convert(self, file: ForeignFile, options: ImportOptions) -> ImportedModel:
        """The file in our terms.

        Raises:
            WeightsError: the network can't be held, or names and channels don't fit.
            SettingsError: an override is wrong.
        """
        ...


IMPORTERS: dict[str, Importer] = {
    "deepforest": deepforest,
    "torchvision": torchvision,
    "detectron2": detectron2,
    "mmdetection": mmdetection,
    "odtk": odtk,
    "yhenon": yhenon,
}
"""By the name of the source; of two that recognize a file the first has it."""

LOOKS_LIKE = {"deepforest": "torchvision"}
"""Sources whose weights alone can't be told from another's: people may say so."""


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """A model out of a foreign checkpoint.

    Attributes:
        loaded: the network in evaluation mode with its settings and card.
        source: whose checkpoint it is.
        reason: why it was taken for one, in a few words.
        others: the other sources that it could be of, each with its reason.
        notes: what was assumed, a sentence each.
        unused: tensors of the file that the network has no place for.
        container: the kind of file, in words.
        stand_ins: classes and functions that the file asks for; none was looked up or run.
    """

    loaded: LoadedModel
    source: str
    reason: str
    others: Mapping[str, str]
    notes: tuple[str, ...]
    unused: tuple[str, ...]
    container: str
    stand_ins: tuple[str, ...]

    def describe(self, name: str) -> list[str]:
        """What people should know of it, a sentence each.

        Whose it is and why, what was assumed, and what of the file was not used.

        Args:
            name: what people call the file.
        """
        lines = [f"{name}: a {self.container} of {self.source}, since {self.reason}."]
        if self.stand_ins:
            lines.append(
                f"Its weights were read alone: {counted(len(self.stand_ins), 'name')} of other "
                f"programs in it ({listed(self.stand_ins, _MAX_NAMES, longest=60)}) did nothing."
            )
        lines += [
            f"It could be of {other} too, since {reason}: --from {other}."
            for other, reason in self.others.items()
        ]
        lines += self.notes
        if self.unused:
            shown = listed(self.unused, _MAX_NAMES, longest=60)
            lines.append(f"Not used: {counted(len(self.unused), 'tensor')}: {shown}.")
        return lines


def import_model(
    path: Path | str,
    *,
    source: str | None = None,
    classes: Sequence[str] | None = None,
    backbone_stride_in: StrideIn | None = None,
    background: bool | None = None,
    overrides: Sequence[str] = (),
    weights_under: str | None = None,
) -> Imported:
    """Turn a foreign checkpoint into a model that gives the same detections.

    Args:
        path: the checkpoint, or the folder of a model hub.
        source: whose it is, a name in `IMPORTERS`; None looks.
        classes: the names, in the order of the labels; None takes those of the file, COCO's where
            there are as many, else numbered names.
        backbone_stride_in: which convolution of a bottleneck block has the stride; None takes the
            source's habit.
        background: whether the class layer has a background channel; None takes the source's habit.
        overrides: `section.name=value` settings on top of those that follow from the file.
        weights_under: where in the checkpoint the weights are, as in 'ema_state_dict'; None looks.

    Raises:
        WeightsError: the file can't be read, is of another network, or the names are too many or
            too few.
        SettingsError: an override is wrong.
    """
    file = read_foreign(path, under=weights_under)
    source, reason, others = find_source(file, source)
    options = ImportOptions(
        None if classes is None else tuple(classes),
        backbone_stride_in,
        background,
        tuple(overrides),
    )
    converted = IMPORTERS[source].convert(file, options)
    loaded = _build(file, source, converted)
    return Imported(
        loaded,
        source,
        reason,
        others,
        (
            *_describe_places(file, weights_under),
            *converted.notes,
            *_describe_norms(loaded),
            *_describe_names(converted),
        ),
        converted.unused,
        file.container,
        file.stand_ins,
    )


def import_on_the_way(path: Path) -> tuple[LoadedModel, tuple[str, ...]]:
    """A foreign checkpoint where one of our models is expected.

    Args:
        path: the checkpoint.

    Returns:
        The model, and what is to be said of it, a sentence each.

    Raises:
        WeightsError: as `import_model`.
    """
    imported = import_model(path)
    lines = imported.describe(str(path))
    if len(lines) > 1:
        lines.append(
            f"For the options named here import it first: foveal import {path} --out "
            "MODEL.safetensors, and go on with that."
        )
    return imported.loaded, tuple(lines)


def find_source(file: ForeignFile, chosen: str | None = None) -> tuple[str, str, dict[str, str]]:
    """Whose checkpoint a file is.

    Args:
        file: what was read.
        chosen: what a person says; None looks.

    Returns:
        The source, the reason, and the other sources that it could be of, with their reasons.

    Raises:
        WeightsError: no importer knows the file, or not the chosen one.
    """
    reasons = {
        name: reason
        for name, importer in IMPORTERS.items()
        if (reason := importer.recognize(file)) is not None
    }
    if chosen is not None and chosen not in reasons and LOOKS_LIKE.get(chosen) in reasons:
        reasons[chosen] = f"its tensors have {LOOKS_LIKE[chosen]}'s names, and you say so"
    if not reasons:
        whose = listed(list(IMPORTERS), len(IMPORTERS))
        raise WeightsError(
            f"{file.path}: is no RetinaNet of a source that is known ({whose}). It "
            f"{looks_like(file)}. Expected the weights of a trained RetinaNet."
        )
    if chosen is not None and chosen not in reasons:
        found = "; ".join(f"{name}, since {reason}" for name, reason in reasons.items())
        raise WeightsError(
            f"{file.path}: is no checkpoint of {chosen}. It is of {found}: leave out --from, or "
            "choose that (in Python source=...)."
        )
    source = chosen or next(iter(reasons))
    reason = reasons.pop(source)
    if chosen is None:  # what tells them apart was found
        reasons.pop(LOOKS_LIKE.get(source, ""), None)
    return source, reason, reasons


def _describe_places(file: ForeignFile, chosen: str | None) -> list[str]:
    """Which of several sets of weights was taken, where no person said so."""
    others = [name for name in file.others if name]
    if not others or chosen is not None:
        return []
    return [
        f"The weights are those under {file.found_under or 'no name'}; there are others under "
        f"{listed(others, _MAX_NAMES)}: --weights-under {others[0]}."
    ]


def _describe_norms(loaded: LoadedModel) -> list[str]:
    settings = loaded.settings
    if settings.model.head_norm != "group" or settings.preparation.compat != "none":
        return []
    return [
        "Its subnets have group norm, which sees the padding of an image, too. foveal pads images "
        "to a few input sizes: on one input all outputs are the same, but from an image's file "
        "they may differ a little from those of a program that pads less."
    ]


def _describe_names(converted: ImportedModel) -> list[str]:
    """That there were no names, where no importer made any."""
    if converted.classes is not None:
        return []
    return ["It says no names of classes, and they are numbered: --classes FILE names them."]


def _build(file: ForeignFile, source: str, converted: ImportedModel) -> LoadedModel:
    settings = converted.settings
    names = converted.classes
    if names is None:
        count = (
            converted.state["classification.output.bias"].numel() // settings.anchors.per_location
        )
        names = tuple(f"class {number}" for number in range(count))
    with torch.random.fork_rng(devices=[]):
        model = build_model(settings, len(names), empty=True)
    problems = _problems(model, converted)
    if problems:
        raise WeightsError(
            f"{file.path}: does not fit {source}'s RetinaNet: {'; '.join(problems)}. Expected the "
            "complete weights of a trained RetinaNet, and settings that go with them (--set "
            "SECTION.NAME=VALUE; in Python overrides=[...])."
        )
    own = model.state_dict()
    known = {key: value for key, value in converted.state.items() if key in own}
    model.load_state_dict(own | known)
    words = f"{source} {converted.origin}".strip()
    card = ModelCard(
        names,
        score_threshold=DEFAULT_SCORE_THRESHOLD
        if converted.score_threshold is None
        else converted.score_threshold,
        origin=f"imported: {words}, {file.path.name}",
        scale=converted.scale,
    )
    return LoadedModel(model.eval(), settings, card)


def _problems(model: RetinaNet, converted: ImportedModel) -> list[str]:
    """What keeps the converted weights from being the network's, in words and foreign names."""
    own, state = model.state_dict(), converted.state
    lacking = [
        key for key in own if key not in state and key not in ("mean", "std") and not _counts(key)
    ]
    unknown = [key for key in state if key not in own and not _counts(key)]
    reshaped = [
        f"{converted.foreign_name(key)} {list(state[key].shape)} instead of {list(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    kinds = {
        "missing": [converted.foreign_name(key) for key in lacking],
        "unknown": [converted.foreign_name(key) for key in unknown],
        "of another shape": reshaped,
    }
    return [
        f"{len(names)} {what}: {listed(names, _MAX_NAMES, longest=120)}"
        for what, names in kinds.items()
        if names
    ]


def _counts(name: str) -> bool:
    """Live batch norm counts its batches, frozen has no such tensor, and nothing depends on it."""
    return name.endswith("num_batches_tracked")
