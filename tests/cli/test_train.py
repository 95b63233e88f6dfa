import json
import os
import shlex
import shutil
import signal
import sys
from dataclasses import replace

import pytest
from huggingface_hub import constants
from tests.cli.conftest import answer_in_json, foveal
from tests.training.conftest import TINY
from typer.testing import CliRunner

from foveal.cli import app
from foveal.cli.outcomes import Outcome, outcome_of
from foveal.cli.train import _as_begun
from foveal.config import make_settings, presets, to_toml
from foveal.data.synthetic import draw_dataset
from foveal.detector import Detector
from foveal.errors import (
    DataError,
    ImageError,
    SettingsError,
    TrainingError,
    TrainingInterrupted,
    WeightsError,
)
from foveal.training import trial
from foveal.training.run_folder import RunFolder
from foveal.training.step import TrainStep

SETS = [part for override in (*TINY, "anchors.scales=[1, 1.4]") for part in ("--set", override)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smears")
    draw_dataset(folder, splits={"train": 8, "valid": 3}, size=64)
    return folder


def run(*arguments):
    arguments = [str(argument) for argument in arguments]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["foveal", "train", *arguments])
        result = CliRunner().invoke(app, ["train", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def stop(*arguments):
    """Run a training that a signal stops; gives the lines that are said."""
    with pytest.raises(TrainingInterrupted) as stopped:
        run(*arguments)
    return str(stopped.value).splitlines()


def test_show_prints_settings_that_can_be_read_again(data, tmp_path):
    shown = run(data / "train.json", "--show", *SETS).stdout
    file = tmp_path / "settings.toml"
    file.write_text(shown)
    settings = make_settings(file=file)
    assert settings.training.batch == 4
    assert settings.anchors.scales == (1.0, 1.4)
    again = run(data / "train.json", "--show", "--config", file).stdout
    assert again == shown


def test_a_run_needs_a_folder(data):
    with pytest.raises(SettingsError, match="--out RUN"):
        run(data / "train.json", *SETS)


def test_rounds_go_with_images_without_labels(data, tmp_path):
    with pytest.raises(SettingsError, match="--rounds goes with --unlabeled"):
        run(data / "train.json", "--out", tmp_path / "run", "--rounds", 2, *SETS)
    with pytest.raises(DataError, match="no such file or folder"):
        run(data / "train.json", "--out", tmp_path / "run", "--unlabelled", "nowhere", *SETS)
    (tmp_path / "same").mkdir()
    for image in sorted(data.rglob("train_*.jpg"))[:2]:
        shutil.copy(image, tmp_path / "same")
    with pytest.raises(DataError, match="but those that are labeled too"):
        run(data / "train.json", "--out", tmp_path / "run", "--unlabeled", tmp_path / "same", *SETS)
    assert not (tmp_path / "run").exists()


def test_a_missing_image_leaves_no_run_behind(data, tmp_path):
    shutil.copytree(data, tmp_path / "smears")
    images = sorted((tmp_path / "smears").rglob("train_*.jpg"))
    images[3].unlink()
    arguments = (tmp_path / "smears" / "train.json", "--out", tmp_path / "runs" / "one", *SETS)
    with pytest.raises(ImageError, match=images[3].name):
        run(*arguments)
    assert not (tmp_path / "runs").exists()


def test_train_stop_resume(data, tmp_path, monkeypatch, empty_charts):
    arguments = (data / "train.json", "--valid", data / "valid.json", *SETS)
    whole = run(*arguments, "--out", tmp_path / "whole")
    assert whole.exit_code == 0
    assert "8 images, 3 classes (normal, infected, platelet)" in whole.stderr
    assert "epoch 2, loss" in whole.stderr
    assert "best.safetensors" in whole.stdout

    real, calls = TrainStep.step, []

    def step(*positional, **named):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*positional, **named)

    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "step", step)
        *_, last = stop(*arguments, "--out", tmp_path / "run")
    assert last.startswith("foveal train ")
    assert last.endswith(" --resume")
    with pytest.raises(TrainingError, match="--resume"):
        run(*arguments, "--out", tmp_path / "run")
    assert run(*arguments, "--out", tmp_path / "run", "--resume").exit_code == 0
    losses = [
        [
            line["loss"]
            for line in map(
                json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines()
            )
            if line["kind"] == "epoch"
        ]
        for name in ("whole", "run")
    ]
    assert len(losses[0]) == 2
    assert losses[0] == losses[1]
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("ran_by_another", [True, False])
def test_the_command_to_go_on_with_is_the_one_that_was_typed(
    data, tmp_path, monkeypatch, ran_by_another
):
    """A command that runs this one, as the demo does, says what stands for what was typed."""

    def interrupt(*_, **__):
        raise TrainingInterrupted("stopped")

    arguments = ["train", str(data / "train.json"), "--out", str(tmp_path / "run"), *SETS]
    monkeypatch.setattr(Detector, "fit", interrupt)
    monkeypatch.setattr(
        sys, "argv", ["foveal", "demo"] if ran_by_another else ["foveal", *arguments]
    )
    given = {"obj": tuple(arguments)} if ran_by_another else {}
    stopped = CliRunner().invoke(app, [*arguments, "--overwrite"], **given)
    assert outcome_of(stopped.exception) is Outcome.INTERRUPTED
    assert str(stopped.exception).splitlines() == [
        "stopped",
        shlex.join(["foveal", *arguments, "--resume"]),
    ]
    assert sys.argv[1:] == (["demo"] if ran_by_another else arguments)


def test_a_folder_that_holds_a_run_is_refused_before_weights_are_looked_for(data, tmp_path):
    (tmp_path / "config.toml").touch()
    options = ("--out", tmp_path, *SETS, "--set", "model.weights=absent.safetensors")
    with pytest.raises(TrainingError, match=r"is not empty.*--resume"):
        run(data / "train.json", *options)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("weights", "said"),
    [("absent.safetensors", "no such file"), ("pretrained", "can't be fetched")],
)
def test_weights_that_cant_be_had_are_told_before_images_are_looked_at(
    data, tmp_path, monkeypatch, weights, said, dry
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        "foveal.detector.Detector", lambda *_, **__: pytest.fail("prepared the data")
    )
    sets = (*SETS, "--set", f"model.weights={weights}", "--set", "model.backbone=resnet26")
    with pytest.raises(WeightsError, match=said):
        run(data / "train.json", "--out", tmp_path / "run", *sets, *dry)
    with pytest.raises(DataError, match="no-such-data"):  # a wrong address comes first
        run(tmp_path / "no-such-data", "--out", tmp_path / "run", *sets, *dry)


def test_find_learning_rate(data, tmp_path, request):
    out = tmp_path / "run"
    result = run(data / "train.json", "--find-learning-rate", "--out", out, *SETS)
    assert "--set training.learning_rate=" in result.stdout
    assert f"The curve is {out / 'learning_rates.svg'}" in result.stdout
    found = json.loads((out / "learning_rates.json").read_text())
    assert found["training.learning_rate"] == pytest.approx(4 * found["suggestion"])
    assert len(found["losses"]) == len(found["learning_rates"])
    drawn = (out / "learning_rates.svg").read_text()
    assert f"chosen: {found['suggestion']:.2g}" in drawn
    # The run itself may go into the same folder.
    request.getfixturevalue("empty_charts")
    assert run(data / "train.json", "--out", out, *SETS).exit_code == 0
    assert (out / "learning_rates.svg").read_text() == drawn


def test_find_batch_size(data, monkeypatch, capsys):
    import torch

    real = TrainStep._part_losses

    def losses(self, part):
        if len(part) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, part)

    monkeypatch.setattr(TrainStep, "_part_losses", losses)
    words = (data / "train.json", "--find-batch-size", *SETS)
    assert "--set training.batch=2" in run(*words).stdout
    assert answer_in_json(monkeypatch, capsys, "train", *words)["batch"] == 2


def test_dry_runs_and_settings_in_json(data, tmp_path, monkeypatch, capsys):
    words = ("train", data / "train.json", *SETS)
    shown = answer_in_json(monkeypatch, capsys, *words, "--show")
    assert shown["settings"]["training"]["batch"] == 4
    out = tmp_path / "run"
    planned = answer_in_json(monkeypatch, capsys, *words, "--out", out, "--dry-run")
    assert (planned["reads"], planned["writes"]) == ([str(data / "train.json")], [str(out)])
    assert "8 images, 3 classes" in planned["steps"][0]
    assert not out.exists()
    words = (*words, "--find-learning-rate", "--out", out, "--dry-run")
    assert answer_in_json(monkeypatch, capsys, *words)["writes"][0].endswith("rates.svg")
    out.mkdir()
    (out / "metrics.jsonl").write_text("{}\n")
    refused = answer_in_json(monkeypatch, capsys, *words[:-4], "--out", out, "--dry-run", code=2)
    assert "--overwrite" in refused["error"]["message"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--batch", "many"], "--batch many: expected a number of images, or auto."),
        (["--batch", "auto", "--set", "training.batch=3"], "give one of them"),
        (["--minutes", "3", "--set", "training.epochs=3"], "give one of them"),
    ],
)
def test_options_that_contradict_are_refused(data, options, complaint):
    with pytest.raises(SettingsError, match=complaint):
        run(data / "train.json", *options, "--show")


def test_batch_and_minutes_are_settings(data):
    shown = run(data / "train.json", "--batch", "4", "--minutes", "2.5", "--show", *SETS[:2]).stdout
    assert "batch = 4" in shown
    assert "minutes = 2.5" in shown
    sets = (*SETS[:2], "--set", "model.weights=none")
    planned = run(data / "train.json", "--minutes", "1", "--dry-run", "--out", data / "r", *sets)
    assert ", 1 minute of" in planned.stdout + planned.stderr


def test_a_chosen_batch_is_said_and_kept(data, tmp_path, monkeypatch):
    """A run that goes on has the batch that it began with."""
    seen, out = [], tmp_path / "run"
    monkeypatch.setattr(trial, "seconds_a_step", lambda *_, images, **__: 1.0)
    monkeypatch.setattr(Detector, "fit", lambda self, **_: seen.append(self.settings))
    monkeypatch.setattr(sys.modules["foveal.cli.train"], "_conclude", lambda *_: None)
    sets = [part for name in TINY if "batch" not in name for part in ("--set", name)]
    arguments = (data / "train.json", "--batch", "auto", "--out", out, *sets)
    assert "Batches of 8 images, at 8 images/s" in run(*arguments).stderr
    monkeypatch.setattr(RunFolder, "can_resume", True)
    out.mkdir()
    (out / "config.toml").write_text(to_toml(make_settings(overrides=["training.batch=5"])))
    assert "Batches of 5 images, with which" in run(*arguments, "--resume").stderr
    assert [settings.training.batch for settings in seen] == [8, 5]


def test_a_run_that_diverges_ends_with_code_1_and_without_a_best_model(
    data, tmp_path, monkeypatch, capsys, empty_charts
):
    real = TrainStep.step

    def step(self, *positional, **named):
        return replace(real(self, *positional, **named), applied=False)

    monkeypatch.setattr(TrainStep, "step", step)
    arguments = ("train", data / "train.json", "--valid", data / "valid.json", *SETS)
    assert foveal(monkeypatch, *arguments, "--out", tmp_path / "run") == 1
    assert "--set training.learning_rate=0.001" in capsys.readouterr().err
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_a_teacher_is_a_setting(data, tmp_path):
    path = tmp_path / "my 'big' = \\model.safetensors"
    shown = run(data / "train.json", "--teacher", path, *SETS, "--show").stdout
    file = tmp_path / "settings.toml"
    file.write_text(shown)
    assert make_settings(file=file).training.teacher == str(path)


def test_a_start_is_shown_and_said(data, tmp_path, empty_charts):
    arguments = (data / "train.json", "--valid", data / "valid.json")
    run(*arguments, "--out", tmp_path / "one", *SETS, "--set", "training.epochs=1")
    begin = ("--start", tmp_path / "one", "--set", "training.workers=0")
    shown = run(*arguments, *begin, "--preset", "light", "--show").stdout
    file = tmp_path / "settings.toml"
    file.write_text(shown)
    settings, before = (
        make_settings(file=each) for each in (file, tmp_path / "one" / "config.toml")
    )
    assert settings.anchors == before.anchors
    assert settings.model == before.model
    assert (settings.training.epochs, settings.augmentation.brightness) == (40, 0.1)
    more = ("--set", "preparation.longer=96", "--set", "training.epochs=1")
    quick = ("--set", "training.precision=float32", "--set", "training.export=false")
    said = run(*arguments, *begin, *more, *quick, "--out", tmp_path / "two").stderr
    assert f"Begun from {tmp_path / 'one' / 'best.safetensors'}" in said
    assert "but for preparation.longer = 96 (there 64)" in said
    assert "Its anchors reach" in said


@pytest.mark.parametrize(("given", "method"), [((), "iou"), (("method",), "task_aligned")])
def test_a_run_of_before_goes_on_with_its_own_anchors_and_losses(
    tmp_path, monkeypatch, capsys, given, method
):
    monkeypatch.setattr(RunFolder, "can_resume", True)
    begun = make_settings(preset="retinanet", overrides=["anchors.scales=[1, 1.4]"])
    (tmp_path / "config.toml").write_text(to_toml(begun))
    now = make_settings()
    kept = _as_begun(now, {"assignment": dict.fromkeys(given)}, tmp_path)
    assert (kept.anchors, kept.loss, kept.training) == (begun.anchors, begun.loss, now.training)
    assert kept.assignment.method == method
    assert "goes on as it began: with 6 anchors a location" in capsys.readouterr().err
    same = make_settings(preset="retinanet")
    assert _as_begun(same, {}, tmp_path) is same
    (tmp_path / "config.toml").write_text("no TOML")
    assert _as_begun(now, {}, tmp_path) is now


@pytest.mark.parametrize("installed_today", [True, False])
def test_a_run_goes_on_with_its_backbone_whatever_package_is_installed(
    tmp_path, monkeypatch, capsys, installed_today
):
    monkeypatch.setattr(RunFolder, "can_resume", True)

    def light(*, installed):
        with monkeypatch.context() as patched:
            patched.setattr(presets.importlib.util, "find_spec", lambda _: installed or None)
            return make_settings(preset="light")

    begun, now = light(installed=not installed_today), light(installed=installed_today)
    assert begun.model != now.model
    (tmp_path / "config.toml").write_text(to_toml(begun))
    assert _as_begun(now, {}, tmp_path) == begun
    said = capsys.readouterr().err
    assert f"goes on with the backbone that it began with, {begun.model.backbone}" in said
    assert _as_begun(now, {"model": {"weights": "none"}}, tmp_path) is now  # set by hand
    assert _as_begun(begun, {}, tmp_path) is begun
    other = make_settings(preset="light", overrides=["model.backbone=resnet18"])
    if installed_today:  # another backbone than the package's was asked for: the run says so
        assert _as_begun(other, {}, tmp_path) is other
