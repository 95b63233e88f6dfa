"""`foveal quantise`: let a model predict in 8 bits on CPUs, if its boxes stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quantise(
    model: Annotated[Path, typer.Argument(help="The model file to read.", show_default=False)],
    images: Annotated[
        str,
        typer.Argument(
            help="Images like those of use, such as the training images: PATH or PATH:SPLIT.",
            show_default=False,
        ),
    ],
    check: Annotated[str, typer.Option(help="Other images, labelled: PATH or PATH:SPLIT.")],
    out: Annotated[Path, typer.Option(help="The model file to write; it may be the same.")],
) -> None:
    """Measure what prediction in 8 bits needs, and keep it if AP stays (within 0.002).

    foveal train has done it already; this is for models from elsewhere, or from a machine whose
    processor has no such instructions. Without a gain nothing is written, and the exit code is 1.
    """
    from foveal.detector import load

    detector = load(model)
    found = detector.quantise(images, check)
    typer.echo(str(found))
    if not found.kept:
        raise typer.Exit(1)
    detector.save(out)
    typer.echo(f"Written: {out}")
