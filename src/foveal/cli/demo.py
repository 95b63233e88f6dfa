"""`foveal demo`: the whole way on drawn images, each step by the command that a user would type."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.answers import Answer, DryRun, Plan, verb
from foveal.cli.console import make_console, say
from foveal.errors import FovealError
from foveal.files import write_file, writing
from foveal.text import counted, listed

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset

SETTINGS: dict[str, dict[str, Any]] = {
    "model": {
        "backbone": "resnet10t",
        "weights": "none",
        "norm": "live",
        "fpn_channels": 64,
        "head_channels": 64,
        "head_depth": 2,
        "head_norm": "group",
    },
    "assignment": {"method": "iou"},
    "loss": {"classification": "focal", "box": "smooth_l1", "box_weight": 1.0},
    "decoding": {"nms_iou": 0.4, "class_agnostic": True},
    "preparation": {"shorter": 160, "longer": 160},
    "augmentation": {"flip_vertical": True, "quarter_turns": True},
    "training": {
        "epochs": 24,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "schedule": "one_cycle",
        "evaluate_every": 6,
    },
}
"""A network small enough to be trained from scratch, with live norms, while somebody waits.

A cell has one class, and cells hardly overlap: so one box may stand for many. Anchors and losses
are the plain detector's, for which the other settings were chosen.
"""
HELD_OUT = 0.25
"""Of the images besides the test's: how many validate."""
IMAGES = 260
QUICK_IMAGES, QUICK_EPOCHS = 78, 6
"""What --quick draws and trains: about a minute on two slow cores."""
PICTURES = 6
GAP = 8
SETTINGS_NAME = "settings.toml"
_NEXT_SPLITS = ("train", "val", "test")
"""Of data that is drawn to be used by hand: what most data sets call them."""


@dataclass(frozen=True, slots=True)
class Demonstrated:
    """What the demo came to.

    Attributes:
        folder: for all that it made.
        images: of the test.
        AP50: on them; null where there was no object.
        count_error: by which share counts are off; null likewise.
        seconds: that all of it took.
        report: of the measurement.
        picture: some test images with what was found.
        model: that was trained.
    """

    folder: Path
    images: int
    AP50: float | None
    count_error: float | None
    seconds: float
    report: Path
    picture: Path
    model: Path


@dataclass(frozen=True, slots=True)
class Drawn:
    """What `--draw-only` drew.

    Attributes:
        folder: of the data set.
        images: in all splits.
        objects: likewise.
        settings: a file for `foveal train --config`.
    """

    folder: Path
    images: int
    objects: int
    settings: Path


@verb(
    "demo",
    Demonstrated,
    Drawn,
    examples=(
        "foveal demo",
        "foveal demo --quick --out look",
        "foveal demo --draw-only --out cells",
        "foveal demo --dry-run",
    ),
)
def demo(
    out: Annotated[Path, typer.Option(help="The folder for all that it makes.")] = Path(
        "foveal-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the drawing and the training.")] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How often training sees each image; less is faster, worse. Without it "
            f"{SETTINGS['training']['epochs']}.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=12,
            help=f"How many to draw: for training, validation and test. Without it {IMAGES}.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Only see whether all of it works here, in a minute: "
            f"{QUICK_IMAGES} images, {QUICK_EPOCHS} epochs, no export. Its numbers mean little.",
        ),
    ] = False,
    draw_only: Annotated[
        bool,
        typer.Option(
            "--draw-only",
            help="Only draw the images, as the data set OUT:train, OUT:val and OUT:test, with "
            f"OUT/{SETTINGS_NAME} for foveal train --config: to type the other commands yourself.",
        ),
    ] = False,
    dry_run: DryRun = False,
) -> Answer | Plan:
    """See all of it at work on drawn blood smears: data, anchors, training, numbers, pictures.

    It needs no network and no GPU, and says for each step the command that does the same with data
    of your own. Run again into the same folder, it starts anew.
    """
    began = time.monotonic()
    images = images or (QUICK_IMAGES if quick else IMAGES)
    if draw_only:
        return _draw_only(out, images=images, epochs=epochs, seed=seed, quick=quick, dry=dry_run)
    paths = _Paths(out)
    present = _look_around(paths)
    if dry_run:
        commands = [shlex.join(["foveal", *arguments]) for _, arguments in _steps(paths)]
        gone = [out / name for name in sorted(present)]
        return Plan((), [out], gone, ["draw images of blood cells", *commands])
    _make_room(paths, present)
    _title("1. Draw images of blood cells, with exact boxes, and write them as COCO")
    _draw(paths.data, ("train", "valid", "test"), images=images, seed=seed)
    # Where 8 bits cost AP, the search for the layers that cause it can outlast the training.
    _write_settings(paths.settings, epochs=epochs, seed=seed, quick=quick, int8=False)
    for number, (title, arguments) in enumerate(_steps(paths), start=2):
        _title(f"{number}. {title}")
        _run(arguments)
    _draw_picture(paths)
    metrics = json.loads((paths.evaluation / "metrics.json").read_text(encoding="utf-8"))
    demonstrated = Demonstrated(
        out,
        metrics["images"],
        AP50=metrics["AP50"],
        count_error=metrics["counts"]["relative_error"],
        seconds=time.monotonic() - began,
        report=paths.evaluation / "report.html",
        picture=paths.picture,
        model=paths.model,
    )
    return Answer(demonstrated, tell=lambda: _conclude(demonstrated, paths, quick=quick))


class _Paths:
    """What lies where in the demo's folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.settings = out / SETTINGS_NAME
        self.data = out / "data"
        self.run = out / "run"
        self.evaluation = out / "evaluation"
        self.found = out / "found"
        self.anchors = out / "anchors.svg"
        self.picture = out / "picture.png"
        self.model = self.run / "best.safetensors"

    def split(self, name: str) -> Path:
        return self.data / f"{name}.json"


def _steps(paths: _Paths) -> list[tuple[str, list[str]]]:
    """What is done, and the command that does it."""
    train, valid, test = (str(paths.split(name)) for name in ("train", "valid", "test"))
    size = str(SETTINGS["preparation"]["shorter"])
    settings, run = str(paths.settings), str(paths.run)
    images = str(paths.data / "images" / "test_*.jpg")
    return [
        (
            "Look for mistakes in the data before training does",
            ["data", "check", train, "--valid", valid, "--size", size, "--images"],
        ),
        (
            "Fit anchors to the objects (training does it by itself, this shows it)",
            ["anchors", train, "--config", settings, "--picture", str(paths.anchors)],
        ),
        (
            "Train a small network from scratch",
            ["train", train, "--valid", valid, "--config", settings, "--out", run],
        ),
        (
            "Measure it on images that it has never seen",
            ["evaluate", run, test, "--out", str(paths.evaluation)],
        ),
        (
            "Find objects in images: pictures and tables",
            ["predict", run, images, "--out", str(paths.found)],
        ),
    ]


def _look_around(paths: _Paths) -> set[str]:
    """What an earlier demo left in the folder.

    Raises:
        FovealError: the folder holds something else.
    """
    out = paths.out
    known = {path.name for path in vars(paths).values() if path.parent == out}
    if out.exists() and not out.is_dir():
        raise FovealError(f"{out}: is a file. Expected a folder: choose another --out.")
    present = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    if present and (present - known or paths.settings.name not in present):
        strange = sorted(present - known) or sorted(present)
        raise FovealError(
            f"{out}: holds something that is not from a demo ({listed(strange, 4)}). "
            "Choose a new or empty folder: --out DIR."
        )
    return present


def _make_room(paths: _Paths, present: set[str]) -> None:
    """Remove what an earlier demo left.

    Raises:
        FovealError: the folder can't be written.
    """
    out = paths.out
    with writing(out, advice="Choose another --out."):
        for name in present - {paths.settings.name}:
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        out.mkdir(parents=True, exist_ok=True)
        paths.settings.touch()


def _draw_only(
    out: Path, *, images: int, epochs: int | None, seed: int, quick: bool, dry: bool
) -> Answer | Plan:
    """Draw a data set for the other commands.

    Raises:
        FovealError: the folder holds something, or can't be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FovealError(f"{out}: is there already. Choose a new or empty folder: --out DIR.")
    settings = out / SETTINGS_NAME
    if dry:
        return Plan((), [out], (), ["draw images of blood cells"])
    objects = _draw(out, _NEXT_SPLITS, images=images, seed=seed, stderr=True)
    _write_settings(settings, epochs=epochs, seed=seed, quick=quick, stderr=True)
    train, valid = (f"{out}:{split}" for split in _NEXT_SPLITS[:2])
    following = ["foveal", "train", train, "--valid", valid, "--config", str(settings)]
    return Answer(
        Drawn(out, images, objects, settings),
        tell=lambda: say(
            f"Drew {counted(images, 'image')} with {counted(objects, 'object')}.\n"
            f"Next: foveal data check {shlex.quote(train)} --valid {shlex.quote(valid)}, "
            f"then {shlex.join(following)} --out RUN."
        ),
    )


def _draw(
    folder: Path, names: Sequence[str], *, images: int, seed: int, stderr: bool = False
) -> int:
    """Draw three splits, whose names are given, and give the number of objects."""
    from foveal.data.synthetic import draw_dataset

    test = max(2, images * 3 // 13)
    valid = max(2, round((images - test) * HELD_OUT / (1 + HELD_OUT)))
    splits = dict(zip(names, (images - test - valid, valid, test), strict=True))
    drawn = draw_dataset(folder, splits=splits, size=SETTINGS["preparation"]["shorter"], seed=seed)
    for name, dataset in drawn.items():
        say(
            f"{folder / name}.json: {counted(len(dataset), 'image')}, "
            f"{counted(_count_objects(dataset), 'object')}",
            stderr=stderr,
        )
    return sum(map(_count_objects, drawn.values()))


def _count_objects(dataset: Dataset) -> int:
    return sum(len(record.boxes) for record in dataset)


def _write_settings(
    path: Path,
    *,
    epochs: int | None,
    seed: int,
    quick: bool,
    int8: bool = True,
    stderr: bool = False,
) -> None:
    import tomli_w

    training = SETTINGS["training"] | {"seed": seed}
    if not int8:
        training |= {"int8": False}
    if quick:
        training |= {"epochs": QUICK_EPOCHS, "evaluate_every": QUICK_EPOCHS, "export": False}
    if epochs is not None:
        training["epochs"] = epochs
    settings = SETTINGS | {"training": training}
    write_file(
        path,
        "# A small network to train from scratch. `foveal train DATA --show` prints all settings.\n"
        + tomli_w.dumps(settings),
    )
    say(f"{path}: the settings of the network and its training", stderr=stderr)


def _title(text: str) -> None:
    make_console().print(f"\n{text}", style="bold", soft_wrap=True)


def _run(arguments: Sequence[str]) -> None:
    """Print a command of foveal's and run it in this process."""
    from foveal.cli import app

    command = f"$ {shlex.join(['foveal', *arguments])}"
    make_console().print(command, style="cyan", soft_wrap=True)
    # The arguments are the context's object too: messages repeat them, as how to resume.
    code = app(list(arguments), standalone_mode=False, obj=tuple(arguments))
    if code:
        raise typer.Exit(int(code))


def _draw_picture(paths: _Paths) -> None:
    """Six test images with what was found in them, the fullest first, as one picture."""
    import numpy as np

    from foveal.data.formats import read
    from foveal.data.images.encoding import write_image

    dataset = read(paths.split("test"))
    chosen = sorted(range(len(dataset)), key=lambda i: -len(dataset.records[i].boxes))[:PICTURES]
    tiles = [_tile(paths, dataset, index) for index in chosen]
    across = min(3, len(tiles))
    height, width = tiles[0].shape[:2]
    down = -(-len(tiles) // across)
    sheet = np.full((down * (height + GAP) - GAP, across * (width + GAP) - GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // across * (height + GAP), number % across * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    write_image(paths.picture, sheet)


def _tile(paths: _Paths, dataset: Dataset, index: int) -> Any:
    """The picture that `foveal predict` drew of a test image."""
    from foveal.data.images.reading import read_image

    return read_image(paths.found / "pictures" / dataset.records[index].path.name)


def _conclude(demonstrated: Demonstrated, paths: _Paths, *, quick: bool) -> None:
    """The result in three lines, and where to look."""
    _title("Done")
    ap50, error = demonstrated.AP50, demonstrated.count_error
    said = [f"AP50 {ap50:.3f}"] if ap50 is not None else []
    said += [f"counts off by {100 * error:.1f} %"] if error is not None else []
    seconds = demonstrated.seconds
    say(
        f"{', '.join(said)} on {demonstrated.images} test images, "
        f"in {int(seconds) // 60} min {int(seconds) % 60} s.\n"
        f"The report:    {paths.evaluation / 'report.html'}\n"
        f"A picture:     {paths.picture}\n"
        f"All pictures:  {paths.found / 'pictures'}\n"
        f"The model:     {paths.model}\n\n"
        + (
            "All of it works here. So few images and epochs make a poor detector: its numbers mean "
            "little. foveal demo, without --quick, trains a good one in a few minutes.\n\n"
            if quick
            else ""
        )
        + "With images of your own: foveal data check DATA, then foveal train DATA --out RUN."
    )
