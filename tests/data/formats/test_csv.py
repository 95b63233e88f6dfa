"""CSV: with and without header, its cousins, empty images, lists of classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.dataset import Dataset
from foveal.data.formats import read


@pytest.fixture
def read_text(tmp_path: Path, picture: Callable) -> Callable[..., Dataset]:
    def make(text: str, **files: str) -> Dataset:
        picture(tmp_path / "a.png", 64, 48)
        picture(tmp_path / "b.png", 30, 20)
        (tmp_path / "boxes.csv").write_text(text, encoding="utf-8")
        for name, content in files.items():
            (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
        return read(tmp_path / "boxes.csv")

    return make


BOXES = [[[1, 2, 11, 14], [3, 4, 5, 6.5]], []]


@pytest.mark.parametrize(
    "text",
    [
        "a.png,1,2,11,14,dog\na.png,3,4,5,6.5,ant\nb.png,,,,,\n",
        "a.png,1,2,11,14,dog\r\na.png,3,4,5,6.5,ant\r\nb.png\r\n",
        "image_path,xmin,ymin,xmax,ymax,label\na.png,1,2,11,14,dog\na.png,3,4,5,6.5,ant\nb.png,,,,,",
        "\ufefffilename,width,height,class,xmin,ymin,xmax,ymax\n"
        "a.png,64,48,dog,1,2,11,14\na.png,64,48,ant,3,4,5,6.5\nb.png,30,20,,,,,\n",
        "label;xmin;xmax;ymin;ymax;image_path\ndog;1;11;2;14;a.png\nant;3;5;4;6,5;a.png\n;;;;;b.png",
    ],
)
def test_customs(text: str, read_text: Callable[..., Dataset]) -> None:
    data = read_text(text)
    assert data.classes == ("ant", "dog")
    assert [record.boxes.tolist() for record in data] == BOXES
    assert data.records[0].labels.tolist() == [1, 0]
    assert [(r.width, r.height) for r in data] == [(64, 48), (30, 20)]


def test_classes_are_in_the_order_of_their_list(read_text: Callable[..., Dataset]) -> None:
    data = read_text("a.png,1,2,11,14,dog\n", classes="dog,1\nant,0\n")
    assert data.classes == ("ant", "dog")
    assert data.records[0].labels.tolist() == [1]
    assert read_text("a.png,1,2,11,14,dog\n", classes="name,id\ndog,0\n").classes == ("dog",)


def test_a_column_marks_regions_to_ignore(read_text: Callable[..., Dataset]) -> None:
    header = "image_path,xmin,ymin,xmax,ymax,label,ignored\n"
    record = read_text(header + "a.png,1,2,11,14,dog,1\na.png,3,4,5,6,dog,0\n").records[0]
    assert record.ignored.tolist() == [True, False]


def test_an_image_that_is_gone_keeps_its_boxes(read_text: Callable[..., Dataset]) -> None:
    record = read_text("gone.png,1,2,11,14,dog\n").records[0]
    assert (record.width, record.height, len(record)) == (0, 0, 1)
