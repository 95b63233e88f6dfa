"""`foveal models`: what a model file holds, a library of models, and what others have published."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.answers import Answer, DryRun, Plan, add_verb, verb
from foveal.cli.console import make_console, say
from foveal.text import counted, decimal, listed, suggestion

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.checkpoints.complexity import Complexity
    from foveal.checkpoints.description import Description
    from foveal.checkpoints.published import PublishedCheckpoint

_MAX_NAMES = 12
_MAX_NAMES_IN_LIST = 4
_MEGA = 1e6

models_app = typer.Typer(
    name="models",
    help="Describe model files, keep them in a library by name, and list what others have "
    "published.",
    no_args_is_help=True,
)


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model of the library; what an exported one does not say cheaply is null.

    Attributes:
        name: what it is called.
        file: where it is.
        bytes: of its files.
        exported: the kind of an exported model, onnx or xml.
        backbone: of the network.
        classes: its classes.
        AP: COCO's AP on its validation images, 0..1.
        origin: where it came from; empty where foveal trained it.
        error: why it can't be read.
    """

    name: str
    file: Path
    bytes: int
    exported: str | None = None
    backbone: str | None = None
    classes: tuple[str, ...] | None = None
    AP: float | None = None
    origin: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A checkpoint that others have published, which foveal import reads.

    Attributes:
        name: ours.
        source: the program that it was trained with.
        backbone: timm's name of it.
        classes: how many it has.
        training: on what it was trained, and how long.
        AP: box AP in percent as its publishers state it; null where they state none.
        measured_on: the data set of AP.
        megabytes: of the file, 10^6 bytes; null where it is not known.
        approximate: that is the size of its tensors in float32.
        license: of the repository or page that publishes it.
        url: where the file is.
        page: where the figures stand.
        note: what else to know before importing it.
    """

    name: str
    source: str
    backbone: str
    classes: int
    training: str
    AP: float | None
    measured_on: str
    megabytes: float | None
    approximate: bool
    license: str
    url: str
    page: str
    note: str


@dataclass(frozen=True, slots=True)
class ModelsListed:
    """The models of a library, and published checkpoints.

    Attributes:
        folder: of the library.
        models: in it.
        published: by others.
    """

    folder: Path
    models: tuple[OwnModel, ...]
    published: tuple[PublishedModel, ...]


@dataclass(frozen=True, slots=True)
class NetworkComplexity:
    """Of one network and one size of its input.

    Attributes:
        parameters: all its numbers, but for the statistics of batch norms.
        operations: of one image, a multiplication and an addition counted as two.
        height, width: of the input, pixels.
    """

    parameters: int
    operations: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class ModelDescribed:
    """What a model file says of itself.

    Attributes:
        file: the model.
        bytes: of its files.
        version: of the file's format.
        card: classes, score threshold, metrics, where it came from.
        model, anchors, preparation, decoding: the settings that prediction needs.
        record: how it was trained.
        export: how an exported file was made; null of a model file.
        complexity: of the network.
    """

    file: Path
    bytes: int
    version: int
    card: dict[str, Any]
    model: dict[str, Any]
    anchors: dict[str, Any]
    preparation: dict[str, Any]
    decoding: dict[str, Any]
    record: dict[str, Any]
    export: dict[str, Any] | None
    complexity: NetworkComplexity


@dataclass(frozen=True, slots=True)
class ModelAdded:
    """A model that is in the library now.

    Attributes:
        name: what it is called.
        file: the library's.
        replaced: whether there was one of this name.
        backbone: of the network.
        classes: its classes.
    """

    name: str
    file: Path
    replaced: bool
    backbone: str
    classes: tuple[str, ...]


@verb("models list", ModelsListed, examples=("foveal models list", "foveal models list --json"))
def list_models() -> Answer:
    """List the models of your library, and checkpoints that others have published.

    The library is a folder: $FOVEAL_MODELS, else ~/.local/share/foveal/models. Nothing is
    downloaded: foveal models show NAME says where to get a published checkpoint.
    """
    from foveal.checkpoints.library import library_folder, library_models
    from foveal.checkpoints.published import published_checkpoints

    folder, published = library_folder(), published_checkpoints()
    own = [_entry(file) for file in library_models()]
    listed_models = ModelsListed(folder, tuple(own), tuple(map(_as_published, published)))
    return Answer(listed_models, tell=lambda: _tell_list(folder, own, published))


def _tell_list(
    folder: Path, own: list[OwnModel], published: tuple[PublishedCheckpoint, ...]
) -> None:
    console = make_console()
    console.print(f"Your library, {folder} (FOVEAL_MODELS names another folder):", soft_wrap=True)
    if own:
        _print_own(console, own)
    else:
        console.print(
            "  no models yet. Add one by name: foveal models add MODEL --name NAME", soft_wrap=True
        )
    console.print(
        "\nPublished by others, for foveal import; foveal downloads none of them:", soft_wrap=True
    )
    _print_published(console, published)
    console.print(
        "AP: box AP in percent on COCO val2017, as published. ~: the size of its tensors. License: "
        "of the program's repository or the model's page.\n"
        "Where to get one and how to import it: foveal models show NAME",
        soft_wrap=True,
    )


@verb(
    "models show",
    ModelDescribed,
    PublishedModel,
    examples=("foveal models show runs/cells", "foveal models show odtk-r50"),
)
def show_model(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model file, an exported model, a run's folder, a model of the library, or the "
            "name of a published checkpoint.",
            show_default=False,
        ),
    ],
) -> Answer:
    """Describe a model: where it came from, classes, network, size, anchors, metrics."""
    from foveal.checkpoints.library import library_models, resolve_model
    from foveal.checkpoints.published import find_published, published_checkpoints
    from foveal.errors import ModelFileError

    path = resolve_model(model)
    if not path.exists():
        published = find_published(model)
        if published is None:
            known = [
                *(file.stem for file in library_models()),
                *(entry.name for entry in published_checkpoints()),
            ]
            raise ModelFileError(
                f"{model}: no such file, no model of the library and no published checkpoint. "
                "Expected one of these; foveal models list names them." + suggestion(model, known)
            )
        return Answer(_as_published(published), tell=lambda: _tell_published(published))
    from foveal.checkpoints.complexity import measure_complexity

    file = _file_of(path)
    description = _describe(file)
    complexity = measure_complexity(description)
    return Answer(
        _as_described(file, description, complexity),
        tell=lambda: _tell_file(file, description, complexity, typed=model),
    )


@verb(
    "models add",
    ModelAdded,
    examples=(
        "foveal models add runs/cells",
        "foveal models add best.safetensors --name cells --overwrite",
    ),
)
def add_model(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A model file, an exported model (.xml, .onnx), or the folder of a run, whose "
            "best model is taken.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What to call it; without it as its file, or for a run as its folder.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the library's model of this name.")
    ] = False,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Copy a model into your library: then its name stands for it in every command.

    The library is a folder: $FOVEAL_MODELS, else ~/.local/share/foveal/models. To take a model out
    of it, remove the file.
    """
    from foveal.checkpoints.library import (
        add_to_library,
        check_addition,
        find_in_library,
        library_name,
    )

    file = _file_of(model)
    description = _describe(file)  # to add nothing that is no model
    name = library_name(file, name=name)
    replaced = find_in_library(name)
    if dry_run:
        target = check_addition(file, name=name, overwrite=overwrite)
        other = [replaced] if replaced not in (None, target) else []
        return Plan([file], [target], [each for each in other if each is not None])
    target = add_to_library(file, name=name, overwrite=overwrite)
    added = ModelAdded(
        name,
        target,
        replaced is not None,
        backbone=description.model.backbone,
        classes=description.card.classes,
    )
    return Answer(added, tell=lambda: _tell_added(added, replaced))


def _tell_added(added: ModelAdded, replaced: Path | None) -> None:
    if replaced is not None:
        say(f"{replaced}: the model that was there is replaced.")
    name = added.name
    say(
        f"{added.file}: {added.backbone}, {counted(len(added.classes), 'class')} "
        f"({listed(added.classes, _MAX_NAMES_IN_LIST)})"
    )
    say(f"Next: foveal predict {name} IMAGES --out DIR, foveal models show {name}")
    if Path(name).exists():
        say(f"Here {name} means the file or folder of that name: the library's comes after it.")


def _file_of(path: Path) -> Path:
    """The file that says most of a model: of a run the network, not what was exported from it."""
    from foveal.checkpoints.finding import network_file, prediction_file

    return network_file(path) if path.is_dir() else prediction_file(path)


def _describe(file: Path) -> Description:
    """What any kind of model file says of itself."""
    from foveal.checkpoints.finding import NETWORK
    from foveal.checkpoints.header import read_description
    from foveal.errors import ModelFileError
    from foveal.inference.opening import open_model

    ending = file.suffix.lower()
    if ending in (".pth", ".pt", ".ckpt", ".pkl", ".h5"):
        raise ModelFileError(
            f"{file}: is no model of foveal's ({NETWORK}, .xml, .onnx). If it is a checkpoint of "
            f"another program, turn it into one: foveal import {file} --out MODEL{NETWORK}"
        )
    if ending in (".xml", ".onnx"):
        return open_model(file, device="cpu").description
    return read_description(file)


def _entry(file: Path) -> OwnModel:
    """What the list says of one of the library's files; its error where it can't be read."""
    from foveal.checkpoints.finding import NETWORK
    from foveal.checkpoints.header import read_description
    from foveal.errors import ModelFileError

    if file.suffix.lower() != NETWORK:
        return OwnModel(file.stem, file, _size(file), exported=file.suffix.lower()[1:])
    try:
        description = read_description(file)
    except ModelFileError as error:
        return OwnModel(file.stem, file, _size(file), error=str(error))
    card = description.card
    return OwnModel(
        file.stem,
        file,
        _size(file),
        backbone=description.model.backbone,
        classes=card.classes,
        AP=card.metrics.get("AP"),
        origin=card.origin,
    )


def _as_published(entry: PublishedCheckpoint) -> PublishedModel:
    return PublishedModel(**entry.model_dump())


def _size(file: Path) -> int:
    weights = file.with_suffix(".bin")
    more = weights.stat().st_size if file.suffix.lower() == ".xml" and weights.is_file() else 0
    return file.stat().st_size + more


def _print_own(console: Console, own: list[OwnModel]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("  name", "backbone", "classes"):
        table.add_column(heading, overflow="fold")
    table.add_column("AP", justify="right")
    table.add_column("size", justify="right")
    table.add_column("from", overflow="fold")
    for entry in own:
        classes = entry.classes
        told = entry.exported and f"exported ({entry.exported})"
        table.add_row(
            f"  {entry.name}",
            entry.backbone or "",
            f"{len(classes)}: {listed(classes, _MAX_NAMES_IN_LIST)}" if classes else "",
            decimal(entry.AP) if entry.AP is not None else "",
            f"{entry.bytes / _MEGA:.1f} MB",
            told or entry.error or entry.origin or "trained by foveal",
        )
    console.print(table)


def _print_published(console: Console, published: tuple[PublishedCheckpoint, ...]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("backbone", no_wrap=True)
    table.add_column("classes", justify="right", no_wrap=True)
    table.add_column("AP", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("license", no_wrap=True)
    for entry in published:
        table.add_row(
            entry.name,
            entry.backbone,
            str(entry.classes),
            "" if entry.AP is None else f"{entry.AP:.1f}",
            entry.size,
            entry.license,
        )
    console.print(table)


def _tell_published(entry: PublishedCheckpoint) -> None:
    console = make_console()
    console.print(f"{entry.name}: a published checkpoint, which foveal does not download")
    _print_rows(
        console,
        {
            "source": entry.source,
            "backbone": entry.backbone,
            "classes": str(entry.classes),
            "trained on": entry.training,
            "AP": "not published"
            if entry.AP is None
            else f"{entry.AP:.1f} % on {entry.measured_on}, as published",
            "size": entry.size + (" (its tensors in float32)" if entry.approximate else ""),
            "license": f"{entry.license} (of the repository or page; read it there)",
            "note": entry.note,
        },
    )
    given = "FOLDER" if entry.source == "deepforest" else "FILE"
    console.print(
        f"Figures: {entry.page}\n"
        f"Get it:  {entry.url}\n"
        f"Then:    foveal import {given} --out {entry.name}.safetensors\n"
        f"         foveal models add {entry.name}.safetensors",
        soft_wrap=True,
    )


def _tell_file(file: Path, description: Description, complexity: Complexity, *, typed: str) -> None:
    console = make_console()
    console.print(f"{file}: {_size(file) / _MEGA:.1f} MB", soft_wrap=True)
    _print_rows(console, _rows(description, complexity))
    console.print(f"Next: foveal predict {shlex.quote(typed)} IMAGES --out DIR", soft_wrap=True)


def _as_described(file: Path, description: Description, complexity: Complexity) -> ModelDescribed:
    from foveal.checkpoints.description import to_json

    document: dict[str, Any] = {"export": None, **json.loads(to_json(description))}
    counts = NetworkComplexity(**asdict(complexity))
    return ModelDescribed(file, _size(file), complexity=counts, **document)


def _rows(description: Description, complexity: Complexity) -> dict[str, str]:
    """What is said of a model, by what it is about; '' is left out."""
    from foveal.checkpoints.model_page import describe_anchors, describe_input, describe_scale

    card, model = description.card, description.model
    export = description.export
    metrics = [f"{name} {decimal(value)}" for name, value in card.metrics.items()]
    return {
        "from": (card.origin or "trained by foveal")
        + (f", after epoch {card.epoch}" if card.epoch is not None else ""),
        "exported": ""
        if export is None
        else f"{export.precision}, {'with' if export.nms else 'without'} NMS inside",
        "classes": f"{len(card.classes)}: {listed(card.classes, _MAX_NAMES)}",
        "ignored classes": listed(card.ignored_classes, _MAX_NAMES),
        "network": f"{model.backbone} (norm {model.norm}), pyramid of {model.fpn_channels} "
        f"channels, P6 from {model.p6_from}, {model.head_depth} hidden layers of "
        f"{model.head_channels} in each subnet",
        "parameters": f"{complexity.parameters / _MEGA:.2f} million",
        "operations": f"{complexity.operations / 1e9:.1f} GFLOP for an input of "
        f"{complexity.height} x {complexity.width} (a multiplication and an addition are two)",
        "input": describe_input(description),
        "anchors": describe_anchors(description),
        "detections": f"at most {description.decoding.max_detections} an image, "
        f"NMS above IoU {description.decoding.nms_iou:g}",
        "score threshold": f"{card.score_threshold:.3g}, "
        + ("chosen on validation images" if card.threshold_is_chosen else "by default"),
        "metrics": ", ".join(metrics) or "none: it was not measured (foveal evaluate does)",
        "object scale": describe_scale(description),
    }


def _print_rows(console: Console, rows: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        if text:
            table.add_row(f"  {name}", text)
    console.print(table)


add_verb(models_app, list_models)
add_verb(models_app, show_model)
add_verb(models_app, add_model)
