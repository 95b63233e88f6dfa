import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial

import pytest
from tests.experiments.conftest import train_at_once
from tests.experiments.stand_ins import is_killed

from foveal.errors import (
    DataError,
    FovealError,
    ImageError,
    SettingsError,
    TrainingDiverged,
    TrainingInterrupted,
)
from foveal.experiments.bench import look_at_results, open_sets, plan_trainings, run_bench
from foveal.experiments.bench_sets import read_plan
from foveal.training.reporters import SilentReporter

SEEDS = (0, 1)


@pytest.fixture
def plan(sets):
    return read_plan(sets)


@pytest.fixture
def opened(plan):
    return open_sets(plan, say=lambda text: None)


def run(plan, opened, out, *, train=train_at_once, seeds=SEEDS, keep=lambda bench: None):
    return run_bench(
        plan, opened, seeds=seeds, out=out, reporter=SilentReporter(), keep=keep, train=train
    )


def test_everything_is_trained_once_the_first_seed_first(plan, opened, tmp_path):
    done, kept = [], []

    def train(training, data, reporter):
        done.append(training.name)
        return train_at_once(training, data, reporter)

    bench = run(plan, opened, tmp_path / "out", train=train, keep=kept.append)
    assert done[:5] == [
        "plain on a, seed 0", "light on a, seed 0", "plain on b, seed 0", "light on b, seed 0",
        "plain on a, seed 1",
    ]  # fmt: skip
    assert (len(done), len(bench.results), bench.missing) == (8, 8, ())
    assert [len(each.results) for each in kept] == [1, 2, 3, 4, 5, 6, 7, 8, 8]

    done.clear()
    more = run(plan, opened, tmp_path / "out", train=train, seeds=(0, 1, 2))
    assert done == [f"{recipe} on {data}, seed 2" for data in "ab" for recipe in ("plain", "light")]
    assert len(more.results) == 12
    first = bench.of("plain", "a")[0]
    again = more.of("plain", "a")[0]
    assert again.ap_draws.tolist() == first.ap_draws.tolist()
    assert again.machine == first.machine


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child trains nothing
def test_a_killed_bench_goes_on(plan, opened, tmp_path):
    def train_and_die(training, data, reporter):
        if training.name == "light on a, seed 0":
            (training.folder / "run").mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        return train_at_once(training, data, reporter)

    assert is_killed(partial(run, plan, opened, tmp_path, train=train_and_die))
    assert len(look_at_results(plan, opened, seeds=SEEDS, out=tmp_path).results) == 1

    done = []

    def train(training, data, reporter):
        done.append((training.name, (training.folder / "run").exists()))
        return train_at_once(training, data, reporter)

    assert len(run(plan, opened, tmp_path, train=train).results) == 8
    assert done[0] == ("light on a, seed 0", True)
    assert len(done) == 7


def test_one_that_fails_stops_no_other_and_is_tried_again(plan, opened, tmp_path):
    def train(training, data, reporter):
        if training.seed == 1 and training.data.name == "b":
            raise TrainingDiverged("The loss is not finite.")
        return train_at_once(training, data, reporter)

    bench = run(plan, opened, tmp_path, train=train)
    assert len(bench.results) == 6
    assert {(each.recipe, each.data, each.seed) for each in bench.missing} == {
        ("plain", "b", 1), ("light", "b", 1)
    }  # fmt: skip
    assert all(each.failed and each.why == "The loss is not finite." for each in bench.missing)
    assert run(plan, opened, tmp_path).missing == ()


def test_a_signal_stops_it(plan, opened, tmp_path):
    def train(training, data, reporter):
        raise TrainingInterrupted("Stopped.")

    with pytest.raises(TrainingInterrupted):
        run(plan, opened, tmp_path, train=train)


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
def test_two_processes_share_a_folder(plan, opened, tmp_path):
    def train(training, data, reporter):
        if training.name == "plain on a, seed 0":
            other = run(plan, opened, tmp_path, train=train_at_once)
            assert [(each.recipe, each.data, each.seed) for each in other.missing] == [
                ("plain", "a", 0)
            ]
            assert "another process" in other.missing[0].why
            assert not other.missing[0].failed
        else:
            pytest.fail("the other one has trained it")
        return train_at_once(training, data, reporter)

    assert run(plan, opened, tmp_path, train=train).missing == ()


def test_a_result_of_something_else_is_not_taken(sets, plan, opened, tmp_path):
    run(plan, opened, tmp_path)
    other = read_plan(sets, overrides=["training.epochs=3"])
    with pytest.raises(SettingsError, match=r"training.epochs .not set., now 3.*--out DIR"):
        look_at_results(other, opened, seeds=SEEDS, out=tmp_path)
    changed = {name: replace(data, digest="other") for name, data in opened.items()}
    with pytest.raises(SettingsError, match="with something else: other images or boxes"):
        run(plan, changed, tmp_path, train=lambda *_: pytest.fail("trained"))


@pytest.mark.parametrize(
    ("content", "said"), [("{", "can't be read"), ("[]", "is no result"), ("{}", "is no result")]
)
def test_a_result_that_is_none_is_named(plan, opened, tmp_path, content, said):
    (first, *_) = plan_trainings(plan, SEEDS, tmp_path)
    first.folder.mkdir(parents=True)
    first.result.write_text(content)
    with pytest.raises(FovealError, match=f"result.json: {said}"):
        look_at_results(plan, opened, seeds=SEEDS, out=tmp_path)


def test_a_foreign_folder_is_not_touched(plan, opened, tmp_path):
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(FovealError, match=r"thesis\.docx"):
        run(plan, opened, tmp_path, train=lambda *_: pytest.fail("trained"))
    with pytest.raises(FovealError, match="is a file"):
        run(plan, opened, tmp_path / "thesis.docx")


def test_all_data_are_opened_before_anything_is_trained(sets, smears):
    text = sets.read_text()
    sets.write_text(text.replace('[sets.b]\ndata = "smears/test.json"', '[sets.b]\ndata = "none"'))
    with pytest.raises(DataError, match=r"data set b: .*none"):
        open_sets(read_plan(sets), say=lambda text: None)
    content = json.loads((smears / "test.json").read_text())
    content["images"][0]["file_name"] = "gone.jpg"
    (smears / "broken.json").write_text(json.dumps(content))
    sets.write_text(text.replace('"smears/test.json"\nvalid', '"smears/broken.json"\nvalid'))
    with pytest.raises(ImageError, match=r"data set b: .*gone.jpg"):
        open_sets(read_plan(sets), say=lambda text: None)


def test_images_without_objects_are_data_too(sets, smears):
    content = json.loads((smears / "test.json").read_text()) | {"annotations": []}
    (smears / "empty.json").write_text(json.dumps(content))
    sets.write_text('[sets.a]\ndata = "smears/train.json"\ntest = "smears/empty.json"\n')
    opened = open_sets(read_plan(sets), say=lambda text: None)["a"]
    assert (len(opened.measured), opened.validation) == (7, None)


def test_torchrun_is_refused(plan, opened, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="without torchrun"):
        run(plan, opened, tmp_path)
