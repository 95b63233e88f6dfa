import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tests.listener import Listener
from tests.training.conftest import FakeBatches, tiny_settings

from foveal.checkpoints import model_file
from foveal.checkpoints.anchor_order import to_ratio_major
from foveal.config import to_toml
from foveal.data.synthetic import draw_dataset
from foveal.errors import ImageError, TrainingDiverged, TrainingError, TrainingInterrupted
from foveal.models.build import build_model
from foveal.structures import ModelCard
from foveal.training import trainer
from foveal.training.early_signs import Sightings
from foveal.training.reporters import describe_epoch
from foveal.training.step import TrainStep


@pytest.fixture
def fake(monkeypatch):
    """Let training take made-up batches; call it to change them."""

    def use(steps=3, **options):
        monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(steps, **options))

    use()
    return use


def start(data, out, *overrides, seed=0, **options):
    settings = tiny_settings(*overrides)
    torch.manual_seed(seed)
    model = build_model(settings, 2)
    result = trainer.train(model, settings, data, out=out, **options)
    return model, result


def lines(folder, kind):
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if line["kind"] == kind]


def rising(values):
    values = iter(values)
    return lambda model: {"AP": next(values), "AP50": 0.5}


def test_a_run_leaves_its_files(tmp_path, fake_data, fake):
    listener = Listener()
    out = tmp_path / "deep" / "run"
    model, result = start(
        fake_data,
        out,
        "training.epochs=3",
        validate=rising([0.1, 0.3, 0.2]),
        reporter=listener,
        card=ModelCard(("red", "green"), origin="made here"),
    )
    assert (result.best_epoch, result.best["AP"]) == (2, 0.3)
    assert [epoch["best"] for epoch in result.history] == [True, True, False]
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL.md",
        "best.safetensors",
        "config.toml",
        "last.safetensors",
        "metrics.jsonl",
        "state",
    ]
    best = model_file.load(out / "best.safetensors")
    assert best.card == ModelCard(
        ("red", "green"), origin="made here", epoch=2, metrics={"AP": 0.3, "AP50": 0.5}
    )
    last = model_file.load(out / "last.safetensors")
    assert last.card.epoch == 3
    for name, value in model.state_dict().items():
        assert torch.equal(value, best.model.state_dict()[name])
    assert any(
        not torch.equal(value, last.model.state_dict()[name])
        for name, value in model.state_dict().items()
    )
    assert not model.training
    assert len(lines(out, "step")) == len(listener.steps) == 9
    assert [line["epoch"] for line in lines(out, "epoch")] == [1, 2, 3]
    assert listener.steps[-1].seconds_left == 0
    assert listener.epochs == list(result.history)
    assert (out / "config.toml").read_text() == to_toml(tiny_settings("training.epochs=3"))


def test_without_a_folder_the_best_weights_stay(fake_data, fake):
    seen = []

    def validate(model):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"AP": [0.5, 0.9, 0.1][len(seen) - 1]}

    model, result = start(fake_data, None, "training.epochs=3", validate=validate)
    assert result.folder is None
    assert all(torch.equal(value, seen[1][name]) for name, value in model.state_dict().items())


@pytest.mark.usefixtures("repeated_steps")
def test_without_validation_the_last_epoch_is_the_best(tmp_path, fake_data, fake):
    _, result = start(fake_data, tmp_path)
    assert (result.best_epoch, dict(result.best)) == (2, {})
    assert model_file.load(tmp_path / "best.safetensors").card.epoch == 2
    assert "validation" not in result.history[0]


def test_averaged_weights_are_what_is_validated_and_kept(tmp_path, fake_data, fake):
    models = []

    def validate(model):
        models.append(model)
        return {"AP": 0.1 * len(models)}

    model, _ = start(fake_data, tmp_path, "training.ema_decay=0.99", validate=validate)
    assert models[0] is not model
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


@pytest.mark.usefixtures("repeated_steps")
def test_patience_ends_a_run(fake_data, fake):
    values = [0.1, 0.5, 0.4, 0.5, 0.3, 0.9]
    _, result = start(
        fake_data, None, "training.epochs=6", "training.patience=3", validate=rising(values)
    )
    assert len(result.history) == 5
    assert result.best_epoch == 4  # of equals the later one


@pytest.mark.usefixtures("repeated_steps")
def test_evaluate_every(fake_data, fake):
    _, result = start(
        fake_data, None, "training.epochs=5", "training.evaluate_every=2", validate=rising([1] * 9)
    )
    assert ["validation" in epoch for epoch in result.history] == [False, True, False, True, True]


@pytest.mark.usefixtures("repeated_steps")
@pytest.mark.parametrize(
    ("value", "words"), [(float("nan"), "AP is undefined"), (0.0, "Nothing was learned: no epoch")]
)
def test_an_ap_of_nothing_gives_a_model_that_is_not_called_best(
    tmp_path, fake_data, fake, value, words
):
    listener = Listener()
    _, result = start(fake_data, tmp_path, validate=rising([value] * 2), reporter=listener)
    assert result.best_epoch == 2
    assert (tmp_path / "best.safetensors").is_file()
    assert [epoch["best"] for epoch in listener.epochs] == [False, False]
    assert "best so far" not in describe_epoch(listener.epochs[0])
    assert words in listener.said[-1]
    few = "The run had only" in listener.said[-1]
    assert few == (value == 0)
    assert "weights of epoch 2 are kept" in listener.said[-1]
    written = lines(tmp_path, "epoch")[0]["validation"]["AP"]
    assert written == (None if math.isnan(value) else 0.0)


@pytest.mark.usefixtures("repeated_steps")
def test_a_run_says_and_writes_why_it_ended(tmp_path, fake_data, fake):
    listener = Listener()
    options = ["training.epochs=6", "training.patience=2"]
    values = [0.3, 0.2, 0.1]
    _, result = start(
        fake_data, tmp_path / "a", *options, validate=rising(values), reporter=listener
    )
    assert result.ending.reason == "patience"
    assert "after epoch 3 of 6: 2 evaluations in a row" in listener.said[-1]
    (end,) = lines(tmp_path / "a", "end")
    assert (end["reason"], end["epoch"], end["text"]) == ("patience", 3, listener.said[-1])
    _, result = start(fake_data, tmp_path / "b", validate=rising(values), reporter=listener)
    assert (result.ending.reason, listener.said[-1]) == (
        "last_epoch",
        "The run ended with its last epoch, 2.",
    )
    start(fake_data, tmp_path / "b", resume=True, validate=rising([]), reporter=listener)
    assert "was finished already" in listener.said[-1]
    assert len(lines(tmp_path / "b", "end")) == 1


@pytest.mark.usefixtures("repeated_steps")
def test_a_folder_in_use_is_not_touched(tmp_path, fake_data, fake):
    start(fake_data, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(TrainingError, match=r"not empty .*--resume.*--overwrite"):
        start(fake_data, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    (tmp_path / "report.html").write_text("of the earlier run")
    (tmp_path / "foveal").mkdir()
    for name in ("events.out.tfevents.1.host", "notes.txt"):
        (tmp_path / "foveal" / name).write_text("of the earlier run")
    start(fake_data, tmp_path, overwrite=True)
    assert not (tmp_path / "report.html").exists()
    assert [path.name for path in (tmp_path / "foveal").iterdir()] == ["notes.txt"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match=r"notes\.txt"):
        start(fake_data, tmp_path / "other")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(TrainingError, match="is a file"):
        start(fake_data, file)


def test_an_unwritable_folder_is_said_before_training(tmp_path, fake_data, fake):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="can't be written"):
        start(fake_data, tmp_path / "file" / "run")


def failing(error, *, epoch=0, step=0):
    def change(batch, at_epoch, at_step):
        if (at_epoch, at_step) == (epoch, step):
            raise error
        return batch

    return change


@pytest.mark.usefixtures("repeated_steps")
@pytest.mark.parametrize("step", [0, 2])
def test_a_run_that_got_nowhere_leaves_nothing(tmp_path, fake_data, fake, step):
    fake(change=failing(ImageError("7.jpg: does not exist"), step=step))
    with pytest.raises(ImageError):
        start(fake_data, tmp_path / "deep" / "run", "training.trackers=['tensorboard']")
    assert list(tmp_path.iterdir()) == []
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(ImageError):
        start(fake_data, own)
    assert list(own.iterdir()) == []
    (own / "foveal").mkdir()
    (own / "notes.txt").write_text("mine")
    with pytest.raises(ImageError):
        start(fake_data, own, overwrite=True)
    assert sorted(path.name for path in own.iterdir()) == ["foveal", "notes.txt"]
    fake()
    start(fake_data, tmp_path / "deep" / "run")


@pytest.mark.usefixtures("repeated_steps")
def test_a_run_that_got_somewhere_stays(tmp_path, fake_data, fake):
    fake(change=failing(ImageError("7.jpg: does not exist"), epoch=1))
    with pytest.raises(ImageError):
        start(fake_data, tmp_path / "epoch")
    assert (tmp_path / "epoch" / "best.safetensors").exists() is False
    assert (tmp_path / "epoch" / "last.safetensors").exists()
    fake(change=failing(ImageError("7.jpg: does not exist"), step=2))
    with pytest.raises(ImageError):
        start(fake_data, tmp_path / "state", "training.save_every_steps=1")
    fake()
    for name in ("epoch", "state"):
        options = ["training.save_every_steps=1"] if name == "state" else []
        _, result = start(fake_data, tmp_path / name, *options, resume=True)
        assert len(result.history) == 2


@pytest.mark.usefixtures("repeated_steps")
def test_a_resumed_run_that_fails_at_once_stays(tmp_path, fake_data, fake):
    fake(change=failing(KeyboardInterrupt(), epoch=1))
    with pytest.raises(KeyboardInterrupt):
        start(fake_data, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        start(fake_data, tmp_path, resume=True)
    assert (tmp_path / "state" / "state.safetensors").exists()


def test_no_images_no_training(fake_data, fake):
    with pytest.raises(TrainingError, match="no images"):
        start(fake_data[:0], None)


def test_resuming_needs_a_folder_with_a_state(tmp_path, fake_data, fake):
    with pytest.raises(TrainingError, match="--out"):
        start(fake_data, None, resume=True)
    (tmp_path / "best.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"is a trained model.*--start"):
        start(fake_data, tmp_path, resume=True)
    with pytest.raises(TrainingError, match="is a file"):
        start(fake_data, tmp_path / "best.safetensors", resume=True)


@pytest.mark.usefixtures("repeated_steps")
@pytest.mark.parametrize("left", [(), ("config.toml", "metrics.jsonl"), ("out.log",)])
def test_resuming_nothing_begins(tmp_path, fake_data, fake, left):
    listener = Listener()
    for name in left:
        (tmp_path / name).write_text("of before\n")
    _, result = start(fake_data, tmp_path, resume=True, reporter=listener)
    assert "nothing to go on with" in listener.said[0]
    assert [line["epoch"] for line in lines(tmp_path, "epoch")] == [1, 2]
    assert len(result.history) == 2
    assert ("out.log" in left) == (tmp_path / "out.log").exists()


def test_a_finished_run_is_made_longer_where_its_schedule_allows(tmp_path, fake_data, fake):
    options = ["training.schedule=constant"]
    start(fake_data, tmp_path / "short", *options)
    more = ["training.epochs=3", *options]
    long, _ = start(fake_data, tmp_path / "long", *more, seed=0)
    again, resumed = start(fake_data, tmp_path / "short", *more, seed=3, resume=True)
    assert len(resumed.history) == 3
    for name, value in long.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    start(fake_data, tmp_path / "cosine")
    with pytest.raises(
        TrainingError, match=r"for 2 epochs and is to have 3.*'cosine'.*--start .*cosine --out"
    ):
        start(fake_data, tmp_path / "cosine", "training.epochs=3", resume=True)
    with pytest.raises(TrainingError, match=r"training\.epochs was 2 and is now 1"):
        start(fake_data, tmp_path / "cosine", "training.epochs=1", resume=True)


@pytest.mark.usefixtures("repeated_steps")
def test_a_run_that_patience_ended_goes_on_with_more_of_it(tmp_path, fake_data, fake):
    options = ["training.epochs=4"]
    _, result = start(
        fake_data, tmp_path, *options, "training.patience=1", validate=rising([0.3, 0.2])
    )
    assert len(result.history) == 2
    _, result = start(fake_data, tmp_path, *options, resume=True, validate=rising([0.1, 0.4]))
    assert (len(result.history), result.best_epoch) == (4, 4)


@pytest.mark.usefixtures("repeated_steps")
def test_states_from_before_a_setting_was_there_go_on(tmp_path, fake_data, fake):
    start(fake_data, tmp_path)
    path = tmp_path / "state" / "state.safetensors"
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    fingerprint = json.loads(header["fingerprint"])
    del fingerprint["settings"]["training"]["sampling"]
    del fingerprint["settings"]["loss"]["class_weights"]
    fingerprint["settings"]["training"]["patience"] = 3
    save_file(tensors, path, header | {"fingerprint": json.dumps(fingerprint)})
    start(fake_data, tmp_path, resume=True)
    with pytest.raises(TrainingError, match=r"loss\.class_weights\.red was None and is now 2\.0"):
        start(fake_data, tmp_path, "loss.class_weights={red = 2.0}", resume=True)


def test_a_finished_run_resumes_to_its_end(tmp_path, fake_data, fake):
    model, result = start(fake_data, tmp_path, validate=rising([0.2, 0.1]))
    again, same = start(fake_data, tmp_path, seed=5, resume=True, validate=rising([]))
    assert same.history == result.history
    assert same.best_epoch == 1
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def with_the_old_anchors(path):
    """Bring a state to the form of the first edition, with torchvision's order of the anchors."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    fingerprint = json.loads(header["fingerprint"])
    anchors = fingerprint["settings"]["anchors"]
    assert anchors.pop("compat") == "torchvision"
    anchors |= {"offset": 0.0, "rounding": "torchvision"}
    anchors |= {"order": "ratio-major", "stride_from": "feature size"}
    channels = {18, 36}  # 9 anchors with 2 classes or 4 offsets
    moved = {
        name: to_ratio_major(value, scales=3, ratios=3).contiguous()
        for name, value in tensors.items()
        if value.ndim and value.shape[0] in channels
    }
    assert {name.partition(".")[0] for name in moved} == {"model", "average", "optimizer"}
    assert len(moved) == 4 + 4 + 4  # weights and biases of two layers
    header["fingerprint"] = json.dumps(fingerprint)
    save_file(tensors | moved, path, header)


def test_a_run_with_anchors_in_another_order_goes_on_as_it_would_have(tmp_path, fake_data, fake):
    options = ["anchors.compat=torchvision", "training.ema_decay=0.9"]
    whole, result = start(fake_data, tmp_path / "whole", *options)
    fake(change=failing(KeyboardInterrupt(), epoch=1))
    with pytest.raises(KeyboardInterrupt):
        start(fake_data, tmp_path / "run", *options)
    with_the_old_anchors(tmp_path / "run" / "state" / "state.safetensors")
    fake()
    model, later = start(fake_data, tmp_path / "run", *options, seed=3, resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert [e["loss"] for e in later.history] == [e["loss"] for e in result.history]


@pytest.mark.usefixtures("repeated_steps")
def test_another_setting_does_not_resume(tmp_path, fake_data, fake):
    start(fake_data, tmp_path)
    with pytest.raises(TrainingError, match=r"training\.momentum was 0\.9 and is now 0\.5"):
        start(fake_data, tmp_path, "training.momentum=0.5", resume=True)


def spoiled(steps):
    def change(batch, epoch, step):
        if (epoch, step) in steps:
            images = torch.full_like(batch.images, float("nan"), dtype=torch.float32)
            return replace(batch, images=images)
        return batch

    return change


def test_losses_that_are_not_finite_are_left_out_and_named(tmp_path, fake_data, fake):
    fake(change=spoiled({(0, 1), (1, 0)}))
    listener = Listener()
    _, result = start(fake_data, tmp_path, reporter=listener)
    assert [line["images"][1] for line in lines(tmp_path, "skipped")] == ["1-1.jpg", "100-1.jpg"]
    assert [line["nonfinite_steps"] for line in lines(tmp_path, "epoch")] == [1, 1]
    assert "1 of 3 steps not finite, left out" in describe_epoch(result.history[0])
    assert [line["step"] for line in lines(tmp_path, "skipped")] == [2, 4]
    assert sum("1-3.jpg" in text for text in listener.said) == 1
    assert all(epoch["loss"] < 10 for epoch in result.history)
    assert len(lines(tmp_path, "step")) == 4


def test_too_many_max_nonfinite_steps_end_the_run_with_the_names(tmp_path, fake_data, fake):
    fake(5, change=spoiled({(0, 1), (0, 2), (0, 3)}))
    with pytest.raises(TrainingDiverged, match=r"3 steps in a row.*3-1\.jpg"):
        start(fake_data, tmp_path, "training.max_nonfinite_steps=3")
    assert lines(tmp_path, "end")[0]["reason"] == "diverged"
    start(fake_data, tmp_path, "training.max_nonfinite_steps=4", overwrite=True)


@pytest.mark.parametrize(("values", "stays"), [([0.4, 0.0], True), ([0.0, 0.0], False)])
def test_a_run_whose_last_epoch_has_no_finite_loss_has_diverged(
    tmp_path, fake_data, fake, values, stays
):
    fake(2, change=spoiled({(1, 0), (1, 1)}))
    listener = Listener()
    with pytest.raises(TrainingDiverged, match=r"whole of epoch 2.*learning_rate=0\.001") as error:
        start(fake_data, tmp_path, validate=rising(values), reporter=listener)
    assert ("epoch 1 with AP 0.400" in str(error.value)) is stays
    assert ("no model worth keeping" in str(error.value)) is not stays
    assert (tmp_path / "best.safetensors").exists() is stays
    assert math.isnan(listener.epochs[1]["loss"])
    assert "validation" not in listener.epochs[1]
    assert describe_epoch(listener.epochs[1]).startswith("epoch 2, loss not finite (2 of 2 steps)")
    assert lines(tmp_path, "epoch")[1]["loss"] is None
    with pytest.raises(TrainingDiverged, match="whole of epoch 2"):
        start(fake_data, tmp_path, resume=True, validate=rising([]))


@pytest.mark.usefixtures("repeated_steps")
def test_a_validation_loss_that_is_not_finite_is_never_the_best(tmp_path, fake_data, fake):
    values = iter([(0.1, 0.5), (0.9, float("inf")), (0.2, 0.4)])

    def validate(model):
        ap, loss = next(values)
        return {"AP": ap, "validation_loss": loss}

    listener = Listener()
    _, result = start(
        fake_data, tmp_path, "training.epochs=3", validate=validate, reporter=listener
    )
    assert (result.best_epoch, result.best["AP"]) == (3, 0.2)
    assert "validation loss 0.5000, best so far" in describe_epoch(listener.epochs[0])
    assert "validation loss not finite" in describe_epoch(listener.epochs[1])
    assert lines(tmp_path, "epoch")[1]["validation"]["validation_loss"] is None


def test_an_epoch_of_nothing_but_nan_is_forgiven_if_later_ones_are_finite(fake_data, fake):
    fake(2, change=spoiled({(0, 0), (0, 1)}))
    _, result = start(fake_data, None, validate=rising([0.2]))
    assert result.best_epoch == 2
    assert math.isfinite(result.history[1]["loss"])


def test_weights_that_are_not_finite_are_never_kept(tmp_path, fake_data, fake, monkeypatch):
    real, calls = TrainStep.step, []

    def step(self, *positional, **named):
        result = real(self, *positional, **named)
        calls.append(1)
        if len(calls) == 6:
            with torch.no_grad():
                self.model.box.output.bias[0] = float("inf")
        return result

    monkeypatch.setattr(TrainStep, "step", step)
    with pytest.raises(TrainingDiverged, match=r"not finite|no longer finite after epoch 2"):
        start(fake_data, tmp_path, "training.epochs=3", validate=rising([0.2, 0.9, 0.9]))
    assert model_file.load(tmp_path / "best.safetensors").card.metrics["AP"] == 0.2
    assert model_file.load(tmp_path / "last.safetensors").card.epoch == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_the_run_goes_on_later(tmp_path, fake_data, fake, number):
    whole, result = start(fake_data, tmp_path / "whole", validate=rising([0.1, 0.2]))

    def change(batch, epoch, step):
        if (epoch, step) == (1, 1) and not stopped:
            stopped.append(True)
            os.kill(os.getpid(), number)
        return batch

    stopped = []
    fake(change=change)
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(TrainingInterrupted, match=r"epoch 2 after step 2.*--resume"):
        start(fake_data, tmp_path / "run", validate=rising([0.1]))
    assert [line["reason"] for line in lines(tmp_path / "run", "end")] == ["interrupted"]
    assert {each: signal.getsignal(each) for each in handlers} == handlers
    model, later = start(fake_data, tmp_path / "run", seed=3, resume=True, validate=rising([0.2]))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    assert [e["loss"] for e in later.history] == [e["loss"] for e in result.history]


def test_a_signal_breaks_off_the_validation(tmp_path, fake_data, fake):
    whole, _ = start(fake_data, tmp_path / "whole", validate=rising([0.1, 0.2]))

    def validate(model):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("goes on after the signal")

    with pytest.raises(TrainingInterrupted, match="epoch 1 after step 3"):
        start(fake_data, tmp_path / "run", validate=validate)
    model, _ = start(fake_data, tmp_path / "run", resume=True, validate=rising([0.1, 0.2]))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_the_second_signal_does_not_wait(fake_data, fake):
    def change(batch, epoch, step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return batch

    fake(change=change)
    with pytest.raises(KeyboardInterrupt):
        start(fake_data, None)


def test_a_failed_validation_loses_no_step(tmp_path, fake_data, fake):
    def validate(model):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start(fake_data, tmp_path, validate=validate)
    steps = []
    real = TrainStep.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStep, "step", lambda *a, **k: steps.append(1) or real(*a, **k))
        start(fake_data, tmp_path, resume=True, validate=rising([0.1, 0.2]))
    assert len(steps) == 3


def test_the_learning_rate_that_is_used_is_the_schedules(tmp_path, fake_data, fake):
    start(fake_data, tmp_path, "training.learning_rate=0.4", "training.warmup_steps=0")
    rates = [line["learning_rate"] for line in lines(tmp_path, "step")]
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert rates[3] == pytest.approx(0.05)


def test_the_backbone_is_thawed_at_its_epoch(tmp_path, fake_data, fake):
    seen = []

    def validate(model):
        seen.append(model.backbone.body.conv1[0].weight.detach().clone())
        return {"AP": 0.0}

    start(fake_data, None, "training.epochs=3", "training.unfreeze_epoch=2", validate=validate)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_global_random_state_is_left_alone(fake_data, fake):
    settings = tiny_settings()
    model = build_model(settings, 2)
    before = torch.get_rng_state()
    trainer.train(model, settings, fake_data, out=None)
    assert torch.equal(before, torch.get_rng_state())


def test_real_images_and_accumulation(tmp_path):
    data = draw_dataset(tmp_path / "data", splits={"train": 7}, size=64)["train"]
    losses = []
    for parts in (1, 2):
        settings = tiny_settings(f"training.accumulate={parts}")
        torch.manual_seed(0)
        model = build_model(settings, 3)
        result = trainer.train(model, settings, data, out=None)
        losses.append([epoch["loss"] for epoch in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.usefixtures("repeated_steps")
def test_a_run_says_what_it_will_be_and_how_long_it_takes(tmp_path, fake_data, fake):
    listener = Listener()
    validate = rising([0.3, 0.2])
    start(fake_data, tmp_path / "run", validate=validate, reporter=listener)
    said = "\n".join(listener.said)
    assert "12 training images, all with objects. 2 epochs, 3 steps each: 6 steps" in said
    assert "by 1 step of this run: the other 3 take about" in said
    assert "Epoch 1 took" in said
    assert listener.steps[2].best is None
    assert (listener.steps[3].best, listener.steps[3].best_epoch) == (0.3, 1)
    assert [(each["best_AP"], each["best_epoch"]) for each in listener.epochs] == [(0.3, 1)] * 2
    (begin,) = lines(tmp_path / "run", "begin")
    assert (begin["epochs"], begin["steps"], begin["images"]) == (2, 3, 12)


@pytest.mark.usefixtures("repeated_steps")
def test_what_breaks_a_run_off_is_in_its_log(tmp_path, fake_data, fake):
    def change(batch, epoch, step):
        if (epoch, step) == (1, 1):
            raise ImageError("b.jpg: is broken.")
        return batch

    fake(change=change)
    with pytest.raises(ImageError):
        start(fake_data, tmp_path / "run")
    (end,) = lines(tmp_path / "run", "end")
    assert (end["reason"], end["epoch"]) == ("failed", 1)
    assert end["text"] == "The run broke off in epoch 2 after step 1. b.jpg: is broken."


@pytest.mark.parametrize(
    ("found", "ap", "words"),
    [(9, 0.1, ": it learns."), (9, 0.01, "or more."), (0, 0.01, "The likeliest reasons")],
)
def test_a_run_says_after_its_first_epoch_whether_it_learns(fake_data, fake, found, ap, words):
    class Validate:
        images, without_objects = 4, 0
        seen = Sightings(4, found, min(found, 4), 0.1)

        def __call__(self, model):
            return {"AP": ap}

    listener = Listener()
    start(fake_data, None, validate=Validate(), reporter=listener)
    (verdict,) = [said for said in listener.said if said.startswith("After the first epoch")]
    assert words in verdict
    assert ("learn" in verdict) == (words != "or more.")
    assert "validation images" in verdict
