"""In which precision a run computes: chosen once, told, and kept when the run is resumed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tests.listener import Listener
from tests.training.conftest import FakeBatches, tiny_settings
from tests.training.test_trainer import start

from foveal.acceleration import precision
from foveal.acceleration.precision_timing import Timing
from foveal.errors import TrainingError
from foveal.training import setup, state, trainer
from foveal.training.step import TrainStep

AUTO = "training.precision=auto"
FLOAT32_WINS, BF16_WINS = Timing(1.0, 3.0), Timing(1.0, 0.5)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The precision of every step; none of them is really computed in bf16, which may be slow."""
    steps: list[torch.dtype] = []
    step = TrainStep.step

    def step_in_float32(train_step: TrainStep, *arguments: object, **options: object) -> object:
        steps.append(train_step.precision)
        train_step.precision = torch.float32
        try:
            return step(train_step, *arguments, **options)
        finally:
            train_step.precision = steps[-1]

    monkeypatch.setattr(TrainStep, "step", step_in_float32)
    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(2))
    return steps


def measured(monkeypatch: pytest.MonkeyPatch, timing: Timing) -> None:
    monkeypatch.setattr(precision, "remembered_timing", lambda: timing)


def run(data, out, *overrides: str, **options: object) -> list[str]:
    """What is said in a run of two epochs."""
    listener = Listener()
    start(data, out, AUTO, *overrides, reporter=listener, **options)
    return listener.said


def fail(_model: object) -> dict[str, float]:
    raise TrainingError("stopped here")


@pytest.mark.parametrize(
    ("timing", "expected", "words"),
    [
        (FLOAT32_WINS, torch.float32, "in float32: bf16 takes 3.0 times as long"),
        (BF16_WINS, torch.bfloat16, "in bf16: float32 takes 2.0 times as long"),
    ],
)
def test_auto_takes_the_faster_one_and_says_so_once(
    monkeypatch, used, fake_data, tmp_path, timing, expected, words
):
    measured(monkeypatch, timing)
    said, *_ = run(fake_data, tmp_path)
    assert words in said
    assert used == [expected] * 4


@pytest.mark.parametrize("began", [FLOAT32_WINS, BF16_WINS])
def test_a_resumed_run_keeps_its_precision(monkeypatch, used, fake_data, tmp_path, began):
    measured(monkeypatch, began)
    with pytest.raises(TrainingError, match="stopped here"):
        run(fake_data, tmp_path, validate=fail)
    measured(monkeypatch, BF16_WINS if began is FLOAT32_WINS else FLOAT32_WINS)
    said, *_ = run(fake_data, tmp_path, resume=True)
    name = "bf16" if began is BF16_WINS else "float32"
    assert said == f"Computing in {name}, in which this run began."
    assert len(used) == 4
    assert len(set(used)) == 1


def test_a_state_that_does_not_say_takes_what_is_measured(monkeypatch, used, fake_data, tmp_path):
    measured(monkeypatch, FLOAT32_WINS)
    with pytest.raises(TrainingError, match="stopped here"):
        run(fake_data, tmp_path, validate=fail)
    as_dict = state.asdict

    def without_precision(position: state.RunState) -> dict[str, object]:
        values = as_dict(position)
        del values["precision"]
        return values

    file = tmp_path / "state" / "state.safetensors"
    fingerprint = trainer.fingerprint_of(
        tiny_settings(AUTO), classes=fake_data.classes, records=fake_data.records, steps=2
    )
    tensors, position = state.read_state(file, fingerprint=fingerprint)
    with monkeypatch.context() as patch:
        patch.setattr(state, "asdict", without_precision)
        state.write_state(file, tensors, position, fingerprint=fingerprint)
    measured(monkeypatch, BF16_WINS)
    said, *_ = run(fake_data, tmp_path, resume=True)
    assert "in bf16: float32 takes 2.0 times" in said
    assert used[-1] is torch.bfloat16


@pytest.mark.parametrize("main", [True, False])
def test_all_processes_take_the_main_ones(monkeypatch, main):
    monkeypatch.setattr(setup, "broadcast", lambda own: own if main else "bf16")
    timing = BF16_WINS if main else None  # in the others nothing is measured
    monkeypatch.setattr(precision, "remembered_timing", timing and (lambda: timing))
    accelerator = SimpleNamespace(is_main_process=main, device=torch.device("cpu"))
    assert setup.broadcast_precision("auto", accelerator) is torch.bfloat16
