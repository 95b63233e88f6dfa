"""Files as tools write them, by the hundred: read as written, and without harm where broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.pictures import make_folder
from tests.data.formats.fuzzing.properties import Failure, small_files
from tests.data.formats.fuzzing.trials import CHOICES, NAMES, SHARES, trials_of

FILES = 500
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

    @settings(
        max_examples=round(FILES * SHARES[trial]),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CHOICES)
    def check(content: bytes) -> None:
        try:
            trials_of(name)[trial](Dice(content), outer / "data", name)
        except Failure as error:
            pytest.fail(f"{error}\nfiles: {small_files(outer / 'data')}")

    check()
