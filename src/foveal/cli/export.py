"""`foveal export`: a trained model in the form that another program reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import make_console, say
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.cli.model_argument import find_model
from foveal.cli.outcomes import Outcome
from foveal.errors import SettingsError
from foveal.text import LONGEST_LAYER, counted, listed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from foveal.checkpoints.description import Description
    from foveal.data.opening import DataOptions
    from foveal.exporting.export import ExportReport

_MAX_NAMES = 5
"""Of longer lists of layers the beginning is told."""


class Destination(StrEnum):
    """What a model can be exported to."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    PT2 = "pt2"
    TRITON = "triton"
    TORCHVISION = "torchvision"
    DETECTRON2 = "detectron2"


@dataclass(frozen=True, slots=True)
class InputAgreement:
    """How an export agrees with PyTorch in float32 on an input size.

    Attributes:
        batch, height, width: of the input.
        precision: that the export computed in.
        largest_difference: of logits, relative to the largest; of scores where NMS is inside.
        boxes: the largest difference of boxes, input pixels.
        detections: that PyTorch has.
        matched: of these, how many the export has too.
        near_ties: of the others, how many rounding alone decides about.
        is_clear: whether these have a clear score; else they are the best there are.
    """

    batch: int
    height: int
    width: int
    precision: str
    largest_difference: float | None
    boxes: float | None
    detections: int
    matched: int
    near_ties: int
    is_clear: bool


@dataclass(frozen=True, slots=True)
class BothPrecisions:
    """COCO's AP of the network and of its export, 0..1.

    Attributes:
        network, export: AP; null where no image has an object.
        images: how many images.
        of: whose they are.
    """

    network: float | None
    export: float | None
    images: int
    of: str


@dataclass(frozen=True, slots=True)
class Exported:
    """A model for another program.

    Attributes:
        path: the file, or Triton's folder.
        page: what a person should know of it, as MODEL.md of a run; null where there is none.
        written: whether it was written; it is not where problems are named.
        replaced: whether an earlier one was in its place.
        target: for what it is.
        precision: of the weights; int8 of weights and activations.
        nms: whether decoding and NMS are inside.
        float_layers: with int8, what was kept in float32.
        agreements: how it agrees with PyTorch, for each input size that was tried.
        average_precision: of both; null where no labeled image was given.
        seconds: what an image takes on this machine, by what computes it.
        notes: what else is to be known, a sentence each.
        problems: what is beyond the limits.
    """

    path: Path
    page: Path | None
    written: bool
    replaced: bool
    target: str
    precision: str
    nms: bool
    float_layers: tuple[str, ...]
    agreements: tuple[InputAgreement, ...]
    average_precision: BothPrecisions | None
    seconds: dict[str, float]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


@verb(
    "export",
    Exported,
    examples=(
        "foveal export runs/cells --to openvino --out cells.xml --int8 cells:train "
        "--check cells:valid",
        "foveal export runs/cells --to onnx --out cells.onnx --nms --size 416x416",
        "foveal export cells.safetensors --to torchvision --out cells.pth",
    ),
)
@takes_data
def export(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A model file, the folder of a run, or a name in your library (foveal models).",
            show_default=False,
        ),
    ],
    destination: Annotated[
        Destination,
        typer.Option(
            "--to",
            help="openvino: .xml and .bin, the fastest on CPUs. onnx: for ONNX Runtime, TensorRT "
            "and others. pt2: a torch.export program, for PyTorch without foveal. triton: a "
            "folder of NVIDIA's server, decoding inside. torchvision, detectron2: weights for "
            "their RetinaNets.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The file to write: .xml, .onnx, .pt2, .pth; for Triton a folder, which is "
            "called as the model is to be.",
            show_default=False,
        ),
    ],
    options: DataOptions,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="The only input size, such as 416x416; without it any, in multiples of 32.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="The only number of images; without it any.", show_default=False),
    ] = None,
    nms: Annotated[
        bool,
        typer.Option(
            "--nms", help="Put decoding and NMS inside: boxes, scores, labels and counts come out."
        ),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Store the weights as float16 (openvino, onnx, triton).")
    ] = False,
    int8: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help=f"Labeled images like those of use, {ADDRESS}: go to 8 bits if AP stays within "
            "0.002 (openvino, onnx, triton).",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labeled images to compare with PyTorch on; without them drawn ones.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Write a model for another program: OpenVINO, ONNX, torch.export, Triton and others.

    The export is run beside PyTorch before it is written. Where they differ by more than the
    limits, nothing is written and the exit code is 1. Predict with an .xml or .onnx file as with
    the model itself: foveal predict model.xml images --out found.

    TensorRT reads the ONNX file (this was not run here): trtexec --onnx=model.onnx
    --minShapes=images:1x3x416x416 --optShapes=images:8x3x416x416
    --maxShapes=images:8x3x416x416
    """
    from foveal.checkpoints.finding import network_file
    from foveal.checkpoints.header import read_description
    from foveal.checkpoints.model_file import load
    from foveal.data.opening import open_together
    from foveal.exporting.export import check_export, export_model

    file = network_file(find_model(model))
    if out.resolve() == file.resolve():
        raise SettingsError(f"{out}: is the model itself. Choose another file: --out FILE.")
    sides = None if size is None else _parse_size(size)
    given = {name: address for name, address in (("int8", int8), ("check", check)) if address}
    datasets = open_together([(address, options) for address in given.values()])
    data = dict(zip(given, datasets, strict=True))
    if dry_run:
        check_export(
            read_description(file).decoding,
            destination.value,
            out,
            size=sides,
            batch=batch,
            nms=nms,
            half=half,
            int8="int8" in data,
        )
        step = f"export {file} to {destination.value}, and run it beside PyTorch before"
        return Plan([file, *given.values()], _files(destination, out), steps=[step])
    replaced = out.exists()
    report = export_model(
        load(file),
        destination.value,
        out,
        size=sides,
        batch=batch,
        nms=nms,
        half=half,
        int8=data.get("int8"),
        check=data.get("check"),
        say=lambda line: say(line, stderr=True),
    )
    page = _write_page(destination, report, described=read_description(file))
    return Answer(
        _exported(report, page, replaced=replaced),
        tell=lambda: _show(make_console(), report, page, replaced=replaced),
        outcome=Outcome.DONE if report.is_written else Outcome.FAULTS,
    )


def _files(destination: Destination, out: Path) -> list[Path]:
    """What an export writes."""
    more = {Destination.OPENVINO: ".bin", Destination.DETECTRON2: ".yaml"}.get(destination)
    files = [out] if more is None else [out, out.with_suffix(more)]
    page = _page_of(destination, out)
    return files if page is None else [*files, page]


def _page_of(destination: Destination, out: Path) -> Path | None:
    """The page beside an export; Triton's folder has its own, and weights alone are no model."""
    described = destination in (Destination.ONNX, Destination.OPENVINO, Destination.PT2)
    return out.with_name(f"{out.name}.md") if described else None


def _write_page(
    destination: Destination, report: ExportReport, *, described: Description
) -> Path | None:
    from foveal.checkpoints.model_page import write_model_page
    from foveal.machine import describe_machine

    page = _page_of(destination, report.path)
    if page is None or not report.is_written:
        return None
    return write_model_page(
        report.path,
        replace(described, export=report.export),
        seconds=report.seconds,
        machine=describe_machine().text,
        page=page,
    )


def _exported(report: ExportReport, page: Path | None, *, replaced: bool) -> Exported:
    ap = report.average_precision
    return Exported(
        report.path,
        page,
        written=report.is_written,
        replaced=replaced and report.is_written,
        target=report.target,
        precision=report.export.precision,
        nms=report.export.nms,
        float_layers=report.export.float_layers,
        agreements=tuple(
            InputAgreement(
                each.batch,
                each.height,
                each.width,
                each.precision,
                largest_difference=each.logits,
                boxes=each.boxes,
                detections=each.detections,
                matched=each.matched,
                near_ties=each.near_ties,
                is_clear=each.is_clear,
            )
            for each in report.agreements
        ),
        average_precision=None
        if ap is None
        else BothPrecisions(ap.network, ap.export, ap.images, ap.of),
        seconds=report.seconds,
        notes=report.notes,
        problems=report.problems,
    )


def _parse_size(text: str) -> tuple[int, int]:
    sides = re.fullmatch(r"(\d+)[xX](\d+)", text.strip())
    if sides is None:
        raise SettingsError(f"--size {text}: expected height x width in pixels, such as 416x608.")
    return int(sides[1]), int(sides[2])


def _show(console: Console, report: ExportReport, page: Path | None, *, replaced: bool) -> None:
    if report.agreements:
        console.print(_agreement_table(report))
    ap = report.average_precision
    if ap is not None:
        console.print(
            f"AP on {ap.of} ({counted(ap.images, 'image')}): PyTorch {ap.network:.4f}, "
            f"the export {ap.export:.4f}."
        )
    if report.seconds:
        times = [f"{name} {1000 * each:.1f} ms" for name, each in report.seconds.items()]
        console.print(f"An image takes, on this machine: {', '.join(times)}.", soft_wrap=True)
    if report.export.precision == "int8":
        console.print(_float_layers(report.export.float_layers), soft_wrap=True)
    for note in report.notes:
        console.print(note, soft_wrap=True)
    for problem in report.problems:
        console.print(f"Beyond the limits: {problem}", soft_wrap=True)
    if report.is_written:
        earlier = ", in place of an earlier one" if replaced else ""
        more = "" if page is None else f"; what to know of it: {page}"
        console.print(f"Written: {report.path}{earlier}{more}", soft_wrap=True)
    else:
        console.print(
            f"Nothing was written. {report.path}, if it was there before, is as it was.",
            soft_wrap=True,
        )


def _float_layers(names: tuple[str, ...]) -> str:
    if not names:
        return "All convolutions are in 8 bits."
    some = listed(names, _MAX_NAMES, longest=LONGEST_LAYER)
    return f"In float32 stay {counted(len(names), 'convolution')}: {some}."


def _agreement_table(report: ExportReport) -> Table:
    from rich.table import Table

    table = Table(title="Beside PyTorch in float32", title_justify="left")
    of_scores = "scores" if report.export.nms else "logits"
    for name in ("images", "computed in", f"{of_scores} differ", "boxes differ", "found again"):
        table.add_column(name, justify="left" if name == "computed in" else "right")
    for row in report.agreements:
        best = "" if row.is_clear else " (of the best, none is clear)"
        ties = f", {counted(row.near_ties, 'near tie')}" if row.near_ties else ""
        table.add_row(
            f"{row.batch} x {row.width} x {row.height}",
            row.precision,
            f"{row.logits:.1e}",
            f"{row.boxes:.1e} px",
            f"{row.matched} of {row.detections}{ties}{best}",
        )
    return table
