"""Data sets opened with options: what is renamed, ignored and chosen, in one and in two of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from foveal.data.dataset import ANY_CLASS
from foveal.data.opening import (
    DataOptions,
    open_data,
    open_splits,
    open_together,
    read_for_doctor,
)
from foveal.errors import DataError


def make_table(folder: Path, name: str, *classes: str) -> Path:
    """A table of one image with one box of each class."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48)).save(folder / f"{name}.png")
    rows = [f"{name}.png,{4 * i},2,{4 * i + 20},20,{kind}" for i, kind in enumerate(classes)]
    rows = rows or [f"{name}.png,,,,,"]
    (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder / f"{name}.csv"


def test_classes_are_renamed_then_ignored_then_chosen(tmp_path: Path) -> None:
    table = make_table(tmp_path, "a", "RBC", "WBC", "dust", "dirt")
    options = DataOptions(
        rename={"RBC": "normal", "dirt": "dust"}, ignore=("dust",), only=("normal",)
    )

    data = open_data(table, options)

    assert data.classes == ("normal",)
    assert data.records[0].labels.tolist() == [0, ANY_CLASS, ANY_CLASS]
    assert data.records[0].ignored.tolist() == [False, True, True]


def test_only_gives_the_order(tmp_path: Path) -> None:
    table = make_table(tmp_path, "a", "b", "a", "c")
    assert open_data(table, DataOptions(only=("c", "a"))).classes == ("c", "a")


def test_data_without_objects_can_be_opened(tmp_path: Path) -> None:
    data = open_data(make_table(tmp_path, "a"))
    assert (len(data), data.classes) == (1, ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(rename={"RBX": "normal"}), r"--rename: .* has no class 'RBX'.*mean 'RBC'\?"),
        (DataOptions(ignore=("dust",)), "--ignore: .* has no class 'dust'. Expected one of 'RBC'"),
        (DataOptions(only=("dust",)), "--only: .* has no class 'dust'"),
        (DataOptions(rename={"RBC": "n"}, only=("RBC",)), "was renamed"),
    ],
)
def test_a_class_that_is_not_there_is_an_error(
    tmp_path: Path, options: DataOptions, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_data(make_table(tmp_path, "a", "RBC", "WBC"), options)


def test_a_class_that_only_one_of_two_has_is_changed_there(tmp_path: Path) -> None:
    train = make_table(tmp_path / "t", "a", "normal", "dust")
    valid = make_table(tmp_path / "v", "b", "RBC", "ring")
    options = DataOptions(rename={"RBC": "normal"}, ignore=("dust", "ring"))

    first, second = open_together([(train, options), (valid, options)])

    assert first.classes == second.classes == ("normal",)
    wrong = DataOptions(ignore=("rings",))
    with pytest.raises(DataError, match=r"a\.csv and .*b\.csv have no class 'rings'.*mean 'ring'"):
        open_together([(train, wrong), (valid, wrong)])


def test_images_may_lie_elsewhere_and_in_two_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        table = make_table(tmp_path / name, name, "cell")
        table.rename(tmp_path / table.name)
        (tmp_path / f"hidden {name}").mkdir()
        (tmp_path / name / f"{name}.png").rename(tmp_path / f"hidden {name}" / f"{name}.png")
    options = DataOptions(images=tmp_path / "hidden a")
    sources = [
        (tmp_path / "a.csv", options),
        (tmp_path / "b.csv", options.with_images(tmp_path / "hidden b")),
    ]
    assert options.with_images(None) is options
    assert all(data.records[0].path.is_file() for data in open_together(sources))
    assert all(reading.dataset.records[0].path.is_file() for reading in read_for_doctor(sources))


def test_the_doctor_reads_with_the_same_options(tmp_path: Path) -> None:
    table = make_table(tmp_path, "a", "RBC", "dust")
    table.write_text(table.read_text() + "a.png,5,5,5,9,RBC\n")
    options = DataOptions(rename={"RBC": "normal"}, ignore=("dust",), bad_boxes="stop")

    (reading,) = read_for_doctor([(table, options)])

    assert reading.dataset.classes == ("normal",)
    assert len(reading.dataset.records[0]) == 3
    assert [problem.kind for problem in reading.problems] == ["box without area"]


def test_splits_are_told(tmp_path: Path) -> None:
    make_table(tmp_path, "a", "RBC")
    make_table(tmp_path, "b", "WBC")
    data, splits = open_splits(f"{tmp_path}:a+b", DataOptions(only=("WBC",)))
    assert splits == {"a": [0], "b": [1]}
    assert data.classes == ("WBC",)
    assert open_splits(tmp_path / "a.csv", DataOptions())[1] is None


def test_no_sources_are_no_data() -> None:
    assert open_together([]) == ()
    assert read_for_doctor([]) == ()
