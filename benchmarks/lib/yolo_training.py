"""Other people's YOLOs, each in an environment of its own and called as a program.

YOLO11n is ultralytics' (AGPL-3.0), YOLO9-t is LibreYOLO's (MIT). Their packages bring no weights
and these would come from a hub, so both begin from random ones; all else is their own recipe, made
to fit a few hundred images: 8 images a step without accumulation, flips both ways, mosaic off for
the last fifth of the epochs at most. Nothing is validated meanwhile; the last weights, averaged by
their own rule, are measured.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.lib.trained import Trained
from foveal.data.dataset import Dataset
from foveal.data.formats import yolo
from foveal.evaluation.evaluate import evaluate
from foveal.structures import Detections

BATCH = 8
WORKERS = {"cpu": 1, "cuda": 3}
SCORE, DETECTIONS = 0.001, 100
"""From which score detections are kept, and how many of an image."""
SCRIPT = Path(__file__).with_name("libreyolo_detections.py")
WORDS = 3000
"""Of a failed program's last output."""


@dataclass(frozen=True)
class YoloTraining:
    """What a YOLO's training is asked for.

    Attributes:
        environment: the folder of the virtual environment that has the program.
        epochs: of the training.
        size: the shorter side of the inputs, pixels; squares of the longer one are made of it.
        device: 'cpu' or 'cuda'.
        seed: of the training.
    """

    environment: Path
    epochs: int
    size: int
    device: str
    seed: int


def train_yolo(
    name: str, training: Dataset, measured: Dataset, asked: YoloTraining, folder: Path
) -> Trained:
    """Train 'yolo11n' or 'yolo9t'.

    Args:
        name: of them.
        training: images to train on.
        measured: images to be measured on, which the training does not see.
        asked: how.
        folder: for the data and the run; made, and must not exist.
    """
    data = write_data(training, measured, folder / "data")
    side = square_side(training, asked.size)
    device = "0" if asked.device == "cuda" else "cpu"
    run = {"yolo11n": _ultralytics, "yolo9t": _libreyolo}[name]
    seconds, found, speed, parameters = run(asked, data, folder, side=side, device=device)
    return Trained(
        seconds,
        lambda test: evaluate(by_image(found, test), test.targets, test.classes),
        None,
        {
            "ms": speed + 1000 * reading_seconds(measured) if name == "yolo11n" else speed,
            "first stride": 8,
            "input": side,
            "precision": "float32",
            "parameters": parameters,
            "begins from": "random weights",
        },
    )


def write_data(training: Dataset, measured: Dataset, folder: Path) -> Path:
    """Both data sets in YOLO's layout, splits train and val; its data.yaml."""
    both = training.merge(measured)
    count = len(training)
    yolo.write(
        both,
        folder,
        images="link",
        splits={"train": range(count), "val": range(count, len(both))},
    )
    header = folder / "data.yaml"
    lines = [line for line in header.read_text().splitlines() if not line.startswith("path:")]
    header.write_text("\n".join([f"path: {folder.resolve()}", *lines]) + "\n")
    return header


def square_side(data: Dataset, shorter: int) -> int:
    """The side of square inputs in which images are as large as with this shorter side."""
    record = data.records[0]
    ratio = max(record.width, record.height) / min(record.width, record.height)
    return 32 * math.ceil(shorter * ratio / 32)


def by_image(found: dict[str, Any], data: Dataset) -> list[Detections]:
    """One for each image, of [boxes xyxy, scores, labels] by the names of files without endings."""
    detections = []
    for record in data.records:
        boxes, scores, labels = found.get(record.path.stem, ([], [], []))
        best = np.argsort(-np.asarray(scores, np.float32), kind="stable")
        detections.append(
            Detections(
                np.asarray(boxes, np.float32).reshape(-1, 4)[best],
                np.asarray(scores, np.float32)[best],
                np.asarray(labels, np.int64)[best],
                classes=data.classes,
            )
        )
    return detections


def reading_seconds(data: Dataset) -> float:
    """What ultralytics' times leave out: reading an image, by OpenCV as it does."""
    seconds = []
    for record in data.records[:16]:
        start = time.perf_counter()
        cv2.imread(str(record.path))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


Results = tuple[list[float], dict[str, Any], float, int]
"""Seconds of each epoch, detections by file, milliseconds an image, parameters."""


def _ultralytics(
    asked: YoloTraining, data: Path, folder: Path, *, side: int, device: str
) -> Results:
    program = asked.environment / "bin" / "yolo"
    shared = [
        f"data={data}", f"imgsz={side}", f"device={device}", f"project={folder.resolve()}",
        f"workers={WORKERS[asked.device]}", "exist_ok=True", "plots=False",
    ]  # fmt: skip
    written = call(
        [
            program, "detect", "train", "model=yolo11n.yaml", "pretrained=False", *shared,
            "name=train", f"epochs={asked.epochs}", f"batch={BATCH}", f"nbs={BATCH}",
            f"seed={asked.seed}", "flipud=0.5", f"close_mosaic={min(10, asked.epochs // 5)}",
            "val=False", "amp=False",
        ],
        folder,
    )  # fmt: skip
    rows = list(csv.DictReader((folder / "train" / "results.csv").open(), skipinitialspace=True))
    times = [0.0, *(float(row["time"]) for row in rows)]
    seconds = [after - before for before, after in itertools.pairwise(times)]
    if len(seconds) > 1:  # the last one holds a validation, which can't be turned off
        seconds[-1] = float(np.median(seconds[:-1]))
    said = call(
        [
            program, "detect", "val", f"model={folder / 'train' / 'weights' / 'last.pt'}", *shared,
            "name=val", "batch=1", f"conf={SCORE}", f"max_det={DETECTIONS}", "save_json=True",
        ],
        folder,
    )  # fmt: skip
    file = folder / "val" / "predictions.json"  # not written where nothing was found
    found = ultralytics_detections(json.loads(file.read_text()) if file.exists() else [])
    parts = re.findall(r"([\d.]+)ms (?:preprocess|inference|postprocess)", said)
    if len(parts) != 3:
        raise SystemExit(f"ultralytics said nothing of its speed: {said[-WORDS:]}")
    (parameters,) = re.findall(r"([\d,]+) parameters", written)[:1] or ["0"]
    return seconds, found, sum(map(float, parts)), int(parameters.replace(",", ""))


def ultralytics_detections(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What it writes as predictions.json, by the file's name without ending."""
    found: dict[str, Any] = {}
    for entry in entries:
        stem = Path(entry.get("file_name") or str(entry["image_id"])).stem
        boxes, scores, labels = found.setdefault(stem, ([], [], []))
        left, top, width, height = entry["bbox"]
        boxes.append([left, top, left + width, top + height])
        scores.append(entry["score"])
        labels.append(entry["category_id"] - 1)
    return found


def _libreyolo(asked: YoloTraining, data: Path, folder: Path, *, side: int, device: str) -> Results:
    binaries = asked.environment / "bin"
    call(
        [
            binaries / "libreyolo", "train", "--data", data, "--model", "yolo9-t",
            "--no-pretrained", "--epochs", asked.epochs, "--batch", BATCH, "--imgsz", side,
            "--device", device, "--workers", WORKERS[asked.device], "--seed", asked.seed,
            "--flipud", 0.5, "--no-aug-epochs", min(15, asked.epochs // 5), "--ema-decay", 0.998,
            "--no-val", "--no-amp", "--patience", 0, "--project", folder, "--name", "train",
            "--exist-ok",
        ],
        folder,
    )  # fmt: skip
    lines = (folder / "train" / "metrics.jsonl").read_text().splitlines()
    seconds = [float(json.loads(line)["time"]) for line in lines]
    out = folder / "detections.json"
    weights = folder / "train" / "weights" / "last.pt"
    images = (data.parent / "val.txt").read_text().split("\n")
    listed = [str((data.parent / line).absolute()) for line in images if line]
    (folder / "images.json").write_text(json.dumps(listed))
    call(
        [
            binaries / "python", SCRIPT, weights, folder / "images.json", out, side, device, SCORE,
            DETECTIONS,
        ],
        folder,
    )  # fmt: skip
    content = json.loads(out.read_text())
    return seconds, content["found"], content["ms"], content["parameters"]


def call(command: Sequence[object], folder: Path) -> str:
    """Run a program, and what it said.

    Raises:
        SystemExit: it failed; with the end of what it said.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["YOLO_CONFIG_DIR"] = str(folder.resolve())
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, env=environment, cwd=folder, check=False
        )
    except OSError as error:
        raise SystemExit(
            f"{words[0]} can't be run ({error}). --environment names the virtual environment that "
            "has it: --environment ultralytics=FOLDER, --environment libreyolo=FOLDER."
        ) from None
    said = done.stdout + done.stderr
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:3])} ended with {done.returncode}: {said[-WORDS:]}")
    return said
