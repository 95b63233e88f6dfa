"""Which process trains in a run's folder, so that a run that was killed is told from a live one.

A killed process can't say that it ends. So the folder says which one trains, on which machine and
since when: whoever looks at it there can ask the system whether it is still at work.
"""

from __future__ import annotations

import json
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from foveal.errors import TrainingError
from foveal.files import write_file
from foveal.training.run_folder import HOW_TO_GO_ON

if TYPE_CHECKING:
    from foveal.training.run_folder import RunFolder

_SAME_START = 2.0
"""Seconds by which the start of one process is told differently from one look to the next."""

Sign = Literal["alive", "gone", "unknown"]


@dataclass(frozen=True, slots=True)
class Presence:
    """A process that trains, or trained.

    Attributes:
        process: its number.
        started: when it started, seconds since 1970: numbers are given again.
        machine: its name, and in a container of Linux which one.
        began: when the run began, or went on, in it.
    """

    process: int
    started: float
    machine: str
    began: float

    @staticmethod
    def here() -> Presence:
        """This process, which begins now."""
        own = psutil.Process()
        return Presence(own.pid, own.create_time(), _machine(), time.time())

    def sign(self) -> Sign:
        """Whether the process is still there: 'unknown' where it is another machine's."""
        if self.machine != _machine():
            return "unknown"
        try:
            other = psutil.Process(self.process)
            same = abs(other.create_time() - self.started) < _SAME_START
            ended = other.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return "gone"
        except psutil.Error:
            return "unknown"
        return "alive" if same and not ended else "gone"


def write_presence(folder: RunFolder) -> None:
    """Write that this process trains in a folder.

    Raises:
        TrainingError: the file can't be written.
    """
    text = json.dumps(asdict(Presence.here())) + "\n"
    write_file(folder.presence, text, error=TrainingError, advice=HOW_TO_GO_ON, sync=False)


def read_presence(path: Path) -> Presence | None:
    """What `write_presence` wrote; None where there is no such file, or none that can be read."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        values = json.loads(path.read_text(encoding="utf-8"))
        return Presence(
            int(values["process"]),
            float(values["started"]),
            str(values["machine"]),
            float(values["began"]),
        )
    return None


def _machine() -> str:
    """This machine's name; processes of a container have numbers of their own."""
    name = platform.node()
    with suppress(OSError):
        name += f" {Path('/proc/self/ns/pid').readlink()}"
    return name
