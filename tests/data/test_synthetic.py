"""The drawn world: exact boxes, the same again from the same seed, images without objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data import synthetic
from foveal.data.synthetic import CLASSES, draw_dataset, draw_smear
from foveal.errors import DataError


def test_the_same_seed_draws_the_same_smear() -> None:
    one, two, other = (draw_smear(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (one.image == two.image).all()
    assert (one.target.boxes == two.target.boxes).all()
    assert (one.image != other.image).any()


def test_boxes_are_those_of_the_drawn_outlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_add_debris", lambda density, generator: None)
    for seed in range(40):
        generator = np.random.default_rng(seed)
        shape = synthetic._free_shape(generator, 96, generator.uniform(3.6, 16), [], touch=1)
        assert shape is not None
        density = np.zeros((96, 96, 3), np.float32)
        synthetic._add_object(density, ("normal", "platelet")[seed % 2], shape, generator)
        drawn = density.max(axis=2) > 0.1
        rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        extent = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert np.abs(np.clip(shape.box(), 0, 96) - extent).max() <= 1.0


def test_boxes_are_inside_and_large_enough_to_find() -> None:
    for seed in range(30):
        target = draw_smear(np.random.default_rng(seed), size=128).target
        assert (target.boxes >= 0).all()
        assert (target.boxes <= 128).all()
        assert ((target.boxes[:, 2:] - target.boxes[:, :2]) >= 4).all()
        assert not target.ignored.any()


def test_all_classes_and_some_empty_images() -> None:
    targets = [draw_smear(np.random.default_rng((0, i)), size=96).target for i in range(150)]
    counts = np.bincount(np.concatenate([target.labels for target in targets]), minlength=3)
    assert (counts > 60).all()
    assert 1 <= sum(len(target) == 0 for target in targets) <= 30


def test_chosen_classes_only() -> None:
    for classes in (("platelet",), ("infected",), ("platelet", "normal")):
        targets = [draw_smear(np.random.default_rng(i), classes=classes).target for i in range(5)]
        labels = np.concatenate([target.labels for target in targets])
        assert set(labels.tolist()) == set(range(len(classes)))


def test_a_data_set_is_read_as_it_was_drawn(tmp_path: Path) -> None:
    import foveal

    drawn = draw_dataset(tmp_path, splits={"train": 12, "valid": 3}, size=64, seed=1)
    assert {split: len(part) for split, part in drawn.items()} == {"train": 12, "valid": 3}
    for place, (split, part) in enumerate(drawn.items()):
        read = foveal.read(tmp_path / f"{split}.json")
        assert part.classes == read.classes == CLASSES
        for number, record in enumerate(part):
            assert record.path == tmp_path / "images" / f"{split}_{number:04d}.jpg"
            assert record.path == read.records[number].path
            sample = draw_smear(np.random.default_rng((1, place, number)), size=64)
            np.testing.assert_array_equal(record.boxes, sample.target.boxes)
            assert (record.labels == sample.target.labels).all()
            assert np.abs(part[number].image.astype(int) - sample.image).mean() < 3


def test_drawing_twice_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_dataset(tmp_path / name, splits={"train": 3}, size=64)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_split_without_images(tmp_path: Path) -> None:
    assert len(draw_dataset(tmp_path, splits={"train": 0}, size=64)["train"]) == 0


def test_what_can_not_be_drawn_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'giraffe'"):
        draw_dataset(tmp_path, classes=("normal", "giraffe"))
    with pytest.raises(DataError, match="too small"):
        draw_dataset(tmp_path, size=10)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is there already"):
        draw_dataset(tmp_path / "file", splits={"train": 1}, size=64)
