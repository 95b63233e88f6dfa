import csv
import io
import json
import math

import numpy as np
import pytest
from tests.experiments.conftest import MACHINE, result_of

from foveal.experiments.bench import Bench, Missing, plan_trainings
from foveal.experiments.bench_sets import read_plan
from foveal.experiments.bench_table import (
    cautions,
    differences,
    summarize,
    to_document,
    to_markdown,
    verdict,
    write_bench,
)
from foveal.machine import Machine


@pytest.fixture
def trainings(sets, tmp_path):
    plan = read_plan(sets)
    return plan, plan_trainings(plan, (0, 1, 2), tmp_path)


@pytest.fixture
def bench(trainings):
    plan, each = trainings
    return Bench(plan, (0, 1, 2), tuple(map(result_of, each)), ())


def test_means_over_seeds(bench):
    rows = summarize(bench)
    assert [(row.data, row.recipe) for row in rows] == [
        ("a", "plain"), ("a", "light"), ("b", "plain"), ("b", "light")
    ]  # fmt: skip
    first = rows[0]
    assert first.ap.value == pytest.approx(0.51)
    assert (first.ap.lowest, first.ap.highest) == pytest.approx((0.5, 0.52))
    assert first.ap.interval.low < 0.5 < first.ap.interval.high
    assert (first.seeds, first.epochs, first.measured) == ((0, 1, 2), (7, 7), 7)


def test_differences_are_paired(bench):
    a, b, both = differences(bench)
    assert (a.recipe, a.baseline, a.data, b.data, both.data) == ("light", "plain", "a", "b", "")
    # The same seeds and draws of both: nothing is left but the difference.
    for each in (a, b, both):
        assert each.ap.value == pytest.approx(0.1)
        assert each.ap.interval.low == pytest.approx(0.1)
        assert verdict(each) == "light is better"


def test_the_mean_over_sets_needs_all_of_them(trainings):
    plan, each = trainings
    results = [result_of(one) for one in each if one.data.name == "a"]
    results += [result_of(one) for one in each if one.name == "light on b, seed 0"]
    bench = Bench(plan, (0, 1, 2), tuple(results), ())
    assert [one.data for one in differences(bench)] == ["a"]
    some = Bench(plan, (0, 1, 2), tuple(one for one in results if one.seed != 1), ())
    assert differences(some)[0].seeds == (0, 2)


@pytest.mark.parametrize(
    ("gain", "shown", "said"),
    [(0.3, 7, "plain is better"), (0.1, 7, "no difference"), (0.3, 5, "too few images")],
)
def test_verdicts(trainings, gain, shown, said):
    plan, each = trainings
    results = []
    for one in each:
        result = result_of(
            one, images={"training": 4, "validation": 2, "measured": 7, "shown": shown}
        )
        if one.recipe.name == "plain":
            noise = np.random.default_rng(9).standard_normal(50) * 0.02
            values = {"ap": result.ap + gain, "ap_draws": result.ap_draws + gain + noise}
            result = result_of(one, images=result.images, **values)
        results.append(result)
    bench = Bench(plan, (0, 1, 2), tuple(results), ())
    assert said in verdict(differences(bench)[0])
    assert math.isnan(differences(bench)[0].ap.interval.low) == (shown < 6)
    empty = any("without annotated objects: a (2), b (2)." in line for line in cautions(bench))
    assert empty == (shown == 5)


def test_nothing_finished_is_a_table_too(trainings):
    plan, each = trainings
    missing = tuple(
        Missing(one.recipe.name, one.data.name, one.seed, "not trained yet", failed=False)
        for one in each
    )
    bench = Bench(plan, (0, 1, 2), (), missing)
    assert "12 trainings of 12 are not finished yet." in to_markdown(bench)
    assert to_document(bench)["summaries"] == []


def test_cautions(trainings):
    plan, each = trainings
    other = Machine("another", 8, "a GPU", "3.12", {})
    results = [result_of(each[0]), result_of(each[1], machine=other, parts=2)]
    missing = (
        Missing("plain", "b", 0, "The loss is not finite.", failed=True),
        Missing("light", "b", 0, "not trained yet", failed=False),
    )
    said = "\n".join(cautions(Bench(plan, (0,), tuple(results), missing)))
    for part in (
        "With one seed the intervals say nothing of chance in training",
        "b: measured on the validation images",
        "1 training went on after having been cut, the first: light on a, seed 0",
        "several machines",
        "1 training failed, the first: plain on b, seed 0: The loss is not finite.",
        "1 training of 4 are not finished yet",
    ):
        assert part in said
    assert other.text == "a GPU, beside another, 8 cores; "


def test_files(bench, tmp_path):
    write_bench(bench, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert (document["schema"], document["schema_version"]) == ("foveal-bench", 1)
    assert len(document["trainings"]) == 12
    assert document["trainings"][0]["machine"]["processor"] == MACHINE.processor
    assert document["differences"][2]["set"] is None
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "bench.csv").read_text())))
    assert (len(rows), rows[0]["AP"], rows[0]["machine"]) == (12, "0.5", MACHINE.text)
    table = (tmp_path / "out" / "bench.md").read_text()
    lines = table.split("\n\n")[0].splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split("|")[1:4] == [" plain  ", " a        ", " 0.510 "]
    assert "all data sets" in table


def test_an_undefined_ap_is_null(trainings, tmp_path):
    plan, each = trainings
    nan = float("nan")
    results = [result_of(one, ap=nan, ap_draws=np.full(50, nan)) for one in each]
    bench = Bench(plan, (0, 1, 2), tuple(results), ())
    document = to_document(bench)
    assert document["summaries"][0]["AP"]["value"] is None
    assert document["differences"][0]["verdict"] == "too few images with objects"
    write_bench(bench, tmp_path)
    assert next(csv.DictReader(io.StringIO((tmp_path / "bench.csv").read_text())))["AP"] == ""
