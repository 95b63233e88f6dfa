"""Annotations that are broken on purpose: each gives one clear error that names file and place."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal import cli
from foveal.data.formats import FORMATS, read
from foveal.errors import DataError, FovealError

SECRET = "the content of a file outside the data folder"


def coco(**changes: Any) -> str:
    """A sound COCO file as text, with some of its parts changed."""
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 2, 10, 12]}],
    }
    document.update(changes)
    return json.dumps(document)


def annotation(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [1, 2, 10, 12]} | changes]


def image(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": 1, "file_name": "a.png", "width": 64, "height": 48} | changes]


def voc(name: str = "cell", xmin: str = "1", filename: str = "a.png", width: str = "64") -> str:
    return (
        f"<annotation><filename>{filename}</filename><size><width>{width}</width>"
        f"<height>48</height></size><object><name>{name}</name><bndbox><xmin>{xmin}</xmin>"
        "<ymin>2</ymin><xmax>11</xmax><ymax>14</ymax></bndbox></object></annotation>"
    )


def labelme(**changes: Any) -> str:
    shape = {"label": "cell", "points": [[1, 2], [11, 14]], "shape_type": "rectangle"} | changes
    return json.dumps(
        {"imagePath": "a.png", "imageWidth": 64, "imageHeight": 48, "shapes": [shape]}
    )


def cvat(box: str = 'label="cell" xtl="1" ytl="2" xbr="11" ybr="14"', extra: str = "") -> str:
    return (
        "<annotations><meta><task><labels><label><name>cell</name></label></labels></task></meta>"
        f'{extra}<image id="0" name="a.png" width="64" height="48"><box {box}/></image>'
        "</annotations>"
    )


YAML = "train: images\nnames: [cell]\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)
LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {n} "{f"&{p};" * 10}">' for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY s SYSTEM "file:///{secret}">]>'
OPENIMAGES = "ImageID,LabelName,XMin,XMax,YMin,YMax\n"
LABEL = "labels/a.txt"

# what is wrong: (files, what is read, words that the message must hold)
CASES: dict[str, tuple[dict[str, str | bytes], str, list[str]]] = {
    "nothing there": ({}, "nowhere", ["nowhere", "does not exist"]),
    "an empty folder": ({"x/readme.md": "hello"}, "x", ["no annotations recognized", "data.yaml"]),
    "two formats": ({"a.json": coco(), "a.xml": cvat()}, ".", ["coco, cvat", "format="]),
    "a path too long": ({}, "x" * 5000, ["too long"]),
    "coco: cut in half": ({"c.json": coco()[:150]}, "c.json", ["c.json, line 1, column", "cut"]),
    "coco: empty": ({"c.json": ""}, "c.json", ["c.json is empty"]),
    "coco: binary": ({"c.json": b"\xff\xd8\xff\xe0" * 9}, "c.json", ["c.json, byte 0", "UTF-8"]),
    "coco: text with zeros": ({"c.json": b"{\0}"}, "c.json", ["c.json, byte 1", "binary"]),
    "coco: an image renamed": ({"c.json": "GIF89a"}, "c.json", ["c.json, line 1", "not JSON"]),
    "coco: a list": (
        {"c.json": "[1, 2]"},
        "c.json",
        ["c.json, top level", "a list of '1'"],
    ),
    "coco: nested deeply": ({"c.json": "[" * 200000}, "c.json", ["c.json", "nested too deeply"]),
    "coco: a number of 9,999 digits": ({"c.json": "9" * 9999}, "c.json", ["c.json", "not JSON"]),
    "coco: no images": ({"c.json": coco(images=None)}, "c.json", ['"images" is None', "a list"]),
    "coco: images as text": ({"c.json": coco(images=["a"])}, "c.json", ["image 1", "an object"]),
    "coco: no names": ({"c.json": coco(categories="x")}, "c.json", ["categories", "a list"]),
    "coco: a name that is a number": (
        {"c.json": coco(categories=[{"id": 3, "name": 5}])},
        "c.json",
        ["category 1", '"name" is 5', "text"],
    ),
    "coco: category id twice": (
        {"c.json": coco(categories=[{"id": 3, "name": "a"}, {"id": 3, "name": "b"}])},
        "c.json",
        ["category 3", "two categories"],
    ),
    "coco: image id twice": (
        {"c.json": coco(images=image() + image(file_name="b.png"))},
        "c.json",
        ["image 1", "two images"],
    ),
    "coco: annotation id twice": (
        {"c.json": coco(annotations=annotation() + annotation())},
        "c.json",
        ["annotation 7", "two annotations"],
    ),
    "coco: an id that is a list": (
        {"c.json": coco(annotations=annotation(id=[1]))},
        "c.json",
        ["annotation [1]", "Number them anew"],
    ),
    "coco: unknown category": (
        {"c.json": coco(annotations=annotation(category_id=9))},
        "c.json",
        ["annotation 7", "category_id 9 has no name", "3"],
    ),
    "coco: unknown image": (
        {"c.json": coco(annotations=annotation(image_id=5))},
        "c.json",
        ["annotation 7", "image_id 5"],
    ),
    "coco: three numbers": (
        {"c.json": coco(annotations=annotation(bbox=[1, 2, 3]))},
        "c.json",
        ["annotation 7", "[1, 2, 3]", "[x, y, width, height]"],
    ),
    "coco: rotated": (
        {"c.json": coco(annotations=annotation(bbox=[9, 9, 4, 4, 0.5]))},
        "c.json",
        ["annotation 7", "rotated"],
    ),
    "coco: a box of words": (
        {"c.json": coco(annotations=annotation(bbox=["one", "2", "3", "4"]))},
        "c.json",
        ["annotation 7", "'one'", "[x, y, width, height]"],
    ),
    "coco: a huge number": (
        {"c.json": coco(annotations=annotation(bbox=[0, 0, 10**30, 5]))},
        "c.json",
        ["annotation 7", "bbox is"],
    ),
    "coco: a NaN box": (
        {"c.json": coco(annotations=annotation(bbox=[1, float("nan"), 3, 4]))},
        "c.json",
        ["annotation 7", "not finite", 'bad_boxes="drop"'],
    ),
    "coco: a box without area": (
        {"c.json": coco(annotations=annotation(bbox=[5, 5, 0, 4]))},
        "c.json",
        ["annotation 7: box (5, 5, 5, 9) has no area", "xmin < xmax"],
    ),
    "coco: a box outside": (
        {"c.json": coco(annotations=annotation(bbox=[90, 5, 10, 4]))},
        "c.json",
        ["annotation 7", "outside the image a.png of 64 x 48"],
    ),
    "coco: an area of words": (
        {"c.json": coco(annotations=annotation(area="big"))},
        "c.json",
        ["annotation 7", "area is 'big'"],
    ),
    "coco: an infinite width": (
        {"c.json": coco(images=image(width=float("inf")))},
        "c.json",
        ["image 1", "width is 'inf'"],
    ),
    "coco: a name that is no file's": (
        {"c.json": coco(images=image(file_name=12))},
        "c.json",
        ["image 1", "12", "not the name"],
    ),
    "coco: a long name": (
        {"c.json": coco(images=image(file_name="a/" * 9999))},
        "c.json",
        ["image 1", "not the name"],
    ),
    "coco: an absolute path": (
        {"c.json": coco(images=image(file_name="/etc/hostname"))},
        "c.json",
        ["image 1", "'/etc/hostname' lies outside the data folder", "images=FOLDER"],
    ),
    "coco: a climbing path": (
        {"c.json": coco(images=image(file_name="../../secret.txt"))},
        "c.json",
        ["image 1", "'../../secret.txt' lies outside"],
    ),
    "coco: a drive": (
        {"c.json": coco(images=image(file_name="C:\\Users\\me\\secret.jpg"))},
        "c.json",
        ["image 1", "lies outside"],
    ),
    "coco: several files": (
        {"d/a.json": coco(), "d/b.json": coco()},
        "d",
        ["2 COCO files fit", "a.json, b.json"],
    ),
    "coco: no such split": ({"d/a.json": coco()}, "d:val", ["split 'val'", "a.json"]),
    "coco: a split of one file": ({"c.json": coco()}, "c.json:val", ["has no split 'val'"]),
    "voc: cut in half": ({"v.xml": voc()[:120]}, "v.xml", ["v.xml, line 1, column", "cut"]),
    "voc: an external entity": (
        {"v.xml": OUTSIDE + voc("&s;")},
        "v.xml",
        ["v.xml", "entities", "DOCTYPE"],
    ),
    "voc: a billion laughs": ({"v.xml": LAUGHS + voc("&i;")}, "v.xml", ["v.xml", "entities"]),
    "voc: another root": ({"v.xml": "<svg/>"}, "v.xml", ["<svg>", "<annotation>"]),
    "voc: a corner of words": (
        {"v.xml": voc(xmin="left")},
        "v.xml",
        ["v.xml, object 1", "'left'", "xmin, ymin, xmax, ymax"],
    ),
    "voc: a NaN corner": ({"v.xml": voc(xmin="nan")}, "v.xml", ["object 1", "not finite"]),
    "voc: an inverted box": (
        {"v.xml": voc(xmin="31")},
        "v.xml",
        ["v.xml, object 1: box (31, 2, 11, 14) has no area"],
    ),
    "voc: no name": ({"v.xml": voc(name="")}, "v.xml", ["object 1", "has no class"]),
    "voc: a width of words": ({"v.xml": voc(width="wide")}, "v.xml", ["<width>", "'wide'"]),
    "voc: an absolute path": ({"v.xml": voc(filename="/etc/hostname")}, "v.xml", ["outside"]),
    "voc: a split that lists nothing there": (
        {"Annotations/a.xml": voc(), "ImageSets/Main/train.txt": "a\nb\n"},
        ".:train",
        ["train.txt, line 2", "b.xml does not exist"],
    ),
    "voc: a split that climbs": (
        {"Annotations/a.xml": voc(), "ImageSets/Main/train.txt": "../../v\n"},
        ".:train",
        ["train.txt, line 1", "out of the data folder"],
    ),
    "voc: no such split": (
        {"Annotations/a.xml": voc(), "ImageSets/Main/train.txt": "a\n"},
        ".:tain",
        ["no split 'tain'", "train"],
    ),
    "voc: a class that labels.txt lacks": (
        {"Annotations/a.xml": voc("Cell"), "labels.txt": "cell\n"},
        ".",
        ["a.xml, object 1", "class 'Cell'", "'cell'"],
    ),
    "yolo: aliases that fill the memory": (
        {"data.yaml": BOMB + YAML},
        "data.yaml",
        ["data.yaml", "aliases"],
    ),
    "yolo: an object to be built": (
        {"data.yaml": "names: !!python/object/apply:os.system [ls]\n"},
        "data.yaml",
        ["data.yaml, line 1", "tags"],
    ),
    "yolo: nested deeply": ({"data.yaml": "[" * 50000}, "data.yaml", ["data.yaml", "nest"]),
    "yolo: a large header": ({"data.yaml": "#" * 2**21}, "data.yaml", ["bytes", "at most"]),
    "yolo: not YAML": ({"data.yaml": "names: [a\nb: }"}, "data.yaml", ["data.yaml, line 2"]),
    "yolo: no names": ({"data.yaml": "train: images\n"}, "data.yaml", ["names", "a list"]),
    "yolo: gaps in the ids": (
        {"data.yaml": "names: {0: a, 2: b}\n"},
        "data.yaml",
        ["names", "['0', '2']", "0, 1, 2"],
    ),
    "yolo: another number of classes": (
        {"data.yaml": YAML + "nc: 4\n"},
        "data.yaml",
        ["nc says 4 classes and names lists 1"],
    ),
    "yolo: a name twice": ({"data.yaml": "names: [a, a]\n"}, "data.yaml", ["'a' is there twice"]),
    "yolo: no folder": (
        {"data.yaml": "train: pictures\nnames: [a]\n"},
        "data.yaml",
        ["train: 'pictures' does not exist"],
    ),
    "yolo: a folder outside": (
        {"d/data.yaml": "train: ../outside\nnames: [a]\n", "outside/a.png": SECRET},
        "d/data.yaml",
        ["'../outside' does not exist in the data folder"],
    ),
    "yolo: no such split": ({"data.yaml": YAML}, "data.yaml:val", ["no split 'val'", "train"]),
    "yolo: no labels at all": (
        {"data.yaml": YAML},
        "data.yaml",
        ["has a label file", "labels/a.txt"],
    ),
    "yolo: class out of range": (
        {"data.yaml": YAML, LABEL: "0 .5 .5 .1 .1\n4 .5 .5 .1 .1\n"},
        "data.yaml",
        ["a.txt, line 2", "class 4 has no name", "0 to 0"],
    ),
    "yolo: four numbers": (
        {"data.yaml": YAML, LABEL: "0 .5 .5 .1\n"},
        "data.yaml",
        ["a.txt, line 1", "4 numbers"],
    ),
    "yolo: pixels": (
        {"data.yaml": YAML, LABEL: "0 32 24 10 10\n"},
        "data.yaml",
        ["a.txt, line 1", "32 is not a share", "Divide pixels"],
    ),
    "yolo: words": (
        {"data.yaml": YAML, LABEL: "cell .5 .5 .1 .1\n"},
        "data.yaml",
        ["a.txt, line 1", "'cell .5 .5 .1 .1'"],
    ),
    "yolo: binary labels": (
        {"data.yaml": YAML, LABEL: b"\x89PNG\r\n\xff"},
        "data.yaml",
        ["a.txt, byte 0", "UTF-8"],
    ),
    "yolo: a broken image": (
        {"data.yaml": YAML, "images/b.png": "text", "labels/b.txt": "0 .5 .5 .1 .1\n"},
        "data.yaml",
        ["b.txt, line 1", "b.png", "size"],
    ),
    "yolo: names in no file": ({"d/labels/a.txt": "0 .5 .5 .1 .1\n"}, "d", ["no class names"]),
    "csv: empty": ({"c.csv": "  \n"}, "c.csv", ["c.csv is empty"]),
    "csv: five columns": (
        {"c.csv": "a.png,1,2,11,14,cell\na.png,1,2,11,14\n"},
        "c.csv",
        ["c.csv, line 2: 5 columns", "Expected 6"],
    ),
    "csv: a column missing": (
        {"c.csv": "image_path,xmin,ymin,xmax,label\n"},
        "c.csv",
        ["c.csv, line 1", "no column for ymax"],
    ),
    "csv: the class missing": (
        {"c.csv": "image,x,y,w,h,what\na.png,1,2,11,14,cell\n"},
        "c.csv",
        ["c.csv, line 1", "no column for the class in image,x,y,w,h,what", "--class-column NAME"],
    ),
    "csv: corners of words": (
        {"c.csv": "a.png,1,2,11,bottom,cell\n"},
        "c.csv",
        ["c.csv, line 1", "'bottom'", "four numbers"],
    ),
    "csv: an infinite corner": ({"c.csv": "a.png,1,2,inf,9,cell\n"}, "c.csv", ["not finite"]),
    "csv: no class": ({"c.csv": "a.png,1,2,11,14,\n"}, "c.csv", ["line 1", "no class"]),
    "csv: no image": ({"c.csv": ",1,2,11,14,cell\n"}, "c.csv", ["line 1", "not the name"]),
    "csv: an open quotation": (
        {"c.csv": 'a.png,1,2,11,14,"cell\n' + "x" * 200000},
        "c.csv",
        ["c.csv, line", "not CSV"],
    ),
    "csv: an absolute path": (
        {"c.csv": "/etc/hostname,1,2,11,14,cell\n"},
        "c.csv",
        ["c.csv, line 1", "outside the data folder"],
    ),
    "csv: a class that classes.csv lacks": (
        {"c.csv": "a.png,1,2,11,14,cell\n", "classes.csv": "Cell,0\n"},
        "c.csv",
        ["c.csv, line 1", "class 'cell'", "'Cell'"],
    ),
    "csv: an id of a class twice": (
        {"c.csv": "a.png,1,2,11,14,cell\n", "classes.csv": "Cell,0\ncell,0\n"},
        "c.csv",
        ["classes.csv, line 2"],
    ),
    "kitti: nine columns": (
        {"label_2/a.txt": "Car 0 0 0 1 2 11 14 1\n"},
        ".",
        ["kitti"],
    ),
    "kitti: words among the numbers": (
        {"label_2/a.txt": "Car 0 0 0 1 2 x 14 1 1 1 1 1 1 1\n"},
        "kitti",
        ["a.txt, line 1", "14 numbers"],
    ),
    "labelme: no shapes": (
        {"a.json": '{"imagePath": "a.png", "shapes": 3}'},
        "a.json",
        ["a.json, shapes", "a list"],
    ),
    "labelme: points of words": (
        {"a.json": labelme(points=[["x", 2], [3, 4]])},
        "a.json",
        ["a.json, shape 1", "Expected two or more [x, y]"],
    ),
    "labelme: a label that is none": (
        {"a.json": labelme(label=None)},
        "a.json",
        ["a.json, shape 1", "the label is None"],
    ),
    "labelme: a point": ({"a.json": labelme(shape_type="point")}, "a.json", ["has no box"]),
    "openimages: a column missing": (
        {"o.csv": "ImageID,XMin\n1,2\n"},
        "o.csv",
        ["o.csv, line 1", "LabelName"],
    ),
    "openimages: commas alone": ({"o.csv": ",,\n"}, "openimages", ["o.csv holds no cell"]),
    "openimages: pixels": (
        {"o.csv": OPENIMAGES + "a,cell,10,20,10,20\n"},
        "o.csv",
        ["o.csv, line 2", "not a share of the image's size"],
    ),
    "openimages: a short line": (
        {"o.csv": OPENIMAGES + "a,cell,.1\n"},
        "o.csv",
        ["o.csv, line 2: 3 columns"],
    ),
    "openimages: no image": (
        {"o.csv": OPENIMAGES + "zzz,cell,.1,.2,.1,.2\n"},
        "o.csv",
        ["o.csv, line 2", "zzz"],
    ),
    "cvat: a video": ({"a.xml": cvat(extra="<track/>")}, "a.xml", ["a.xml", "CVAT for images"]),
    "cvat: a box of words": (
        {"a.xml": cvat('label="cell" xtl="left"')},
        "a.xml",
        ["image 'a.png', shape 1", "the numbers of a box"],
    ),
    "cvat: an unknown label": (
        {"a.xml": cvat('label="dog" xtl="1" ytl="2" xbr="11" ybr="14"')},
        "a.xml",
        ["shape 1", "class 'dog'"],
    ),
    "cvat: no such subset": ({"a.xml": cvat()}, "a.xml:val", ["subset 'val'"]),
}


@pytest.fixture
def lay(tmp_path: Path) -> Callable[[str], str]:
    """Lay the files of a case below a folder, beside one sound image, and give what to read."""

    def make(case: str) -> str:
        files, address, _ = CASES[case]
        data = tmp_path / "data"
        for name, content in ({"images/a.png": b"", "a.png": b""} | files).items():
            path = data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not content and name.endswith(".png"):
                Image.new("L", (64, 48)).save(path)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                secret = (tmp_path / "secret.txt").as_posix()
                path.write_text(content.replace("{secret}", secret), encoding="utf-8")
        (tmp_path / "secret.txt").write_text(SECRET)
        if address in FORMATS:
            return f"{data}"
        return f"{data}/{address}" if address != ".:train" else f"{data}:train"

    return make


def _format_of(case: str) -> str | None:
    name = case.partition(":")[0]
    return name if CASES[case][1] in FORMATS else None


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_is_named(case: str, lay: Callable[[str], str]) -> None:
    address = lay(case)
    with pytest.raises(DataError) as caught:
        read(address, _format_of(case), bad_boxes="stop")
    message = str(caught.value)
    for words in CASES[case][2]:
        assert words in message
    assert "\n" not in message
    assert len(message) < 900 + 5000 * ("too long" in message)
    assert SECRET not in message


@pytest.mark.parametrize("case", ["coco: cut in half", "voc: an external entity", "yolo: words"])
def test_no_traceback_on_the_command_line(
    case: str,
    lay: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dest = tmp_path / "converted"
    command = ["foveal", "data", "convert", lay(case), str(dest), "--to", "coco"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert "Traceback" not in output.err
    assert [path.name for path in tmp_path.iterdir() if "converted" in path.name] == []


def test_a_file_too_large_for_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(5 * 1024**3)  # sparse: takes no room on disk
    with pytest.raises(DataError, match=r"huge\.json has 5,368,709,120 bytes"):
        read(path, "coco")


def test_collected_problems_stop_nothing(tmp_path: Path) -> None:
    bad = annotation(id=8, category_id=9) + annotation(id=9, bbox=[5, 5, 0, 4])
    (tmp_path / "c.json").write_text(coco(annotations=annotation() + bad))
    problems: list = []
    data = read(tmp_path / "c.json", problems=problems)
    assert [problem.kind for problem in problems] == ["unknown class", "box without area"]
    assert [problem.place for problem in problems] == ["annotation 8", "annotation 9"]
    assert {problem.file.name for problem in problems} == {"c.json"}
    assert len(data.records[0]) == 1


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(FovealError, match=r"no format 'pascal'.*voc"):
        read(tmp_path, "pascal")
