"""`foveal data convert`: the same data set in another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.console import say
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.data.format_names import FORMATS

if TYPE_CHECKING:
    from foveal.data.opening import DataOptions


@takes_data
def convert(
    data: Annotated[str, typer.Argument(metavar="DATA", help=f"Annotations: {ADDRESS}.")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="A new or empty folder.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME", help=f"The format to write: {', '.join(FORMATS)}."),
    ],
    options: DataOptions,
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Link to the images instead of copying them.")
    ] = False,
) -> None:
    """Write a data set in another format: whole, or not at all.

    Splits that DATA names are kept apart; without any, all images are written as one.
    """
    from foveal.data.formats import write
    from foveal.data.opening import open_splits

    read, splits = open_splits(data, options)
    write(read, dest, to, images="link" if link else "copy", splits=splits)
    say(f"{dest}: {read.summary()}")
