"""The operations on data sets, by hand and by law."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.errors import DataError, ImageError

ROOT = Path("/data")


def record(name: str, *labels: int, ignored: tuple[bool, ...] | None = None) -> Record:
    """An image whose k-th object is the box (k, k, k + 10, k + 5)."""
    boxes = np.array([(k, k, k + 10, k + 5) for k in range(len(labels))], np.float32)
    return Record(
        ROOT / name,
        64,
        48,
        boxes.reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(ignored or (False,) * len(labels), np.bool_),
        flags={"number": tuple(range(len(labels)))},
    )


@pytest.fixture
def smears() -> Dataset:
    records = (
        record("a.png", 0, 1, 1),
        record("b.png"),
        record("c.png", 2, 0, ignored=(True, False)),
        record("d.png", 2),
    )
    return Dataset(records, ("RBC", "WBC", "Platelets"), ROOT, "smears")


def names(data: Dataset) -> list[list[str]]:
    """The class names of each image's objects; "*" where a region concerns every class."""
    words = (*data.classes, "*")
    return [[words[label] for label in record.labels] for record in data]


def test_a_slice_is_a_data_set(smears: Dataset) -> None:
    part = smears[1:3]
    assert isinstance(part, Dataset)
    assert [r.path.name for r in part] == ["b.png", "c.png"]
    assert part.classes == smears.classes
    assert len(smears[4:]) == 0
    assert "no classes" in Dataset((), (), ROOT).summary()


def test_only_keeps_images_and_orders_classes(smears: Dataset) -> None:
    data = smears.only(["Platelets", "RBC"])
    assert data.classes == ("Platelets", "RBC")
    assert names(data) == [["RBC"], [], ["Platelets", "RBC"], ["Platelets"]]
    assert data.records[0].flags == {"number": (0,)}
    assert data.records[0].boxes.tolist() == [[0, 0, 10, 5]]
    assert smears.only("WBC").classes == ("WBC",)


def test_rename_makes_classes_one(smears: Dataset) -> None:
    data = smears.rename({"RBC": "cell", "WBC": "cell"})
    assert data.classes == ("cell", "Platelets")
    assert names(data)[0] == ["cell", "cell", "cell"]
    swapped = smears.rename({"RBC": "WBC", "WBC": "RBC"})
    assert swapped.classes == ("WBC", "RBC", "Platelets")
    assert names(swapped)[0] == ["WBC", "RBC", "RBC"]


def test_ignoring_gives_regions_for_every_class(smears: Dataset) -> None:
    data = smears.ignoring(["WBC"])
    assert data.classes == ("RBC", "Platelets")
    assert names(data)[0] == ["RBC", "*", "*"]
    assert data.records[0].ignored.tolist() == [False, True, True]
    target = data.target(0)
    assert target.labels.tolist() == [0, 0, 1, 0, 1]
    assert target.ignored.tolist() == [False, True, True, True, True]
    assert target.boxes[:, 0].tolist() == [0, 1, 1, 2, 2]
    # further operations keep such regions
    assert names(data.only(["Platelets"]))[0] == ["*", "*"]
    assert names(data.rename({"RBC": "cell"}))[0] == ["cell", "*", "*"]


def test_classes_that_are_not_there_are_named(smears: Dataset) -> None:
    for operation in (smears.only, smears.ignoring):
        with pytest.raises(DataError, match=r"smears has no class 'rbc'.*'RBC', 'WBC'"):
            operation(["rbc"])
    with pytest.raises(DataError, match="no class 'rbc'"):
        smears.rename({"rbc": "cell"})


def test_merge_matches_classes_by_name(smears: Dataset) -> None:
    other = Dataset((record("e.png", 0, 1),), ("Platelets", "parasite"), ROOT / "more", "more")
    data = smears.merge(other)
    assert data.classes == ("RBC", "WBC", "Platelets", "parasite")
    assert names(data)[-1] == ["Platelets", "parasite"]
    assert data.root == ROOT
    assert data.name == "smears + more"
    with pytest.raises(DataError, match=r"a\.png is in both smears and smears"):
        smears.merge(smears)


@given(
    count=st.integers(2, 60),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
    shuffle=st.randoms(),
)
def test_a_split_follows_names_and_not_order(count: int, share: float, seed: int, shuffle) -> None:
    records = [record(f"{i}.png", 0) for i in range(count)]
    rest, held = Dataset(tuple(records), ("x",), ROOT).split(share, seed=seed)
    assert len(held) == min(max(round(share * count), 1), count - 1)
    assert sorted([*map(id, rest), *map(id, held)]) == sorted(map(id, records))
    moved = [
        Record(Path("/elsewhere") / r.path.name, 1, 1, r.boxes, r.labels, r.ignored)
        for r in records
    ]
    shuffle.shuffle(moved)
    _, again = Dataset(tuple(moved), ("x",), Path("/elsewhere")).split(share, seed=seed)
    assert {r.path.name for r in again} == {r.path.name for r in held}


def test_splits_by_hand() -> None:
    data = Dataset(tuple(record(f"{i}.png") for i in range(40)), (), ROOT)
    parts = {seed: {r.path.name for r in data.split(0.25, seed=seed)[1]} for seed in (0, 1)}
    assert len(parts[0]) == len(parts[1]) == 10
    assert parts[0] != parts[1]
    assert [len(part) for part in data[:1].split(0.5)] == [1, 0]
    assert [len(part) for part in data[:0].split(0.5)] == [0, 0]
    for share in (0, 1, -0.1, 2):
        with pytest.raises(DataError, match="0 < fraction < 1"):
            data.split(share)


def test_a_target_is_a_copy(smears: Dataset) -> None:
    target = smears.target(0)
    target.boxes[:] = 0
    assert smears.target(0).boxes[1].tolist() == [1, 1, 11, 6]
    assert len(smears.target(1)) == 0
    with pytest.raises(FrozenInstanceError):
        smears.classes = ()  # type: ignore[misc]


def test_pickling_keeps_everything(smears: Dataset) -> None:
    data = smears.ignoring(["WBC"])
    again = pickle.loads(pickle.dumps(data))
    assert (again.classes, again.root, again.name) == (data.classes, data.root, data.name)
    for mine, other in zip(data, again, strict=True):
        assert (mine.path, mine.width, mine.height) == (other.path, other.width, other.height)
        assert mine.boxes.tolist() == other.boxes.tolist()
        assert mine.labels.tolist() == other.labels.tolist()
        assert mine.ignored.tolist() == other.ignored.tolist()
        assert mine.areas is other.areas is None
        assert mine.flags == other.flags


def test_pickling_is_compact() -> None:
    records = (record(f"{i}.png", 0, 1, 2) for i in range(2000))
    data = Dataset(tuple(replace(each, flags={}) for each in records), ("a", "b", "c"), ROOT)
    # 3 x (16 + 8 + 1) bytes of numbers an image, a name, and little besides
    assert len(pickle.dumps(data)) < 2000 * 200


def test_summary_counts_objects_and_regions(smears: Dataset) -> None:
    assert smears.summary() == (
        "4 images, 5 objects (2 RBC, 2 WBC, 1 Platelets), 1 image without objects, "
        "1 region to ignore"
    )
    assert "smears" in repr(smears)
    assert ANY_CLASS == -1


def test_indexing_decodes_the_image(tmp_path: Path, smears: Dataset) -> None:
    pixels = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    one = smears.records[0]
    here = Record(tmp_path / "a.png", 64, 48, one.boxes, one.labels, one.ignored)
    gone = Record(tmp_path / "gone.png", 64, 48, one.boxes, one.labels, one.ignored)
    data = Dataset((here, gone), smears.classes, tmp_path)
    sample = data[0]
    assert sample.name == "a.png"
    np.testing.assert_array_equal(sample.image, pixels)
    assert sample.target.labels.tolist() == [0, 1, 1]
    with pytest.raises(ImageError, match=r"gone\.png"):
        data[-1]


def test_aligned_takes_a_models_classes_and_refuses_others(tmp_path):
    boxes = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)
    record = Record(tmp_path / "a.png", 8, 8, boxes, np.array([1, -1]), np.array([False, True]))
    data = Dataset((record,), ("absent", "cell"), tmp_path)
    aligned = data.aligned(["other", "cell"])
    assert aligned.classes == ("other", "cell")
    assert aligned.records[0].labels.tolist() == [1, -1]
    assert data.aligned(["cell"]).records[0].labels.tolist() == [0, -1]
    with pytest.raises(DataError, match="objects of cell, the model knows other"):
        data.aligned(["other"])


def test_a_sample_has_all_bands_of_its_image(tmp_path):
    import tifffile

    bands = np.arange(5 * 6 * 4, dtype=np.uint8).reshape(5, 6, 4)
    tifffile.imwrite(
        tmp_path / "a.tif", bands, photometric="minisblack", extrasamples=["unspecified"] * 3
    )
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    data = Dataset((Record(tmp_path / "a.tif", 6, 5, *nothing),), ("ship",), tmp_path)
    assert np.array_equal(data[0].image, bands)


def test_a_table_has_a_row_for_each_box(smears: Dataset) -> None:
    rows = smears.to_table()
    assert len(rows) == sum(len(record) for record in smears)
    assert rows[0]["image"] == str(smears.records[0].path)
    boxes = np.concatenate([record.boxes for record in smears])
    assert [[row[name] for name in ("xmin", "ymin", "xmax", "ymax")] for row in rows] == (
        boxes.tolist()
    )
    ignored = smears.ignoring(smears.classes[:1]).to_table()
    assert [row["label"] for row in ignored if row["ignored"]] == ["*", "Platelets", "*"]
    assert smears[:0].to_table() == []


def test_a_notebook_shows_what_each_class_has(smears: Dataset) -> None:
    html = smears._repr_html_()
    assert f"{len(smears)} images" in html
    assert all(f">{name}<" in html for name in smears.classes)
    assert "0 images" in smears[:0]._repr_html_()
