"""`foveal data check`: finds what is wrong with a data set before training does."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from foveal.cli.answers import Answer, verb
from foveal.cli.console import make_console
from foveal.cli.data_options import ADDRESS, ValidImages, takes_data, with_valid
from foveal.cli.outcomes import Outcome
from foveal.cli.progress import progress_bar
from foveal.data.checks.names import LOOKS_FOR, OF_PIXELS
from foveal.text import counted, listed, printable

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.data.checks.findings import Diagnosis, Finding
    from foveal.data.checks.subject import InputGrid
    from foveal.data.opening import DataOptions
    from foveal.data.statistics import Statistics

_PANEL = "What is looked for"
_FINEST_STRIDE = 4
"""Pixels between the nearest locations that training chooses by itself."""
_MANY = 10_000
"""Images whose headers alone take long enough to say how far it is."""
_MARKS = {"fault": ("✗", "bold red"), "doubt": ("?", "yellow"), "information": ("i", "blue")}
"""The sign of each level, and its style."""


def _list_checks(asked: bool) -> None:
    """Print what each check looks for, and end."""
    if not asked:
        return
    console = make_console()
    width = max(map(len, LOOKS_FOR)) + 2
    for name, what in LOOKS_FOR.items():
        _print_line(console, (name.ljust(width), "bold"), what)
    raise typer.Exit


class CheckCommand(TyperCommand):
    """Takes a bare --images as --decode: with a folder after it, it says where the images are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line."""
        words = _with_decode(args)
        try:
            return super().parse_args(ctx, list(words))
        except typer.BadParameter:
            # --images DATA: without another word that could be DATA, it is that and no folder.
            without = ["--decode" if word == "--images" else word for word in words]
            if without == words:
                raise
            return super().parse_args(ctx, without)


@dataclass(frozen=True, slots=True)
class CheckedClass:
    """One class's objects.

    Attributes:
        name: the class.
        objects: how many there are, regions to ignore left out.
        images: in how many images they are.
        width, height: means, original pixels; null where there are none.
    """

    name: str
    objects: int
    images: int
    width: float | None
    height: float | None


@dataclass(frozen=True, slots=True)
class CheckedData:
    """What a data set holds; quantiles (5, 25, 50, 75, 95 %) are empty without objects.

    Attributes:
        name: of the data set.
        images: how many there are.
        without_objects: images that show none.
        objects: how many there are, regions to ignore left out.
        ignored: regions to ignore.
        most_objects: in one image.
        classes: each of them.
        sides: quantiles of the root of the objects' area, original pixels.
        ratios: quantiles of height / width.
        image_sizes: width, height and images, most frequent first; 0 x 0 where not known.
    """

    name: str
    images: int
    without_objects: int
    objects: int
    ignored: int
    most_objects: int
    classes: tuple[CheckedClass, ...]
    sides: tuple[float, ...]
    ratios: tuple[float, ...]
    image_sizes: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One kind of thing that a check found.

    Attributes:
        kind: a stable name, such as "missing image".
        level: fault, doubt or information.
        count: how many there are.
        what: one sentence, the count included.
        places: the first few, each a line.
        advice: what to do; empty for information that asks for nothing.
        check: the name of the check.
    """

    kind: str
    level: str
    count: int
    what: str
    places: tuple[str, ...]
    advice: str
    check: str


@dataclass(frozen=True, slots=True)
class Checked:
    """All that was found in a data set.

    Attributes:
        statistics: of the data set, then of the validation data where they were given.
        findings: faults first, then doubts, then information.
        opened: whether the images themselves were decoded.
        checks: the names of those that were made.
        left_out: the names of those that take long and were not asked for.
        faults, doubts: how many kinds of them there are.
    """

    statistics: tuple[CheckedData, ...]
    findings: tuple[CheckFinding, ...]
    opened: bool
    checks: tuple[str, ...]
    left_out: tuple[str, ...]
    faults: int
    doubts: int


@verb(
    "data check",
    Checked,
    examples=(
        "foveal data check cells:train --valid cells:val",
        "foveal data check boxes.csv --images photos --decode --strict",
        "foveal data check cells:train --json",
    ),
)
@takes_data
def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help=f"Annotations: {ADDRESS}.")],
    options: DataOptions,
    valid: Annotated[
        str | None, typer.Option(metavar="DATA", help="The validation data that belongs to it.")
    ] = None,
    valid_images: ValidImages = None,
    decode: Annotated[
        bool,
        typer.Option(
            "--decode",
            help="Decode every image too, not only look at its header and ending. Also said by "
            "--images alone, without a folder.",
        ),
    ] = False,
    checks: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help=f"Make these checks alone: {', '.join(LOOKS_FOR)}.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    skip: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Leave these checks out.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    list_checks: Annotated[  # noqa: ARG001
        bool,
        typer.Option(
            "--list-checks",
            callback=_list_checks,
            is_eager=True,
            help="Say what each check looks for, and stop.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    mirrored: Annotated[
        bool,
        typer.Option(
            "--mirrored",
            help="Images that are mirrored or turned by quarter turns look alike, too.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The preset whose input and anchors are meant, as for foveal train.",
        ),
    ] = "standard",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="Shorter side of the network's input, or 'native'; else the preset's.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Let doubts count as faults.")] = False,
) -> Answer:
    """Find what is wrong with a data set before training does.

    Boxes that can't be right are shown, whatever --bad-boxes says.

    Exit code 0: no faults; 1: faults (with --strict, doubts too); 2: it can't be read at all.
    """
    from foveal.data.checks.catalog import choose_checks
    from foveal.data.checks.diagnose import diagnose
    from foveal.data.opening import read_for_doctor

    grid = _grid(preset, size)
    chosen, left_out = _names(checks), _names(skip) or []
    choose_checks(chosen, left_out)  # before anything is read
    readings = read_for_doctor(with_valid(data, options, valid=valid, valid_images=valid_images))
    total = sum(len(reading.dataset) for reading in readings)
    with progress_bar(total) if decode or total >= _MANY else nullcontext() as bar:
        diagnosis = diagnose(
            *readings,
            grid=grid,
            images=decode,
            checks=chosen,
            skip=left_out,
            mirrored=mirrored,
            workers=min(os.cpu_count() or 1, 16) if total >= 64 else 0,
            progress=bar.update if bar else None,
        )
    wrong = diagnosis.has_faults or (strict and diagnosis.of_level("doubt"))
    return Answer(
        _checked(diagnosis),
        tell=lambda: _print(make_console(), diagnosis),
        outcome=Outcome.FAULTS if wrong else Outcome.DONE,
    )


def _checked(diagnosis: Diagnosis) -> Checked:
    def statistics(one: Statistics) -> CheckedData:
        classes = tuple(CheckedClass(**asdict(each)) for each in one.classes)
        return CheckedData(**{**asdict(one), "classes": classes})

    return Checked(
        tuple(map(statistics, diagnosis.statistics)),
        tuple(CheckFinding(**asdict(each)) for each in diagnosis.findings),
        opened=diagnosis.opened,
        checks=diagnosis.checks,
        left_out=diagnosis.left_out,
        faults=len(diagnosis.of_level("fault")),
        doubts=len(diagnosis.of_level("doubt")),
    )


def _with_decode(words: list[str]) -> list[str]:
    """A bare --images, which no folder follows, is --decode."""
    return [
        "--decode" if word == "--images" and after.startswith("-") else word
        for word, after in pairwise([*words, "-"])
    ]


def _names(text: str | None) -> list[str] | None:
    """Names between commas."""
    return None if text is None else [name for name in map(str.strip, text.split(",")) if name]


def _grid(preset: str, size: str | None) -> InputGrid:
    """How a network of the preset would see images."""
    from foveal.config import make_settings
    from foveal.data.checks.subject import InputGrid
    from foveal.data.transforms.preparation import make_preparation
    from foveal.errors import SettingsError

    settings = make_settings(preset=preset)
    preparation = make_preparation(settings.preparation)
    strides = settings.anchors.strides
    if preparation.mode == "windows":
        # Such a preset halves its strides where many objects are small (tuning/location_fitting).
        strides = (_FINEST_STRIDE, *strides)
    if size is not None and size != "native":
        if not size.isdecimal() or not 32 <= int(size) <= 16384:
            raise SettingsError(f"--size {size}: expected pixels from 32 to 16384, or 'native'.")
        preparation = preparation.with_shorter(int(size))
    assignment = settings.assignment
    return InputGrid(
        None if size == "native" or preparation.mode == "windows" else preparation,
        strides=strides,
        foreground_iou=assignment.foreground_iou,
        rule="iou" if assignment.method == "iou" else "location",
        windows=preparation.mode == "windows",
        preset=preset,
    )


def _print(console: Console, diagnosis: Diagnosis) -> None:
    for statistics in diagnosis.statistics:
        _print_statistics(console, statistics)
    console.print()
    for finding in diagnosis.findings:
        _print_finding(console, finding)
    faults, doubts = (len(diagnosis.of_level(level)) for level in ("fault", "doubt"))
    if not faults and not doubts:
        _print_line(console, ("✓", "bold green"), " Nothing wrong found.")
    else:
        console.print(f"{counted(faults, 'kind')} of fault, {counted(doubts, 'kind')} of doubt.")
    if not diagnosis.opened:
        pixels = not OF_PIXELS.isdisjoint(diagnosis.checks)
        read = "headers, endings and small versions" if pixels else "headers and endings"
        console.print(
            f"Of the images only {read} were read: --decode opens them whole.", soft_wrap=True
        )
    if diagnosis.left_out:
        names = ",".join(diagnosis.left_out)
        console.print(
            f"Not looked for, since it would take a while: {listed(diagnosis.left_out, 9)}. "
            f"--checks {names} does it, and so does --decode.",
            soft_wrap=True,
        )


def _print_statistics(console: Console, statistics: Statistics) -> None:
    _print_line(
        console,
        (statistics.name, "bold"),
        f": {counted(statistics.images, 'image')}, "
        f"{counted(statistics.objects, 'object')}, {counted(len(statistics.classes), 'class')}"
        + (f", {counted(statistics.ignored, 'region')} to ignore" if statistics.ignored else ""),
    )
    most = sorted(statistics.classes, key=lambda c: -c.objects)
    names = ", ".join(f"{c.name} {c.objects:,}" for c in most[:12])
    more = f", and {len(most) - 12} more" if len(most) > 12 else ""
    console.print(f"  {names}{more}", soft_wrap=True)
    sizes = [
        f"{width} x {height}" if width else "unknown" for width, height, _ in statistics.image_sizes
    ]
    if statistics.sides:
        low, _, middle, _, high = statistics.sides
        console.print(
            f"  images {listed(sizes, 3)}; "
            f"objects {low:.0f} to {high:.0f} px (middle {middle:.0f}), "
            f"{statistics.objects_per_image:.1f} an image, at most {statistics.most_objects:,}",
            soft_wrap=True,
        )


def _print_finding(console: Console, finding: Finding) -> None:
    check = (f"  [{finding.check}]", "dim")
    _print_line(console, _MARKS[finding.level], " ", (finding.what, "bold"), check)
    lines = [printable(place, lines=False) for place in finding.places]
    more = finding.count - len(finding.places)
    if more:
        lines.append(f"and {more:,} more")
    if finding.level == "information":  # one line is enough to look some of them up
        lines = [", ".join(lines)] if lines else []
    for line in lines:
        console.print(f"    {line}", soft_wrap=True)
    if finding.advice:
        console.print(f"  → {finding.advice}", style="dim", soft_wrap=True)


def _print_line(console: Console, *parts: str | tuple[str, str]) -> None:
    """Print a line of which some parts have a style."""
    from rich.text import Text

    console.print(Text.assemble(*parts), soft_wrap=True)
