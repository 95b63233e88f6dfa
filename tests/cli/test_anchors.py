"""`foveal anchors` as people call it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import answer_in_json
from typer.testing import CliRunner, Result

from foveal.cli import app
from foveal.config import AnchorSettings, make_settings
from foveal.errors import FovealError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A COCO file of 30 objects of 14 to 20 px in images that need not be there."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(14, 20, (30, 2))
    corners = rng.uniform(0, 100, (30, 2))
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 128, "height": 128}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1 + i % 2, "bbox": [*corners[i], *sides[i]]}
            for i in range(30)
        ],
        "categories": [{"id": 1, "name": "$cell$"}, {"id": 2, "name": "DontCare"}],
    }
    file = tmp_path / "train.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    Image.new("RGB", (128, 128)).save(tmp_path / "a.png")
    return file


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["anchors", *map(str, arguments)])


def test_tables_settings_and_picture(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "anchors.toml"

    result = call(data, "--size", "native", "--out", out)

    assert result.exit_code == 0, result.output
    for word in ("$cell$", "default", "rule of thumb", "search", "on stride 8", "fitted to the"):
        assert word in result.output
    fitted = make_settings(file=out).anchors
    assert fitted != AnchorSettings()
    assert len(fitted.scales) * len(fitted.ratios) <= 9
    picture = ElementTree.parse(out.with_suffix(".svg")).getroot()
    assert picture.tag.endswith("svg")


def test_json_and_a_dry_run(data, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "anchors.toml"
    words = ("anchors", data, "--size", "native", "--out", out)
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert planned["writes"] == [str(out), str(out.with_suffix(".svg"))]
    assert not out.exists()
    fitted = answer_in_json(monkeypatch, capsys, *words)
    assert (fitted["fitted"], fitted["written"]) == (True, planned["writes"])
    assert tuple(fitted["scales"]) == make_settings(file=out).anchors.scales
    assert [each["name"] for each in fitted["by_class"]] == ["$cell$", "DontCare"]
    located = answer_in_json(monkeypatch, capsys, *words[:4])
    assert (located["fitted"], located["per_location"], located["written"]) == (False, 1, [])
    assert located["total"]["objects"] == 30


def test_a_picture_is_a_png_where_its_name_says_so(data: Path, tmp_path: Path) -> None:
    result = call(data, "--size", "64", "--picture", tmp_path / "anchors.png")

    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "anchors.png") as image:
        assert image.width > 800


def test_a_class_can_be_ignored(data: Path) -> None:
    result = call(data, "--ignore", "DontCare")

    assert "15 objects" in result.output
    assert "DontCare" not in result.output


def test_images_of_another_size_stop_unless_boxes_are_scaled(data: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert "1 of 1 image has another size" in str(call(data).exception)
    assert call(data, "--sizes", "scale").exit_code == 0
    (tmp_path / "a.png").unlink()  # anchors need no images
    assert call(data).exit_code == 0


def test_without_objects_the_default_is_said(data: Path, tmp_path: Path) -> None:
    document = json.loads(data.read_text(encoding="utf-8"))
    document["annotations"] = []
    data.write_text(json.dumps(document), encoding="utf-8")

    result = call(data, "--out", tmp_path / "anchors.toml")

    assert result.exit_code == 0, result.output
    assert "no objects" in result.output
    assert make_settings(file=tmp_path / "anchors.toml").anchors == AnchorSettings()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--size", "small", "expected pixels"),
        ("--picture", "anchors.gif", ".svg, .png"),
        ("--set", "anchors.sizes=[1]", "sizes has 1"),
        ("--ignore", "tree", "tree"),
    ],
)
def test_mistakes_are_explained(data: Path, option: str, value: str, said: str) -> None:
    result = call(data, f"{option}={value}")

    assert isinstance(result.exception, FovealError), result.output
    assert said in str(result.exception)


def test_settings_that_are_more_than_anchors_are_not_replaced(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[training]\nepochs = 3\n")
    result = call(data, "--out", own)
    assert isinstance(result.exception, FovealError), result.output
    assert "own.toml: holds more than anchors (training)" in str(result.exception)
    assert own.read_text() == "[training]\nepochs = 3\n"
    own.write_text("[anchors]\nscales = [1.0]\n")
    assert call(data, "--size", "native", "--out", own).exit_code == 0
    assert make_settings(file=own).anchors.scales != (1.0,)


def test_where_there_are_no_shapes_it_says_which_objects_get_locations(
    data: Path, tmp_path: Path
) -> None:
    given = [
        f"--set={each}"
        for each in ("assignment.method=fcos", "anchors.scales=[1]", "anchors.ratios=[1]")
    ]
    result = call(data, "--size", "native", *given)
    assert result.exit_code == 0, result.output
    for word in ("Locations per object", "$cell$", "on stride 128", "no shapes to fit"):
        assert word in result.output
    assert "nothing to be done: foveal train takes these anchors by itself" in result.output
    assert "search" not in result.output
    with pytest.raises(FovealError, match="nothing to write"):
        CliRunner().invoke(
            app, ["anchors", str(data), *given, f"--out={tmp_path / 'a.toml'}"],
            catch_exceptions=False, standalone_mode=False,
        )  # fmt: skip
