"""`foveal data convert`: the same data set in another format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """The formats that are read and written."""

    coco = "coco"
    voc = "voc"
    yolo = "yolo"
    csv = "csv"
    kitti = "kitti"
    labelme = "labelme"
    openimages = "openimages"
    cvat = "cvat"


class BadBoxes(StrEnum):
    """What happens to boxes that can't be right."""

    drop = "drop"
    stop = "stop"
    keep = "keep"


def convert(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Annotations, with splits after a colon: bccd:train+val."
        ),
    ],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="A new or empty folder.")],
    to: Annotated[Format, typer.Option("--to", help="The format to write.")],
    format: Annotated[  # noqa: A002
        Format | None, typer.Option("--from", help="The format to read; found by looking.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Link to the images instead of copying them.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="The folder of the images, if not beside the annotations."),
    ] = None,
    bad_boxes: Annotated[
        BadBoxes, typer.Option("--bad-boxes", help="Leave them out, stop, or keep them.")
    ] = BadBoxes.drop,
) -> None:
    """Write a data set in another format: whole, or not at all.

    Splits that DATA names are kept apart; without any, all images are written as one.
    """
    from foveal.data.formats import read_splits, write

    read, splits = read_splits(data, format, images=images, bad_boxes=bad_boxes.value)
    write(read, dest, to.value, images="link" if link else "copy", splits=splits)
    typer.echo(f"{dest}: {read.summary()}")
