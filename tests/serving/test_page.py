"""The page in a real browser: images go to the server once, the rest happens in the browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from PIL import Image

from foveal.serving.answers import make_answer
from foveal.serving.problems import MEDIA_TYPE, Problem
from foveal.serving.service import Found
from foveal.serving.watching import page_routes
from foveal.structures import Detections

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CLASSES = ("red cell", 'a "b", c')
PATIENCE = 30.0
VIEWPORT = {"width": 1200, "height": 800}
TOKEN = "a secret of the tests"
FOUND = Detections(
    np.array([[10, 10, 60, 50], [30, 20, 90, 70], [5, 40, 25, 75]], np.float32),
    [0.91, 0.52, 0.12],
    [0, 1, 0],
    classes=CLASSES,
    width=100,
    height=80,
    left_out_score=0.08,
)
NOTHING = Detections([], [], [], classes=CLASSES, width=100, height=80)


class Stand:
    """A server with the page that finds the same in every image, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.token = ""
        self.app = FastAPI()
        self.app.include_router(page_routes())
        predictor = SimpleNamespace(score_threshold=0.4)
        self.model: Any = SimpleNamespace(
            name="cells", version="7", classes=CLASSES, predictor=predictor
        )

        @self.app.get("/v1/models")
        async def models(request: Request) -> Response:
            if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
                return Response("{}", 401, media_type=MEDIA_TYPE)
            model = {"name": "cells", "version": "7", "score_threshold": 0.4}
            return Response(json.dumps({"models": [{**model, "classes": CLASSES}]}))

        @self.app.post("/v1/detect")
        async def detect(request: Request) -> Response:
            name = request.query_params["name"]
            self.asked.append(name)
            content = await request.body()
            if name == "busy.png" and self.asked.count(name) == 1:
                return Response("{}", 503, {"Retry-After": "0"}, media_type=MEDIA_TYPE)
            try:
                Image.open(io.BytesIO(content)).load()
            except OSError:
                document = json.dumps(Problem(415, f"{name}: is no image.").document())
                return Response(document, 415, media_type=MEDIA_TYPE)
            found = Found(name, 0, NOTHING if name == "empty.png" else FOUND)
            answer = make_answer("json", self.model, [found], [name], seconds=0.01)
            return Response(answer.content, answer.status, media_type=answer.media_type)


@pytest.fixture(scope="module")
def stand() -> Iterator[tuple[Stand, str]]:
    made = Stand()
    server = uvicorn.Server(uvicorn.Config(made.app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield made, f"http://localhost:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """One tab of a real browser, which all tests load the page into: a new one takes a second."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *camera]
        )
        yield browser.new_page(viewport=VIEWPORT, accept_downloads=True)
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("images")
    for name in ("a.png", "busy.png", "empty.png", "b, c.png"):
        Image.new("RGB", (100, 80), (90, 120, 150)).save(folder / name)
    Image.new("RGB", (100, 80)).save(folder / "scan.tif")
    (folder / "broken.png").write_bytes(b"no image")
    return {file.name: str(file) for file in folder.iterdir()}


@pytest.fixture
def page(tab: Any, stand: tuple[Stand, str]) -> Iterator[Any]:
    """The page, fresh; whatever the browser complains of, or asks others for, fails the test."""
    made, address = stand
    made.asked.clear()
    made.token = ""
    complaints: list[str] = []

    def listen_to_error(error: Any) -> None:
        complaints.append(str(error))

    def listen_to_request(request: Any) -> None:
        if not request.url.startswith((address, "blob:", "data:")):
            complaints.append(request.url)

    def listen_to_console(line: Any) -> None:
        # The browser itself notes every answer that is no success.
        if line.type in ("error", "warning") and "Failed to load resource" not in line.text:
            complaints.append(line.text)

    listeners = {
        "pageerror": listen_to_error,
        "request": listen_to_request,
        "console": listen_to_console,
    }
    for event, listen in listeners.items():
        tab.on(event, listen)
    tab.set_viewport_size(VIEWPORT)
    tab.emulate_media(color_scheme="light")
    tab.goto(address)
    yield tab
    for event, listen in listeners.items():
        tab.remove_listener(event, listen)
    assert complaints == []


def counts(page: Any) -> dict[str, list[str]]:
    """Each class with what is shown of this image and of all."""
    rows = page.locator("#classes tr").all()
    return {
        row.locator("th").inner_text().strip(): row.locator("td").all_inner_texts() for row in rows
    }


def choose(page: Any, files: dict[str, str], *names: str) -> None:
    page.set_input_files("#choose", [files[name] for name in names])
    until(page, "!/to go/.test(document.getElementById('status').textContent)")
    until(page, "document.querySelectorAll('#classes tr').length > 0")
    frame(page)


def until(page: Any, condition: str) -> None:
    """Wait for something in the page; its policy forbids Playwright's own way, which is `eval`."""
    ends = time.monotonic() + PATIENCE
    while not page.evaluate(condition):
        assert time.monotonic() < ends, condition
        page.wait_for_timeout(20)


def frame(page: Any) -> None:
    """Let the page draw."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")


def slide(page: Any, value: float) -> None:
    page.locator("#threshold").fill(str(value))
    frame(page)


def test_images_are_sent_once_and_the_slider_asks_nobody(
    page: Any, stand: tuple[Stand, str], files: dict[str, str]
) -> None:
    choose(page, files, "a.png", "busy.png", "empty.png", "broken.png")
    assert sorted(stand[0].asked) == ["a.png", "broken.png", "busy.png", "busy.png", "empty.png"]
    assert page.locator("#threshold-value").inner_text() == "0.40", "the model's own"
    assert counts(page) == {"red cell": ["1", "2"], CLASSES[1]: ["1", "2"]}
    assert page.locator("#sum-all").inner_text() == "4"
    slide(page, 0.1)
    assert counts(page)["red cell"] == ["2", "4"]
    assert not page.locator("#capped").is_visible()
    slide(page, 0.05)
    assert page.locator("#capped").is_visible(), "what the limit left out may be above the score"
    slide(page, 0.95)
    assert counts(page)["red cell"] == ["0", "0"]
    assert "No object" in page.locator("#status").inner_text()
    assert len(stand[0].asked) == 5
    # What is in the pictures: a box's line in its class's color, and none above the threshold.
    assert blue(page) == 0
    slide(page, 0.4)
    assert blue(page) > 50
    assert "1 of 4 images failed" in page.locator("#status").inner_text()
    page.locator("#strip button").nth(3).click()
    frame(page)
    assert "broken.png: is no image." in page.locator("#status").inner_text()
    assert not page.locator("#canvas").is_visible()


def blue(page: Any) -> int:
    """Pixels of the canvas in the first class's color."""
    encoded = page.evaluate("document.getElementById('canvas').toDataURL()").partition(",")[2]
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    return int((np.asarray(picture) == (86, 180, 233)).all(axis=2).sum())


def test_classes_can_be_left_out_and_files_hold_what_is_shown(
    page: Any, files: dict[str, str], tmp_path: Path
) -> None:
    choose(page, files, "b, c.png", "empty.png")
    content = download(page, "#download-csv", tmp_path)
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [(row["image"], row["label"], row["score"]) for row in rows] == [
        ("b, c.png", "red cell", "0.91"),
        ("b, c.png", CLASSES[1], "0.52"),
    ]
    assert rows[0]["xmin"] == "10.00"
    assert rows[0]["capped"] == "false"
    page.locator("#classes input").nth(1).uncheck()
    frame(page)
    assert page.locator("#sum-here").inner_text() == "1"
    document = json.loads(download(page, "#download-coco", tmp_path))
    assert [image["file_name"] for image in document["images"]] == ["b, c.png", "empty.png"]
    (one,) = document["annotations"]
    assert (one["bbox"], one["score"], one["image_id"]) == ([10, 10, 50, 40], 0.91, 1)
    assert document["categories"][one["category_id"] - 1]["name"] == "red cell"
    picture = Image.open(io.BytesIO(download(page, "#download-picture", tmp_path)))
    assert picture.size == (100, 80)
    assert np.asarray(picture.convert("RGB"))[30, 9].tolist() == [86, 180, 233]


def download(page: Any, button: str, folder: Path) -> bytes:
    with page.expect_download() as coming:
        page.locator(button).click()
    coming.value.save_as(folder / "file")
    return (folder / "file").read_bytes()


def test_files_can_be_read_by_foveal(page: Any, files: dict[str, str], tmp_path: Path) -> None:
    from foveal.data.opening import open_data

    choose(page, files, "a.png")
    content = download(page, "#download-coco", tmp_path)
    (tmp_path / "detections.json").write_bytes(content)
    shutil.copy(files["a.png"], tmp_path / "a.png")
    data = open_data(str(tmp_path / "detections.json"))
    assert data.classes == CLASSES
    assert data[0].target.boxes.tolist() == FOUND.boxes[:2].tolist()


def test_keys_do_it_too(page: Any, files: dict[str, str]) -> None:
    choose(page, files, "a.png", "empty.png")
    page.keyboard.press("ArrowRight")
    frame(page)
    assert page.locator("#caption").inner_text() == "empty.png (2 of 2)"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("-")
    page.keyboard.press("-")
    page.keyboard.press("+")
    page.keyboard.press("l")
    frame(page)
    assert page.locator("#threshold-value").inner_text() == "0.39"
    assert not page.locator("#labels").is_checked()
    # Everything is reached by Tab, the canvas included.
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.title"))
    assert {"canvas", "next", "threshold", "download-csv", "clear", "empty.png"} <= reached


def test_drop_tiff_and_remove_all(
    page: Any, files: dict[str, str], stand: tuple[Stand, str]
) -> None:
    content = list(Path(files["scan.tif"]).read_bytes())
    page.evaluate(
        """(content) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(content)], "scan.tif"));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        content,
    )
    until(page, "document.querySelectorAll('#classes tr').length > 0")
    frame(page)
    assert stand[0].asked == ["scan.tif"]
    assert "can't show this kind of image" in page.locator("#status").inner_text()
    assert blue(page) > 50
    page.locator("#clear").click()
    assert page.locator("#drop").is_visible()
    assert not page.locator("#panel").is_visible()


def test_the_camera(page: Any, stand: tuple[Stand, str]) -> None:
    page.locator("#camera-button").click()
    until(page, "document.getElementById('video').videoWidth > 0")
    page.locator("#shoot").click()
    until(page, "document.querySelectorAll('#classes tr').length > 0")
    assert stand[0].asked == ["camera 1.jpg"]
    assert not page.locator("#camera").is_visible()
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_a_token_is_asked_for(page: Any, stand: tuple[Stand, str]) -> None:
    stand[0].token = TOKEN
    page.reload()
    until(page, "!document.getElementById('token-form').hidden")
    page.locator("#token").fill(TOKEN)
    page.locator("#token-form button").click()
    until(page, "/cells/.test(document.getElementById('about').textContent)")
    assert not page.locator("#token-form").is_visible()
    page.evaluate("sessionStorage.clear()")


@pytest.mark.parametrize("width", [360, 1200])
def test_phones_and_the_dark(page: Any, files: dict[str, str], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark")
    choose(page, files, "a.png", "empty.png", "b, c.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) < 60
    heights = page.evaluate(
        "[...document.querySelectorAll('button')].filter((b) => b.offsetParent)"
        ".map((b) => b.offsetHeight)"
    )
    assert min(heights) >= 40, "fingers need room"
