"""Detectors on a few hundred images, each trained for the same minutes: time against AP.

    python -m benchmarks.studies.detectors time --data bccd --work runs/detectors
    python -m benchmarks.studies.detectors run --data bccd --minutes 24 --work runs/detectors
    python -m benchmarks.studies.detectors run --only light-giou --set training.batch=4 \
        --name light-giou-4 --split val --seed 1 --work runs/detectors
    python -m benchmarks.studies.detectors table --work runs/detectors

foveal's presets and variants of them, and torchvision's RetinaNet, FCOS, SSDLite and Faster R-CNN,
from the same MobileNetV2, on the same images, measured by the same evaluation with the last
weights. YOLO11n and LibreYOLO's YOLO9-t are programs in environments of their own, which
--environment names; they begin from random weights, for theirs come from a hub. With `--split val`
training images alone are trained on and validation images measured; with `--split test` both are
trained on, and test images measured once.

A variant is a preset's name and ingredients: light-giou-mosaic; `INGREDIENTS` lists them, and
--set adds any setting. A training's length is --epochs, or as many epochs as fit into --minutes by
the time of a first one here, or into the minutes of --epochs-file, which `time` writes on a quiet
machine: then a training may run elsewhere, with what the machine that was timed had time for.

`time` measures milliseconds an image too, of networks that were trained for a moment: `table` takes
them in place of those of the machine that trained, where --epochs-file names the file.

Each training keeps one file in --work, and what has one is not trained again. Several processes
may work on one list side by side: each takes what no other has begun.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.few_images import DATA
from benchmarks.lib.kept_rows import Job, keep_rows, spread_of
from benchmarks.lib.machine import machine
from benchmarks.lib.results import RESULTS, print_table, write_result
from benchmarks.lib.shared_data import MOBILENET, RESNET18
from benchmarks.lib.timing import clock
from foveal.config import PRESETS, Settings, change_settings, make_settings
from foveal.data.dataset import Dataset
from foveal.files import write_file
from foveal.visualization.svg import ACCENT, INK, LINE_COLORS, new_axes, plain, to_svg

if TYPE_CHECKING:
    from benchmarks.lib.trained import Trained

TIMED_IMAGES = 16
NEVER = 1_000_000
"""Epochs from one validation to the next where only the end is validated."""

ONE_ANCHOR = (
    "anchors.scales=[1.0]",
    "anchors.ratios=[1.0]",
    "anchors.sizes=[64, 128, 256, 512, 1024]",
)
"""One square anchor of 8 strides at each location."""
DISTANCES = (*ONE_ANCHOR, "model.box_coding=distances", "model.level_scales=true")
INGREDIENTS: dict[str, tuple[str, ...]] = {
    "plain": ("assignment.method=iou", "loss.box=smooth_l1", "loss.box_weight=1.0"),
    "focal": ("loss.classification=focal",),
    "giou": ("loss.box=giou", "loss.box_weight=2.0"),
    "qfl": ("loss.classification=quality_focal",),
    "weighed": ("loss.weigh_boxes=true",),
    "atss": ("assignment.method=atss",),
    "tal": ("assignment.method=task_aligned",),
    "one": ONE_ANCHOR,
    "center": ("model.quality=centerness",),
    "iou": ("model.quality=iou",),
    "levels": ("model.level_scales=true",),
    "deltas": ("model.box_coding=deltas",),
    "distances": DISTANCES,
    "dfl": (*DISTANCES, "model.box_bins=17"),
    "fcos": (
        *DISTANCES,
        "assignment.method=fcos",
        "model.quality=centerness",
        "model.head_norm=group",
        "loss.box=giou",
        "loss.weigh_boxes=true",
        "decoding.nms_iou=0.6",
    ),
    "soft": ("decoding.nms_method=soft_gaussian",),
    "mosaic": ("augmentation.mosaic=0.5", "augmentation.strong_until=0.85"),
    "paste": ("augmentation.copy_paste=0.5", "augmentation.strong_until=0.85"),
    "thaw": ("training.unfreeze=[0.1, 0.2, 0.3]",),
    "layers": ("training.layer_decay=0.8",),
    "sgd": ("training.optimizer=sgd",),
    "ema": ("training.ema_decay=0.997",),
    "flips": ("augmentation.flip_vertical=true",),
    "scale": ("augmentation.scale=[0.5, 1.5]",),
    "groupnorm": ("model.head_norm=group",),
    "repeat": ("training.sampling=repeat_factor",),
    "lite0": ("model.backbone=tf_efficientnet_lite0", "model.weights=package"),
    "r18": ("model.backbone=resnet18", f"model.weights={RESNET18}"),
    "320": ("preparation.shorter=320", "preparation.longer=533"),
    "416": ("preparation.shorter=416", "preparation.longer=693"),
    "512": ("preparation.shorter=512", "preparation.longer=853"),
    "640": ("preparation.shorter=640", "preparation.longer=1066"),
}
"""What a variant's name adds to its preset; the last one counts where two set the same."""
FOVEAL = ("light", "medium", "standard", "scenes")
TORCHVISION = {
    "torchvision-retinanet": {},
    "torchvision-fcos": {},
    "torchvision-faster-rcnn": {},
    # Its reference script: crops, and this decay.
    "torchvision-ssdlite": {"weight_decay": 4e-5, "crops": True},
}
"""Each with what its recipe differs in from `lib/torchvision_training.py`'s."""
THEIRS = ("torchvision-", "yolo")
"""How the names of others than foveal's begin."""
YOLO = {"yolo11n": "ultralytics", "yolo9t": "libreyolo"}
"""Each with the package that has it."""
CONTESTANTS = (*FOVEAL, *TORCHVISION, *YOLO)
"""Trained where --only names none."""


def settings_of(name: str, options: argparse.Namespace, *, epochs: int) -> Settings:
    """Those of a preset with ingredients; it is measured once, at its end, with its last weights.

    Raises:
        SystemExit: there is no such preset or ingredient.
        SettingsError: a setting is none.
    """
    preset, *ingredients = name.split("-")
    unknown = [each for each in ingredients if each not in INGREDIENTS]
    if preset not in PRESETS or unknown:
        raise SystemExit(
            f"{name} is no contestant. Expected one of {', '.join(CONTESTANTS)}, or a preset "
            f"({', '.join(PRESETS)}) with some of -{', -'.join(INGREDIENTS)}; --set gives any "
            "other setting."
        )
    return make_settings(
        preset=preset,
        overrides=[
            "model.backbone=mobilenetv2_100",
            f"model.weights={options.weights}",
            *(line for each in ingredients for line in INGREDIENTS[each]),
            *options.set,
            f"training.epochs={epochs}",
            f"training.evaluate_every={epochs}",
            f"training.seed={options.seed}",
            "training.validation_loss=false",
            "training.export=false",
            "training.compile=off",
        ],
    )


def trainer_of(
    name: str, options: argparse.Namespace, training: Dataset, measured: Dataset
) -> Callable[[int], Trained]:
    """What trains a contestant for a number of epochs."""
    from benchmarks.lib.trained import train_foveal, train_torchvision

    if name in YOLO:
        return lambda epochs: train_other(name, options, training, measured, epochs=epochs)
    if name not in TORCHVISION:
        settings_of(name, options, epochs=1)
        return lambda epochs: train_foveal(training, settings_of(name, options, epochs=epochs))

    from benchmarks.lib.torchvision_training import RATE, RATE_BATCH, TorchvisionTraining
    from foveal.acceleration.precision import choose_precision

    def train(epochs: int) -> Trained:
        asked = TorchvisionTraining(
            epochs=epochs,
            batch=RATE_BATCH,
            rate=options.rate or RATE,
            precision=choose_precision("auto", options.device),
            device=options.device,
            **TORCHVISION[name],
        )
        return train_torchvision(
            name.removeprefix("torchvision-"),
            training,
            asked,
            weights=Path(options.weights),
            size=options.size or DATA[options.data].size,
            seed=options.seed,
        )

    return train


def self_train(name: str, options: argparse.Namespace, training: Dataset) -> Trained:
    """Two trainings of foveal's in the minutes, the second with what the first one labels.

    Raises:
        SystemExit: the data set has no images without labels, or another than foveal is to train.
    """
    from benchmarks.lib.trained import self_train_foveal

    read_more = DATA[options.data].read_more
    if read_more is None or name.startswith(THEIRS):
        some = [each for each, data in DATA.items() if data.read_more is not None]
        raise SystemExit(f"--unlabeled goes with foveal's and --data {' or '.join(some)}.")
    if options.epochs or options.epochs_file:
        raise SystemExit("--unlabeled takes --minutes, of both trainings, and no epochs.")
    unlabeled, valid = read_more()
    minutes = {"minutes": options.minutes, "evaluate_every": NEVER}
    settings = change_settings(settings_of(name, options, epochs=1), {"training": minutes})
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        out = Path(folder) / name
        return self_train_foveal(training, unlabeled, settings, valid=valid, out=out)


def train_other(
    name: str,
    options: argparse.Namespace,
    training: Dataset,
    measured: Dataset,
    *,
    epochs: int,
) -> Trained:
    """A training of a YOLO, in its own environment.

    Raises:
        SystemExit: that is not named, or its program failed.
    """
    from benchmarks.lib.yolo_training import YoloTraining, train_yolo

    environments = dict(options.environment)
    package = YOLO[name]
    if package not in environments:
        raise SystemExit(
            f"{name} needs an environment of its own with {package}: python -m venv FOLDER, "
            f"FOLDER/bin/pip install {package}; then --environment {package}=FOLDER."
        )
    asked = YoloTraining(
        environment=environments[package].absolute(),
        epochs=epochs,
        size=options.size or DATA[options.data].size,
        device=options.device,
        seed=options.seed,
    )
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        return train_yolo(name, training, measured, asked, Path(folder).absolute())


def run_one(name: str, file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train one and measure it; its model may be kept beside its row's file."""
    from benchmarks.lib.trained import epochs_in

    training, measured = DATA[options.data].read(options.split)
    began = time.perf_counter()
    if options.unlabeled:
        trained = self_train(name, options, training)
    else:
        train = trainer_of(name, options, training, measured)
        epochs = options.epochs or epochs_from_file(name, options)
        trained = train(epochs or epochs_in(options.minutes, max(train(1).seconds)))
    evaluation = trained.evaluate(measured)
    if options.keep_models and trained.save is not None:
        trained.save(file.with_suffix(".safetensors"))
    here = machine()
    return {
        "name": options.name or name,
        "AP": evaluation.ap,
        "AP50": evaluation.ap50,
        "AP under 32 px": evaluation.ap_small,
        "ms": time_of(trained, measured),
        "epochs": len(trained.seconds),
        "minutes": sum(trained.seconds) / 60,
        "all minutes": (time.perf_counter() - began) / 60,
        **trained.facts,
        "images": len(training),
        "measured": len(measured),
        "device": here["gpu"] if options.device == "cuda" else here["processor"],
        "commit": here["commit"],
        "versions": {key: here["versions"][key] for key in ("torch", "torchvision")},
    }


def time_of(trained: Trained, data: Dataset) -> float:
    """Milliseconds of an image, from its file to detections, one at a time: the median."""
    if trained.detect is None:
        return float(trained.facts["ms"])
    seconds = []
    paths = [record.path for record in data.records[:TIMED_IMAGES]]
    for path in [*paths[:2], *paths]:
        start = clock()
        trained.detect(path)
        seconds.append(clock() - start)
    return 1000 * float(np.median(seconds[2:]))


def epochs_from_file(name: str, options: argparse.Namespace) -> int | None:
    """The epochs for which there was time where `time` ran; None where no file is asked.

    Raises:
        SystemExit: the file has no such contestant.
    """
    if options.epochs_file is None:
        return None
    timed = json.loads(options.epochs_file.read_text())["epochs"]
    wanted = [options.epochs_as, options.name, name]
    found = next((each for each in wanted if each in timed), None)
    if found is None:
        raise SystemExit(
            f"{options.epochs_file.name} does not say how many epochs {name} gets, only "
            f"{', '.join(timed)}. Add it by `time --only {name}`, or take another's: "
            "--epochs-as NAME, or --epochs N."
        )
    if found != name:
        print(f"  as many epochs as {found}: {timed[found]}", flush=True)
    return int(timed[found])


def length_of(options: argparse.Namespace) -> str:
    """How the number of epochs was chosen, in words."""
    if options.epochs:
        return f"{options.epochs} epochs"
    if options.epochs_file:
        return f"as in {options.epochs_file.name}"
    return f"{options.minutes:g} minutes"


def run(options: argparse.Namespace) -> int:
    """Train what is not there yet; how many failed."""
    if options.name and len(options.only) != 1:
        raise SystemExit("--name goes with one --only NAME.")
    jobs = []
    for name in options.only or CONTESTANTS:
        row = f"{options.data}-{options.split}-{options.name or name}-{options.seed}"
        file = options.work / f"{row}.json"
        asked = {
            "contestant": name,
            "data": options.data,
            "split": options.split,
            "seed": options.seed,
            "settings": options.set,
            **({"unlabeled": True} if options.unlabeled else {}),
            "weights": Path(options.weights).name,
            "length": length_of(options),
        }
        jobs.append(Job(file, asked, partial(run_one, name, file, options)))
    return keep_rows(jobs, lambda row: f"AP {row['AP'] or 0:.3f}, {row['epochs']} epochs")


def measure_times(options: argparse.Namespace) -> int:
    """Time an epoch of each, and write how many fit into the minutes."""
    from benchmarks.lib.trained import epochs_in

    file = options.epochs_file or options.work / f"epochs-{options.data}-{options.split}.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    seconds, times = known.get("seconds", {}), known.get("ms", {})
    training, measured = DATA[options.data].read(options.split)
    for name in options.only or CONTESTANTS:
        row = options.name or name
        if row in seconds:
            continue
        trained = trainer_of(name, options, training, measured)(options.timed)
        # The fastest of them: the first one waits for files and for memory.
        seconds[row] = min(trained.seconds)
        times[row] = time_of(trained, measured)
        print(f"{row}: {seconds[row]:.1f} s an epoch, {times[row]:.0f} ms an image", flush=True)
        content = {
            "data": options.data,
            "split": options.split,
            "images": len(training),
            "minutes": options.minutes,
            "machine": machine(),
            "timed": options.timed,
            "seconds": seconds,
            "ms": times,
            "epochs": {each: epochs_in(options.minutes, s) for each, s in seconds.items()},
        }
        write_file(file, json.dumps(content, indent=1) + "\n")
    print_table([{"": name, "seconds": s, "ms": times.get(name)} for name, s in seconds.items()])
    print("written:", file.name)
    return 0


COLUMNS = (
    "name", "AP", "AP50", "AP under 32 px", "ms", "epochs", "minutes", "input", "parameters",
    "begins from", "seeds", "device",
)  # fmt: skip


def make_table(options: argparse.Namespace) -> int:
    """Print and write the rows in --work: one a contestant, the mean of its seeds."""
    times = json.loads(options.epochs_file.read_text())["ms"] if options.epochs_file else {}
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for file in sorted(options.work.glob("*.json")):
        row = json.loads(file.read_text())
        if "asked" in row and row["asked"]["data"] in options.data:
            if options.epochs_file:
                row["ms"] = times.get(row["name"], times.get(row["asked"]["contestant"]))
            key = f"{row['asked']['data']}-{row['asked']['split']}"
            rows.setdefault((key, row["name"]), []).append(row)
    if not rows:
        raise SystemExit(f"{options.work} holds no rows. Train some: run --work {options.work}")
    for table in sorted({key for key, _ in rows}):
        means = sorted(
            (mean_of(each) for (key, _), each in rows.items() if key == table),
            key=lambda row: -(row["AP"] or 0),
        )
        print_table([{key: row.get(key, "-") for key in COLUMNS} for row in means], title=table)
        name = f"detectors_{table.replace('-', '_')}"
        path = write_result(name, means, folder=options.out)
        picture = (options.out or RESULTS) / f"{name}.svg"
        write_file(picture, draw(means, data=table) + "\n")
        print("written:", path.name, picture.name)
    return 0


def mean_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of several seeds': means of their numbers, and the range of AP."""
    first = rows[0]
    mean = dict(first)
    for key, value in first.items():
        values = [row[key] for row in rows]
        if isinstance(value, float):
            mean[key] = None if None in values else float(np.mean(values))
    mean |= spread_of(rows)
    if any(row["epochs"] != first["epochs"] for row in rows):
        mean["epochs"] = "several"
    return mean


def draw(rows: Sequence[dict[str, Any]], *, data: str) -> str:
    """Time (x, logarithmic) against AP (y), as SVG; a bar from the lowest seed to the highest."""
    points = [row for row in rows if row["ms"] is not None and row["AP"] is not None]
    axes = new_axes(6.4, 4.4, x="milliseconds an image, from file to detections", y=f"AP on {data}")
    if not points:
        return to_svg(axes, alone=True)
    axes.set_xscale("log")
    times = [row["ms"] for row in points]
    left, right = min(times) / 1.5, max(times) * 1.5
    axes.set_xlim(left, right)
    ticks = [base * 10.0**power for power in range(-2, 6) for base in (1, 2, 5)]
    ticks = [tick for tick in ticks if left <= tick <= right]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    for row in points:
        ours = not row["asked"]["contestant"].startswith(THEIRS)
        color = ACCENT if ours else LINE_COLORS[5]
        axes.plot([row["ms"]] * 2, [row["AP from"], row["AP to"]], color=color, linewidth=1.6)
        axes.scatter([row["ms"]], [row["AP"]], s=48, color=color, zorder=3)
        beyond_middle = row["ms"] > math.sqrt(left * right)
        axes.annotate(
            plain(row["name"], 40),
            (row["ms"], row["AP"]),
            xytext=(-8 if beyond_middle else 8, 0),
            textcoords="offset points",
            ha="right" if beyond_middle else "left",
            va="center",
            fontsize=9,
            color=INK,
        )
    return to_svg(axes, alone=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.verb != "table" and options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # foveal takes a GPU where it sees one
    options.work.mkdir(parents=True, exist_ok=True)
    verbs = {"run": run, "time": measure_times, "table": make_table}
    return verbs[options.verb](options)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = argparse.ArgumentParser(add_help=False)
    training.add_argument("--data", choices=list(DATA), default="bccd")
    training.add_argument("--split", choices=["val", "test"], default="test", help="is measured")
    training.add_argument("--only", action="append", default=[], help="one contestant's name")
    training.add_argument("--name", help="the row's, where --set makes another of a contestant")
    training.add_argument("--set", action="append", default=[], help="a foveal setting")
    training.add_argument("--minutes", type=float, help="of a training")
    training.add_argument("--epochs-file", type=Path, help="what `time` writes")
    training.add_argument("--weights", default=str(MOBILENET), help="MobileNetV2's, a file")
    training.add_argument("--size", type=int, help="the others' shorter side, pixels")
    training.add_argument("--rate", type=float, help="torchvision's learning rate")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    training.add_argument("--work", type=Path, required=True, help="the folder of finished rows")
    training.add_argument(
        "--environment",
        type=environment,
        action="append",
        default=[],
        metavar="PACKAGE=FOLDER",
        help="the virtual environment of ultralytics or libreyolo",
    )
    run_options = verbs.add_parser("run", parents=[training], help="train and measure")
    run_options.add_argument("--epochs", type=int, help="of each training")
    run_options.add_argument(
        "--keep-models", action="store_true", help="foveal's model files, beside the rows"
    )
    run_options.add_argument(
        "--unlabeled",
        action="store_true",
        help="with the other images of --data, without their labels; two trainings",
    )
    run_options.add_argument("--epochs-as", help="take another's epochs of the file")
    time_options = verbs.add_parser("time", parents=[training], help="time an epoch of each")
    time_options.add_argument("--timed", type=int, default=2, help="epochs that are timed")
    table_options = verbs.add_parser("table", help="all rows of --work, and a picture")
    table_options.add_argument("--data", action="append", choices=list(DATA), help="not all")
    table_options.add_argument("--work", type=Path, required=True, help="the folder of rows")
    table_options.add_argument(
        "--epochs-file", type=Path, help="take the milliseconds that `time` measured"
    )
    table_options.add_argument("--out", type=Path, help="the folder of the JSON and the pictures")
    options = parser.parse_args(arguments)
    if options.verb == "table":
        options.data = options.data or list(DATA)
    elif options.minutes is None:
        options.minutes = DATA[options.data].minutes
    return options


def environment(text: str) -> tuple[str, Path]:
    """'PACKAGE=FOLDER' as its two parts."""
    package, equals, folder = text.partition("=")
    if not (equals and folder) or package not in YOLO.values():
        raise argparse.ArgumentTypeError(f"{text!r}: expected {'=, '.join(YOLO.values())}=...")
    return package, Path(folder)


if __name__ == "__main__":
    raise SystemExit(main())
