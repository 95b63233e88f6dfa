"""8-bit prediction is kept only where the boxes stay, and nothing is left behind where it fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.inference.conftest import CLASSES

from foveal.data.dataset import Dataset
from foveal.data.synthetic import draw_dataset
from foveal.errors import DataError, ImageError, SettingsError
from foveal.inference import quantising
from foveal.inference.loading import make_predictor
from foveal.inference.predictor import Predictor
from foveal.inference.quantising import QuantisationCheck, quantise_and_check
from foveal.models import model_file
from foveal.models.int8 import int8_is_fast
from foveal.models.model_file import LoadedModel

needs_int8 = pytest.mark.skipif(
    not int8_is_fast(), reason="needs a processor with VNNI and PyTorch's operators for it"
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("drawn") / "smears"
    parts = draw_dataset(folder, splits={"train": 6, "valid": 3}, size=64, seed=1)
    names = dict(zip(parts["train"].classes, CLASSES, strict=False))
    return {name: part.rename(names).aligned(CLASSES) for name, part in parts.items()}


@pytest.fixture
def fresh(model_path) -> LoadedModel:
    return model_file.load(model_path)


@pytest.fixture
def scores(monkeypatch) -> Callable[..., list[str]]:
    """Let AP be what is said, in the order of asking; gives the precisions that were asked for."""

    def script(*values: float) -> list[str]:
        waiting, asked = list(values), []

        def tell(predictor, data):
            asked.append(predictor.precision)
            return waiting.pop(0)

        monkeypatch.setattr(quantising, "_average_precision", tell)
        return asked

    return script


@needs_int8
def test_where_the_boxes_stay_prediction_is_in_8_bits(fresh, drawn, scores):
    asked = scores(0.5, 0.4981)
    found = quantise_and_check(fresh, drawn["train"], drawn["valid"])
    assert asked == ["float32", "int8"]
    images = 3 + sum(len(record) > 0 for record in drawn["train"])
    assert found == QuantisationCheck(0.5, 0.4981, images=images, kept=True)
    assert fresh.model.quantisation is not None
    image = drawn["valid"].paths[0]
    exact, rough, chosen = (
        replace(make_predictor(fresh), precision=precision).detect(image)
        for precision in ("float32", "int8", "auto")
    )
    assert not np.array_equal(exact.scores, rough.scores)
    np.testing.assert_array_equal(rough.scores, chosen.scores)
    assert "is on: AP 0.498 in 8 bits, 0.500 in float32, on" in str(found)


@needs_int8
@pytest.mark.parametrize(
    ("values", "part", "stay"),
    [
        ((0.5, 0.49, 0.499), "the first convolution", {"backbone.body.conv1"}),
        ((0.5, 0.49, 0.49, 0.499), "the backbone", {"backbone."}),
    ],
)
def test_else_a_part_stays_in_float32(fresh, drawn, scores, values, part, stay):
    scores(*values)
    found = quantise_and_check(fresh, drawn["train"], drawn["valid"])
    assert found.kept
    assert found.without == part
    assert f"({part} stays in float32)" in str(found)
    assert fresh.model.quantisation is not None
    names = set(fresh.model.quantisation.ranges)
    assert not any(name.startswith(tuple(stay)) for name in names)
    assert "fpn.lateral.0" in names


@needs_int8
@pytest.mark.parametrize("last", [0.491, math.nan])
def test_else_it_is_left_out(fresh, drawn, scores, last):
    scores(0.5, 0.49, 0.493, last)
    found = quantise_and_check(fresh, drawn["train"], drawn["valid"])
    assert not found.kept
    assert found.int8 == 0.493 or math.isnan(last)
    assert fresh.model.quantisation is None
    assert "is left out" in str(found)


@needs_int8
def test_without_objects_nothing_can_be_said_and_it_is_left_out(fresh, drawn):
    empty = [
        replace(record, **{name: getattr(record, name)[:0] for name in ("boxes", "labels")},
                ignored=record.ignored[:0], areas=None)
        for record in drawn["valid"]
    ]  # fmt: skip
    nothing = replace(drawn["valid"], records=tuple(empty))
    found = quantise_and_check(fresh, nothing, nothing)
    assert math.isnan(found.float32)
    assert not found.kept


@needs_int8
def test_a_failure_leaves_what_was_there(fresh, drawn, scores, monkeypatch):
    scores(0.5, 0.5)
    quantise_and_check(fresh, drawn["train"], drawn["valid"])
    assert fresh.model.quantisation is not None
    before = fresh.model.quantisation.ranges

    def fails(*_: object) -> float:
        raise ImageError("gone")

    monkeypatch.setattr(quantising, "_average_precision", fails)
    with pytest.raises(ImageError):
        quantise_and_check(fresh, drawn["train"], drawn["valid"])
    assert fresh.model.quantisation is not None
    assert fresh.model.quantisation.ranges == before
    assert fresh.model.quantisation.is_current()


@needs_int8
def test_an_image_that_can_t_be_read_is_left_out_of_the_measuring(fresh, drawn, scores, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    records = tuple(
        replace(record, path=broken) if at == 1 else record
        for at, record in enumerate(drawn["train"])
    )
    scores(0.5, 0.5)
    assert quantise_and_check(fresh, replace(drawn["train"], records=records), drawn["valid"]).kept
    only = replace(drawn["train"], records=records[1:2])
    with pytest.raises(DataError, match="None of 1 image can be read"):
        quantise_and_check(fresh, only, drawn["valid"])
    with pytest.raises(DataError, match="no images"):
        quantise_and_check(fresh, drawn["train"], drawn["valid"][:0])


@needs_int8
def test_images_to_check_on_come_first_and_labelled_ones_fill_up(drawn, monkeypatch):
    monkeypatch.setattr(quantising, "CHECKED", 5)
    chosen = quantising._all(drawn["valid"], drawn["train"])
    assert chosen.paths[:3] == drawn["valid"].paths
    assert len(chosen) == 5
    both = drawn["valid"].merge(drawn["train"])
    assert len(quantising._all(drawn["valid"], both)) == 5
    monkeypatch.setattr(quantising, "CHECKED", 2)
    assert set(quantising._all(drawn["valid"], drawn["train"]).paths) < set(drawn["valid"].paths)


@needs_int8
def test_a_network_that_has_diverged_is_no_failure(fresh, drawn):
    with torch.no_grad():
        fresh.model.backbone.body.conv1.weight.fill_(math.nan)
    found = quantise_and_check(fresh, drawn["train"], drawn["valid"])
    assert found.float32 == 0
    known = fresh.model.quantisation
    assert known is None or set(known.ranges) == {"backbone.body.conv1"}  # images are finite


@needs_int8
def test_all_images_are_looked_at(fresh, drawn, scores, monkeypatch):
    looked = []
    real = Predictor._run
    monkeypatch.setattr(
        Predictor, "_run", lambda self, inputs: looked.append(len(inputs)) or real(self, inputs)
    )
    scores(0.5, 0.5)
    quantise_and_check(fresh, drawn["train"], drawn["valid"])
    assert looked == [1] * len(drawn["train"])


def test_a_processor_without_instructions_is_named(fresh, drawn, monkeypatch):
    monkeypatch.setattr(quantising, "int8_is_fast", lambda: False)
    with pytest.raises(SettingsError, match="VNNI"):
        quantise_and_check(fresh, drawn["train"], drawn["valid"])


@needs_int8
def test_a_batch_in_8_bits_gives_the_same_as_one_by_one(fresh, drawn, scores, tmp_path):
    scores(0.5, 0.5)
    quantise_and_check(fresh, drawn["train"], drawn["valid"])
    paths: list[Path] = []
    generator = np.random.default_rng(0)
    for at in range(5):
        paths.append(tmp_path / f"{at}.png")
        coarse = Image.fromarray(generator.integers(0, 255, (6, 8, 3), np.uint8))
        coarse.resize((96, 72)).save(paths[-1])
    alone, together = (
        replace(make_predictor(fresh), precision="int8", batch=batch).detect_many(paths)
        for batch in (1, 4)
    )
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
