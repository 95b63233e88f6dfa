"""The reference says what the program says."""

from __future__ import annotations

import importlib.util
import json
import re
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from tests.docs.pages import DOCS, Page, read_page
from tests.docs.reader import Reader
from tests.docs.test_pages import anchors

from foveal.config import Settings
from foveal.data import formats
from foveal.data.dataset import Dataset, Record
from foveal.data.format_names import FORMATS

REFERENCE = DOCS / "reference"
NUMBERS = ("a number", "a whole number", "each is a number", "each is a whole number")


def load_make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", REFERENCE / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load_make()


def test_the_pages_are_those_that_the_program_makes() -> None:
    """`python docs/reference/make.py` makes them."""
    stale = [
        name
        for name, text in MAKE.make_pages().items()
        if (REFERENCE / name).read_text(encoding="utf-8") != f"{text.rstrip()}\n"
    ]
    assert stale == [], "type: python docs/reference/make.py"


def test_every_number_has_its_unit() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    settings = page.split("\n### ")[1:]
    assert len(settings) == sum(
        len(field.annotation.model_fields) for field in Settings.model_fields.values()
    )
    lacking = [
        each.partition("\n")[0]
        for each in settings
        if "- Unit: " not in each and any(f"Value: {number}" in each for number in NUMBERS)
    ]
    assert lacking == []


def test_every_field_is_described() -> None:
    page = (REFERENCE / "json.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.endswith("|  |")] == []


@pytest.mark.parametrize("text", ["What it is.", "What it is. Change it.", "A.\n\nUnit: pixels."])
def test_a_setting_says_when_to_change_it(text) -> None:
    with pytest.raises(ValueError, match="no 'Change it"):
        MAKE.parse_setting(text)


def test_a_setting_in_parts() -> None:
    text = "What\nit is.\n\nUnit: pixels of\nthe input. Change it where\nneeded."
    parts = ("What it is.", "pixels of the input", "Change it where needed.")
    assert MAKE.parse_setting(text) == parts


def table(page: Page, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head."""
    part = page.prose.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[2:]]


KEPT = {
    name: (regions, areas, set(re.findall(r"`(\w+)`", columns)), columns)
    for link, regions, areas, columns in table(
        read_page(REFERENCE / "formats.md"), "What is kept on writing"
    )
    for name in re.findall(r"\[(\w+)\]", link)
}
COLUMNS = {"truncated": (True, False), "occluded": (1, 0), "score": (0.5, 0.25)}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Dataset:
    """An image with an object and a region to ignore, and one without objects."""
    folder = tmp_path_factory.mktemp("kept")
    for name in ("full.png", "empty.png"):
        Image.new("RGB", (50, 40)).save(folder / name)
    outline = [[1.25, 2, 11, 2, 11, 12]]
    boxes = np.array([[1.25, 2, 11, 12], [20, 20, 30.5, 31]], np.float32)
    full = Record(
        folder / "full.png",
        *(50, 40, boxes),
        labels=np.array([1, 0]),
        ignored=np.array([False, True]),
        areas=np.array([50.0, 30.0]),
        flags={"segmentation": (outline, None), **COLUMNS},
    )
    none = np.zeros(0, np.int64)
    empty = Record(folder / "empty.png", 50, 40, boxes[:0], none, none.astype(bool))
    return Dataset((full, empty), ("zebra", "ant"), folder)


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_keeps(name, data, tmp_path) -> None:
    if name == "geo":
        pytest.importorskip("pyogrio")
    assert name in anchors(REFERENCE / "formats.md")
    formats.write(data, tmp_path / name, name)
    back = formats.read(tmp_path / name, name)
    assert (back.classes, len(back)) == (data.classes, 2)
    (full,) = (record for record in back if len(record))
    np.testing.assert_array_equal(full.boxes, data.records[0].boxes[: len(full)])
    regions, areas, columns, words = KEPT[name]
    seen = {1: "left out", 2: "kept" if full.labels[-1] == 0 else "without their class"}
    assert regions == seen[len(full)]
    assert areas == ("lost" if full.areas is None else "kept")
    held = {*full.flags, *(key for each in full.flags.get("attributes", ()) for key in each or ())}
    held &= {*COLUMNS, "segmentation"}
    assert held == ({*COLUMNS, "segmentation"} if words == "all" else columns)


def test_no_other_format_is_named() -> None:
    assert tuple(KEPT) == FORMATS


def test_the_files_of_a_run_and_its_model_are_named(foveal, tmp_path, monkeypatch) -> None:
    Reader(foveal, tmp_path, monkeypatch)
    text = (REFERENCE / "files.md").read_text(encoding="utf-8")
    files = [path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*")]
    names = [path.as_posix() for path in files if path.suffix]
    assert len(names) > 6
    with safe_open(tmp_path / "run" / "best.safetensors", "numpy") as model:
        document = json.loads(model.metadata()["foveal"])
        names += {f"{tensor.partition('.')[0]}." for tensor in model.keys() if "." in tensor}  # noqa: SIM118
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    log = {key for line in map(json.loads, lines) for key in line if key != "validation"}
    losses = {"classification", "box", "loss"}
    assert [name for name in names if f"`{name}`" not in text] == []
    for key in {*document, *document["card"], *log} - losses:
        assert f"`{key}`" in text, key
