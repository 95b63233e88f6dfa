"""`foveal watch`: one local page over the folders of runs."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import say
from foveal.text import counted, decimal, duration, listed

if TYPE_CHECKING:
    from foveal.training.run_records import RunRecord, RunsWatched

_MAX_NAMES = 4


@dataclass(frozen=True, slots=True)
class WatchedRun:
    """A run as its folder shows it.

    Attributes:
        name: what it is called beside the others.
        folder: where its files are.
        state: starting, running, silent (nothing tells whether it still runs), finished,
            interrupted, failed, diverged or killed.
        words: what has become of it, in a sentence or two.
        epochs_done: epochs that were trained, the one under way by its steps.
        epochs_planned: epochs of the whole run, where that is known.
        best_AP, best_epoch: the highest AP on the validation images, and its epoch.
        last_AP: of the last validation.
        seconds: that it took so far.
        seconds_left: that it will still take, where that is known.
        report: its report, where it is written.
    """

    name: str
    folder: Path
    state: str
    words: str
    epochs_done: float
    epochs_planned: int | None
    best_AP: float | None  # noqa: N815
    best_epoch: int | None
    last_AP: float | None  # noqa: N815
    seconds: float
    seconds_left: float | None
    report: Path | None


@dataclass(frozen=True, slots=True)
class Watched:
    """Runs as they were when they were looked at.

    Attributes:
        runs: those that were written last come first.
        is_complete: whether all folders were looked at for runs.
        page: the file that was written.
        address: where the page is served.
    """

    runs: tuple[WatchedRun, ...]
    is_complete: bool
    page: Path | None = None
    address: str | None = None


@verb(
    "watch",
    Watched,
    examples=(
        "foveal watch runs",
        "foveal watch runs/first runs/second --port 0",
        "foveal watch runs --out runs.html",
        "foveal watch runs --once --json",
    ),
)
def watch(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS...",
            help="Folders of runs, or folders with such folders in them.",
            show_default=False,
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")
    ] = 8010,
    every: Annotated[
        float,
        typer.Option(min=0.5, metavar="SECONDS", help="How often the page asks what is new."),
    ] = 5.0,
    once: Annotated[
        bool, typer.Option("--once", help="Say in words where each run is, and stop.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PAGE.html",
            help="Write the page as it is now to a file, and stop.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """Watch runs in a browser: where each is, curves over one another, best AP, why one ended.

    Only what is on the disk is read: a run needs not know of it, and may train on another machine
    that shares the folder. The page is served to this machine alone, fetches nothing from outside
    and follows the runs by itself. For a run on a machine far away: ssh -L 8010:127.0.0.1:8010 HOST
    """
    from foveal.training.run_records import RunsWatched

    watched = RunsWatched(runs)
    watched.find()
    records = watched.read()
    if out is not None:
        _check_page(records, out)
    if dry_run:
        names = [counted(len(records), "run")] + [record.name for record in records]
        step = f"show {names[0]}" + (f": {listed(names[1:], _MAX_NAMES)}" if records else "")
        return Plan(list(runs), [] if out is None else [out], steps=[step])
    if out is not None:
        return _write_page(watched, out)
    if once:
        return Answer(_document(watched), tell=lambda: _tell(records))
    return _serve(watched, port=port, every=every)


def _serve(watched: RunsWatched, *, port: int, every: float) -> Answer:
    from foveal.serving.run_page import HOST, RunPage, run_server

    server = run_server(RunPage(watched, seconds=every), port)
    address = f"http://{HOST}:{server.server_port}/"
    where = listed([str(root) for root in watched.roots], _MAX_NAMES)
    number = counted(len(watched.runs), "run")

    def serve() -> None:
        with server, suppress(KeyboardInterrupt):
            server.serve_forever()

    return Answer(
        _document(watched, address=address),
        tell=lambda: say(f"{number} in {where}: {address} (Ctrl-C ends it)"),
        then=serve,
    )


def _check_page(records: tuple[RunRecord, ...], out: Path) -> None:
    """See whether the page can be written; nothing is changed.

    Raises:
        FovealError: it can't.
    """
    from foveal.errors import FovealError

    if out.suffix.lower() not in (".html", ".htm"):
        raise FovealError(f"--out {out}: expected a file that ends in .html.")
    if not records:
        raise FovealError(
            "There is no run there: no folder with metrics.jsonl. Expected the folder of a run "
            "that foveal train wrote, or one with such folders in it."
        )


def _write_page(watched: RunsWatched, out: Path) -> Answer:
    from foveal.reports.html import write_report
    from foveal.reports.runs import draw_runs, make_runs_report

    def address(run: RunRecord) -> str:
        if not run.folder.report.is_file():
            return ""
        below = os.path.relpath(run.folder.report.absolute(), out.absolute().parent)
        return quote(Path(below).as_posix())

    report = make_runs_report(
        watched.runs,
        drawn=draw_runs(watched.runs),
        address=address,
        now=time.time(),
        is_complete=watched.is_complete,
    )
    write_report(out, report)
    number = counted(len(watched.runs), "run")
    return Answer(_document(watched, page=out), tell=lambda: say(f"{out}: {number}"))


def _tell(records: tuple[RunRecord, ...]) -> None:
    if not records:
        say("There is no run there.")
    for record in records:
        told = _watched_run(record, time.time())
        parts = [told.state]
        if told.epochs_done or told.epochs_planned:
            of = f" of {told.epochs_planned}" if told.epochs_planned else ""
            parts.append(f"epoch {told.epochs_done:.1f}{of}")
        if told.best_AP is not None:
            parts.append(f"best AP {decimal(told.best_AP)} in epoch {told.best_epoch}")
        if told.seconds_left is not None:
            parts.append(f"{duration(told.seconds_left)} left")
        say(f"{told.name}: {', '.join(parts)}. {told.words}")


def _document(
    watched: RunsWatched, *, page: Path | None = None, address: str | None = None
) -> Watched:
    now = time.time()
    runs = tuple(_watched_run(record, now) for record in watched.runs)
    return Watched(runs, watched.is_complete, page, address)


def _watched_run(record: RunRecord, now: float) -> WatchedRun:
    best, measured, report = record.best, record.measured, record.folder.report
    return WatchedRun(
        name=record.name,
        folder=record.folder.path,
        state=record.state,
        words=record.describe(now),
        epochs_done=record.epochs_done,
        epochs_planned=record.planned_epochs,
        best_AP=best[1] if best else None,
        best_epoch=best[0] if best else None,
        last_AP=measured[-1][1] if measured else None,
        seconds=record.seconds(now),
        seconds_left=record.seconds_left(now),
        report=report if report.is_file() else None,
    )
