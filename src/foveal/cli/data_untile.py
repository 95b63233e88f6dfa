"""`foveal data untile`: labels of tiles put together, in the images that they were cut from."""

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
def untile(
    data: Annotated[str, typer.Argument(metavar="TILES", help=f"Tiles and labels: {ADDRESS}.")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="A new or empty folder.")],
    options: DataOptions,
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME", help=f"The format to write: {', '.join(FORMATS)}."),
    ] = "coco",
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Link to the images instead of copying them.")
    ] = True,
) -> None:
    """Put the labels of tiles together, in the images that `foveal data tile` cut.

    The pieces of an object are one again. What was labeled on several tiles is taken once.
    """
    from foveal.data.formats import write
    from foveal.data.opening import open_data
    from foveal.data.tiles import untile as untile_dataset

    whole = untile_dataset(open_data(data, options))
    write(whole, dest, to, images="link" if link else "copy")
    say(f"{dest}: {whole.summary()}")
