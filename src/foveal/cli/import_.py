"""`foveal import`: turn a foreign checkpoint into a model file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import say
from foveal.text import counted

if TYPE_CHECKING:
    from foveal.checkpoints.importing import Imported


class Source(StrEnum):
    """Whose checkpoints can be read."""

    TORCHVISION = "torchvision"
    DETECTRON2 = "detectron2"
    MMDETECTION = "mmdetection"
    DEEPFOREST = "deepforest"
    ODTK = "odtk"
    YHENON = "yhenon"


class StrideIn(StrEnum):
    """Which convolution of a bottleneck block has the stride."""

    FIRST = "1x1"
    MIDDLE = "3x3"


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """A model out of a foreign checkpoint.

    Attributes:
        path: the model file.
        replaced: whether another file was there.
        checkpoint: that it was read from.
        source: whose checkpoint it is.
        reason: why it was taken for one.
        others: other sources that it could be of, each with its reason.
        backbone: of the network.
        classes: its classes.
        notes: what was assumed, a sentence each.
        unused: tensors of the checkpoint that the network has no place for.
    """

    path: Path
    replaced: bool
    checkpoint: Path
    source: str
    reason: str
    others: dict[str, str]
    backbone: str
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    unused: tuple[str, ...]


@verb(
    "import",
    ImportedFile,
    examples=(
        "foveal import model_final.pkl --out coco.safetensors",
        "foveal import trees.pth --from torchvision --classes names.txt --out trees.safetensors",
    ),
)
def import_checkpoint(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="The file to read, or the folder of a model hub; no code in it is run.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The model file to write.")],
    source: Annotated[
        Source | None,
        typer.Option("--from", help="Whose checkpoint it is.", show_default="found by looking"),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A text file with one class name a line.")
    ] = None,
    stride_in: Annotated[
        StrideIn | None,
        typer.Option(
            "--backbone-stride-in",
            help="The convolution of a ResNet's block that has the stride.",
            show_default="the source's habit",
        ),
    ] = None,
    no_background: Annotated[
        bool,
        typer.Option("--no-background", help="Every channel of the class layer is a class."),
    ] = False,
    weights_under: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where in the checkpoint the weights are, such as ema_state_dict.",
            show_default="found by looking",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.NAME=VALUE", help="A single setting; several times."
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Turn a foreign checkpoint into a model that gives the same detections.

    It says whose checkpoint it is, why, and what was assumed. torchvision: RetinaNets
    on ResNets and ResNeXts, state dicts, whole modules and checkpoints of training programs. With
    91 classes the names are COCO's. detectron2: model zoo files and trainings; put
    their config.yaml beside them. mmdetection: versions 2 and 3, styles pytorch and caffe.
    deepforest: a folder of its model hub, or a Lightning checkpoint. odtk (NVIDIA): the .pth files
    of all releases. yhenon: state dicts and whole modules. With 80 classes all of these have
    COCO's 80 names.
    """
    from foveal.checkpoints import model_file
    from foveal.checkpoints.importing import import_model
    from foveal.errors import ModelFileError

    if out.exists() and out.resolve() == checkpoint.resolve():
        raise ModelFileError(
            f"{out}: is the checkpoint itself. Choose another file: --out MODEL.safetensors."
        )
    replaced = out.is_file()
    imported = import_model(
        checkpoint,
        source=source.value if source else None,
        classes=_read_names(classes) if classes else None,
        backbone_stride_in=stride_in.value if stride_in else None,
        background=False if no_background else None,
        overrides=overrides or (),
        weights_under=weights_under,
    )
    if dry_run:
        steps = [*imported.describe(str(checkpoint)), f"write a model of {_summary(imported)}"]
        return Plan([checkpoint], [out], steps=steps)
    loaded = imported.loaded
    model_file.save(out, loaded.model, loaded.settings, loaded.card)
    written = ImportedFile(
        out,
        replaced,
        checkpoint,
        imported.source,
        reason=imported.reason,
        others=dict(imported.others),
        backbone=loaded.settings.model.backbone,
        classes=loaded.card.classes,
        notes=imported.notes,
        unused=imported.unused,
    )
    return Answer(written, tell=lambda: _tell(written, imported))


def _tell(written: ImportedFile, imported: Imported) -> None:
    for line in imported.describe(str(written.checkpoint)):
        say(line)
    out = written.path
    if written.replaced:
        say(f"{out}: the file that was there is replaced.")
    say(f"{out}: {_summary(imported)}")
    say(f"Faster on CPUs: foveal export {out} --to openvino --out {out.with_suffix('.xml')}")


def _summary(imported: Imported) -> str:
    known = imported.loaded.card.classes
    shown = ", ".join(known[:5]) + (" ..." if len(known) > 5 else "")
    return f"{imported.loaded.settings.model.backbone}, {counted(len(known), 'class')} ({shown})"


def _read_names(path: Path) -> list[str]:
    from foveal.errors import DataError

    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: class names can't be read ({error}). Expected a text file, one name a line."
        ) from None
    names = [name for name in names if name]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: {', '.join(repeated)} stand there more than once.")
    return names
