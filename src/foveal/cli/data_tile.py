"""`foveal data tile`: large images in tiles with their labels, for other tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import say
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.cli.progress import progress_bar
from foveal.data.format_names import FORMATS
from foveal.errors import DataError
from foveal.text import counted

if TYPE_CHECKING:
    from foveal.data.opening import DataOptions
    from foveal.data.tiles import TilePlan


@dataclass(frozen=True, slots=True)
class Tiled:
    """Tiles that were written.

    Attributes:
        folder: where they are.
        format: of their labels.
        images: that they were cut from.
        tiles: how many there are.
        objects: how many they show; one on two tiles counts twice.
        empty: tiles without objects.
        cut: objects of which too little is on a tile, ignored or left out there.
        left_out: tiles without objects that were not written.
        without_data: tiles without data, which were not written.
    """

    folder: Path
    format: str
    images: int
    tiles: int
    objects: int
    empty: int
    cut: int
    left_out: int
    without_data: int


@verb(
    "data tile",
    Tiled,
    examples=(
        "foveal data tile ports/train tiles --size 1024 --overlap 128 --to yolo",
        "foveal data tile trees.gpkg tiles --size 800 --empty 0.1",
    ),
)
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
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Cut large images into tiles with their labels: whole, or not at all.

    Images on the map become GeoTIFFs on the map. `tiles.json` keeps where each tile lies, and
    `foveal data untile` brings labels back.
    """
    from foveal.data.formats import expect_new_folder
    from foveal.data.formats.detect import load_format
    from foveal.data.opening import open_splits
    from foveal.data.tiles import TilePlan
    from foveal.data.tiles import tile as tile_dataset

    plan = TilePlan(size, overlap, min_visibility, cut, _share(empty), seed)
    read, splits = open_splits(data, options)
    if dry_run:
        load_format(to)
        expect_new_folder(dest)
        step = f"cut {read.summary()} into tiles of {size} x {size} px, labels as {to}"
        return Plan([data], [dest], steps=[step])
    with progress_bar(len(read)) as bar:
        counts = tile_dataset(read, dest, plan, format=to, splits=splits, progress=bar.update)
    tiled = Tiled(
        dest,
        to,
        images=counts.scenes,
        tiles=counts.tiles,
        objects=counts.objects,
        empty=counts.empty,
        cut=counts.cut,
        left_out=counts.left_out,
        without_data=counts.without_data,
    )
    return Answer(tiled, tell=lambda: _tell(tiled, plan))


def _tell(tiled: Tiled, plan: TilePlan) -> None:
    say(
        f"{tiled.folder}: {counted(tiled.tiles, 'tile')} of {counted(tiled.images, 'image')}, "
        f"{counted(tiled.objects, 'object')}, {tiled.empty:,} tiles without objects."
    )
    if tiled.cut:
        done = "ignored there" if plan.cut == "ignore" else "left out there"
        say(f"Objects cut to less than {plan.min_visibility:g}: {tiled.cut:,}, {done}.")
    if tiled.left_out:
        say(f"Left out: {counted(tiled.left_out, 'tile')} without objects.")
    if tiled.without_data:
        say(f"Left out: {counted(tiled.without_data, 'tile')} without data.")


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
