"""`foveal data convert`: the same data set in another format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import say
from foveal.cli.data_options import ADDRESS, takes_data
from foveal.data.format_names import FORMATS

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.data.opening import DataOptions


@dataclass(frozen=True, slots=True)
class Converted:
    """A data set that was written.

    Attributes:
        folder: where it is.
        format: that it is written in.
        images, objects: how many it has; regions to ignore are not counted.
        classes: its classes.
    """

    folder: Path
    format: str
    images: int
    objects: int
    classes: tuple[str, ...]


@verb(
    "data convert",
    Converted,
    examples=(
        "foveal data convert cells:train+val+test cells-yolo --to yolo",
        "foveal data convert boxes.csv cells-coco --to coco --images photos --link",
    ),
)
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
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Write a data set in another format: whole, or not at all.

    Splits that DATA names are kept apart; without any, all images are written as one.
    """
    from foveal.data.formats import expect_new_folder, write
    from foveal.data.formats.detect import load_format
    from foveal.data.opening import open_splits

    read, splits = open_splits(data, options)
    if dry_run:
        load_format(to)
        expect_new_folder(dest)
        how = "with links to the images" if link else "with copies of the images"
        return Plan([data], [dest], steps=[f"write {read.summary()} as {to}, {how}"])
    write(read, dest, to, images="link" if link else "copy", splits=splits)
    return Answer(converted(read, dest, to), tell=lambda: say(f"{dest}: {read.summary()}"))


def converted(data: Dataset, folder: Path, format: str) -> Converted:  # noqa: A002
    """What is said of a data set that was written."""
    objects = sum(int((~record.ignored).sum()) for record in data)
    return Converted(folder, format, len(data), objects, data.classes)
