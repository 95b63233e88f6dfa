"""Read many files of each format and say what failed: `python -m tests.data.formats.fuzzing`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.pictures import make_folder
from tests.data.formats.fuzzing.properties import Failure, small_files
from tests.data.formats.fuzzing.trials import CHOICES, NAMES, SHARES, TRIALS, Trial, trials_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="files of each format")
    parser.add_argument("--format", action="append", choices=NAMES, help="these alone")
    parser.add_argument("--trial", action="append", choices=TRIALS, help="these alone")
    options = parser.parse_args()
    outer = make_folder()
    empty = outer / "working"
    empty.mkdir()
    os.chdir(empty)
    failed = 0
    for name in options.format or NAMES:
        trials = trials_of(name)
        for trial in [trial for trial in options.trial or trials if trial in trials]:
            failed += _run(trials[trial], trial, name, outer, round(options.files * SHARES[trial]))
    shutil.rmtree(outer, ignore_errors=True)
    sys.exit(failed > 0)


def _run(trial: Trial, title: str, name: str, outer: Path, files: int) -> int:
    """Try so many files; the number of those that failed."""
    kinds: dict[str, list[tuple[int, str]]] = {}
    tried = 0

    @settings(
        max_examples=files,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CHOICES)
    def check(content: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            trial(Dice(content), outer / "outer" / "data", name)
        except Failure as error:
            shown = small_files(outer / "outer" / "data")
            kinds.setdefault(error.kind, []).append((len(str(shown)), f"{error}\n      {shown}"))
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            shown = small_files(outer / "outer" / "data")
            kind = f"{type(error).__name__} in {Path(last.filename).name}:{last.name}"
            text = "".join(traceback.format_exception(error)[-3:])
            kinds.setdefault(kind, []).append((len(str(shown)), f"{text}\n      {shown}"))

    begin = time.process_time()
    check()
    failed = sum(map(len, kinds.values()))
    seconds = time.process_time() - begin
    lines = [f"{name}, {title}: {tried} files, {failed} failed, {seconds:.0f} s"]
    for kind, examples in sorted(kinds.items()):
        lines += [f"  {len(examples)} x {kind}", f"    {min(examples)[1][:3000]}"]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return failed


if __name__ == "__main__":
    main()
