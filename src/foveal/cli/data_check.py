"""`foveal data check`: finds what is wrong with a data set before training does."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.progress import progress_bar
from foveal.text import counted, listed

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.data.checks.diagnose import Reading
    from foveal.data.checks.findings import Diagnosis, Finding
    from foveal.data.statistics import Statistics
    from foveal.data.transforms.preparation import Preparation

_MARKS = {"fault": "[bold red]✗[/]", "doubt": "[yellow]?[/]", "information": "[blue]i[/]"}


def check(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Annotations, with splits after a colon.")
    ],
    valid: Annotated[
        str | None, typer.Option(help="The validation data that belongs to it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    images: Annotated[
        bool, typer.Option("--images", help="Open every image too: broken, of another size.")
    ] = False,
    size: Annotated[
        str, typer.Option(help="Shorter side of the network's input, or 'native'.")
    ] = "640",
    strict: Annotated[bool, typer.Option("--strict", help="Let doubts count as faults.")] = False,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A class that marks regions to ignore; several times.")
    ] = None,
    data_format: Annotated[
        str | None, typer.Option("--format", help="The data's format, where looking can't tell.")
    ] = None,
) -> None:
    """Find what is wrong with a data set before training does.

    Exit code 0: no faults; 1: faults (with --strict, doubts too); 2: it can't be read at all.
    """
    from rich.console import Console

    from foveal.data.checks.diagnose import InputGrid, diagnose, read_for_doctor

    grid = InputGrid(_preparation(size))
    read = _ignoring(read_for_doctor(data, data_format), ignore or [])
    read_valid = None
    if valid is not None:
        read_valid = read_for_doctor(valid, data_format)
        classes = read_valid.dataset.classes
        read_valid = _ignoring(read_valid, [name for name in ignore or [] if name in classes])
    total = len(read.dataset) + (len(read_valid.dataset) if read_valid else 0)
    with progress_bar(total) if images else nullcontext() as bar:
        diagnosis = diagnose(
            read,
            read_valid,
            grid=grid,
            images=images,
            workers=min(os.cpu_count() or 1, 16) if total >= 64 else 0,
            progress=bar.update if bar else None,
        )
    if as_json:
        typer.echo(json.dumps(diagnosis.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(Console(highlight=False, emoji=False), diagnosis)
    if diagnosis.has_faults or (strict and diagnosis.of_level("doubt")):
        raise typer.Exit(1)


def _ignoring(reading: Reading, names: list[str]) -> Reading:
    from dataclasses import replace

    return replace(reading, dataset=reading.dataset.ignoring(names)) if names else reading


def _preparation(size: str) -> Preparation | None:
    from foveal.data.transforms.preparation import Preparation
    from foveal.errors import SettingsError

    if size == "native":
        return None
    if not size.isdecimal() or not 32 <= int(size) <= 16384:
        raise SettingsError(f"--size {size}: expected pixels from 32 to 16384, or 'native'.")
    return Preparation().with_shorter(int(size))


def _print(console: Console, diagnosis: Diagnosis) -> None:
    for statistics in diagnosis.statistics:
        _print_statistics(console, statistics)
    console.print()
    for finding in diagnosis.findings:
        _print_finding(console, finding)
    faults, doubts = (len(diagnosis.of_level(level)) for level in ("fault", "doubt"))
    if not faults and not doubts:
        console.print("[bold green]✓[/] Nothing wrong found.")
    else:
        console.print(f"{counted(faults, 'kind')} of fault, {counted(doubts, 'kind')} of doubt.")
    if not diagnosis.opened:
        console.print("The images themselves were not opened: add --images for that.")


def _print_statistics(console: Console, statistics: Statistics) -> None:
    from rich.markup import escape

    console.print(
        f"[bold]{escape(statistics.name)}[/]: {counted(statistics.images, 'image')}, "
        f"{counted(statistics.objects, 'object')}, {counted(len(statistics.classes), 'class')}"
        + (f", {counted(statistics.ignored, 'region')} to ignore" if statistics.ignored else ""),
        soft_wrap=True,
    )
    most = sorted(statistics.classes, key=lambda c: -c.objects)
    names = ", ".join(f"{c.name} {c.objects:,}" for c in most[:12])
    more = f", and {len(most) - 12} more" if len(most) > 12 else ""
    console.print(f"  {escape(names)}{more}", soft_wrap=True)
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
    from rich.markup import escape

    console.print(f"{_MARKS[finding.level]} [bold]{escape(finding.what)}[/]", soft_wrap=True)
    for place in finding.places if finding.level != "information" else ():
        console.print(f"    {escape(place)}", soft_wrap=True)
    more = finding.count - len(finding.places)
    if more and finding.level != "information":
        console.print(f"    and {more:,} more")
    if finding.advice:
        console.print(f"  [dim]→ {escape(finding.advice)}[/]", soft_wrap=True)
