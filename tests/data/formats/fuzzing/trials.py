"""What is tried with each format."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from hypothesis import strategies as st
from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.mutations import mutate
from tests.data.formats.fuzzing.properties import (
    read_as_written,
    read_hostile,
    read_without_harm,
)
from tests.data.formats.fuzzing.scenes import Written

Trial = Callable[[Dice, Path, str], None]

CHOICES = st.binary(min_size=400, max_size=400)
"""What a file is made of; a fixed number of bytes is drawn ten times as fast as any number."""

FORMATS = (
    "coco", "voc", "yolo", "csv", "kitti", "labelme", "openimages", "cvat", "label_studio", "via",
    "vott", "supervisely", "createml", "datumaro",
)  # fmt: skip


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


TRIALS: dict[str, Trial] = {"sound": sound, "broken": broken, "hostile": hostile}
