"""What accelerate launch asks for is honored or refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tests import forked
from tests.listener import Listener
from tests.training.conftest import FakeBatches, tiny_settings
from tests.training.test_trainer import start

from foveal.errors import SettingsError, TrainingError
from foveal.models.build import build_model
from foveal.training import setup, trainer
from foveal.training.launcher import COMPILER, MIXED_PRECISION, SHARDING, launched_precision

AUTO, FLOAT32 = "training.precision=auto", "training.precision=float32"


@pytest.mark.parametrize(
    ("asked", "setting", "expected"),
    [
        ("", "auto", "auto"),
        ("no", "auto", "auto"),
        ("no", "float32", "float32"),
        ("no", "bf16", "bf16"),
        ("bf16", "auto", "bf16"),
        ("BF16 ", "auto", "bf16"),
        ("bf16", "bf16", "bf16"),
    ],
)
def test_the_launchers_precision_stands_where_the_setting_leaves_it_open(
    monkeypatch, asked, setting, expected
):
    monkeypatch.setenv(MIXED_PRECISION, asked)
    assert launched_precision(setting) == expected


def test_without_a_launcher_the_setting_stands(monkeypatch):
    monkeypatch.delenv(MIXED_PRECISION, raising=False)
    assert launched_precision("auto") == "auto"


def test_a_contradiction_names_both_and_the_ways_out(monkeypatch):
    monkeypatch.setenv(MIXED_PRECISION, "bf16")
    with pytest.raises(
        SettingsError,
        match=r"--mixed_precision bf16 .*training\.precision is float32\. Change one of them: "
        r"--mixed_precision no, or --set training\.precision=bf16",
    ):
        launched_precision("float32")


@pytest.mark.parametrize("setting", ["auto", "float32", "bf16"])
@pytest.mark.parametrize("asked", ["fp16", "fp8"])
def test_a_precision_in_which_foveal_does_not_train(monkeypatch, asked, setting):
    monkeypatch.setenv(MIXED_PRECISION, asked)
    with pytest.raises(SettingsError, match=rf"--mixed_precision {asked} .*Give .* bf16"):
        launched_precision(setting)
    with pytest.raises(SettingsError, match=f"--mixed_precision {asked} "):
        setup.make_accelerator()


@pytest.mark.parametrize("variable", SHARDING)
def test_spreading_the_network_is_refused_before_accelerate_begins_it(monkeypatch, variable):
    monkeypatch.setenv(variable, "true")
    monkeypatch.setattr("accelerate.Accelerator", lambda **_: pytest.fail("accelerate began"))
    with pytest.raises(SettingsError, match=rf"{variable}.*Leave the option out"):
        setup.make_accelerator()


def test_the_launchers_compiler_is_refused(monkeypatch):
    monkeypatch.setenv(COMPILER, "INDUCTOR")
    with pytest.raises(SettingsError, match=r"inductor .*--set training\.compile=on"):
        setup.make_accelerator()


def test_a_plain_launch_is_none_of_it(monkeypatch):
    for variable in SHARDING:
        monkeypatch.setenv(variable, "false")
    monkeypatch.setenv(MIXED_PRECISION, "no")
    monkeypatch.setenv(COMPILER, "NO")
    assert setup.make_accelerator().num_processes == 1


@pytest.mark.parametrize(("asked", "expected"), [("bf16", torch.bfloat16), ("no", torch.float32)])
def test_a_step_computes_in_it(monkeypatch, asked, expected):
    monkeypatch.setenv(MIXED_PRECISION, asked)
    monkeypatch.setattr(
        setup, "choose_precision", lambda wanted, _: setup.TYPES[wanted.replace("auto", "float32")]
    )
    settings = tiny_settings(AUTO)
    step = setup.make_train_step(
        build_model(settings, 2), settings, accelerator=setup.make_accelerator()
    )
    assert step.precision is expected


def test_a_run_says_so(monkeypatch, fake_data, tmp_path):
    """In two epochs of two steps; the contradiction leaves no folder behind."""
    monkeypatch.setenv(MIXED_PRECISION, "bf16")
    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(1))
    listener = Listener()
    start(fake_data, tmp_path / "run", AUTO, "training.epochs=1", reporter=listener)
    assert listener.said[0] == "Computing in bf16, as it was asked for."
    assert listener.said[-1] == "The run ended with its last epoch, 1."
    with pytest.raises(SettingsError, match="Change one of them"):
        start(fake_data, tmp_path / "other", FLOAT32)
    assert not (tmp_path / "other").exists()


def test_a_run_does_not_change_its_precision(monkeypatch, fake_data, tmp_path):
    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(1))
    monkeypatch.setattr(
        setup, "choose_precision", lambda wanted, _: setup.TYPES[wanted.replace("auto", "float32")]
    )
    start(fake_data, tmp_path / "run", AUTO, "training.epochs=1", reporter=Listener())
    monkeypatch.setenv(MIXED_PRECISION, "bf16")
    with pytest.raises(TrainingError, match=r"began in float32 and is to go on in bf16\. Leave"):
        start(fake_data, tmp_path / "run", AUTO, "training.epochs=1", resume=True)


def launch(precision: str, program: Path) -> None:
    """`accelerate launch`, which starts the program in a process of its own."""
    from accelerate.commands import launch

    options = ["--cpu", "--num_processes", "1", "--mixed_precision", precision]
    sys.argv = ["accelerate-launch", *options, str(program)]
    launch.main()


def test_accelerate_launch_sets_these_variables(tmp_path: Path):
    """The names are accelerate's own, as its launcher gives them to the program."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import os; print(*(os.environ[name] for name in {(MIXED_PRECISION, COMPILER)}))"
    )
    (call,) = forked.run(launch, "bf16", program, folder=tmp_path)
    assert call.said.split() == ["bf16", "NO"], call.complaint
