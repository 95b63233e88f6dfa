import json
import math

import pytest

from foveal.errors import TrainingError
from foveal.training.metrics_log import MetricsLog
from foveal.training.reporters import describe_epoch


def test_lines_and_what_lies_behind_them(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    journal = MetricsLog(path)
    journal.write("step", loss=1.5)
    kept = journal.position()
    journal.write("step", loss=math.nan, images=["ä b.jpg"])
    journal.close()
    assert kept < path.stat().st_size
    assert json.loads(path.read_text().splitlines()[1]) == {
        "kind": "step",
        "loss": None,
        "images": ["ä b.jpg"],
    }
    again = MetricsLog(path, keep_bytes=kept)
    again.write("epoch", epoch=1)
    again.close()
    kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
    assert kinds == ["step", "epoch"]


def test_a_journal_without_a_path_is_silent():
    journal = MetricsLog(None)
    journal.write("step", loss=1.0)
    assert journal.position() == 0
    journal.close()


def test_a_full_disk_is_said(tmp_path):
    resource = pytest.importorskip("resource")
    journal = MetricsLog(tmp_path / "metrics.jsonl")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        journal.write("step", loss=1.0, learning_rate=0.1)
        with pytest.raises(TrainingError, match=r"metrics\.jsonl: can't be written"):
            journal.write("step", loss=1.0, learning_rate=0.1, gradient_norm=1.0, epoch=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        journal.close()


def test_an_epoch_that_is_not_the_best_names_it():
    summary = {"epoch": 3, "loss": 1.5, "classification": 1.0, "box": 0.5, "images_per_second": 1.0}
    worse = summary | {"best": False, "best_AP": 0.5, "best_epoch": 2, "validation": {"AP": 0.4}}
    assert describe_epoch(worse).endswith("AP 0.400, best so far 0.500 in epoch 2")


def test_an_epoch_in_a_line():
    summary = {
        "epoch": 3,
        "loss": 1.5,
        "classification": 1.0,
        "box": 0.5,
        "images_per_second": 12.34,
        "validation": {"AP": 0.4567, "other": 1.0},
        "best": True,
    }
    assert describe_epoch(summary) == (
        "epoch 3, loss 1.5000 (classification 1.0000, box 0.5000), 12.3 images/s, AP 0.457, "
        "best so far"
    )
