"""Make the pictures of the documentation from foveal's own output on drawn data.

    python docs/pictures/make.py WORK

What lies in WORK already is taken: so a second call with the same folder makes the pictures anew
without training. On two CPU cores the two trainings take some minutes. The first needs no network,
the second takes ImageNet weights, fetched or of --weights FILE, and the extra foveal[geo].

Screens are taken by playwright with the machine's Chromium.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LARGEST = 150 * 1024
"""Of a picture, bytes."""
ACROSS, DOWN, GAP = 3, 2, 8
"""Images of the sheet of smears, and pixels between them."""
PORTS = ("train/busan", "train/durban", "train/kobe", "valid/klang")
"""The drawn scenes; their numbers are their seeds."""
SIDE, NEW_SIDE, NEW_SEED = 1024, 1600, 9
"""Of these scenes, and of the one that they are not trained on, pixels."""
UNSEEN = 60
"""Columns at the left of each scene that the satellite did not see."""
MAP = "EPSG:32631"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("work", type=Path, help="a folder for data, runs and results")
    parser.add_argument("--weights", default="pretrained", help="of the network for scenes")
    parser.add_argument("--only", nargs="+", choices=[*MADE], default=[*MADE])
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    if {*options.only} - {"density"}:
        prepare_cells(work)
    if "density" in options.only:
        prepare_ships(work, options.weights)
    for name in options.only:
        MADE[name](work)


# What the pictures show ----------------------------------------------------------------------


def foveal(work: Path, *words: str, makes: str) -> None:
    """Run a command in the folder, unless what it makes is there."""
    if not (work / makes).exists():
        subprocess.run([sys.executable, "-m", "foveal", *words], cwd=work, check=True)


def prepare_cells(work: Path) -> None:
    """Drawn smears, a run, its measurement, and what it detects."""
    foveal(work, "demo", "--draw-only", "--out", "cells", makes="cells")
    settings = ["--config", "cells/settings.toml"]
    training = ["train", "cells:train", "--valid", "cells:val", *settings, "--out", "run"]
    foveal(work, *training, makes="run")
    foveal(work, "evaluate", "run", "cells:test", "--out", "measured", makes="measured")
    images = [str(path) for path in sorted((work / "cells" / "images").glob("test_*.jpg"))]
    foveal(work, "predict", "run", *images, "--out", "detected", makes="detected")
    foveal(work, "data", "show", "cells:train", "--out", "sheet.html", makes="sheet.html")


def prepare_ships(work: Path, weights: str) -> None:
    """Drawn scenes with their labels, a run, and what it detects in a new scene."""
    for number, place in enumerate(PORTS, start=1):
        draw_port(work / "ports" / f"{place}.tif", seed=number, side=SIDE, labeled=True)
    draw_port(work / "scene.tif", seed=NEW_SEED, side=NEW_SIDE)
    settings = [
        "preparation.shorter=256", "training.epochs=12", "training.export=false",
        f"model.weights={weights}",
    ]  # fmt: skip
    words = [word for setting in settings for word in ("--set", setting)]
    out = ["--valid", "ports/valid", "--preset", "scenes", "--out", "ships"]
    foveal(work, "train", "ports/train", *out, *words, makes="ships")
    foveal(work, "predict", "ships", "scene.tif", "--out", "harbor", makes="harbor")


def draw_port(path: Path, *, seed: int, side: int, labeled: bool = False) -> None:
    """A scene of four bands of 16 bits with ships on water, and their rectangles beside it."""
    if path.exists():
        return
    import pyogrio
    import rasterio
    import shapely

    sys.path.insert(0, str(ROOT))
    from benchmarks.lib.drawn_scenes import draw_objects, draw_part

    drawn = draw_objects(side, seed=seed)
    color = draw_part(drawn, 0, 0, width=side, height=side, seed=seed).astype(np.uint16)
    infrared = np.clip((color.max(-1).astype(int) - 60) * 14, 0, None) + 1000
    bands = np.concatenate([color * 12 + 1000, infrared[..., None]], axis=-1).astype(np.uint16)
    bands[:, :UNSEEN] = 0
    place = rasterio.Affine(10, 0, 500_000 + 20_000 * seed, 0, -10, 5_700_000)
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {"driver": "GTiff", "width": side, "height": side, "count": 4, "dtype": "uint16"}
    with rasterio.open(path, "w", crs=MAP, transform=place, nodata=0, **form) as file:
        file.write(bands.transpose(2, 0, 1))
    if labeled:
        seen = [box for box in drawn.boxes.tolist() if box[0] >= UNSEEN]
        corners = [(place @ (x1, y2), place @ (x2, y1)) for x1, y1, x2, y2 in seen]
        shapes = [shapely.to_wkb(shapely.box(*low, *high)) for low, high in corners]
        pyogrio.raw.write(
            path.with_suffix(".gpkg"),
            np.array(shapes, object),
            [np.array(["ship"] * len(shapes), object)],
            ["class"],
            geometry_type="Polygon",
            crs=MAP,
            layer=path.stem,
        )


# The pictures --------------------------------------------------------------------------------


def make_smears(work: Path) -> None:
    """Six smears of the test with what was detected in them, the fullest first."""
    drawn = sorted((work / "detected" / "pictures").iterdir())
    test = json.loads((work / "cells" / "test.json").read_text(encoding="utf-8"))
    objects = dict.fromkeys((image["id"] for image in test["images"]), 0)
    for box in test["annotations"]:
        objects[box["image_id"]] += 1
    names = {image["id"]: image["file_name"] for image in test["images"]}
    fullest = sorted(objects, key=lambda image: -objects[image])[: ACROSS * DOWN]
    chosen = [Path(names[image]).name for image in fullest]
    tiles = [Image.open(path).convert("RGB") for path in drawn if path.name in chosen]
    width, height = tiles[0].size
    size = (ACROSS * (width + GAP) - GAP, DOWN * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    for number, tile in enumerate(tiles):
        down, across = divmod(number, ACROSS)
        sheet.paste(tile, (across * (width + GAP), down * (height + GAP)))
    save(sheet, "demo.jpg")


def make_sheet(work: Path) -> None:
    """The top of the page that `foveal data show` writes."""
    with browser(1000, 780) as page:
        page.goto((work / "sheet.html").as_uri())
        take(page, "sheet.jpg")


def make_report(work: Path) -> None:
    """The top of the report of a measurement."""
    with browser(1000, 860) as page:
        page.goto((work / "measured" / "report.html").as_uri())
        take(page, "report.png")


def make_density(work: Path) -> None:
    """Where the objects of a scene are dense, as the report of its prediction shows it."""
    with browser(1000, 900) as page:
        page.goto((work / "harbor" / "report.html").as_uri())
        part = page.locator("section", has=page.locator("h2", has_text="Density"))
        take(part, "density.png")


def make_server(work: Path) -> None:
    """The page of `foveal serve`, with three images."""
    command = [sys.executable, "-m", "foveal", "serve", "run", "--port", "0", "--json"]
    server = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, text=True)
    try:
        said = ""
        assert server.stdout is not None
        for line in server.stdout:
            said += line
            if line.startswith("}"):
                break
        address = json.loads(said)["url"]
        images = sorted((work / "cells" / "images").glob("test_*.jpg"))[1:6:2]
        with browser(1000, 700) as page:
            page.goto(address)
            page.locator("input[type=file]").first.set_input_files(images)
            page.wait_for_timeout(5000)
            take(page, "server.jpg")
    finally:
        server.terminate()
        server.wait()


@contextmanager
def browser(width: int, height: int) -> Iterator[Page]:
    """An empty page of Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            size = {"width": width, "height": height}
            yield opened.new_context(viewport=size, color_scheme="light").new_page()
        finally:
            opened.close()


def take(shown: Page | Locator, name: str) -> None:
    """Save what a page shows, or a part of it."""
    time.sleep(1)  # until its pictures are there
    with Image.open(io.BytesIO(shown.screenshot())) as screen:
        save(screen.convert("RGB"), name)


def save(picture: Image.Image, name: str) -> None:
    """Save a picture so that it is small: PNG of few colors, or JPEG."""
    path = HERE / name
    if path.suffix == ".png":
        picture.quantize(128).save(path, optimize=True)
    else:
        for quality in (85, 75, 65, 55):
            picture.save(path, quality=quality, optimize=True, progressive=True)
            if path.stat().st_size <= LARGEST:
                break
    size = path.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{path}: {size:,} bytes, more than {LARGEST:,}.")
    print(f"{path}: {picture.width} x {picture.height}, {math.ceil(size / 1024)} KiB")


MADE = {
    "smears": make_smears,
    "sheet": make_sheet,
    "report": make_report,
    "density": make_density,
    "server": make_server,
}
"""Which pictures there are, and what makes each."""

if __name__ == "__main__":
    main()
