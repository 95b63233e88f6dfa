"""`foveal export-weights`: turn a model file into weights for another library."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Destination(StrEnum):
    """The libraries that weights can be written for."""

    TORCHVISION = "torchvision"


def export_weights(
    model: Annotated[Path, typer.Argument(help="The model file to read.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write: .pth or .safetensors.")],
    destination: Annotated[
        Destination, typer.Option("--to", help="The library that the weights are for.")
    ] = Destination.TORCHVISION,
) -> None:
    """Turn a model into weights that another library loads.

    torchvision: a state dict for load_state_dict(..., strict=True). Its label 0 is background and
    never found; our first class is its label 1.
    """
    from foveal.checkpoints import model_file
    from foveal.exporting.torchvision import export_torchvision
    from foveal.models.checkpoints import write_state_dict

    loaded = model_file.load(model)
    match destination:
        case Destination.TORCHVISION:
            exported = export_torchvision(loaded.model, loaded.settings)
    write_state_dict(out, exported.state)
    typer.echo(f"{out}: for {exported.constructor}")
    for hint in exported.hints:
        typer.echo(hint)
