"""Encodings: marked, declared, or guessed and told; class names come out right in every format."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.checks.diagnose import diagnose
from foveal.data.formats import read
from foveal.data.formats.encodings import legacy_encoding, marked_encoding
from foveal.data.formats.parsing import head_text, read_text, read_xml
from foveal.data.opening import AS_FOUND, read_for_doctor
from foveal.errors import DataError

LEGACY = {
    "gbk": (
        "红细胞\n",
        "a.jpg,20,30,60,70,血小板\n",
        "<name>白细胞</name>",
        "猫\n狗\n",
        "图像/1.jpg",
    ),
    "cp932": ("赤血球\n", "白血球\n血小板\n", "<name>カップ</name>", "はっけっきゅう", "犬\n猫\n"),
    "big5": ("紅血球\n", "a.jpg,1,2,3,4,血小板\n", "貓\n狗\n"),
    "cp949": ("적혈구\n혈소판\n", "고양이\n강아지\n"),
    "cp1251": ("эритроцит\n", "Кошка\nСобака\n", "КРОВЬ"),
    "cp1252": ("Plättchen\n", "größe", "cão\nleão\n", "10 µm", "globule très fin", "Straße"),
}


@pytest.mark.parametrize(
    ("encoding", "text"), [(name, text) for name, texts in LEGACY.items() for text in texts]
)
def test_texts_of_before_utf8_are_recognized(encoding: str, text: str) -> None:
    assert legacy_encoding(text.encode(encoding)) == encoding


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0" * 9, b"\x9f\xe9\x01\x02\xfe" * 9, b"\xff"])
def test_what_is_no_text_is_not_guessed(content: bytes) -> None:
    assert legacy_encoding(content) is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_marks_and_zeros_give_utf16_away(encoding: str, tmp_path: Path) -> None:
    text = "image,label\na.jpg,红细胞\n"
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert read_text(tmp_path / "a.csv") == head_text(tmp_path / "a.csv") == text
    assert marked_encoding(text.encode()) is None


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("GBK", "gbk"), ("gb2312", "gbk"), ("Shift_JIS", "cp932"), ("big5", "big5"),
        ("euc-kr", "euc-kr"), ("ISO-8859-1", "latin-1"), ("windows-1251", "cp1251"),
        ("utf-16", "utf-16"), ("utf-16", "utf-8"), ("utf-8", "utf-16"), ("no-such", "utf-8"),
        ("utf-8", "utf-8-sig"), ("base64", "utf-8"),
    ],
)  # fmt: skip
def test_xml_is_read_as_it_declares(declared: str, encoding: str, tmp_path: Path) -> None:
    name = {"latin-1": "Plättchen", "cp1251": "кровь", "cp932": "車", "euc-kr": "적"}
    word = name.get(encoding, "血")
    text = f'<?xml version="1.0" encoding="{declared}"?>\n<annotation>{word}</annotation>'
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert read_xml(tmp_path / "a.xml").text == word


def test_xml_that_is_not_what_it_declares_is_guessed_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = '<?xml version="1.0" encoding="utf-8"?><annotation>红细胞</annotation>'
    (tmp_path / "a.xml").write_bytes(text.encode("gbk"))
    assert read_xml(tmp_path / "a.xml").text == "红细胞"
    assert "is not UTF-8 and read as gbk" in caplog.text


def test_broken_xml_in_utf16_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes("<annotation><a></annotation>".encode("utf-16"))
    with pytest.raises(DataError, match=r"a\.xml, line 1.*not XML"):
        read_xml(tmp_path / "a.xml")


VOC = (
    "{head}<annotation><filename>{image}</filename><object><name>红细胞</name><bndbox>"
    "<xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>14</ymax></bndbox></object></annotation>"
)
LABELME = (
    '{{"imagePath": "{image}", "shapes": [{{"label": "红细胞", "points": [[1, 2], [11, 14]], '
    '"shape_type": "rectangle"}}]}}'
)
COCO = (
    '{{"images": [{{"id": 1, "file_name": "{image}"}}], '
    '"categories": [{{"id": 1, "name": "红细胞"}}],'
    ' "annotations": [{{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 12]}}]}}'
)
YOLO = "0 0.1 0.2 0.1 0.1\n"
FILES = {
    "voc": {"a.xml": VOC},
    "labelme": {"a.json": LABELME},
    "coco": {"a.json": COCO},
    "csv": {"a.csv": "image_path,xmin,ymin,xmax,ymax,label\n{image},1,2,11,14,红细胞\n"},
    "yolo": {"a.txt": YOLO, "classes.txt": "红细胞\n"},
    "kitti": {"label_2/a.txt": "红细胞 0 0 0 1 2 11 14 1 1 1 1 1 1 1\n"},
    "openimages": {
        "b.csv": "ImageID,LabelName,XMin,XMax,YMin,YMax\n{image},红细胞,0.1,0.5,0.1,0.5\n"
    },
}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gbk"])
@pytest.mark.parametrize("name", FILES)
def test_every_format_is_found_and_read_in_every_encoding(
    name: str, encoding: str, tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "a.png")
    for file, text in FILES[name].items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        text = text.format(image="a.png", head="") if "{" in text else text
        (tmp_path / file).write_bytes(text.encode(encoding))
    data = read(tmp_path)
    assert data.classes == ("红细胞",)
    assert [len(record) for record in data] == [1]
    assert ("read as gbk" in caplog.text) == (encoding == "gbk")


def test_a_guess_is_told_once_with_a_count(
    tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
        text = VOC.format(image=f"{name}.png", head="")
        (tmp_path / f"{name}.xml").write_bytes(text.encode("gbk"))
    with caplog.at_level(logging.WARNING):
        read(tmp_path)
    assert len(caplog.records) == 1
    assert "3 files are not UTF-8 and read as gbk" in caplog.text
    caplog.clear()
    findings = diagnose(*read_for_doctor([(str(tmp_path), AS_FOUND)])).findings
    assert [(f.level, f.count) for f in findings if f.kind == "encoding guessed"] == [("doubt", 3)]
    assert not caplog.records


@pytest.mark.parametrize(("written", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_with_accents_are_the_same_in_either_form(
    written: str, there: str, tmp_path: Path, picture: Callable
) -> None:
    name, other = (unicodedata.normalize(form, "größe") for form in (written, there))
    picture(tmp_path / f"images/{other}.png")
    (tmp_path / "a.csv").write_text(f"{name}.png,1,2,11,14,x\n")
    (record,) = read(tmp_path / "a.csv")
    assert record.path == tmp_path / f"images/{other}.png"
    (tmp_path / "classes.txt").write_text("x\n")
    (tmp_path / "labels").mkdir()
    (tmp_path / f"labels/{name}.txt").write_text(YOLO)
    assert [len(record) for record in read(tmp_path, "yolo")] == [1]
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "b.csv").write_text(f"a.png,1,2,11,14,{name}\na.png,1,2,11,14,{other}\n")
    (reading,) = read_for_doctor([(tmp_path / "b.csv", AS_FOUND)])
    found = {finding.kind for finding in diagnose(reading).findings}
    assert "class written in several ways" in found
