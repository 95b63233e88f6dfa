"""The page over several runs: where each is, their curves over one another, what differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from foveal.reports.parts import Bar, Chart, Charts, Folded, Link, Part, Report, Section, Table
from foveal.text import UNDEFINED, counted, decimal, duration, listed
from foveal.training.run_records import MOST_FOLDERS, settings_that_differ
from foveal.visualization import charts
from foveal.visualization.svg import LINE_COLORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.training.run_records import RunRecord

MOST_CURVES = len(LINE_COLORS)
"""Runs that are drawn over one another: each has a color of its own."""
_MAX_POINTS = 200
_MAX_NAMES = 6

Address = Callable[["RunRecord"], str]
"""Where a run's report is, as the page links to it; '' where there is none."""


def make_runs_report(
    runs: Sequence[RunRecord],
    *,
    drawn: Sequence[Chart],
    address: Address,
    now: float,
    is_complete: bool = True,
) -> Report:
    """The page.

    Args:
        runs: in the order in which they are listed.
        drawn: their curves, as `draw_runs` gives them.
        address: of a run's report.
        now: seconds since 1970.
        is_complete: whether all folders were looked at for runs.
    """
    from foveal import __version__

    sections = [Section("Runs", _overview(runs, address=address, now=now, complete=is_complete))]
    if drawn:
        parts: list[Part] = [Charts(drawn)]
        if len(runs) > MOST_CURVES:
            parts.append(
                f"Drawn are {MOST_CURVES} of {counted(len(runs), 'run')}, those at work and those "
                "with the highest AP first."
            )
        sections.append(Section("Curves", parts))
    if differing := settings_that_differ(runs):
        rows = [
            [name, *(value or UNDEFINED for value in values)] for name, values in differing.items()
        ]
        columns = ["setting", *(run.name for run in runs)]
        sections.append(Section("What differs", [Table(columns, rows)]))
    at_work = sum(run.state in ("starting", "running") for run in runs)
    return Report(
        title=f"{counted(len(runs), 'run')}, {at_work} at work" if runs else "No runs yet",
        subtitle=listed([run.name for run in runs], _MAX_NAMES),
        sections=sections,
        footer=f"foveal {__version__}, {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}",
    )


def draw_runs(runs: Sequence[RunRecord]) -> list[Chart]:
    """AP, loss and loss on validation images over epochs, each run a curve of its own color.

    Args:
        runs: of more than MOST_CURVES the others are left out.
    """
    ordered = sorted(runs, key=_worth_seeing)[:MOST_CURVES]
    colors = {id(run): label for label, run in enumerate(ordered)}
    shown = []
    for title, y, points, caption in (
        ("AP on validation images", "AP", _average_precision, ""),
        ("Loss in training", "loss", _losses, "Means over stretches of steps."),
        ("Loss on validation images", "loss", _validation_losses, ""),
    ):
        lines = [
            charts.Line(run.name, pairs[:, 0], pairs[:, 1], colors[id(run)])
            for run in ordered
            if len(pairs := points(run))
        ]
        if lines:
            svg = charts.draw_history(lines, x="epoch", y=y, names="below")
            shown.append(Chart(title, svg, caption))
    return shown


def _worth_seeing(run: RunRecord) -> tuple[bool, float, str]:
    best = run.best
    return run.state not in ("starting", "running"), -best[1] if best else 0.0, run.name


def _overview(
    runs: Sequence[RunRecord], *, address: Address, now: float, complete: bool
) -> list[Part]:
    parts: list[Part] = []
    if not runs:
        parts.append("There is no run here yet. One that begins is shown as soon as it has begun.")
    else:
        columns = (
            *("run", "state", "epoch", "best AP", "in epoch", "last AP", "loss"),
            *("took", "left", "report"),
        )
        rows = [_row(run, address=address, now=now) for run in runs]
        parts.append(Table(columns, rows, text_columns=2))
        finished = [run for run in runs if run.state == "finished"]
        parts += [f"{run.name}: {run.describe(now)}" for run in runs if run not in finished]
        if finished:
            words = "\n".join(f"{run.name}: {run.describe(now)}" for run in finished)
            parts.append(Folded("How the finished ones ended", words))
    for run in runs:
        if run.unreadable:
            parts.append(
                f"{run.name}: {counted(run.unreadable, 'line')} of its log can't be read and "
                f"{'is' if run.unreadable == 1 else 'are'} left out."
            )
        if run.settings is None:
            parts.append(f"{run.name}: its settings (config.toml) can't be read.")
    if not complete:
        parts.append(
            f"Only the first {MOST_FOLDERS:,} folders were looked at for runs. Name fewer or "
            "smaller ones: foveal watch RUNS."
        )
    return parts


def _row(run: RunRecord, *, address: Address, now: float) -> list[str | Bar | Link]:
    best, measured, planned = run.best, run.measured, run.planned_epochs
    done, took, left = run.epochs_done, run.seconds(now), run.seconds_left(now)
    loss = run.epochs[-1].get("loss") if run.epochs else (run.steps[-1][1] if run.steps else None)
    finished = run.state == "finished"
    shown = f"{done:.1f}".removesuffix(".0") + (f" of {planned}" if planned else "")
    there = address(run)
    return [
        run.name,
        run.state,
        Bar(shown, 1.0 if finished else done / planned if planned else float("nan")),
        decimal(best[1]) if best else UNDEFINED,
        str(best[0]) if best else UNDEFINED,
        decimal(measured[-1][1]) if measured else UNDEFINED,
        decimal(loss) if isinstance(loss, int | float) else UNDEFINED,
        duration(took) if took else UNDEFINED,
        duration(left) if left is not None else UNDEFINED,
        Link("report", there) if there else UNDEFINED,
    ]


def _average_precision(run: RunRecord) -> NDArray[np.float64]:
    return np.asarray(run.measured, np.float64).reshape(-1, 2)


def _losses(run: RunRecord) -> NDArray[np.float64]:
    if not run.steps or not run.epoch_steps:
        rows = [(row["epoch"], row.get("loss")) for row in run.epochs]
        return _pairs(rows)
    points = np.asarray(run.steps, np.float64)
    points[:, 0] /= run.epoch_steps
    points = points[np.isfinite(points[:, 1])]
    if len(points) > _MAX_POINTS:
        points = np.stack([part.mean(axis=0) for part in np.array_split(points, _MAX_POINTS)])
    return points


def _validation_losses(run: RunRecord) -> NDArray[np.float64]:
    return _pairs(
        [(row["epoch"], (row.get("validation") or {}).get("validation_loss")) for row in run.epochs]
    )


def _pairs(rows: Sequence[tuple[int, object]]) -> NDArray[np.float64]:
    known = [(epoch, value) for epoch, value in rows if isinstance(value, int | float)]
    return np.asarray(known, np.float64).reshape(-1, 2)
