"""What the folders of runs hold of their course: live, finished and crashed ones. Loads no torch.

Only files are read, so that whoever looks on changes nothing and needs nothing of the run.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from foveal.errors import FovealError
from foveal.text import counted, duration
from foveal.training.presence import Sign, read_presence
from foveal.training.run_folder import TRACKED_AS, RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

State = Literal[
    "starting", "running", "silent", "finished", "interrupted", "failed", "diverged", "killed"
]
"""'silent': nothing is known but when something was written last."""

MOST_FOLDERS = 20_000
"""So many folders are looked at; a tree with more is hardly one of runs."""
_DEEPEST = 5
_QUIET = 120.0
"""Seconds without a line from which a live run is said to be silent."""
_CHECKED = 256
"""Bytes before the place where reading goes on that must be what they were."""
_RECENT_EPOCHS = 3
_ENDED: Mapping[str, State] = {
    "last_epoch": "finished",
    "patience": "finished",
    "diverged": "diverged",
    "interrupted": "interrupted",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as its folder shows it.

    Attributes:
        folder: where its files are.
        name: what it is called beside others.
        begin: the last `begin` line of its log; empty in logs of earlier versions.
        epochs: the `epoch` lines.
        steps: (step, loss) of the `step` lines; the loss may be NaN.
        end: the `end` line; empty for a run that has none.
        unreadable: lines of the log that can't be read.
        settings: by 'section.name', as text; None where config.toml can't be read.
        written: when the log was written last, seconds since 1970.
        sign: whether its process is there.
    """

    folder: RunFolder
    name: str
    begin: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    steps: tuple[tuple[int, float], ...]
    end: Mapping[str, Any]
    unreadable: int
    settings: Mapping[str, str] | None
    written: float
    sign: Sign

    @property
    def state(self) -> State:
        """What has become of it, as far as its folder says."""
        if self.end:
            return _ENDED.get(str(self.end.get("reason")), "finished")
        if self.sign == "alive":
            return "running" if self.steps or self.epochs else "starting"
        return "killed" if self.sign == "gone" else "silent"

    @property
    def planned_epochs(self) -> int | None:
        """Of the whole run; None where nothing says it."""
        planned = self.begin.get("epochs")
        if planned is None and self.settings is not None and self.minutes is None:
            with suppress(ValueError):
                planned = int(self.settings.get("training.epochs", ""))
        return planned if isinstance(planned, int) and planned > 0 else None

    @property
    def minutes(self) -> float | None:
        """That the run may take, where it has minutes in place of epochs."""
        with suppress(ValueError):
            return float((self.settings or {}).get("training.minutes", ""))
        return None

    @property
    def epoch_steps(self) -> int | None:
        """Steps of an epoch."""
        known = self.begin.get("steps") or (self.epochs[0].get("steps") if self.epochs else None)
        return known if isinstance(known, int) and known > 0 else None

    @property
    def epochs_done(self) -> float:
        """Epochs that are trained, the one under way by its steps."""
        done = float(len(self.epochs))
        if self.steps and self.epoch_steps:
            done = max(done, self.steps[-1][0] / self.epoch_steps)
        return done

    @property
    def measured(self) -> tuple[tuple[int, float], ...]:
        """(epoch, AP) of each validation where AP is defined."""
        return tuple(
            (row["epoch"], float(ap))
            for row in self.epochs
            if isinstance(ap := (row.get("validation") or {}).get("AP"), int | float)
            and isinstance(row.get("epoch"), int)
        )

    @property
    def best(self) -> tuple[int, float] | None:
        """(epoch, AP) of the highest AP, the last one of equals; None before there is one."""
        return max(self.measured, key=lambda each: (each[1], each[0]), default=None)

    def seconds(self, now: float) -> float:
        """How long it took so far: of a run at work since it began, else its epochs.

        Args:
            now: seconds since 1970.
        """
        began = self.begin.get("time")
        if isinstance(began, int | float) and self.sign == "alive" and not self._is_resumed:
            return max(0.0, (self.written if self.end else now) - began)
        return sum(map(_seconds, self.epochs))

    @property
    def _is_resumed(self) -> bool:
        return bool(self.begin.get("resumed"))

    def seconds_left(self, now: float) -> float | None:
        """How long it will still take; None where it does not run or nothing tells it.

        Args:
            now: seconds since 1970.
        """
        if self.state not in ("running", "silent"):
            return None
        began = self.begin.get("time")
        if self.minutes is not None:
            if not isinstance(began, int | float) or self._is_resumed:
                return None
            return max(0.0, 60 * self.minutes - (now - began))
        planned = self.planned_epochs
        if planned is None:
            return None
        if not self.epochs:
            if not (isinstance(began, int | float) and self.epochs_done) or self._is_resumed:
                return None
            return max(0.0, (self.written - began) * (planned / self.epochs_done - 1))
        recent = [_seconds(row) for row in self.epochs[-_RECENT_EPOCHS:]]
        return max(0.0, (planned - self.epochs_done) * sum(recent) / len(recent))

    def describe(self, now: float) -> str:
        """What has become of it, in a sentence or two.

        Args:
            now: seconds since 1970.
        """
        silence = max(0.0, now - self.written)
        text = str(self.end.get("text") or "")
        match self.state:
            case "finished":
                writes = self.sign == "alive" and not self.folder.report.is_file()
                return f"{text} Its report is being written." if writes else text
            case "interrupted":
                return f"{text} Go on with its command and --resume."
            case "failed" | "diverged":
                return text
            case "starting":
                return f"It has begun and made no step yet, for {duration(silence)}."
            case "running":
                if silence > _QUIET:
                    return f"Its process is there, but has been silent for {duration(silence)}."
                return f"The last line is {duration(silence)} old."
            case "killed":
                return (
                    f"Its process is gone and left no word: the last line is {duration(silence)} "
                    f"old, {self._where()}. It was killed, or the machine went down. Go on with "
                    "its command and --resume."
                )
            case "silent":
                return (
                    f"Silent for {duration(silence)}, {self._where()}. Whether it still runs can "
                    "be seen on the machine that trains it alone."
                )

    def _where(self) -> str:
        """How far it had come."""
        if self.steps and self.epoch_steps:
            step, steps = self.steps[-1][0], self.epoch_steps
            epoch, rest = divmod(step - 1, steps)
            return f"in epoch {epoch + 1} after step {rest + 1} of {steps}"
        return f"after {counted(len(self.epochs), 'epoch')}" if self.epochs else "before any step"


class RunReader:
    """Reads one run's folder again and again; of a log that has grown only what is new.

    Args:
        folder: of the run.
        name: what the run is called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = RunFolder(folder), name
        self._forget()

    def read(self) -> RunRecord:
        """The run as it is now."""
        written = self._read_log()
        presence = read_presence(self.folder.presence)
        return RunRecord(
            folder=self.folder,
            name=self.name,
            begin=self._begin,
            epochs=tuple(self._epochs),
            steps=tuple(self._steps),
            end=self._end,
            unreadable=self._unreadable,
            settings=_read_settings(self.folder.config),
            written=written or (presence.began if presence else 0.0),
            sign=presence.sign() if presence else "unknown",
        )

    def _forget(self) -> None:
        self._place, self._before = 0, b""
        self._begin: Mapping[str, Any] = {}
        self._end: Mapping[str, Any] = {}
        self._epochs: list[Mapping[str, Any]] = []
        self._steps: list[tuple[int, float]] = []
        self._unreadable = 0

    def _read_log(self) -> float:
        """Take in the new lines that are complete; gives when the log was written, 0 if never."""
        try:
            with self.folder.metrics.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, self._place - _CHECKED))
                same = file.read(min(self._place, _CHECKED)) == self._before
                if size < self._place or not same:  # a resumed run has cut its log
                    self._forget()
                    file.seek(0)
                new = file.read()
                written = os.fstat(file.fileno()).st_mtime
        except OSError:
            self._forget()
            return 0.0
        complete, end, _ = new.rpartition(b"\n")
        if end:
            self._before = (self._before + complete + end)[-_CHECKED:]
            self._place += len(complete) + 1
            for line in complete.splitlines():
                self._take(line)
        return written

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            kind = row["kind"]
            if kind == "step":
                loss = row.get("loss")
                self._steps.append((int(row["step"]), float("nan" if loss is None else loss)))
            elif kind == "epoch":
                self._epochs.append({**row, "epoch": int(row["epoch"])})
        except (ValueError, KeyError, TypeError):
            self._unreadable += 1
            return
        if kind == "begin":
            self._begin = row
        self._end = row if kind == "end" else {}


class RunsWatched:
    """All runs below some folders, those that begin later too.

    Args:
        roots: folders of runs, or of folders of runs.

    Attributes:
        runs: as they were when they were read last; the newest word first.
        is_complete: whether all folders were looked at.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)
        self.runs: tuple[RunRecord, ...] = ()
        self.is_complete = True
        self._readers: dict[Path, RunReader] = {}

    def find(self) -> None:
        """Look for runs that are new, and forget those that are gone.

        Raises:
            FovealError: a root is not there, or no folder.
        """
        for root in self.roots:
            if not root.is_dir():
                what = "is a file" if root.exists() else "does not exist"
                raise FovealError(f"{root}: {what}. Expected the folder of a run, or one of runs.")
        looked_at, there = 0, dict[Path, str]()
        self.is_complete = True
        for root in self.roots:
            for folder in _folders(root):
                looked_at += 1
                if looked_at > MOST_FOLDERS:
                    self.is_complete = False
                    break
                if _is_run(folder):
                    there.setdefault(folder.absolute(), self._name(root, folder))
        self._readers = {
            folder: self._readers.get(folder) or RunReader(folder, name)
            for folder, name in there.items()
        }

    def read(self) -> tuple[RunRecord, ...]:
        """Read all runs; those that were written last come first."""
        records = [reader.read() for reader in self._readers.values()]
        self.runs = tuple(sorted(records, key=lambda each: (-each.written, each.name)))
        return self.runs

    def _name(self, root: Path, folder: Path) -> str:
        below = folder.relative_to(root).as_posix()
        own = root.absolute().name or str(root)
        if below == ".":
            return own
        return below if len(self.roots) == 1 else f"{own}/{below}"


def settings_that_differ(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Of each setting that is not the same in all runs, its value in each; '' where unknown."""
    known = [run.settings or {} for run in runs]
    names = dict.fromkeys(name for settings in known for name in settings)
    values = {name: [settings.get(name, "") for settings in known] for name in names}
    for name in ("images", "validation_images"):
        values[name.replace("_", " ")] = [str(run.begin.get(name, "")) for run in runs]
    return {name: each for name, each in values.items() if len(set(each)) > 1}


def _is_run(folder: Path) -> bool:
    run = RunFolder(folder)
    return run.metrics.is_file() or run.presence.is_file()


def _folders(root: Path) -> Iterator[Path]:
    """The folder and those below it, but for what a run has of its own."""
    for path, below, _ in os.walk(root):
        folder = Path(path)
        yield folder
        depth = len(folder.relative_to(root).parts)
        inner = {"state", TRACKED_AS} if _is_run(folder) else set()
        below[:] = sorted(
            name
            for name in below
            if depth < _DEEPEST and not name.startswith(".") and name not in inner
        )


def _seconds(epoch: Mapping[str, Any]) -> float:
    values = (epoch.get("seconds"), epoch.get("validation_seconds"))
    return sum(float(value) for value in values if isinstance(value, int | float))


def _read_settings(path: Path) -> dict[str, str] | None:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {
        f"{section}.{name}": value if isinstance(value, str) else json.dumps(value)
        for section, part in document.items()
        if isinstance(part, dict)
        for name, value in part.items()
    }
