"""Rows of a long study, each in a file of its own: what has one is not made again."""

from __future__ import annotations

import fcntl
import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import TrainingInterrupted
from foveal.files import write_file
from foveal.text import without_nan

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A row to make; arguments as `keep_row`."""

    file: Path
    asked: Mapping[str, Any]
    make: Callable[[], Row]


def keep_rows(jobs: Iterable[Job], tell: Callable[[Row], str]) -> int:
    """Make what is not there yet and no other process makes; how many failed.

    Args:
        jobs: the list; one that fails stops no other.
        tell: what to print of a row.

    Raises:
        TrainingInterrupted: a signal came.
        SystemExit: a file holds something else.
    """
    failed = []
    for job in jobs:
        name = job.file.stem
        with claimed(job.file) as mine:
            if not mine:
                print(f"{name}: another process trains it", flush=True)
                continue
            try:
                made = keep_row(job.file, job.asked, job.make)
            except TrainingInterrupted:
                raise
            except Exception:  # a long list goes on
                traceback.print_exc()
                failed.append(name)
                continue
        print(f"{name}: {tell(made)}", flush=True)
    for name in failed:
        print(f"FAILED: {name}", flush=True)
    return len(failed)


def keep_row(file: Path, asked: Mapping[str, Any], make: Callable[[], Row]) -> Row:
    """The row that the file holds, or the one that is made now.

    Args:
        file: of this row.
        asked: what tells this row from others; a file that holds another is refused.
        make: makes it, for minutes.

    Raises:
        SystemExit: the file holds something else.
    """
    if file.exists():
        row: Row = json.loads(file.read_text())
        if row["asked"] != asked:
            raise SystemExit(
                f"{file.name} holds {row['asked']}, and {dict(asked)} is asked for. Give it "
                "another name (--name) or another folder (--work)."
            )
        return row
    print(file.stem, flush=True)
    made = {**make(), "asked": dict(asked)}
    text = json.dumps(without_nan(made), indent=1, default=_plain, allow_nan=False)
    write_file(file, text + "\n")
    return json.loads(text)


def spread_of(rows: Sequence[Row]) -> Row:
    """Of one trial's rows: the lowest and the highest AP, the seeds, and where they were trained.

    A row whose training diverged has no AP.
    """
    aps = [row["AP"] for row in rows if row["AP"] is not None]
    return {
        "AP from": min(aps, default=None),
        "AP to": max(aps, default=None),
        "seeds": ", ".join(str(row["asked"]["seed"]) for row in rows),
        "device": ", ".join(sorted({row["device"] for row in rows})),
    }


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Whether this process alone makes the file; the claim ends with it, killed or not."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
