"""The options that stand wherever DATA does, declared once for all commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from foveal.data.format_names import FORMATS
from foveal.errors import DataError

if TYPE_CHECKING:
    from foveal.data.opening import DataOptions

_Result = TypeVar("_Result")

ADDRESS = "PATH, PATH:SPLIT or PATH:SPLIT+SPLIT"
"""How DATA is given, for help texts."""

_PANEL = "How DATA is read"

FormatName = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help=f"{', '.join(FORMATS)}; found by looking where it is not given.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
ImageFolder = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="FOLDER",
        help="The folder of the images, where they are not beside the annotations.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
ValidImages = Annotated[
    Path | None,
    typer.Option(
        "--valid-images",
        metavar="FOLDER",
        help="The folder of the validation images, where it is not that of --images.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
BadBoxes = Annotated[
    Literal["drop", "stop", "keep"],
    typer.Option(
        "--bad-boxes",
        help="Boxes that can't be right: leave them out and clip those that leave their image, "
        "stop, or keep them as they are.",
        rich_help_panel=_PANEL,
    ),
]
Page = Annotated[
    int | None,
    typer.Option(
        "--page",
        metavar="N",
        min=1,
        help="Which page of images that are stacks of several, or which frame of animations, "
        "counted from 1; else the first page.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Boxes = Annotated[
    str | None,
    typer.Option(
        "--boxes",
        metavar="READING",
        help="How the numbers of a box are meant, where not as the format has them: xyxy, xywh, "
        "cxcywh or yxyx, pixels, shares or percent, or both, as in xywh+shares.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
ClassColumn = Annotated[
    str | None,
    typer.Option(
        "--class-column",
        metavar="NAME",
        help="The column of the class in tables and files of shapes on a map, where it has no "
        "usual name; or =CLASS for objects that are all of one class.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="NAME",
        help="The layer of files of shapes on a map that have several.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
FileSizes = Annotated[
    Literal["stop", "scale", "stored"],
    typer.Option(
        "--sizes",
        help="Where image files have another size than the annotations say: stop, scale the boxes "
        "to the files, or turn boxes that were drawn on the images as stored, before their "
        "orientation (EXIF).",
        rich_help_panel=_PANEL,
    ),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        "--rename",
        metavar="OLD=NEW",
        help="Another name for a class; two of the same name become one. Several times.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="CLASS",
        help="Keep this class; objects of others become background. Several times, in the order "
        "wanted.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="CLASS",
        help="A class whose boxes mark regions to ignore. Several times.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]

_VALID_IMAGES = "valid_images"
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "data_format": (FormatName, None),
    "images": (ImageFolder, None),
    "bad_boxes": (BadBoxes, "drop"),
    "page": (Page, None),
    "boxes": (Boxes, None),
    "class_column": (ClassColumn, None),
    "layer": (Layer, None),
    "sizes": (FileSizes, "stop"),
    "rename": (Rename, None),
    "only": (Only, None),
    "ignore": (Ignore, None),
}
"""Each option's parameter, with its type and default."""


def takes_data(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """Give a command the options of DATA.

    Args:
        command: takes `options: DataOptions` among its parameters.
    """
    hints = get_type_hints(command, localns={"DataOptions": object}, include_extras=True)
    own = inspect.signature(command).parameters
    by_name = {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.items()
        if name != "options"
    }
    for name, (annotation, default) in _OPTIONS.items():
        by_name[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        if name == "images" and _VALID_IMAGES in by_name:  # where the help shows it
            by_name[_VALID_IMAGES] = by_name.pop(_VALID_IMAGES)
    parameters = list(by_name.values())

    @wraps(command)
    def with_options(**given: Any) -> _Result:
        options = make_options(**{name: given.pop(name) for name in _OPTIONS})
        return command(**given, options=options)

    with_options.__signature__ = inspect.Signature(parameters)  # pyrefly: ignore[missing-attribute]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def make_options(
    *,
    data_format: str | None,
    images: Path | None,
    bad_boxes: Literal["drop", "stop", "keep"],
    page: int | None,
    boxes: str | None,
    class_column: str | None,
    layer: str | None,
    sizes: Literal["stop", "scale", "stored"],
    rename: list[str] | None,
    only: list[str] | None,
    ignore: list[str] | None,
) -> DataOptions:
    """The options as they were typed, as one value.

    Raises:
        DataError: a class to rename is not written OLD=NEW.
    """
    from foveal.data.opening import DataOptions

    return DataOptions(
        format=data_format,
        images=images,
        bad_boxes=bad_boxes,
        page=page,
        boxes=boxes,
        class_column=class_column,
        layer=layer,
        sizes=sizes,
        rename=_parse_renames(rename or []),
        only=tuple(only or ()),
        ignore=tuple(ignore or ()),
    )


def with_valid(
    data: str, options: DataOptions, *, valid: str | None, valid_images: Path | None
) -> list[tuple[str, DataOptions]]:
    """The data set and, where one is given, the validation data that belong to it."""
    if valid is None:
        if valid_images is not None:
            raise DataError(
                f"--valid-images {valid_images}: there are no validation data. Name them: "
                "--valid DATA."
            )
        return [(data, options)]
    return [(data, options), (valid, options.with_images(valid_images))]


def _parse_renames(texts: list[str]) -> dict[str, str]:
    renames: dict[str, str] = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not (equals and old and new):
            raise DataError(f"--rename {text}: expected OLD=NEW, such as --rename RBC=normal.")
        if renames.setdefault(old, new) != new:
            raise DataError(
                f"--rename gives {old!r} two names, {renames[old]!r} and {new!r}. Expected one."
            )
    return renames
