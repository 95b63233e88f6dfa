"""Cross-validation with stand-ins for its trainings, and one that is killed and goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.experiments.stand_ins import (
    StandIn,
    files_of,
    fit_at_once,
    is_killed_at_write,
    make_recipe,
)
from tests.listener import Listener

import foveal
from foveal.data.dataset import Dataset
from foveal.data.formats.coco_results import read_results
from foveal.data.opening import DataOptions
from foveal.data.synthetic import draw_dataset
from foveal.detector import Detector
from foveal.errors import SettingsError, TrainingError, TrainingInterrupted, WeightsError
from foveal.evaluation.evaluate import evaluate
from foveal.experiments import folds
from foveal.experiments.folder import ExperimentFolder, check_no_other, open_source
from foveal.experiments.folds import train_folds
from foveal.experiments.pages import write_folds_page
from foveal.training.step import TrainStep

pytestmark = pytest.mark.usefixtures("empty_charts")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Seven images, of which two are copies and one shows nothing."""
    folder = tmp_path_factory.mktemp("smears")
    drawn = draw_dataset(folder, splits={"train": 6}, size=64, seed=2)["train"]
    twin = replace(drawn.records[0], path=drawn.records[0].path.with_name("twin.jpg"))
    shutil.copy(drawn.records[0].path, twin.path)
    empty = drawn.records[3].select(np.zeros(len(drawn.records[3]), np.bool_))
    return replace(drawn, records=(*drawn.records[:3], empty, *drawn.records[4:], twin))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch):
    """Lets trainings and pages take no time; gives what runs the folds, and what trained."""
    monkeypatch.setattr(Detector, "fit", fit_at_once)
    monkeypatch.setattr(folds, "write_folds_page", lambda path, *_: path.write_text("page"))

    def run(data: Dataset, out: Path, stand_in: StandIn | None = None, **options):
        stand_in = stand_in or StandIn()
        monkeypatch.setattr(folds, "train_part", stand_in)
        options = {"folds": 3, "recipe": make_recipe(), "reporter": Listener()} | options
        return train_folds(data, out=out, **options), stand_in, options["reporter"]

    return run


def log_of(out: Path) -> dict:
    return json.loads((out / "folds.json").read_text())


def test_every_image_is_looked_at_by_a_model_that_did_not_learn_from_it(trained, data, tmp_path):
    out = tmp_path / "run"
    result, stand_in, listener = trained(data, out, source=("smears:train", DataOptions()))
    log = log_of(out)
    names = [record.path.relative_to(data.root).as_posix() for record in data]
    assert sorted(name for fold in log["folds"] for name in fold["images"]) == sorted(names)
    assert [fold["run"] for fold in log["folds"]] == ["fold-1", "fold-2", "fold-3"]
    for fold in log["folds"]:
        detector, learned, valid = stand_in.runs[fold["run"]]
        assert [names[data.paths.index(path)] for path in valid.paths] == fold["images"]
        assert set(learned.paths) == set(data.paths) - set(valid.paths)
        assert learned.paths[0] in valid.paths or learned.paths[-1] not in valid.paths
        training = detector.settings.training
        assert training.evaluate_every == training.epochs == 2
        twins = {data.paths[0], data.paths[-1]}
        assert len(twins & set(valid.paths)) in (0, 2)
    assert listener.heard("7 images are 6 groups of images that look alike, the largest of 2")
    found = read_results(out / "detections.json", data, labels={})
    whole = evaluate(found, data.targets, data.classes)
    assert result.evaluation.ap == pytest.approx(whole.ap, abs=1e-3)
    assert log["summary"]["AP"]["interval"] == pytest.approx(
        [whole.ap_interval.low, whole.ap_interval.high], abs=1e-2
    )
    values = [fold["metrics"]["AP"] for fold in log["folds"]]
    assert log["summary"]["AP"]["mean"] == pytest.approx(statistics.mean(values))
    assert log["summary"]["AP"]["standard_deviation"] == pytest.approx(statistics.stdev(values))
    card = foveal.load(out / "best.safetensors").card
    assert card.score_threshold == pytest.approx(whole.score_threshold)
    assert card.threshold_is_chosen
    assert card.metrics["AP"] == pytest.approx(whole.ap, abs=1e-3)
    assert log["data"]["address"] == str(Path("smears:train").absolute())
    assert (out / "report.html").read_text() == "page"


def test_the_page_leads_to_the_reports_of_the_folds(trained, data, tmp_path):
    out = tmp_path / "run"
    result, _, _ = trained(data, out)
    (out / "fold-2" / "report.html").write_text("a page")
    write_folds_page(out / "report.html", result, data)
    page = (out / "report.html").read_text()
    assert "mean and standard deviation of 3 folds" in page
    assert '<a href="fold-2/report.html">fold-2</a>' in page
    assert 'href="fold-1/report.html"' not in page


def test_a_stopped_one_goes_on_with_what_is_missing(trained, data, tmp_path):
    trained(data, tmp_path / "whole")
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        trained(data, out, StandIn(stop_at="fold-2"))
    before = log_of(out)
    assert [fold["metrics"] is None for fold in before["folds"]] == [False, True, True]
    with pytest.raises(TrainingError, match=r"holds a training in folds.*--resume"):
        trained(data, out)
    with pytest.raises(TrainingError, match="began with --folds 3 and can't go on with --folds 4"):
        trained(data, out, resume=True, folds=4)
    with pytest.raises(TrainingError, match="there were 7 training images and are now 6"):
        trained(data.take(range(6)), out, resume=True)
    with pytest.raises(TrainingError, match=r"training\.epochs was 2 and is now 1"):
        trained(data, out, resume=True, recipe=make_recipe(epochs=1))
    assert log_of(out) == before
    _, stand_in, _ = trained(data, out, resume=True)
    assert list(stand_in.runs) == ["fold-2", "fold-3"]
    assert log_of(out) == log_of(tmp_path / "whole")
    for name in ("detections.json", "fold-2/detections.json"):
        assert (out / name).read_text() == (tmp_path / "whole" / name).read_text()
    _, stand_in, _ = trained(data, out, resume=True)
    assert not stand_in.runs
    assert log_of(out) == log_of(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child trains nothing
def test_killed_at_every_second_write_it_goes_on(trained, data, tmp_path):
    whole = tmp_path / "whole"
    trained(data, whole)
    killed = 0
    while is_killed_at_write(killed, partial(trained, data, tmp_path / str(killed))):
        out = tmp_path / str(killed)
        trained(data, out, resume=True)
        assert log_of(out) == log_of(whole)
        assert files_of(out) == files_of(whole)
        killed += 2
    assert killed > 8


def test_a_start_that_fails_leaves_nothing(trained, data, tmp_path):
    with pytest.raises(WeightsError):
        trained(data, tmp_path / "runs" / "one", NoStart())
    assert not (tmp_path / "runs").exists()


class NoStart(StandIn):
    def __call__(self, detector, **options) -> None:
        raise WeightsError("no weights")


def test_files_of_others_stay_where_it_is_replaced(trained, data, tmp_path):
    out = tmp_path / "run"
    trained(data, out)
    (out / "notes.txt").write_text("mine")
    (out / "fold-1" / "notes.txt").write_text("mine")
    _, stand_in, _ = trained(data, out, overwrite=True, folds=2)
    assert list(stand_in.runs) == ["fold-1", "fold-2"]
    assert not (out / "fold-3").exists()
    ExperimentFolder(out, "folds").clear()
    left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert left == ["fold-1/notes.txt", "notes.txt"]


def test_minutes_are_for_all_trainings(trained, data, tmp_path):
    _, stand_in, listener = trained(data, tmp_path / "run", recipe=make_recipe(minutes=21.0))
    spent = [detector.settings.training.minutes for detector, _, _ in stand_in.runs.values()]
    assert sum(spent) + 21 / 3 == pytest.approx(21)
    detector, _, _ = stand_in.runs["fold-1"]
    assert detector.settings.training.evaluate_every > 100_000
    assert listener.heard("training.minutes = 21 is for all 4 trainings")


@pytest.mark.parametrize(
    ("number", "words"), [(7, "7 images in 6 groups of images that look alike"), (1, "2 or")]
)
def test_folds_that_can_not_be(trained, data, tmp_path, number, words):
    with pytest.raises(SettingsError, match=words):
        trained(data, tmp_path / "run", folds=number)
    assert not (tmp_path / "run").exists()


def test_several_processes_are_refused(trained, data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match=r"--folds .* one process, and there are 2"):
        trained(data, tmp_path / "run")


def test_without_a_single_object_nothing_is_defined(trained, data, tmp_path):
    empty = replace(
        data, records=tuple(each.select(np.zeros(len(each), np.bool_)) for each in data.records)
    )
    result, _, _ = trained(empty, tmp_path / "run")
    assert result.spread("AP") == pytest.approx((np.nan, np.nan), nan_ok=True)
    assert log_of(tmp_path / "run")["summary"]["AP"]["mean"] is None


def test_a_plain_run_does_not_go_on_with_folds(trained, data, tmp_path):
    trained(data, tmp_path / "run")
    for overwrite in (False, True):
        with pytest.raises(TrainingError, match="holds a training in folds"):
            check_no_other(tmp_path / "run", None, overwrite=overwrite)
    with pytest.raises(TrainingError, match="holds a training in folds"):
        check_no_other(tmp_path / "run", "fractions", overwrite=False)
    check_no_other(tmp_path / "run", "fractions", overwrite=True)
    check_no_other(tmp_path / "run", "folds", overwrite=False)


def test_the_data_can_be_opened_again(trained, data, tmp_path, monkeypatch):
    options = DataOptions(rename={"normal": "red"}, only=("red",))
    monkeypatch.chdir(data.root)
    result, _, _ = trained("train.json", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert open_source(log_of(tmp_path / "run")["data"]).classes == result.classes
    source = folds.describe_source(data, (data.root / "train.json", options))
    assert open_source(json.loads(json.dumps(source))).classes == ("red",)
    with pytest.raises(TrainingError, match="its address is not known"):
        open_source(folds.describe_source(data, None))


def test_trainings_as_they_are(data, tmp_path, monkeypatch):
    """Stopped in the second fold, and gone on: each fold's AP is what its run measured."""
    monkeypatch.setattr(folds, "write_folds_page", lambda *_: None)
    real, calls = TrainStep.step, []

    def step(*positional, **named):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*positional, **named)

    drawn, out = data.take([0, 1, 2, 4]), tmp_path / "run"
    given = {"folds": 2, "recipe": make_recipe(epochs=1, batch=2), "out": out}
    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "step", step)
        with pytest.raises(TrainingInterrupted):
            train_folds(drawn, reporter=Listener(), **given)
    assert [fold["metrics"] is None for fold in log_of(out)["folds"]] == [False, True]
    model = (out / "fold-1" / "best.safetensors").stat().st_mtime_ns
    train_folds(drawn, reporter=Listener(), resume=True, **given)
    assert (out / "fold-1" / "best.safetensors").stat().st_mtime_ns == model
    for fold in log_of(out)["folds"]:
        lines = (out / fold["run"] / "metrics.jsonl").read_text().splitlines()
        epochs = [line for line in map(json.loads, lines) if line["kind"] == "epoch"]
        assert fold["metrics"]["AP"] == pytest.approx(epochs[-1]["validation"]["AP"], abs=1e-3)
        assert fold["metrics"]["images"] == 2
    assert not (out / "all" / "report.html").exists()
    card = foveal.load(out / "best.safetensors").card
    assert (card.epoch, card.profile.images, card.threshold_is_chosen) == (1, 4, True)
    assert len(read_results(out / "detections.json", drawn, labels={})) == 4


@pytest.mark.parametrize("broken", ["{", '{"format": 2, "folds": []}', "[]"])
def test_a_log_that_can_not_be_read_is_said(trained, data, tmp_path, broken):
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        trained(data, out, StandIn(stop_at="fold-2"))
    (out / "folds.json").write_text(broken)
    with pytest.raises(TrainingError, match=r"folds\.json: can't be read"):
        trained(data, out, resume=True)
