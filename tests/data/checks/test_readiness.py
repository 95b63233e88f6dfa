"""All image files looked at before a long run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.checks import readiness
from foveal.data.checks.images import images_in_both
from foveal.data.checks.readiness import Readiness
from foveal.data.dataset import Dataset, Record
from foveal.errors import DataError, ImageError, MissingExtraError

MakeData = Callable[..., Dataset]


@pytest.fixture
def make_data(tmp_path: Path) -> MakeData:
    """A data set of picture files, each of another shade, without objects."""

    def make(*names: str, size: tuple[int, int] = (64, 48), shade: int = 0) -> Dataset:
        none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
        for number, name in enumerate(names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.new("RGB", (64, 48), (shade + number, 9, 9)).save(tmp_path / name)
        records = tuple(Record(tmp_path / name, *size, *none) for name in names)
        return Dataset(records, ("x",), tmp_path, "d")

    return make


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _spoil(path: Path) -> None:
    """Break a PNG in the middle, where only decoding sees it."""
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") + 8
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)


def test_all_broken_images_are_named_at_once_with_the_way_out(
    make_data: MakeData, tmp_path: Path
) -> None:
    data = make_data("a.jpg", "b.jpg", "c.png", "day/d.png")
    _cut(tmp_path / "a.jpg")
    _cut(tmp_path / "c.png")
    (tmp_path / "night").mkdir()
    (tmp_path / "b.jpg").rename(tmp_path / "night/b.jpg")
    with pytest.raises(ImageError) as error:
        Readiness().make_ready(data)
    message = str(error.value)
    assert "d: 3 of 4 images can't be read (1 missing)" in message
    assert "b.jpg: does not exist; did you mean night/b.jpg?" in message
    assert "c.png" in message
    assert "--set training.bad_images=skip" in message


def test_broken_images_are_left_out_with_one_warning(make_data: MakeData, tmp_path: Path) -> None:
    data = make_data("a.jpg", "b.jpg", "c.jpg")
    for name in ("a.jpg", "c.jpg"):
        _cut(tmp_path / name)
    said: list[str] = []
    ready = Readiness("skip", warn=said.append).make_ready(data)
    assert ready.paths == [tmp_path / "b.jpg"]
    (told,) = said
    assert "2 of 3 images can't be read" in told
    assert told.endswith("They are left out.")
    assert Readiness("keep").make_ready(data) is data


def test_without_any_sound_image_there_is_no_run(make_data: MakeData, tmp_path: Path) -> None:
    data = make_data("a.jpg")
    _cut(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="no image left"):
        Readiness("skip").make_ready(data)
    nothing = make_data()
    assert Readiness().make_ready(nothing) is nothing


def test_what_only_decoding_shows_is_found_where_it_is_asked_for(
    make_data: MakeData, tmp_path: Path
) -> None:
    data = make_data("a.png", "b.png")
    _spoil(tmp_path / "a.png")
    assert len(Readiness("skip").make_ready(data)) == 2
    assert Readiness("skip", decode=True).make_ready(data).paths == [tmp_path / "b.png"]


def test_sizes_are_compared_too(make_data: MakeData) -> None:
    with pytest.raises(DataError, match=r"2 of 2 images have another size.*--sizes scale"):
        Readiness("keep").make_ready(make_data("a.png", "b.png", size=(512, 512)))


def test_a_missing_package_is_said_once_and_never_skipped(
    make_data: MakeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data("a.png", "b.png")
    for path in data.paths:
        Image.new("F", (64, 48)).save(path, "TIFF", compression="tiff_lzw")
    monkeypatch.setattr(
        readiness,
        "read_headers",
        lambda paths, **_: [readiness.Header(0, 0, needs="pip install x")] * len(paths),
    )
    with pytest.raises(MissingExtraError, match=r"a\.png and 1 other image: pip install x"):
        Readiness("skip").make_ready(data)


def test_a_long_pass_says_how_far_it_is(
    make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_SECONDS", 0.0)
    said: list[str] = []
    Readiness(say=said.append).make_ready(make_data("a.png", "b.png"))
    assert said == ["Looking at the image files: 2 of 2.", "Looked at 2 image files."]


def test_images_in_both_are_found_by_path_and_by_content(
    make_data: MakeData, tmp_path: Path
) -> None:
    first = make_data("a.png", "b.png", "c.png")
    second = make_data("v/d.png", "v/e.png", shade=100)
    (tmp_path / "v/e.png").write_bytes((tmp_path / "b.png").read_bytes())
    second = Dataset((*second.records, first.records[2]), ("x",), tmp_path)
    assert images_in_both(first, second) == [
        f"{tmp_path}/v/e.png = {tmp_path}/b.png",
        f"{tmp_path}/c.png",
    ]
    assert images_in_both(first, make_data()) == []
