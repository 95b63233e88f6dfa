"""Pascal VOC: corners, marks, splits, names of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.formats import voc
from foveal.data.formats.issues import IssuePolicy
from foveal.errors import DataError

OBJECT = (
    "<object><name>{name}</name><truncated>{truncated}</truncated>"
    "<difficult>{difficult}</difficult><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax>"
    "<ymax>{3}</ymax></bndbox></object>"
)


def thing(*box: float, name: str = "cell", truncated: int = 0, difficult: int = 0) -> str:
    return OBJECT.format(*box, name=name, truncated=truncated, difficult=difficult)


def lay(path: Path, *things: str, filename: str = "a.png", size: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = "<size><width>64</width><height>48</height></size>" if size else ""
    text = f"<annotation><filename>{filename}</filename>{said}{''.join(things)}</annotation>"
    path.write_text(text, encoding="utf-8")
    return path


def test_corners_are_edges_or_pixels(tmp_path: Path) -> None:
    lay(tmp_path / "a.xml", thing(1, 1, 64, 48))
    assert voc.read(tmp_path).records[0].boxes.tolist() == [[1, 1, 64, 48]]
    pixels = voc.read(tmp_path, corners="pixels")
    assert pixels.records[0].boxes.tolist() == [[0, 0, 64, 48]]
    with pytest.raises(DataError, match='"edges" or "pixels"'):
        voc.read(tmp_path, corners="both")  # type: ignore[arg-type]


def test_corners_as_pixels_survive_writing(tmp_path: Path, make_dataset: Callable) -> None:
    data = make_dataset([("a.png", 64, 48, [((0, 0, 1, 1), 0, False)])])
    (tmp_path / "out").mkdir()
    voc.write(data, tmp_path / "out", corners="pixels")
    assert "<xmin>1</xmin>" in (tmp_path / "out/Annotations/a.xml").read_text()
    again = voc.read(tmp_path / "out", corners="pixels")
    assert again.records[0].boxes.tolist() == [[0, 0, 1, 1]]


def test_marks_are_kept_and_difficult_is_ignored(tmp_path: Path) -> None:
    lay(tmp_path / "a.xml", thing(1, 2, 3, 4, truncated=1), thing(5, 6, 7, 8, difficult=1))
    record = voc.read(tmp_path).records[0]
    assert record.ignored.tolist() == [False, True]
    assert record.flags == {"difficult": (False, True), "truncated": (True, False)}


def test_every_split_has_the_classes_of_all(tmp_path: Path) -> None:
    lay(tmp_path / "Annotations/a 1.xml", thing(1, 2, 3, 4, name="zebra"))
    lay(tmp_path / "Annotations/b.xml", thing(1, 2, 3, 4, name="ant"))
    lay(tmp_path / "Annotations/c.xml")
    sets = tmp_path / "ImageSets/Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a 1\nc\n\n")
    (sets / "zebra_train.txt").write_text("a 1  1\nc -1\n")
    data = voc.read(tmp_path, "train")
    assert data.classes == ("ant", "zebra")
    assert [len(record) for record in data] == [1, 0]
    assert [record.image_id for record in voc.read(tmp_path, "zebra_train")] == ["a 1"]
    (tmp_path / "labels.txt").write_text("zebra\nant\ncow\n")
    assert voc.read(tmp_path, "train").classes == ("zebra", "ant", "cow")


def test_splits_may_be_folders(tmp_path: Path, picture: Callable) -> None:
    lay(tmp_path / "train/a.xml", thing(1, 2, 3, 4))
    image = picture(tmp_path / "train/a.png")
    lay(tmp_path / "valid/b.xml", filename="b.png")
    data = voc.read(tmp_path, "train")
    assert [record.path for record in data] == [image]


def test_the_image_is_found_by_the_name_of_the_xml(tmp_path: Path, picture: Callable) -> None:
    image = picture(tmp_path / "JPEGImages/smear.PNG", 20, 10)
    lay(tmp_path / "Annotations/smear.xml", filename="IMG_0001", size=False)
    record = voc.read(tmp_path).records[0]
    assert record.path == image
    assert (record.width, record.height) == (20, 10)


def test_two_files_for_one_image_are_said(
    tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "a.png")
    lay(tmp_path / "a.xml")
    lay(tmp_path / "b.xml")
    assert len(voc.read(tmp_path)) == 2
    assert "1 x image twice" in caplog.text
    with pytest.raises(DataError, match=r"a\.png.*ids 'a' and 'b'"):
        voc.read(tmp_path, policy=IssuePolicy("stop"))


def test_objects_inside_parts_are_not_counted_twice(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    lay(tmp_path / "a.xml", thing(1, 2, 30, 40).replace("</object>", part))
    data = voc.read(tmp_path)
    assert data.classes == ("cell",)
    assert data.records[0].boxes.tolist() == [[1, 2, 30, 40]]


TURNED = "<robndbox><cx>30</cx><cy>20</cy><w>20</w><h>10</h><angle>1.5707963268</angle></robndbox>"
WEB = "<polygon>{}</polygon>".format(
    "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((5, 6), (9, 8), (7, 20)))
)
FLAT = "<polygon><x1>5</x1><y1>6</y1><x2>9</x2><y2>8</y2><x3>7</x3><y3>20</y3></polygon>"


@pytest.mark.parametrize(
    ("shape", "box"),
    [(TURNED, [25, 10, 35, 30]), (WEB, [5, 6, 9, 20]), (FLAT, [5, 6, 9, 20])],
)
def test_another_shape_gives_the_box_where_there_is_no_other(
    shape: str, box: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = "<object><name>old</name><deleted>1</deleted></object>"
    lay(tmp_path / "a.xml", f"<object><name>cell</name>{shape}</object>", gone, thing(1, 2, 3, 4))
    data = voc.read(tmp_path)
    assert data.classes == ("cell",)
    assert data.records[0].boxes.tolist() == [pytest.approx(box), [1, 2, 3, 4]]
    assert "another shape, whose extent is the box (1 x, first: a.xml, object 1)" in caplog.text


@pytest.mark.parametrize("shape", ["", "<polygon/>", "<robndbox><cx>x</cx></robndbox>"])
def test_an_object_without_a_box_is_told_and_the_others_stay(
    shape: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path / "a.xml", f"<object><name>cell</name>{shape}</object>", thing(1, 2, 3, 4))
    assert voc.read(tmp_path).records[0].boxes.tolist() == [[1, 2, 3, 4]]
    assert "1 x no box. Left out. First: a.xml, object 1: it has no <bndbox>" in caplog.text


def test_a_folder_of_that_name_is_no_image(tmp_path: Path, picture: Callable) -> None:
    picture(tmp_path / "images" / "images.jpg")
    (tmp_path / "annotations").mkdir()
    text = "<annotation><filename>images</filename></annotation>"
    (tmp_path / "annotations" / "images.xml").write_text(text)
    (record,) = voc.read(tmp_path)
    assert record.path == tmp_path / "images" / "images.jpg"
