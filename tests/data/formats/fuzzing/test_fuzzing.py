"""Files as tools write them, by the hundred: read as written, and without harm where broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.formats.fuzzing.pictures import make_folder
from tests.data.formats.fuzzing.properties import Failure, small_files
from tests.data.formats.fuzzing.trials import NAMES, SHARES, throw_dice, trials_of

FILES = 100
"""Of each format; `python -m tests.data.formats.fuzzing` tries as many as one wants."""


@pytest.fixture(scope="module")
def outer() -> Path:
    """A folder for the data set's own folder."""
    return make_folder()


@pytest.mark.parametrize(
    ("name", "trial"), [(name, trial) for name in NAMES for trial in trials_of(name)]
)
def test_files_of_a_format(
    name: str, trial: str, outer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = round(FILES * SHARES[trial])
    for number, dice in enumerate(throw_dice(files, f"{name} {trial}")):
        try:
            trials_of(name)[trial](dice, outer / "data", name)
        except Failure as error:
            pytest.fail(f"data set {number}: {error}\nfiles: {small_files(outer / 'data')}")
