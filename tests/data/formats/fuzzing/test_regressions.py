"""The smallest of the files that fuzzing found: each was once read otherwise, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.formats.fuzzing.pictures import place_picture
from tests.data.formats.fuzzing.properties import expect_sound
from tests.data.formats.fuzzing.watch import watching

from foveal.data.dataset import Dataset, Record
from foveal.data.formats import read, write
from foveal.errors import DataError

KITTI = "cell 0 0 0 1 2 11 14 -1 -1 -1 -1 -1 -1 -1\n"
HEADER = "image,xmin,ymin,xmax,ymax,label\n"
SHARES = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n"
BOX = '<box label="cell" xtl="1" ytl="2" xbr="11" ybr="14"/>'

# format: files, images, classes and the number of objects in each image that must be read
CASES: dict[str, tuple[str, dict[str, str], tuple[str, ...], tuple[str, ...], list[int]]] = {
    "kitti in the folder itself": ("kitti", {"a.txt": KITTI}, ("a.png",), ("cell",), [1]),
    "kitti's class list beside training": (
        "kitti",
        {"labels.txt": "cell\n", "training/label_2/a.txt": KITTI},
        ("training/image_2/a.png",),
        ("cell",),
        [1],
    ),
    "kitti whose class is a number": (
        "kitti",
        {"label_2/a.txt": KITTI.replace("cell", "0")},
        ("image_2/a.png",),
        ("0",),
        [1],
    ),
    "a label file of a line end": (
        "yolo",
        {"data.yaml": "train: images\nnames: [cell]\n", "labels/a.txt": "\n"},
        ("images/a.png",),
        ("cell",),
        [0],
    ),
    "images in a folder of any name below one called data": (
        "yolo",
        {
            "obj.data": "classes=1\ntrain=train.txt\nnames=obj.names\n",
            "obj.names": "cell\n",
            "train.txt": "obj_train_data/a.png\n",
            "obj_train_data/a.txt": "0 0.5 0.5 0.2 0.2\n",
        },
        ("obj_train_data/a.png",),
        ("cell",),
        [1],
    ),
    "a tab at the end of a line": (
        "csv",
        {"a.csv": f"{HEADER}a.png,1,2,11,14,cell\n", "classes.csv": "cell,0\t\nother,1\n"},
        ("a.png",),
        ("cell", "other"),
        [1],
    ),
    "a name with other separators": (
        "openimages",
        {
            "train-annotations-bbox.csv": f"{SHARES}a;b,/m/1,0.1,0.2,0.1,0.2,0\n",
            "train-images.csv": "ImageID\na;b\n",
            "class-descriptions-boxable.csv": "/m/1,a||b\n/m/2,c\n",
        },
        ("train/a;b.jpg",),
        ("a||b", "c"),
        [1],
    ),
    "a mark that is no number": (
        "openimages",
        {"annotations-bbox.csv": f"{SHARES}a,cell,0.1,0.2,0.1,0.2,1e999\n"},
        ("images/a.jpg",),
        ("cell",),
        [1],
    ),
    "a label without a name": (
        "cvat",
        {
            "annotations.xml": "<annotations><meta><task><labels><label><name>cell</name></label>"
            "<label><name/></label></labels></task></meta>"
            f'<image id="0" name="a.png" width="64" height="48">{BOX}</image></annotations>'
        },
        ("a.png",),
        ("cell",),
        [1],
    ),
    "a table of two columns whose names hold other separators": (
        "openimages",
        {
            "annotations-bbox.csv": f"{SHARES}a,x(;,0.1,0.2,0.1,0.2,0\n",
            "class-descriptions-boxable.csv": "x(;,x(;\n",
        },
        ("images/a.jpg",),
        ("x(;",),
        [1],
    ),
    "another machine's paths whose names hold signs of addresses": (
        "yolo",
        {
            "data.yaml": "train: train.txt\nnames: [cell]\n",
            "train.txt": "/data/set/images/50%25.png\n/data/set/images/i?j.png\n",
            "labels/50%25.txt": "0 0.5 0.5 0.2 0.2\n",
        },
        ("images/50%25.png", "images/i?j.png"),
        ("cell",),
        [1, 0],
    ),
    "kitti without any object": (
        "kitti",
        {"label_2/a.txt": "", "labels.txt": "cell\n"},
        ("image_2/a.png",),
        ("cell",),
        [0],
    ),
    "an address whose name has a question mark": (
        "label_studio",
        {
            "tasks.json": '[{"data": {"image": "/data/local-files/?d=set/i%3Fj.png"}, '
            '"annotations": [{"result": []}]}]'
        },
        ("images/i?j.png",),
        (),
        [0],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("named", [True, False])
def test_a_file_is_read_as_it_is_written(case: tuple, named: bool, tmp_path: Path) -> None:
    name, files, pictures, classes, counts = case
    folder = tmp_path / "set" / "data"
    for picture in pictures:
        place_picture(folder / picture, 64, 48)
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    split = ":train" if "train-images.csv" in files else ""
    with watching(folder) as outside:
        data = read(f"{folder}{split}", name if named else None)
    assert not outside
    assert data.classes == classes
    assert [len(record) for record in data] == counts
    assert [record.path for record in data] == [folder / picture for picture in pictures]
    expect_sound(data, folder)


def test_an_error_about_an_id_with_a_line_break_is_one_line(tmp_path: Path) -> None:
    place_picture(tmp_path / "a.png", 64, 48)
    text = (
        '{"images": [{"id": 1, "file_name": "a.png"}],'
        ' "categories": [{"id": "a\\nb", "name": "x"}],'
        ' "annotations": [{"image_id": 1, "category_id": 4, "bbox": [1, 2, 3, 4]}]}'
    )
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="category_id") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_an_error_of_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: images\x1a\nnames: [a]\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["voc", "labelme", "createml", "label_studio"])
def test_a_class_name_of_joined_signs_is_written(name: str, tmp_path: Path) -> None:
    record = Record(
        place_picture(tmp_path / "a.png", 64, 48), 64, 48,
        np.array([[1, 2, 11, 14]], np.float32), np.zeros(1, np.int64), np.zeros(1, np.bool_),
    )  # fmt: skip
    classes = ("👩\u200d🔬 \u00a0 x",)
    write(Dataset((record,), classes, tmp_path), tmp_path / "out", name)
    assert read(tmp_path / "out").classes == classes


def test_a_nested_beginning_of_json_is_an_error(tmp_path: Path) -> None:
    place_picture(tmp_path / "a.png", 64, 48)
    (tmp_path / "a.json").write_text('{"shapes": [],\n' + "[" * 5000, encoding="utf-8")
    with pytest.raises(DataError):
        read(tmp_path)
