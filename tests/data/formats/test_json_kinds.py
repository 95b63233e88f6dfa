"""What JSON holds: known by its structure, in any order and size, and called by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foveal.data.formats import read
from foveal.data.formats.detect import find_format
from foveal.data.formats.json_kinds import json_kind
from foveal.errors import DataError

ENTRY = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
IMAGE = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}

READ: dict[str, Any] = {
    "coco": {
        "info": {},
        "images": [IMAGE],
        "annotations": [ENTRY],
        "categories": [{"id": 1, "name": "x"}],
    },
    "labelme": {"version": "5", "shapes": [], "imagePath": "a.png", "imageData": None},
    "label_studio": [{"id": 1, "data": {"image": "a.png"}, "annotations": []}],
    "via": {"a.png1": {"filename": "a.png", "size": 1, "regions": []}},
    "vott": {"name": "x", "tags": [], "assets": {}},
    "supervisely": {"size": {"height": 1, "width": 1}, "objects": [], "tags": []},
    "createml": [{"image": "a.png", "annotations": []}],
    "datumaro": {"info": {}, "categories": {"label": {}}, "items": []},
    "geo": {"type": "FeatureCollection", "features": []},
}

UNREAD: dict[str, Any] = {
    "panoptic": {"images": [IMAGE], "annotations": [{"segments_info": []}], "categories": []},
    "captions": {"images": [IMAGE], "annotations": [{"image_id": 1, "caption": "x"}]},
    "results for keypoints": [{"image_id": 1, "category_id": 1, "keypoints": [], "score": 1}],
    "results that a detector wrote": [{**ENTRY, "score": 0.5}],
    "Labelbox": [{"data_row": {"id": "x"}, "projects": {}}],
    "BDD100K": [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {}}]}],
    "Scale AI": [{"task_id": "x", "response": {"annotations": []}}],
    "Darwin": {"version": "2.0", "item": {"name": "a.png"}, "annotations": []},
    "SageMaker": [{"source-ref": "s3://b/a.png", "boxes": {"annotations": []}}],
    "Hasty": {"project_name": "x", "images": [], "label_classes": []},
    "Azure": [{"image_url": "AmlDatastore://a.png", "label": []}],
    "FiftyOne": {"samples": [{"filepath": "a.png"}]},
    "SuperAnnotate": {"metadata": {"name": "a.png"}, "instances": []},
    "Cityscapes": {"imgHeight": 1, "imgWidth": 1, "objects": []},
    "VIA 3": {"project": {}, "config": {}, "metadata": {}, "file": {}, "view": {}},
    "VoTT 1": {"frames": {}, "inputTags": "a,b"},
    "Detectron2": [{"file_name": "a.png", "annotations": []}],
    "MMDetection": [{"filename": "a.png", "ann": {"bboxes": []}}],
    "CrowdHuman": [{"ID": "a", "gtboxes": []}],
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", READ)
def test_formats_are_known(name: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(json.dumps(READ[name], indent=1).encode(encoding))
    assert find_format(file) == name
    assert find_format(tmp_path) == name


@pytest.mark.parametrize("name", READ)
def test_formats_are_known_by_the_beginning_of_a_large_file(name: str, tmp_path: Path) -> None:
    value = READ[name]
    large = "x" * 2**21
    if isinstance(value, list):
        value = [{**value[0], "more": large}]
    elif name == "via":
        value = {**value, "b.png1": {"filename": "b.png", "regions": [], "more": large}}
    elif name == "coco":
        value = {**value, "images": [IMAGE] * 40000}
    else:
        value = {**value, "more": large}
    file = tmp_path / "x.json"
    file.write_text(json.dumps(value))
    assert find_format(file) == name


@pytest.mark.parametrize("field", ["images", "annotations"])
def test_coco_is_known_whichever_list_comes_first(field: str, tmp_path: Path) -> None:
    long = {"images": [IMAGE] * 30000, "annotations": [ENTRY] * 30000}
    value = {field: long[field], **READ["coco"]} | {field: long[field]}
    file = tmp_path / "x.json"
    file.write_text(json.dumps(value))
    assert file.stat().st_size > 2**20
    assert find_format(file) == "coco"


@pytest.mark.parametrize(
    ("name", "lines"),
    [(name, False) for name in UNREAD]
    + [(n, True) for n, v in UNREAD.items() if isinstance(v, list)],
)
def test_what_is_not_read_is_called_by_its_name(name: str, lines: bool, tmp_path: Path) -> None:
    value = UNREAD[name]
    file = tmp_path / ("x.jsonl" if lines else "x.json")
    file.write_text("\n".join(json.dumps(v) for v in value * 2) if lines else json.dumps(value))
    for path in (file, tmp_path):
        with pytest.raises(DataError, match=r"which is not read\. [A-Z]") as caught:
            read(path)
        assert name in str(caught.value)
        assert "x.json" in str(caught.value)
    if not lines:
        with pytest.raises(DataError, match=name):
            read(file, "coco")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "it is an empty object"),
        ("[]", "it is an empty list"),
        ("[1, 2]", "it is a list of '1'"),
        ('{"name": "x", "version": 2}', "it has the keys 'name', 'version'"),
        ('{"categories": [{"id": 0, "name": "red"}], "info": {}}', "keys 'categories', 'info'"),
    ],
)
def test_json_without_annotations_is_never_taken_for_coco(
    text: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "notes.json"
    file.write_text(text)
    with pytest.raises(DataError, match="no annotations in it") as caught:
        read(file)
    assert words in str(caught.value)
    with pytest.raises(DataError, match="no annotations recognized"):
        read(tmp_path)


def test_another_format_is_named(tmp_path: Path) -> None:
    for name, value in READ.items():
        file = tmp_path / "x.json"
        file.write_text(json.dumps(value))
        other = "createml" if name != "createml" else "datumaro"
        with pytest.raises(DataError, match=f"it is {name}.*--format {name}"):
            read(file, other)


def test_strangers_beside_annotations_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(READ["coco"]))
    for number, value in enumerate(UNREAD.values()):
        (tmp_path / f"{number}.json").write_text(json.dumps(value))
    (tmp_path / "notes.json").write_text('{"categories": [], "info": {}}')
    assert find_format(tmp_path) == "coco"
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize("text", ["", "{", "[", '{"images": [', "{\0}", "[" * 99999, "[9" * 400])
def test_broken_beginnings_are_no_json(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    try:
        kind = json_kind(file)
    except ValueError:
        return
    assert kind is None or kind.format == "coco"
