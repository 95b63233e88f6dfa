"""VoTT: exports, projects with a file for each image, regions with several tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.data.formats import read
from foveal.errors import DataError

BOX = {"left": 1, "top": 2, "width": 10, "height": 12}


def asset(key: str = "8c2e", name: str = "a.png", **fields: Any) -> dict[str, Any]:
    return {
        "format": "png",
        "id": key,
        "name": name,
        "path": f"file:C:/pictures/{name}",
        "size": {"width": 64, "height": 48},
        "state": 2,
        "type": 1,
    } | fields


def region(*tags: str, **fields: Any) -> dict[str, Any]:
    return {"id": "x", "type": "RECTANGLE", "tags": list(tags), "boundingBox": BOX} | fields


TAGS = [{"name": "red", "color": "#5db300"}, {"name": "blue", "color": "#e81123"}]


def lay(file: Path, document: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return file


def export(*regions: Any, **fields: Any) -> dict[str, Any]:
    assets = {"8c2e": {"asset": asset(**fields), "regions": list(regions), "version": "2.1.0"}}
    return {"name": "cells", "tags": TAGS, "version": "2.1.0", "assets": assets}


def test_an_export(
    tmp_path: Path, picture: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    image = picture(tmp_path / "a.png")
    corners = [{"x": 5, "y": 5}, {"x": 9, "y": 6}, {"x": 7, "y": 20}]
    polygon = region("red", type="POLYGON", points=corners)
    del polygon["boundingBox"]
    document = export(region("blue", "red"), polygon)
    file = lay(tmp_path / "cells-export.json", document)
    for path in (file, tmp_path):
        data = read(path)
        assert data.classes == ("red", "blue")
        assert data.paths == [image]
        assert data.records[0].boxes.tolist() == [[1, 2, 11, 14], [5, 5, 9, 20]]
        assert data.records[0].labels.tolist() == [1, 0]
    assert "several tags the first is read (1 x" in caplog.text


@pytest.mark.parametrize("with_project", [True, False])
def test_a_project_and_its_files(
    with_project: bool,
    tmp_path: Path,
    picture: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = picture(tmp_path / "a.png")
    if with_project:
        project = {"name": "cells", "tags": TAGS, "sourceConnection": {}, "targetConnection": {}}
        project["assets"] = {"8c2e": asset(), "9d": asset("9d", "b.png", state=0)}
        lay(tmp_path / "cells.vott", project)
    lay(tmp_path / "8c2e-asset.json", {"asset": asset(), "regions": [region("red")]})
    data = read(tmp_path)
    assert data.paths == [image]
    assert data.classes == (("red", "blue") if with_project else ("red",))
    assert data.records[0].boxes.tolist() == [[1, 2, 11, 14]]
    assert ("nobody looked at are left out (1 x" in caplog.text) == with_project


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (export(region("red", boundingBox={"left": 1})), "asset 1, region 1: the region is"),
        (export("x"), "asset 1, region 1: the region is 'x'"),
        (export(type=3), "asset 1: it is a frame of a video"),
        (export(size={"width": "x"}), "asset 1: width is 'x'"),
        (export(name=7), "asset 1: '7' is not the name of an image"),
        (export(region()), "no class"),
        ({"assets": {"a": 3}, "tags": []}, "asset 1: the entry is 3"),
    ],
)
def test_a_broken_export_is_named(document: dict, words: str, tmp_path: Path) -> None:
    if words == "no class":
        document["assets"]["8c2e"]["regions"].append(region("red"))
    with pytest.raises(DataError, match=words):
        read(lay(tmp_path / "cells-export.json", document))
