import importlib.util
import json
import shutil
from functools import partial

import pytest
import torch
from tests.training.conftest import FakeBatches, tiny_settings

from foveal.config import make_settings
from foveal.detection.assigner import Assigner
from foveal.errors import MissingExtraError, SettingsError
from foveal.models.build import build_model
from foveal.training import setup, trainer
from foveal.training.setup import check_trackers, choose_compile, flat_settings, make_criterion

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("wanted", "device", "steps", "expected"),
    [
        ("auto", CPU, 10**6, False),
        ("auto", CUDA, 100, False),
        ("auto", CUDA, 10**5, True),
        ("on", CPU, 10, True),
        ("off", CUDA, 10**6, False),
    ],
)
def test_compile_where_it_pays(monkeypatch, wanted, device, steps, expected):
    monkeypatch.setattr(setup, "lacking_compiler", lambda device: "")
    compiled, word = choose_compile(wanted, device, steps=steps)
    assert compiled is expected
    assert bool(word) is expected


def test_no_compiler_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    compiled, word = choose_compile("on", CPU, steps=1)
    assert not compiled
    assert "no C compiler" in word
    assert choose_compile("auto", CPU, steps=1) == (False, "")


def test_unknown_and_missing_trackers(monkeypatch):
    with pytest.raises(SettingsError, match=r"'tensorbord' is unknown.*tensorboard"):
        check_trackers(("tensorbord",))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[tensorboard\]'"):
        check_trackers(("tensorboard",))
    with pytest.raises(MissingExtraError, match="pip install wandb"):
        check_trackers(("wandb",))


def test_trackers_need_a_folder(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(SettingsError, match="--out"):
        setup.make_accelerator(("tensorboard",))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_the_numbers(tmp_path, fake_data, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(2))
    settings = tiny_settings("training.trackers=['tensorboard']", "training.epochs=1")
    trainer.train(build_model(settings, 2), settings, fake_data, out=tmp_path / "run")
    files = list((tmp_path / "run").rglob("events.out.tfevents.*"))
    events = EventAccumulator(str(files[0].parent)).Reload()
    log = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    lines = [line for line in map(json.loads, log) if line["kind"] == "step"]
    found = [event.value for event in events.Scalars("classification")]
    assert found[0] == pytest.approx(lines[0]["classification"])


def test_criterion_follows_the_settings():
    plain = partial(make_settings, preset="retinanet")
    settings = plain(
        overrides=["loss.box=giou", "loss.alpha=none", "assignment.foreground_iou=0.6"]
    )
    criterion = make_criterion(settings)
    assert (criterion.box, criterion.alpha, criterion.gamma) == ("giou", None, 2.0)
    assert criterion.assigner == Assigner(foreground_iou=0.6)
    overrides = ["assignment.method=atss", "assignment.candidates=5", "anchors.scales=[1]"]
    found = make_criterion(plain(overrides=overrides)).assigner
    assert found == Assigner(method="atss", candidates=5, per_location=3)
    quality = make_criterion(
        plain(overrides=["loss.classification=quality_focal", "loss.weigh_boxes=true"])
    )
    assert (quality.classification, quality.weigh_boxes) == ("quality_focal", True)
    branch = make_criterion(plain(overrides=["model.quality=iou", "loss.quality_weight=0.5"]))
    assert (branch.quality, branch.quality_weight, branch.distribution_weight) == ("iou", 0.5, 0.25)
    assert make_criterion(plain(overrides=["loss.classification=cross_entropy"])).gamma == 0


def test_flat_settings_are_plain_values():
    flat = flat_settings(make_settings())
    assert flat["training.epochs"] == 20
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())


@pytest.mark.parametrize("keeps", [True, False])
def test_freed_memory_is_kept_where_the_settings_say_so(monkeypatch, keeps):
    told = []
    monkeypatch.setattr(setup, "keep_freed_memory", told.append)
    settings = tiny_settings(f"training.keep_freed_memory={str(keeps).lower()}")
    setup.make_train_step(build_model(settings, 2), settings, accelerator=setup.make_accelerator())
    assert told == [CPU] * keeps


@pytest.mark.parametrize(("chosen", "expected"), [("cpu", "cpu"), ("mps", "mps")])
def test_the_device_is_chosen_as_for_prediction(monkeypatch, chosen, expected):
    asked = []
    made = []
    monkeypatch.setattr(
        setup, "choose_device", lambda wanted: asked.append(wanted) or torch.device(chosen)
    )
    monkeypatch.setattr("accelerate.Accelerator", lambda **options: made.append(options))
    setup.make_accelerator()
    assert asked == ["auto"]
    assert [options["cpu"] for options in made] == [expected == "cpu"]
