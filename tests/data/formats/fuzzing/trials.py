"""What is tried with each format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from random import Random

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.mutations import mutate
from tests.data.formats.fuzzing.properties import (
    read_as_written,
    read_hostile,
    read_without_harm,
)
from tests.data.formats.fuzzing.results import read_broken_results, read_results_as_written
from tests.data.formats.fuzzing.round_trips import write_and_read
from tests.data.formats.fuzzing.scenes import Written

from foveal.data.formats import FORMATS

__all__ = ["NAMES", "SHARES", "TRIALS", "Trial", "throw_dice", "trials_of"]

NAMES = (*(name for name in FORMATS if name != "geo"), "coco_results")
"""Files of shapes on a map are GDAL's to write and to read, a thousandth of the speed of text."""

Trial = Callable[[Dice, Path, str], None]


def throw_dice(count: int, seed: str) -> Iterator[Dice]:
    """What so many files are made of: the first of nothing but first choices, the others drawn.

    A library that draws examples takes as long for each as reading it does, and nothing is varied
    or shrunk here.
    """
    random = Random(seed)
    for number in range(count):
        yield Dice(random.randbytes(400) if number else b"")


def sound(dice: Dice, folder: Path, name: str) -> None:
    """A sound file is read as it is written."""
    read_as_written(_grammar(name)(dice), folder, name)


def broken(dice: Dice, folder: Path, name: str) -> None:
    """A file that was broken does no harm."""
    written = mutate(dice, _grammar(name)(dice))
    read_without_harm(written, folder, name if dice.chance(2) else None, collected=dice.chance(3))


def hostile(dice: Dice, folder: Path, name: str) -> None:
    """Names of images that lead outside are not followed."""
    read_hostile(dice, _grammar(name)(dice), folder, name)


def _grammar(name: str) -> Callable[[Dice], Written]:
    return import_module(f"tests.data.formats.fuzzing.{name}").make


SHARES = {"sound": 0.5, "broken": 0.3, "hostile": 0.1, "again": 0.1}
"""How many of a format's files each trial gets."""

TRIALS: dict[str, Trial] = {
    "sound": sound,
    "broken": broken,
    "hostile": hostile,
    "again": write_and_read,
}

RESULTS: dict[str, Trial] = {"sound": read_results_as_written, "broken": read_broken_results}
"""What is tried with COCO's result files."""


def trials_of(name: str) -> dict[str, Trial]:
    """What is tried with a format, or with "coco_results"."""
    return RESULTS if name == "coco_results" else TRIALS
