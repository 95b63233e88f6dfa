import json

import pytest
from tests import forked
from tests.training import two_processes

from foveal.data.synthetic import draw_dataset
from foveal.distributed import RANK_NAMES, rank

OVERRIDES = ("training.ema_decay=0.5", "training.optimizer=sgd", "training.batch=4")


def numbers(folder, kind, name):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if line["kind"] == kind]


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_batch(tmp_path):
    draw_dataset(tmp_path / "data", splits={"train": 9}, size=64)
    data = tmp_path / "data" / "train.json"
    two_processes.main(data, tmp_path / "one", *OVERRIDES)
    accumulated = (*OVERRIDES, "training.accumulate=2")
    arguments = (data, tmp_path / "two", *accumulated)
    ended = forked.run(two_processes.main, *arguments, folder=tmp_path, processes=2)
    for process in ended:
        assert process.code == 0, process.complaint[-3000:]
        assert "FutureWarning" not in process.complaint
    for kind, name in (
        ("step", "classification"),
        ("step", "box"),
        ("step", "gradient_norm"),
        ("epoch", "loss"),
    ):
        one, two = (numbers(tmp_path / folder, kind, name) for folder in ("one", "two"))
        assert len(one) == {"step": 6, "epoch": 2}[kind]
        assert two == pytest.approx(one, rel=1e-4), name
    one, two = (numbers(tmp_path / folder, "epoch", "validation") for folder in ("one", "two"))
    assert [v["AP"] for v in two] == pytest.approx([v["AP"] for v in one], rel=1e-4)
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


@pytest.mark.parametrize(("said", "expected"), [("", 0), (" ", 0), ("2", 2), ("none", 0)])
def test_a_rank_that_is_no_number_is_none(said, expected, monkeypatch):
    for name in RANK_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", said)
    assert rank() == expected
