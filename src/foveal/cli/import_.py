"""`foveal import`: turn a foreign checkpoint into a model file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.console import say
from foveal.text import counted


class Source(StrEnum):
    """The libraries whose checkpoints can be read."""

    TORCHVISION = "torchvision"


def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="The file to read; no code in it is run.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The model file to write.")],
    source: Annotated[
        Source, typer.Option("--from", help="The library that the checkpoint comes from.")
    ] = Source.TORCHVISION,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A text file with one class name a line.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.NAME=VALUE", help="A single setting; several times."
        ),
    ] = None,
) -> None:
    """Turn a foreign checkpoint into a model that gives the same detections.

    torchvision: state dicts of retinanet_resnet50_fpn and retinanet_resnet50_fpn_v2, plain or
    inside a training program's checkpoint. With 91 classes the names are COCO's.
    """
    from foveal.checkpoints import model_file
    from foveal.checkpoints.torchvision import import_torchvision
    from foveal.errors import ModelFileError

    if out.exists() and out.resolve() == checkpoint.resolve():
        raise ModelFileError(
            f"{out}: is the checkpoint itself. Choose another file: --out MODEL.safetensors."
        )
    replaced = out.is_file()
    names = _read_names(classes) if classes else None
    match source:
        case Source.TORCHVISION:
            loaded = import_torchvision(checkpoint, classes=names, overrides=overrides or ())
    model_file.save(out, loaded.model, loaded.settings, loaded.card)
    if replaced:
        say(f"{out}: the file that was there is replaced.")
    known = loaded.card.classes
    shown = ", ".join(known[:5]) + (" ..." if len(known) > 5 else "")
    say(f"{out}: {loaded.settings.model.backbone}, {counted(len(known), 'class')} ({shown})")
    say(f"Faster on CPUs: foveal export {out} --to openvino --out {out.with_suffix('.xml')}")


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
