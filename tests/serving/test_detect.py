"""`POST /v1/detect`: every way in and out, and what a bad image does to its neighbors."""

from __future__ import annotations

import base64
import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from tests.inference.scene_stand_ins import draw
from tests.serving.conftest import BOXES, LEVELS, encoded, write_text

JPEG = "image/jpeg"


def found(answer, number=0):
    """Boxes and names of an image of an answer, in one order."""
    assert answer.status_code == 200, answer.text
    image = answer.json()["images"][number]
    return sorted(zip(image["names"], map(tuple, image["boxes"]), strict=True))


EXPECTED = sorted(zip("aab", [tuple(map(float, box)) for box in BOXES.tolist()], strict=True))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_one_image_as_the_body(server, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    answer = server.ask("/v1/detect?name=c.png", encoded(kind=kind, **options))
    assert found(answer) == EXPECTED
    document = answer.json()
    image = document["images"][0]
    assert (image["name"], image["width"], image["height"]) == ("c.png", 96, 64)
    assert image["scores"] == [0.9, 0.9, 0.9]
    assert sorted(image["labels"]) == [0, 0, 1]
    assert document["model"]["name"] == "cells"
    assert document["model"]["classes"] == ["a", "b"]
    assert len(document["model"]["version"]) == 12
    assert document["milliseconds"] > 0
    assert set(image["milliseconds"]) == {"decode", "wait", "model"}


def test_images_as_a_form_keep_their_names_and_order(server):
    empty = encoded(np.zeros((64, 96, 3), np.uint8))
    answer = server.ask(
        "/v1/detect",
        files=[("a", ("x/one.png", encoded())), ("b", ("two.png", empty)), ("c", ("", encoded()))],
    )
    # A part without a name is no file: nothing is guessed.
    names = [image["name"] for image in answer.json()["images"]]
    assert names[:2] == ["one.png", "two.png"]
    assert found(answer) == EXPECTED
    assert found(answer, 1) == []


def test_images_in_json_with_names_or_without(server):
    text = base64.b64encode(encoded()).decode()
    answer = server.ask(
        "/v1/detect", json={"images": [text, {"data": text, "name": "../../etc/passwd"}]}
    )
    assert [image["name"] for image in answer.json()["images"]] == ["image 1", "passwd"]
    assert found(answer) == found(answer, 1) == EXPECTED


def test_the_answers_of_a_batch_are_those_of_each_image_alone(server):
    contents = [encoded(draw(96, 64, BOXES[n % 3 :], LEVELS[n % 3 :])) for n in range(9)]
    alone = [server.ask("/v1/detect", content) for content in contents]
    together = server.ask_all([("/v1/detect", content, {}) for content in contents])
    one = server.ask("/v1/detect", files=[("i", (f"{n}.png", c)) for n, c in enumerate(contents)])
    for number in range(9):
        assert found(alone[number]) == found(together[number]) == found(one, number)
    assert len(found(one, 1)) == 2


def test_one_bad_image_harms_only_itself(server):
    unlucky = np.full((64, 96, 3), 13, np.uint8)
    bad = {"text.png": b"no image", "cut.png": encoded()[:200], "empty.png": b"",
           "unlucky.png": encoded(unlucky)}  # fmt: skip
    files = [("i", (f"{n}.png", encoded())) for n in range(6)]
    files[3:3] = [("i", each) for each in bad.items()]
    answer = server.ask("/v1/detect", files=files)
    images = answer.json()["images"]
    assert [image["name"] for image in images if "problem" in image] == list(bad)
    statuses = [image["problem"]["status"] for image in images if "problem" in image]
    assert statuses == [415, 422, 422, 500]
    assert "text.png: is no image by its content" in images[3]["problem"]["detail"]
    assert all(found(answer, n) == EXPECTED for n in (0, 1, 2, 7, 8, 9))
    table = server.ask("/v1/detect?format=csv", files=files[:5])
    assert table.text.count("\n") == 1 + 3 * 3
    told = json.loads(table.headers["Foveal-Problems"])
    assert [each["name"] for each in told] == ["text.png", "cut.png"]


def test_options_choose_scores_numbers_and_classes(server):
    assert found(server.ask("/v1/detect?score_threshold=0.95", encoded())) == []
    assert len(found(server.ask("/v1/detect?classes=b", encoded()))) == 1
    assert found(server.ask("/v1/detect?classes=a,b", encoded())) == EXPECTED
    both = server.ask("/v1/detect?classes=a&classes=b", encoded())
    assert found(both) == EXPECTED


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("classes=c", 422, "no class 'c'"),
        ("score_threshold=2", 422, "score_threshold"),
        ("score_threshold=nan", 422, "score_threshold"),
        ("max_detections=0", 422, "max_detections"),
        ("format=xml", 422, "format"),
        ("model=ships", 404, "Expected one of: cells"),
    ],
)
def test_options_that_cant_be(server, query, status, said):
    answer = server.ask(f"/v1/detect?{query}", encoded())
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert answer.json()["status"] == status


def test_as_coco_csv_and_a_picture(server):
    files = [("i", ("one.png", encoded())), ("i", ("one.png", encoded()))]
    coco = server.ask("/v1/detect?format=coco", files=files).json()
    assert [image["file_name"] for image in coco["images"]] == ["one.png", "one (2).png"]
    assert len(coco["annotations"]) == 6
    assert [6, 4][0] == min(a["bbox"][1] for a in coco["annotations"])
    table = server.ask("/v1/detect?format=csv", files=files)
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["image"] for row in rows] == ["one.png"] * 3 + ["one (2).png"] * 3
    assert {row["label"] for row in rows} == {"a", "b"}
    picture = server.ask("/v1/detect?format=image", encoded())
    assert picture.headers["content-type"] == JPEG
    drawn = np.asarray(Image.open(io.BytesIO(picture.content)))
    assert drawn.shape == (512, 768, 3)
    assert drawn.std(axis=2).max() > 10  # boxes are in color
    two = server.ask("/v1/detect?format=image", files=files)
    assert (two.status_code, "2 images came" in two.text) == (422, True)


def test_nothing_found_is_an_answer_in_every_form(server):
    empty = encoded(np.zeros((64, 96, 3), np.uint8))
    assert found(server.ask("/v1/detect", empty)) == []
    assert server.ask("/v1/detect?format=coco", empty).json()["annotations"] == []
    assert server.ask("/v1/detect?format=csv", empty).text.count("\n") == 1
    assert server.ask("/v1/detect?format=image", empty).headers["content-type"] == JPEG


def geotiff(width: int, height: int, **options: object) -> bytes:
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32633"} | options
    transform = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
    repeat = (width // 96, height // 64)
    image = np.tile(draw(96, 64, BOXES, LEVELS), (repeat[1], repeat[0], 1))
    with rasterio.MemoryFile() as memory:
        with memory.open(width=width, height=height, transform=transform, **profile) as file:
            file.write(image.transpose(2, 0, 1))
        return bytes(memory.getbuffer())


def test_a_geotiff_has_its_place(server):
    answer = server.ask("/v1/detect", geotiff(96, 64))
    assert found(answer) == EXPECTED
    place = answer.json()["images"][0]["georeference"]
    assert place == {"crs": "EPSG:32633", "transform": [10, 0, 500000, 0, -10, 5000000]}
    world = server.ask("/v1/detect?format=geojson", geotiff(96, 64)).json()
    assert len(world["features"]) == 3
    longitude, latitude = world["features"][0]["geometry"]["coordinates"][0][0]
    assert (14.9 < longitude < 15.2, 45.1 < latitude < 45.2) == (True, True)
    lost = server.ask("/v1/detect?format=geojson", encoded())
    assert (lost.status_code, "no place on the map" in lost.text) == (422, True)


def test_a_large_image_goes_through_windows(serve, tmp_path):
    server = serve(write_text(tmp_path / "scenes.onnx", scale=1.0))
    answer = server.ask("/v1/detect?name=big.tif", geotiff(960, 640))
    image = answer.json()["images"][0]
    assert len(image["boxes"]) == 300
    assert image["georeference"]["crs"] == "EPSG:32633"
    assert any(
        note.startswith("big.tif: 960 x 640 pixels, looked at in") for note in image["notes"]
    )
    assert not any("/" in note for note in image["notes"])
    picture = server.ask("/v1/detect?format=image", geotiff(960, 640))
    assert picture.headers["content-type"] == JPEG
    assert "Foveal-Notes" in picture.headers


def test_deep_values_are_scaled_and_said(server):
    deep = draw(96, 64, BOXES, LEVELS)[:, :, 0].astype(np.uint16) * 257
    image = server.ask("/v1/detect", encoded(deep, "TIFF")).json()["images"][0]
    assert len(image["boxes"]) == 3
    assert "more than 8 bits" in image["notes"][0]
