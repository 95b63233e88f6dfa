"""Addresses of images: the names that they may mean, none of which leads out of the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.data.formats import read
from foveal.data.formats.image_urls import names_in

MEANT = {
    "http://images.example.org/train2017/000000001.jpg": "000000001.jpg",
    "http://images.example.org/a%20b/c%C3%BC.jpg#top": "a b/cü.jpg",
    "https://bucket.example.org/x/plate.png?X-Sign=1&Expires=2": "x/plate.png",
    "s3://bucket/night/plate.png": "night/plate.png",
    "gs://bucket/plate.png": "plate.png",
    "AmlDatastore://folder/plate.png": "folder/plate.png",
    "file:///C:/pictures/plate.png": "plate.png",
    "file:C:/pictures/plate%203.png": "plate 3.png",
    "/data/local-files/?d=images/plate%203.jpg": "images/plate 3.jpg",
    "/data/local-files/?d=images%5Cplate.jpg": "images/plate.jpg",
    "http://localhost:8080/data/local-files/?d=plate.jpg": "plate.jpg",
    "/data/upload/1/3f2a1b9c-plate_3.jpg": "plate_3.jpg",
    "http://host/api/image?filename=plate.jpg": "plate.jpg",
    "/tasks/4/resolve/?fileuri=czM6Ly9iL2sveC5qcGc=": "k/x.jpg",
    "images/plate%203.jpg": "images/plate 3.jpg",
}


@pytest.mark.parametrize("address", MEANT)
def test_an_image_is_found_by_its_address(
    address: str, tmp_path: Path, picture: Callable[..., Path]
) -> None:
    image = picture(tmp_path / MEANT[address])
    document = {
        "images": [{"id": 1, "file_name": address, "width": 64, "height": 48}],
        "categories": [],
        "annotations": [],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert read(tmp_path / "a.json").paths == [image]


def test_a_file_that_is_called_as_it_is_written_comes_first(
    tmp_path: Path, picture: Callable[..., Path]
) -> None:
    image = picture(tmp_path / "a%20b.png")
    picture(tmp_path / "a b.png")
    (tmp_path / "a.csv").write_text("a%20b.png,1,2,11,14,cell\n")
    assert read(tmp_path / "a.csv").paths == [image]


def test_a_missing_image_is_expected_under_the_name_in_the_address(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("/data/local-files/?d=x/a%20b.png,1,2,11,14,cell\n")
    (path,) = read(tmp_path / "a.csv").paths
    assert path.parts[-2:] == ("x", "a b.png")


@given(st.text("a/\\.:%02eEfF?&=dhtp#C~ ", max_size=40))
def test_no_name_in_an_address_is_absolute_or_climbs(address: str) -> None:
    first, *names = names_in(address)
    assert first == address
    for name in names:
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert not set("\\\0") & set(name)
        assert name
