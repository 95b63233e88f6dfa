"""Minutes instead of epochs: plans by hand, and runs on a clock that steps move."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tests.listener import Listener
from tests.training.conftest import FakeBatches, tiny_settings
from tests.training.test_trainer import start

from foveal.data.loading.phases import Phases
from foveal.errors import DeviceMemoryError, SettingsError, TrainingInterrupted
from foveal.training import budget, trainer
from foveal.training.budget import Course, Pace, affordable_steps, describe_plan
from foveal.training.step import TrainStep

COURSE = Course(10, 640)


def test_a_plan_by_hand():
    pace = Pace(2.0, validation=5.0)
    assert COURSE.seconds(30, pace) == 3 * (20 + 5)
    assert COURSE.seconds(34, pace) == 3 * 25 + 8 + 5
    assert affordable_steps(75.0, COURSE, pace) == 30
    assert affordable_steps(88.0, COURSE, pace) == 34
    assert affordable_steps(87.9, COURSE, pace) == 33
    assert affordable_steps(50.0, COURSE, pace, epochs_done=1) == 30
    assert affordable_steps(11.0, COURSE, pace, epochs_done=1, steps_done=4) == 17
    assert affordable_steps(0.0, COURSE, pace, epochs_done=1, steps_done=4) == 14


def test_a_run_that_is_over_ends_with_the_epoch():
    assert affordable_steps(-3.0, COURSE, Pace(1.0), epochs_done=4) == 40
    assert affordable_steps(0.0, COURSE, Pace(1.0)) == 1


def test_a_tiny_last_epoch_is_left_out():
    course = Course(100, 640)
    assert affordable_steps(204.0, course, Pace(1.0)) == 200
    assert affordable_steps(206.0, course, Pace(1.0)) == 206


def test_validations_that_are_rarer_cost_less():
    course = Course(10, 640, evaluate_every=2)
    assert course.seconds(50, Pace(0.0, validation=1.0)) == 3
    assert course.seconds(50, Pace(0.0, validation=1.0), epochs_done=3) == 2


def test_smaller_inputs_make_room_for_more_steps():
    course = Course(10, 640, phases=Phases(sizes=((0.5, 320),)))
    pace = Pace(1.0)
    assert course.seconds(40, pace) == 5 + 20
    assert affordable_steps(25.0, course, pace) >= 40
    assert 24 <= course.seconds(affordable_steps(25.0, course, pace), pace) <= 25


@pytest.mark.parametrize("total", [7, 10, 25])
def test_a_plan_is_said(total):
    said = describe_plan(30, total=total, steps=10, pace=Pace(1.5))
    assert {7: "7 of the 10 steps of an epoch in 30 minutes", 10: "1 epoch in", 25: "2.5 epochs"}[
        total
    ] in said
    assert ("not every image is seen" in said) == (total < 10)
    assert "longer than" not in said


def test_minutes_that_cant_be_kept_are_told_before_and_explained_after(monkeypatch, fake_data):
    """One step and the validation take longer than a minute."""
    watch, listener = Watch(monkeypatch, step=20.0, validation=47.0), Listener()
    _, result = start(fake_data, None, *MINUTE, validate=watch.validate, reporter=listener)
    (said,) = [text for text in listener.said if text.startswith("There is time")]
    assert "about 1 of the 4 steps of an epoch in 1 minute: a step takes 20 s" in said
    assert "longer than 1 minute" not in said  # how long a validation takes is not known yet
    assert "It took 2 minutes, 47 seconds longer than 1 minute: 40 seconds for trying" in (
        result.ending.text
    )
    assert "20 seconds for 1 step, 47 seconds for measuring and saving." in result.ending.text
    over = describe_plan(1, total=1, steps=4, pace=Pace(10.0, validation=90.0), over=70.0)
    assert "Even that takes about 70 seconds longer than 1 minute" in over


class Watch:
    """A clock that stands still but for the steps and validations of a run."""

    def __init__(self, monkeypatch, *, step, validation=0.0, steps=4):
        self.time, self.step, self.validation = 0.0, step, validation
        monkeypatch.setattr(budget, "now", lambda: self.time)
        monkeypatch.setattr(
            "foveal.training.clock.time", SimpleNamespace(perf_counter=lambda: self.time)
        )
        monkeypatch.setattr(
            trainer, "make_batches", lambda *_, **__: FakeBatches(steps, change=self.take)
        )

    def take(self, batch, epoch, step):
        self.time += self.step
        return batch

    def validate(self, model):
        self.time += self.validation
        return {"AP": 0.5}


MINUTE = ("training.minutes=1", "training.save_every_steps=1")


def test_a_run_ends_with_its_minutes(monkeypatch, fake_data):
    watch, listener = Watch(monkeypatch, step=3.0, validation=3.0), Listener()
    _, result = start(fake_data, None, *MINUTE, validate=watch.validate, reporter=listener)
    assert 0.95 * 60 <= watch.time <= 60
    assert any("in 1 minute: a step takes 3 s" in text for text in listener.said)
    assert "of 1 minute." in result.ending.text
    assert result.ending.reason == "last_epoch"
    assert sum(epoch["steps"] for epoch in result.history) == len(listener.steps)
    assert listener.steps[-1].total_steps == len(listener.steps)
    assert result.history[-1]["validation"]


def test_a_machine_that_slows_down_ends_in_time_too(monkeypatch, fake_data):
    watch, listener = Watch(monkeypatch, step=1.0), Listener()

    def slower(batch, epoch, step):
        watch.time += 1.0 if epoch < 3 else 3.0
        return batch

    watch.take = slower
    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(4, change=slower))
    start(fake_data, None, *MINUTE, validate=watch.validate, reporter=listener)
    assert 0.9 * 60 <= watch.time <= 1.1 * 60
    assert any("fewer than was said" in text for text in listener.said)


def test_a_machine_that_is_faster_after_all_trains_more(monkeypatch, fake_data):
    """The plan is less than an epoch at first, and grows where that would have ended."""
    watch = Watch(monkeypatch, step=4.0)
    tried = [10.0] * 2

    def faster(batch, epoch, step):
        watch.time += tried.pop() if tried else 1.0
        return batch

    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(40, change=faster))
    _, result = start(fake_data, None, *MINUTE, validate=watch.validate)
    assert [epoch["steps"] for epoch in result.history] == [40]
    assert watch.time == 60


def test_trying_steps_changes_nothing(monkeypatch, fake_data):
    """As many epochs as the minutes gave have the same weights without minutes."""
    options = ("training.optimizer=adamw", "training.ema_decay=0.9", "model.norm=live")
    Watch(monkeypatch, step=6.5)
    timed, result = start(fake_data, None, "training.minutes=1.1", *options)
    epochs = len(result.history)
    assert epochs > 1
    assert result.history[-1]["steps"] == 4
    counted, _ = start(fake_data, None, f"training.epochs={epochs}", *options)
    for name, value in timed.state_dict().items():
        assert torch.equal(value, counted.state_dict()[name]), name


def test_the_size_that_comes_last_is_tried_first(monkeypatch, fake_data):
    """A memory that is too small for it is found before the first epoch; else nothing changes."""
    Watch(monkeypatch, step=1.0)
    plain, _ = start(fake_data, None, "training.epochs=1")
    tried, _ = start(fake_data, None, "training.epochs=1", "training.size_schedule=[[0.5, 32]]")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, tried.state_dict()[name]), name

    def too_large(self, part):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    listener = Listener()
    monkeypatch.setattr(TrainStep, "_part_losses", too_large)
    with pytest.raises(DeviceMemoryError):
        start(fake_data, None, "training.size_schedule=[[0.5, 32]]", reporter=listener)
    assert not listener.epochs


def test_a_resumed_run_has_what_is_left(monkeypatch, fake_data, tmp_path):
    watch, listener = Watch(monkeypatch, step=2.0), Listener()
    taken = watch.take

    def stopping(batch, epoch, step):
        if epoch == 2 and step == 1:
            raise TrainingInterrupted("here")
        return taken(batch, epoch, step)

    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(4, change=stopping))
    with pytest.raises(TrainingInterrupted):
        start(fake_data, tmp_path, *MINUTE, validate=watch.validate)
    spent = watch.time
    watch.time += 1000
    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(4, change=taken))
    start(fake_data, tmp_path, *MINUTE, validate=watch.validate, resume=True, reporter=listener)
    assert 0.9 * 60 <= watch.time - 1000 <= 60
    assert f"{(60 - spent) / 60:.1f} of 1 minute are left." in listener.said


def test_minutes_and_epochs_exclude_one_another():
    from foveal.data.dataset import Dataset
    from foveal.detector import Detector

    with pytest.raises(SettingsError, match="expected one of them"):
        Detector.fit(Detector.__new__(Detector), Dataset((), ("a",), ""), epochs=3, minutes=2)
    assert tiny_settings("training.minutes=none").training.minutes is None
