"""Read many files of each format and say what failed: `python -m tests.data.formats.fuzzing`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.pictures import make_folder
from tests.data.formats.fuzzing.properties import Failure, small_files
from tests.data.formats.fuzzing.trials import NAMES, SHARES, TRIALS, Trial, throw_dice, trials_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="files of each format")
    parser.add_argument("--format", action="append", choices=NAMES, help="these alone")
    parser.add_argument("--trial", action="append", choices=TRIALS, help="these alone")
    parser.add_argument("--seed", type=int, default=time.time_ns(), help="for the same files again")
    options = parser.parse_args()
    sys.stdout.write(f"--seed {options.seed}\n")
    outer = make_folder()
    empty = outer / "working"
    empty.mkdir()
    os.chdir(empty)
    failed = 0
    for name in options.format or NAMES:
        trials = trials_of(name)
        for trial in [trial for trial in options.trial or trials if trial in trials]:
            files = round(options.files * SHARES[trial])
            thrown = throw_dice(files, f"{name} {trial} {options.seed}")
            failed += _run(trials[trial], f"{name}, {trial}", name, outer, thrown)
    shutil.rmtree(outer, ignore_errors=True)
    sys.exit(failed > 0)


def _run(trial: Trial, title: str, name: str, outer: Path, thrown: Iterable[Dice]) -> int:
    """Try a file for each of the dice; the number of those that failed."""
    kinds: dict[str, list[tuple[int, str]]] = {}
    files, begin = 0, time.process_time()
    for dice in thrown:
        files += 1
        try:
            trial(dice, outer / "outer" / "data", name)
        except Failure as error:
            shown = small_files(outer / "outer" / "data")
            kinds.setdefault(error.kind, []).append((len(str(shown)), f"{error}\n      {shown}"))
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            shown = small_files(outer / "outer" / "data")
            kind = f"{type(error).__name__} in {Path(last.filename).name}:{last.name}"
            text = "".join(traceback.format_exception(error)[-3:])
            kinds.setdefault(kind, []).append((len(str(shown)), f"{text}\n      {shown}"))
    failed = sum(map(len, kinds.values()))
    seconds = time.process_time() - begin
    lines = [f"{title}: {files} files, {failed} failed, {seconds:.0f} s"]
    for kind, examples in sorted(kinds.items()):
        lines += [f"  {len(examples)} x {kind}", f"    {min(examples)[1][:3000]}"]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return failed


if __name__ == "__main__":
    main()
