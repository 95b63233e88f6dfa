"""The command as torchrun starts it: two processes, one run, everything said once.

One test goes through torchrun's agent, which forks them; the other has its variables alone.
"""

import sys

import pytest
from tests import forked
from tests.training.conftest import TINY
from torch.distributed import run as torchrun
from torch.distributed.launcher.api import elastic_launch

from foveal.checkpoints import model_file
from foveal.cli import main
from foveal.data.synthetic import draw_dataset

pytestmark = pytest.mark.slow

TORCHRUN = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--nproc-per-node=2", "foveal"]
SETS = [part for override in (*TINY, "anchors.scales=[1, 1.4]") for part in ("--set", override)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smears")
    draw_dataset(folder, splits={"train": 9, "valid": 3}, size=64)
    return folder


def run_command(arguments):
    sys.argv = ["foveal", *arguments]
    main()


def return_from_command(arguments):
    """For the agent, which waits until a function returns."""
    try:
        run_command(arguments)
    except SystemExit as exit_:
        if exit_.code:
            raise


def launch(arguments):
    """What torchrun does, but that processes are forked: they have imported everything."""
    config, *_ = torchrun.config_from_args(torchrun.parse_args(TORCHRUN))
    config.start_method = "fork"
    elastic_launch(config, return_from_command)(arguments)


def test_two_processes_make_one_run(data, tmp_path):
    out = tmp_path / "deep" / "run"
    command = ["train", str(data / "train.json"), "--out", str(out), *SETS]
    (ended,) = forked.run(launch, command, folder=tmp_path)
    assert ended.code == 0, ended.complaint
    everything = ended.said + ended.complaint
    for words in (
        "9 images, 3 classes",
        "images held out",
        "epoch 1, loss",
        "epoch 2, loss",
        "Kept:",
    ):
        assert everything.count(words) == 1, everything
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL.md",
        "best.safetensors",
        "config.toml",
        "last.safetensors",
        "metrics.jsonl",
        "report.html",
        "state",
    ]
    assert model_file.load(out / "best.safetensors").card.threshold_is_chosen


def test_a_mistake_is_said_once_and_leaves_nothing(data, tmp_path):
    lacking = data / "lacking.json"
    text = (data / "train.json").read_text()
    lacking.write_text(text.replace("train_0007", "absent"))
    command = ("train", str(lacking), "--out", str(tmp_path / "run"), *SETS)
    ended = forked.run(run_command, command, folder=tmp_path, processes=2)
    assert 2 in [process.code for process in ended]
    assert all(process.code for process in ended)
    complaint = "".join(process.complaint for process in ended)
    assert complaint.count("does not exist") == 1, complaint
    assert "Connection closed" not in complaint
    assert not (tmp_path / "run").exists()
