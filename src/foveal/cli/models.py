"""`foveal models`: what a model file holds, a library of models, and what others have published."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.console import make_console, say, say_json
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


@models_app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the lists as JSON.")] = False,
) -> None:
    """List the models of your library, and checkpoints that others have published.

    The library is a folder: $FOVEAL_MODELS, else ~/.local/share/foveal/models. Nothing is
    downloaded: foveal models show NAME says where to get a published checkpoint.
    """
    from foveal.checkpoints.library import library_folder, library_models
    from foveal.checkpoints.published import published_checkpoints

    folder, published = library_folder(), published_checkpoints()
    own = [_entry(file) for file in library_models()]
    if as_json:
        say_json(
            {
                "folder": str(folder),
                "models": own,
                "published": [entry.model_dump() for entry in published],
            }
        )
        return
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


@models_app.command("show")
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
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
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
        _show_published(published, as_json=as_json)
        return
    file = _file_of(path)
    _show_file(file, typed=model, as_json=as_json)


@models_app.command("add")
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
) -> None:
    """Copy a model into your library: then its name stands for it in every command.

    The library is a folder: $FOVEAL_MODELS, else ~/.local/share/foveal/models. To take a model out
    of it, remove the file.
    """
    from foveal.checkpoints.library import add_to_library, find_in_library, library_name

    file = _file_of(model)
    description = _describe(file)  # to add nothing that is no model
    name = library_name(file, name=name)
    replaced = find_in_library(name)
    target = add_to_library(file, name=name, overwrite=overwrite)
    if replaced is not None:
        say(f"{replaced}: the model that was there is replaced.")
    classes = description.card.classes
    say(
        f"{target}: {description.model.backbone}, {counted(len(classes), 'class')} "
        f"({listed(classes, _MAX_NAMES_IN_LIST)})"
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


def _entry(file: Path) -> dict[str, Any]:
    """What the list says of one of the library's files; its error where it can't be read."""
    from foveal.checkpoints.finding import NETWORK
    from foveal.checkpoints.header import read_description
    from foveal.errors import ModelFileError

    entry: dict[str, Any] = {"name": file.stem, "file": str(file), "bytes": _size(file)}
    if file.suffix.lower() != NETWORK:
        return entry | {"exported": file.suffix.lower()[1:]}
    try:
        description = read_description(file)
    except ModelFileError as error:
        return entry | {"error": str(error)}
    card = description.card
    return entry | {
        "backbone": description.model.backbone,
        "classes": list(card.classes),
        "AP": card.metrics.get("AP"),
        "origin": card.origin,
    }


def _size(file: Path) -> int:
    weights = file.with_suffix(".bin")
    more = weights.stat().st_size if file.suffix.lower() == ".xml" and weights.is_file() else 0
    return file.stat().st_size + more


def _print_own(console: Console, own: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("  name", "backbone", "classes"):
        table.add_column(heading, overflow="fold")
    table.add_column("AP", justify="right")
    table.add_column("size", justify="right")
    table.add_column("from", overflow="fold")
    for entry in own:
        classes = entry.get("classes")
        told = entry.get("exported") and f"exported ({entry['exported']})"
        table.add_row(
            f"  {entry['name']}",
            entry.get("backbone", ""),
            f"{len(classes)}: {listed(classes, _MAX_NAMES_IN_LIST)}" if classes else "",
            decimal(entry["AP"]) if entry.get("AP") is not None else "",
            f"{entry['bytes'] / _MEGA:.1f} MB",
            told or entry.get("error") or entry.get("origin") or "trained by foveal",
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


def _show_published(entry: PublishedCheckpoint, *, as_json: bool) -> None:
    if as_json:
        say_json(entry.model_dump())
        return
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


def _show_file(file: Path, *, typed: str, as_json: bool) -> None:
    from foveal.checkpoints.complexity import measure_complexity
    from foveal.text import without_nan

    description = _describe(file)
    complexity = measure_complexity(description)
    if as_json:
        say_json(without_nan(_as_values(file, description, complexity)))
        return
    console = make_console()
    console.print(f"{file}: {_size(file) / _MEGA:.1f} MB", soft_wrap=True)
    _print_rows(console, _rows(description, complexity))
    console.print(f"Next: foveal predict {shlex.quote(typed)} IMAGES --out DIR", soft_wrap=True)


def _as_values(file: Path, description: Description, complexity: Complexity) -> dict[str, Any]:
    import json
    from dataclasses import asdict

    from foveal.checkpoints.description import to_json

    document: dict[str, Any] = json.loads(to_json(description))
    return {"file": str(file), "bytes": _size(file), **document, "complexity": asdict(complexity)}


def _rows(description: Description, complexity: Complexity) -> dict[str, str]:
    """What is said of a model, by what it is about; '' is left out."""
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
        "input": _input(description),
        "anchors": _anchors(description),
        "detections": f"at most {description.decoding.max_detections} an image, "
        f"NMS above IoU {description.decoding.nms_iou:g}",
        "score threshold": f"{card.score_threshold:.3g}, "
        + ("chosen on validation images" if card.threshold_is_chosen else "by default"),
        "metrics": ", ".join(metrics) or "none: it was not measured (foveal evaluate does)",
        "object scale": _scale(description),
    }


def _input(description: Description) -> str:
    preparation, bands = description.preparation, description.model.bands
    sides = {
        "keep": f"shorter side {preparation.shorter}, longer at most {preparation.longer} pixels",
        "square": f"{preparation.shorter} x {preparation.shorter} pixels, padded",
        "windows": f"windows of {preparation.shorter} x {preparation.shorter} pixels at "
        f"{preparation.scale:g} times the image's size",
    }[preparation.mode]
    return f"{sides}, {'RGB' if bands == 3 else counted(bands, 'band')}"


def _anchors(description: Description) -> str:
    anchors = description.anchors
    strides = ", ".join(map(str, anchors.strides))
    if getattr(anchors, "shapes", ()):
        each = len(anchors.shapes[0])
        return f"{each} at each location, given one by one, at strides {strides}"
    lists = (
        ", ".join(f"{value:.4g}" for value in values)
        for values in (anchors.sizes, anchors.scales, anchors.ratios)
    )
    sizes, scales, ratios = lists
    each = len(anchors.scales) * len(anchors.ratios)
    return (
        f"{each} at each location: sizes {sizes} pixels (strides {strides}), times {scales}; "
        f"height / width {ratios}"
    )


def _scale(description: Description) -> str:
    card = description.card
    parts = []
    if card.scale is not None:
        parts.append(f"images were shown at {card.scale:.3g} times their size")
    if card.ground_resolution is not None:
        parts.append(f"{card.ground_resolution:.3g} m of ground a pixel")
    if card.largest_object is not None:
        parts.append(f"99 of 100 objects below {card.largest_object:.0f} pixels")
    return ", ".join(parts)


def _print_rows(console: Console, rows: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        if text:
            table.add_row(f"  {name}", text)
    console.print(table)
