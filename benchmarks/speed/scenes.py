"""Scenes from 5,000 to 30,000 pixels a side: time, memory, the network's share, what is found.

    python -m benchmarks.speed.scenes --work /tmp/scenes
    python -m benchmarks.speed.scenes --work /tmp/scenes --kills 10
    python -m benchmarks.speed.scenes --work /tmp/scenes --sides 10000 --ways

Boats are drawn at known places on textured water (`lib/drawn_scenes.py`); the preset `light` is
trained on 240 windows of another such scene, unless --work holds that model already. Each scene is
looked at in a process of its own: how far its memory rises above the loaded libraries and the
model, how its time grows with the pixels, which part of it the network takes, and whether each boat
is found exactly once. With --kills the command predicts the last scene, killed at random moments
and resumed, and its files are compared to those of an undisturbed run, byte by byte. With --ways
nothing else is measured: the command predicts each scene in PyTorch and in OpenVINO, in one process
and two, and in two actors of a local Ray, one after the other, and again.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import foveal
from benchmarks.lib.drawn_scenes import draw_objects, draw_part, write_scene
from benchmarks.lib.memory import peak_megabytes
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import MOBILENET
from foveal.config import make_settings
from foveal.data.dataset import Dataset, Record
from foveal.data.images.encoding import write_image
from foveal.geometry.arrays import iou
from foveal.inference.opening import open_model

WINDOW = 416
"""The shorter side of `light`: its training images are seen as they are."""
TRAINING, VALIDATION = 240, 24
"""Windows of a scene to learn from, and to choose the score threshold on."""
_TRAINING_SEED = 1
_KNOWN = 0.5
"""A cut boat with less of its area in a window is a region to ignore."""
_FOUND = 0.5
"""IoU from which a box finds a boat."""
_CHUNK = 500
_START = 6.0
"""Seconds until a process has loaded what it needs."""


def train(work: Path, *, epochs: int, weights: str) -> Path:
    """The preset `light`, trained on windows of a drawn scene, unless the model is there."""
    model = work / "run" / "best.safetensors"
    if not (work / "run" / "report.html").exists():
        data = draw_windows(work / "windows", TRAINING + VALIDATION)
        settings = make_settings(
            preset="light",
            overrides=[
                f"model.weights={weights}",
                f"training.epochs={epochs}",
                f"training.evaluate_every={epochs}",
                "augmentation.flip_vertical=true",
                "training.export=false",
            ],
        )
        detector = foveal.Detector(data[:TRAINING], settings=settings)
        detector.fit(valid=data[TRAINING:], out=work / "run", overwrite=True)
    return model


def draw_windows(folder: Path, count: int) -> Dataset:
    """Windows of a scene of another seed, side by side, as images with boxes."""
    across = int(np.ceil(np.sqrt(count)))
    objects = draw_objects(across * WINDOW, seed=_TRAINING_SEED)
    boxes = objects.boxes
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    records = []
    for number in range(count):
        left, top = WINDOW * (number % across), WINDOW * (number // across)
        path = folder / f"{number:04d}.png"
        size = {"width": WINDOW, "height": WINDOW}
        write_image(path, draw_part(objects, left, top, seed=_TRAINING_SEED, **size))
        seen = np.clip(boxes - [left, top] * 2, 0, WINDOW).astype(np.float32)
        visible = (seen[:, 2:] - seen[:, :2]).prod(axis=1) / area
        keep = visible > 0
        labels = np.zeros(int(keep.sum()), np.int64)
        ignored = visible[keep] < _KNOWN
        records.append(Record(path, WINDOW, WINDOW, seen[keep], labels, ignored))
    return Dataset(tuple(records), ("boat",), folder, "drawn windows")


class TimedRuntime:
    """A runtime that adds up the seconds of its network."""

    def __init__(self, runtime: Any) -> None:
        self._runtime, self.seconds = runtime, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def __call__(self, images: NDArray[np.uint8]) -> Any:
        """Compute the network."""
        began = time.perf_counter()
        output = self._runtime(images)
        self.seconds += time.perf_counter() - began
        return output


def count_found(boxes: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, float]:
    """How many drawn boats are found, how many twice, and how many boxes show none.

    Args:
        boxes: [N, 4] xyxy, drawn.
        found: [M, 4] xyxy, at an IoU of 0.5 or more one finds the other.
    """
    times = np.zeros(len(boxes), np.int64)
    right = np.zeros(len(found), np.bool_)
    order = np.argsort(found[:, 1])
    tops = found[order, 1]
    for start in range(0, len(boxes), _CHUNK):
        part = boxes[start : start + _CHUNK]
        # Boats lie in rows from top to bottom: only few boxes are near those of a chunk.
        first, last = np.searchsorted(tops, [part[:, 1].min() - 100, part[:, 3].max()])
        near = order[first:last]
        alike = iou(part[:, None], found[near][None]) >= _FOUND
        times[start : start + _CHUNK] = alike.sum(axis=1)
        right[near] |= alike.any(axis=0)
    return {
        "boats": len(boxes),
        "recall": float((times > 0).mean()),
        "precision": float(right.mean()) if len(found) else float("nan"),
        "twice": int((times > 1).sum()),
    }


def kill_and_resume(command: list[str], out: Path, *, kills: int, seconds: float) -> int:
    """Run a command that is killed so many times at random moments; how many it really was.

    Args:
        command: without --out and --resume.
        out: the folder that it writes.
        kills: processes that are killed.
        seconds: that an undisturbed run takes.
    """
    generator = random.Random(0)
    killed = 0
    for _ in range(kills):
        process = subprocess.Popen(
            [*command, "--out", str(out), "--resume"], stdout=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=generator.uniform(0.05, 2 / kills) * seconds + _START)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    subprocess.run([*command, "--out", str(out), "--resume"], check=True)
    return killed


def look(model: Path, scene: Path, boxes: NDArray[np.float32], facts: Path) -> Callable[[], None]:
    """What looks at a scene and writes what it found and how long it took."""
    opened = open_model(model)
    timed = TimedRuntime(opened.runtime)
    predictor = replace(opened, runtime=timed).predictor()
    predictor.detect(np.zeros((WINDOW, WINDOW, 3), np.uint8))  # loads what is loaded once
    timed.seconds = 0.0

    def work() -> None:
        began = time.perf_counter()
        found = predictor.detect(scene)
        seconds = time.perf_counter() - began
        row = {
            "seconds": seconds,
            "megapixels/s": found.width * found.height / seconds / 1e6,
            "network": timed.seconds / seconds,
            **count_found(boxes, found.boxes),
        }
        facts.write_text(json.dumps(row))

    return work


def measure(model: Path, side: int, work: Path) -> dict[str, Any]:
    """Look at a scene of a side in a process of its own."""
    scene, facts = work / f"scene-{side}.tif", work / f"facts-{side}.json"
    boxes = write_scene(scene, side).boxes
    megabytes, _ = peak_megabytes(look, model, scene, boxes, facts, device="cpu", whole=True)
    return {"side": side, "MB": round(megabytes), **json.loads(facts.read_text())}


def compare_killed(model: Path, side: int, work: Path, *, kills: int) -> dict[str, Any]:
    """Predict a scene undisturbed and killed again and again; whether the files are the same."""
    scene = work / f"scene-{side}.tif"
    write_scene(scene, side)
    command = [sys.executable, "-m", "foveal", "predict", str(model), str(scene)]
    whole, broken = work / "undisturbed", work / "killed"
    for folder in (whole, broken):
        shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    subprocess.run([*command, "--out", str(whole)], check=True)
    seconds = time.perf_counter() - began
    killed = kill_and_resume(command, broken, kills=kills, seconds=seconds)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    different = [str(f) for f in files if (whole / f).read_bytes() != (broken / f).read_bytes()]
    return {"side": side, "killed": killed, "files": len(files), "different": different}


WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "PyTorch": ("safetensors", ()),
    "PyTorch, 2 processes": ("safetensors", ("--jobs", "2")),
    "OpenVINO": ("xml", ()),
    "OpenVINO, 2 processes": ("xml", ("--jobs", "2")),
    "OpenVINO, Ray, 2 actors": ("xml", ("--ray", "local", "--jobs", "2")),
}
"""The kind of the model's file, and what is typed beside it."""


def compare_ways(model: Path, side: int, work: Path, *, rounds: int) -> list[dict[str, Any]]:
    """Predict a scene in each way by the command, all of them in each round; the fastest counts."""
    scene, exported = work / f"scene-{side}.tif", work / "exported" / "boats.xml"
    boxes = write_scene(scene, side).boxes
    if not exported.exists():
        run_foveal("export", str(model), "--to", "openvino", "--out", str(exported))
    files = {"safetensors": model, "xml": exported}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    found: dict[str, NDArray[np.float32]] = {}
    for _ in range(rounds):
        for way, (kind, options) in WAYS.items():
            out = work / "ways"
            shutil.rmtree(out, ignore_errors=True)
            words = ["predict", str(files[kind]), str(scene), "--device", "cpu", *options]
            began = time.perf_counter()
            run_foveal(*words, "--out", str(out))
            seconds[way].append(time.perf_counter() - began)
            found[way] = read_boxes(out / "detections.json")
    return [
        {
            "": way,
            "side": side,
            "seconds": min(seconds[way]),
            "all seconds": seconds[way],
            "times as fast": min(seconds["PyTorch"]) / min(seconds[way]),
            **count_found(boxes, found[way]),
        }
        for way in WAYS
    ]


def run_foveal(*words: str) -> None:
    """Run a command of foveal in a process of its own."""
    subprocess.run([sys.executable, "-m", "foveal", *words], check=True)


def read_boxes(path: Path) -> NDArray[np.float32]:
    """The boxes [N, 4] xyxy of a COCO file."""
    entries = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    boxes = np.array([entry["bbox"] for entry in entries], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    model = train(options.work, epochs=options.epochs, weights=options.weights)
    if options.ways:
        rounds = {"rounds": options.rounds}
        ways = [compare_ways(model, side, options.work, **rounds) for side in options.sides]
        rows = [row for each in ways for row in each]
        print_table([{k: v for k, v in row.items() if k != "all seconds"} for row in rows])
        path = write_result("scene_ways", rows, folder=options.out, options=vars(options))
        print("written:", path.name)
        return
    rows = [measure(model, side, options.work) for side in options.sides]
    first = rows[0]
    for row in rows:
        row["time to pixels"] = first["megapixels/s"] / row["megapixels/s"]
    print_table(rows)
    more: dict[str, Any] = {}
    if options.kills:
        more["killed"] = compare_killed(model, options.sides[-1], options.work, kills=options.kills)
        print(more["killed"])
    path = write_result("scenes", rows, folder=options.out, options=vars(options), **more)
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[5000, 10_000, 20_000, 30_000])
    parser.add_argument("--kills", type=int, default=0, help="processes killed in a second run")
    parser.add_argument("--ways", action="store_true", help="time the runtimes and processes alone")
    parser.add_argument("--rounds", type=int, default=2, help="of --ways")
    parser.add_argument("--epochs", type=int, default=12, help="of the training")
    parser.add_argument("--weights", default=str(MOBILENET), help="MobileNetV2's, a file or 'none'")
    parser.add_argument("--work", type=Path, required=True, help="the folder of model and scenes")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
