import json
import os
from dataclasses import asdict, replace

import pytest

from foveal.training.presence import Presence, read_presence, write_presence
from foveal.training.run_folder import RunFolder


def test_a_process_finds_itself_alive(tmp_path):
    folder = RunFolder(tmp_path / "run")
    write_presence(folder)
    read = read_presence(folder.presence)
    assert read is not None
    assert read.process == os.getpid()
    assert read.sign() == "alive"


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"process": 2**22 + 1}, "gone"),  # above Linux's largest
        ({"started": 1.0}, "gone"),  # the number belongs to a later process
        ({"machine": "another"}, "unknown"),
    ],
)
def test_others(change, sign):
    assert replace(Presence.here(), **change).sign() == sign


@pytest.mark.parametrize("text", ["", "[]", '{"process": "x"}', "{"])
def test_what_is_not_ours_says_nothing(tmp_path, text):
    path = tmp_path / "process.json"
    assert read_presence(path) is None
    path.write_text(text)
    assert read_presence(path) is None
    path.write_text(json.dumps(asdict(Presence.here())))
    assert read_presence(path) is not None
