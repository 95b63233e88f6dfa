"""Learning curves with stand-ins for their trainings."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.experiments.stand_ins import StandIn, files_of, is_killed_at_write, make_recipe
from tests.listener import Listener

from foveal.data.dataset import Dataset
from foveal.data.synthetic import draw_dataset
from foveal.errors import SettingsError, TrainingError, TrainingInterrupted
from foveal.experiments import fractions
from foveal.experiments.folder import ExperimentFolder
from foveal.experiments.fractions import check_fractions, train_fractions
from foveal.experiments.pages import write_fractions_page

pytestmark = pytest.mark.usefixtures("empty_charts")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("smears")
    return draw_dataset(folder, splits={"train": 8, "valid": 7}, size=64, seed=3)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, drawn):
    """Lets trainings and pages take no time; gives what runs the fractions, and what trained."""
    monkeypatch.setattr(fractions, "write_fractions_page", lambda path, *_: path.write_text("page"))

    def run(out: Path, stand_in: StandIn | None = None, **options):
        stand_in = stand_in or StandIn()
        monkeypatch.setattr(fractions, "train_part", stand_in)
        given = {"valid": drawn["valid"], "recipe": make_recipe(), "reporter": Listener()} | options
        data = given.pop("data", drawn["train"])
        return train_fractions(data, out=out, **given), stand_in, given["reporter"]

    return run


def log_of(out: Path) -> dict:
    return json.loads((out / "fractions.json").read_text())


def test_each_fraction_holds_the_smaller_ones(trained, drawn, tmp_path):
    out = tmp_path / "run"
    result, stand_in, listener = trained(out, fractions=(1, 0.25, 0.5))
    assert list(stand_in.runs) == ["fraction-0.25", "fraction-0.5", "fraction-1"]
    learned = [set(data.paths) for _, data, _ in stand_in.runs.values()]
    assert [len(part) for part in learned] == [2, 4, 8]
    assert learned[0] < learned[1] < learned[2] == set(drawn["train"].paths)
    for _, _, valid in stand_in.runs.values():
        assert valid.paths == drawn["valid"].paths
    epochs = [each.settings.training.epochs for each, _, _ in stand_in.runs.values()]
    assert epochs == [8, 4, 2]
    assert [len(each["images"]) for each in log_of(out)["fractions"]] == [2, 4, 8]
    assert result.curve.images == (2, 4, 8)
    assert listener.heard("as many steps as all images are in 2 epochs")
    assert log_of(out)["summary"]["text"] == " ".join(result.curve.describe())
    best = [(path / "best.safetensors").read_bytes() for path in (out, out / "fraction-1")]
    assert best[0] == best[1]
    write_fractions_page(out / "report.html", result)
    page = (out / "report.html").read_text()
    assert "Learning curve" in page
    assert result.curve.describe()[0].replace("'", "&#39;") in page


def test_a_part_may_be_left_out(trained, tmp_path):
    result, stand_in, _ = trained(tmp_path / "run", fractions=(0.25, 0.75), valid=None)
    _, data, valid = stand_in.runs["fraction-0.75"]
    assert not set(data.paths) & set(valid.paths)
    assert (len(data), len(valid)) == (5, 1)
    assert "only 1 validation image shows objects" in result.curve.describe()[0]
    again = {"fractions": (0.25, 0.75), "valid": None, "resume": True}
    _, stand_in, listener = trained(tmp_path / "run", **again)
    assert not stand_in.runs
    assert listener.heard("1 of 8 images held out")


def test_copies_of_validation_images_are_not_learned_from(trained, drawn, tmp_path):
    twins = []
    for record in drawn["train"].records:
        twins.append(replace(record, path=record.path.with_name(f"twin-{record.path.name}")))
        shutil.copy(record.path, twins[-1].path)
    data = replace(drawn["train"], records=(*drawn["train"].records, *twins))
    _, stand_in, listener = trained(tmp_path / "run", data=data, valid=None, fractions=(0.5, 1))
    for _, learned, valid in stand_in.runs.values():
        names = [
            {path.name.removeprefix("twin-") for path in each.paths} for each in (learned, valid)
        ]
        assert not names[0] & names[1]
        assert (len(learned) % 2, len(valid)) == (0, 2)
    assert listener.heard("16 images are 8 groups of images that look alike")


def test_a_stopped_one_goes_on_with_what_is_missing(trained, tmp_path):
    trained(tmp_path / "whole")
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        trained(out, StandIn(stop_at="fraction-0.5"))
    with pytest.raises(TrainingError, match=r"--fractions 0\.25,0\.5,1 and can't go on with"):
        trained(out, resume=True, fractions=(0.5, 1))
    with pytest.raises(TrainingError, match="holds a training in fractions"):
        trained(out)
    _, stand_in, _ = trained(out, resume=True)
    assert list(stand_in.runs) == ["fraction-0.5", "fraction-1"]
    assert log_of(out) == log_of(tmp_path / "whole")
    _, stand_in, _ = trained(out, resume=True)
    assert not stand_in.runs
    ExperimentFolder(out, "folds").clear()
    assert not list(out.rglob("*.json")) + list(out.rglob("*.safetensors"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child trains nothing
def test_killed_at_every_second_write_it_goes_on(trained, tmp_path):
    whole = tmp_path / "whole"
    trained(whole)
    killed = 1
    while is_killed_at_write(killed, partial(trained, tmp_path / str(killed))):
        out = tmp_path / str(killed)
        trained(out, resume=True)
        assert log_of(out) == log_of(whole)
        assert files_of(out) == files_of(whole)
        killed += 2
    assert killed > 8


def test_minutes_are_for_all_trainings(trained, tmp_path):
    _, stand_in, listener = trained(tmp_path / "run", recipe=make_recipe(minutes=6.0))
    settings = [each.settings.training for each, _, _ in stand_in.runs.values()]
    assert [(each.minutes, each.epochs) for each in settings] == [(2.0, 2)] * 3
    assert listener.heard("training.minutes = 6 is for all 3 trainings: 2 each")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.5,), "expected two or more"),
        ((0.5, 0.5), "expected two or more"),
        ((0, 1), "above 0 and at most 1"),
        ((0.5, 1.5), "above 0 and at most 1"),
        ((float("nan"), 1), "above 0 and at most 1"),
    ],
)
def test_fractions_that_can_not_be(numbers, words):
    with pytest.raises(SettingsError, match=words):
        check_fractions(numbers)


def test_too_small_a_fraction_leaves_nothing_behind(trained, tmp_path):
    with pytest.raises(SettingsError, match=r"0\.01 of 8 images is none"):
        trained(tmp_path / "run", fractions=(0.01, 1))
    recipe = make_recipe("training.validation_fraction=0")
    with pytest.raises(SettingsError, match="is measured on validation images"):
        trained(tmp_path / "run", valid=None, recipe=recipe)
    assert not (tmp_path / "run").exists()
