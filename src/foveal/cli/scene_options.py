"""The options that say how scenes, images larger than the network's input, are looked at."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from foveal.errors import SettingsError

if TYPE_CHECKING:
    from foveal.geometry.georeference import Georeference

_PANEL = "Scenes: images much larger than the network's input"
_LENGTHS = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0}
_LENGTH = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?) ?(mm|cm|m|km)")

Tile = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="auto|off|PIXELS",
        help="Look in windows of so many of the network's pixels. auto: where an image would be "
        "shrunk too far, in windows that suit the model; off: shrink it.",
        rich_help_panel=_PANEL,
    ),
]
Overlap = Annotated[
    int | None,
    typer.Option(
        "--overlap",
        metavar="PIXELS",
        min=0,
        help="How many of the network's pixels neighboring windows share; without it as many as "
        "the largest objects of the training had.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        metavar="auto|FACTOR|LENGTH",
        help="How a scene is scaled for the network. A factor, such as 0.5: the network's pixels "
        "for one of the scene; a length, such as 10cm: the ground that one of the network's pixels "
        "shows. auto: as in training, in lengths where model and scene know them.",
        rich_help_panel=_PANEL,
    ),
]
Whole = Annotated[
    bool,
    typer.Option(
        "--whole",
        help="Look once more at the whole scene, shrunk, for objects that no window shows whole.",
        rich_help_panel=_PANEL,
    ),
]
Mosaic = Annotated[
    bool,
    typer.Option(
        "--mosaic",
        help="All images are parts of one scene, put together by their places on the map: what "
        "lies in two of them is found once.",
        rich_help_panel=_PANEL,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with a run that was stopped or killed, from what is finished of its scenes; "
        "the results are those of a run that was not. Other images are looked at again.",
        rich_help_panel=_PANEL,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        help="Look at scenes in so many processes, each with its share of the cores and a model in "
        "memory. The results are the same.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Look at scenes on the machines of a Ray cluster, in --jobs actors or one a machine; "
        "auto: the one that this machine is in; local: one that is started here. All of them must "
        "read the model and the scenes under the same paths. Needs foveal\\[ray].",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class SceneScale:
    """How a scene is scaled for the network.

    Attributes:
        factor: input pixels that a pixel of the scene becomes; None where it is not stated.
        meters: of ground that an input pixel shows; None where it is not stated.
    """

    factor: float | None = None
    meters: float | None = None

    def factor_for(
        self, georeference: Georeference | None, *, width: int, height: int, where: object
    ) -> float | None:
        """The factor for a scene; None leaves it to the model.

        Args:
            georeference: the scene's place on the map.
            width, height: of the scene, pixels.
            where: the scene's name, for messages.

        Raises:
            SettingsError: a length is asked for, and the scene's pixels have none that is known.
        """
        if self.meters is None:
            return self.factor
        from foveal.data.images.rasters import ground_resolution

        known = None
        if georeference is not None:
            known = ground_resolution(georeference, width, height)
        if not known:
            raise SettingsError(
                f"{where}: has no place on the map that says how much ground a pixel shows, so "
                "--scale can't be a length. Expected a factor, such as --scale 0.5, the network's "
                "pixels for one of the scene."
            )
        return known / self.meters


def parse_tile(text: str) -> int | Literal["auto", "off"]:
    """What --tile says.

    Raises:
        SettingsError: it says something else.
    """
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    if not text.isdecimal() or not 0 < int(text) <= 2**16:
        raise SettingsError(f"--tile {text}: expected auto, off, or a number of pixels.")
    return int(text)


def parse_scale(text: str) -> SceneScale:
    """What --scale says.

    Raises:
        SettingsError: it says something else.
    """
    if text == "auto":
        return SceneScale()
    length = _LENGTH.fullmatch(text)
    try:
        value = float(length[1] if length else text)
    except ValueError:
        value = math.nan
    if length and 1e-6 <= value * _LENGTHS[length[2]] <= 1e6:
        return SceneScale(meters=value * _LENGTHS[length[2]])
    if not length and 1e-3 <= value <= 100:
        return SceneScale(factor=value)
    raise SettingsError(
        f"--scale {text}: expected auto; a factor from 0.001 to 100, the network's pixels for one "
        "of the scene, such as 0.5; or a length that one of the network's pixels shows, such as "
        "10cm or 0.3m."
    )
