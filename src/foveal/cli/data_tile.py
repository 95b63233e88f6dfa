"""`foveal data tile`: large images in tiles with their labels, for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from foveal.cli.console import say
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.cli.progress import progress_bar
from foveal.data.format_names import FORMATS
from foveal.errors import DataError
from foveal.text import counted

if TYPE_CHECKING:
    from foveal.data.opening import DataOptions


@takes_data
def tile(
    data: Annotated[str, typer.Argument(metavar="DATA", help=f"Annotations: {ADDRESS}.")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="A new or empty folder.")],
    options: DataOptions,
    size: Annotated[
        int,
        typer.Option("--size", metavar="PIXELS", help="Side of a tile; smaller images are one."),
    ],
    overlap: Annotated[
        int, typer.Option("--overlap", metavar="PIXELS", help="What neighbors share at least.")
    ] = 0,
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME", help=f"The format to write: {', '.join(FORMATS)}."),
    ] = "coco",
    min_visibility: Annotated[
        float,
        typer.Option(
            "--min-visibility",
            metavar="SHARE",
            help="An object of which a tile shows a smaller share is cut.",
        ),
    ] = 0.25,
    cut: Annotated[
        Literal["ignore", "drop"],
        typer.Option("--cut", help="Mark cut objects to be ignored, or leave them out."),
    ] = "ignore",
    empty: Annotated[
        str,
        typer.Option(
            "--empty",
            metavar="keep|drop|SHARE",
            help="Tiles without objects: keep them, drop them, or keep a share of them.",
        ),
    ] = "keep",
    seed: Annotated[int, typer.Option("--seed", help="Which share of them.")] = 0,
) -> None:
    """Cut large images into tiles with their labels: whole, or not at all.

    Images on the map become GeoTIFFs on the map. `tiles.json` keeps where each tile lies, and
    `foveal data untile` brings labels back.
    """
    from foveal.data.opening import open_splits
    from foveal.data.tiles import TilePlan
    from foveal.data.tiles import tile as tile_dataset

    plan = TilePlan(size, overlap, min_visibility, cut, _share(empty), seed)
    read, splits = open_splits(data, options)
    with progress_bar(len(read)) as bar:
        counts = tile_dataset(read, dest, plan, format=to, splits=splits, progress=bar.update)
    said = f"{dest}: {counted(counts.tiles, 'tile')} of {counted(counts.scenes, 'image')}, "
    said += f"{counted(counts.objects, 'object')}, {counts.empty:,} tiles without objects."
    say(said)
    if counts.cut:
        done = "ignored there" if cut == "ignore" else "left out there"
        say(f"Objects cut to less than {min_visibility:g}: {counts.cut:,}, {done}.")
    if counts.left_out:
        say(f"Left out: {counted(counts.left_out, 'tile')} without objects.")
    if counts.without_data:
        say(f"Left out: {counted(counts.without_data, 'tile')} without data.")


def _share(text: str) -> float:
    """The share of tiles without objects that is kept.

    Raises:
        DataError: it is none.
    """
    words = {"keep": 1.0, "drop": 0.0}
    try:
        return words[text] if text in words else float(text)
    except ValueError:
        raise DataError(f"--empty {text}: expected keep, drop, or a share from 0 to 1.") from None
