"""`foveal data show` as people call it."""

from __future__ import annotations

import pytest
from PIL import Image
from tests.cli.conftest import answer_in_json, foveal

from foveal.data.synthetic import draw_dataset

SMALL = ("--set", "preparation.shorter=64", "--set", "preparation.longer=64")


@pytest.fixture(scope="module")
def smears(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smears")
    draw_dataset(folder / "data", splits={"train": 5, "valid": 2}, size=64)
    return folder / "data" / "train.json"


@pytest.fixture
def show(monkeypatch, capsys, smears):
    def run(*arguments):
        code = foveal(monkeypatch, "data", "show", smears, *arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_page(show, tmp_path):
    out = tmp_path / "sheet.html"
    code, said, _ = show("--out", out, "--count", 2, "--class", "normal")
    assert code == 0
    assert "2 of 5 images that show normal, drawn by seed 0" in said
    assert said.rstrip().endswith("sheet.html")
    before = out.read_bytes()
    code, _, error = show("--out", out)
    assert code == 2
    assert "is there already. Replace it: --overwrite." in error
    assert out.read_bytes() == before
    assert show("--out", out, "--overwrite")[0] == 0
    assert out.read_bytes() != before


def test_batches_as_a_picture(show, smears, tmp_path):
    out = tmp_path / "sheet.png"
    code, said, _ = show("--out", out, "--as-trained", "--anchors", "--count", 3, *SMALL)
    assert code == 0
    assert "3 images as training would show them" in said
    assert "1 of 5 images is held out" in said
    with Image.open(out) as picture:
        assert picture.size[0] > 600
    valid = smears.parent / "valid.json"
    code, said, _ = show("--out", out, "--as-trained", "--valid", valid, "--overwrite", *SMALL)
    assert code == 0
    assert "An epoch has 5 images in 1 step" in said
    assert "held out" not in said


def test_json_and_dry_run(monkeypatch, capsys, smears, tmp_path):
    out = tmp_path / "sheet.png"
    command = ("data", "show", smears, "--out", out, "--count", 2)
    plan = answer_in_json(monkeypatch, capsys, *command, "--dry-run")
    assert plan["dry_run"]
    assert not out.exists()
    document = answer_in_json(monkeypatch, capsys, *command)
    assert (document["shown"], document["images"], document["left_out"]) == (2, 5, [])
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "a.pdf"), r"expected a name that ends in .html"),
        (("--out", "a.png", "--anchors"), "add --as-trained"),
        (("--out", "a.png", *SMALL), "--set says how training sees the images"),
        (("--out", "a.png", "--class", "x", "--as-trained"), "Give one of them"),
        (("--out", "a.png", "--class", "norml"), "Did you mean 'normal'"),
        (("--out", "a.png", "--as-trained", "--augment", "nowhere:none"), "nowhere"),
    ],
)
def test_what_cannot_be(show, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = show(*arguments)
    assert code == 2
    assert message in error
    assert list(tmp_path.iterdir()) == []
