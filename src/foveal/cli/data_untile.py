"""`foveal data untile`: labels of tiles put together, in the images that they were cut from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import say
from foveal.cli.data_convert import Converted, converted
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.data.format_names import FORMATS

if TYPE_CHECKING:
    from foveal.data.opening import DataOptions


@verb(
    "data untile",
    Converted,
    examples=(
        "foveal data untile tiles ports-again",
        "foveal data untile tiles-labeled ports-yolo --to yolo --copy",
    ),
)
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
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Put the labels of tiles together, in the images that `foveal data tile` cut.

    The pieces of an object are one again. What was labeled on several tiles is taken once.
    """
    from foveal.data.formats import expect_new_folder, write
    from foveal.data.formats.detect import load_format
    from foveal.data.opening import open_data
    from foveal.data.tiles import untile as untile_dataset

    whole = untile_dataset(open_data(data, options))
    if dry_run:
        load_format(to)
        expect_new_folder(dest)
        return Plan([data], [dest], steps=[f"write {whole.summary()} as {to}"])
    write(whole, dest, to, images="link" if link else "copy")
    return Answer(converted(whole, dest, to), tell=lambda: say(f"{dest}: {whole.summary()}"))
