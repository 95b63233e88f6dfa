"""Small objects from above, each training in the same minutes: windows against shrunk images.

    python -m benchmarks.studies.small_objects --data sen2ships --minutes 10
    python -m benchmarks.studies.small_objects --data hit-uav --minutes 24

sen2ships: ships of some 8 pixels in Sentinel-2 scenes of 10 m, trained on five ports, measured on
whole scenes of three others: the presets `scenes` and `standard`, four bands of 16 bits and three.
hit-uav: people and vehicles in thermal images: the presets `scenes` and `light`, and torchvision's
RetinaNet by a fair recipe. All begin with the same MobileNetV2. A training's epochs follow from the
time that one takes here (of a few images where there are many), so that its schedule ends with the
minutes; the last weights are measured. --only-time takes the times of all on a quiet machine first;
the trainings may then share it. Times and rows that --work holds already are not made again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import foveal
from benchmarks.lib.kept_rows import keep_row
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import HIT_UAV, MOBILENET, SHARED
from foveal.config import Settings, make_settings
from foveal.data.dataset import Dataset

if TYPE_CHECKING:
    from benchmarks.lib.trained import Trained

SEN2SHIPS = SHARED / "data" / "sen2ships"
TEST_PORTS = ("algiers", "casablanca", "valencia")
"""Ports that no training sees."""
TIMED_IMAGES = 96
"""So many tell how long an epoch takes."""
BACKBONE = "model.backbone=mobilenetv2_100"


@dataclass(frozen=True)
class Contestant:
    """One training.

    Attributes:
        name: in the table.
        preset: of foveal; empty for torchvision's.
        overrides: settings that differ from it.
        bands: of the images, the first ones; None for all.
    """

    name: str
    preset: str
    overrides: tuple[str, ...] = ()
    bands: int | None = None


SHIPS = (
    Contestant("scenes, 4 bands", "scenes"),
    Contestant("scenes, 3 bands", "scenes", bands=3),
    Contestant("standard, 4 bands", "standard", (BACKBONE,)),
)
THERMAL = (
    Contestant("scenes", "scenes"),
    Contestant("light", "light"),
    Contestant("torchvision", ""),
)


def settings_of(contestant: Contestant, options: argparse.Namespace, *, epochs: int) -> Settings:
    """A training's settings; it is measured once, at its end, with its last weights."""
    return make_settings(
        preset=contestant.preset,
        overrides=[
            f"model.weights={options.weights}",
            *contestant.overrides,
            f"training.epochs={epochs}",
            f"training.evaluate_every={epochs}",
            f"training.seed={options.seed}",
            "training.validation_loss=false",
            "training.export=false",
            *options.set,
        ],
    )


def read_ships(options: argparse.Namespace, bands: int | None) -> tuple[Dataset, Dataset]:
    """Five ports to train on, and three others."""
    data = foveal.read(SEN2SHIPS)
    if bands is not None:
        folder = options.work / f"ships-{bands}-bands"
        _write_bands(data, folder, bands)
        data = foveal.read(SEN2SHIPS / "annotations.json", images=folder)
    test = [index for index, record in enumerate(data) if record.path.stem in TEST_PORTS]
    return data.take([i for i in range(len(data)) if i not in test]), data.take(test)


def _write_bands(data: Dataset, folder: Path, bands: int) -> None:
    """The scenes with their first bands alone."""
    import rasterio

    folder.mkdir(parents=True, exist_ok=True)
    for record in data:
        with rasterio.open(record.path) as scene:
            form = {**scene.profile, "count": bands}
            with rasterio.open(folder / record.path.name, "w", **form) as file:
                file.write(scene.read(list(range(1, bands + 1))))


def read_thermal(_options: argparse.Namespace, _bands: int | None) -> tuple[Dataset, Dataset]:
    """Training and validation images."""
    both = (
        foveal.read(HIT_UAV / f"{split}.json").ignoring("DontCare") for split in ("train", "val")
    )
    training, validation = both
    return training, validation


STUDIES: dict[str, tuple[tuple[Contestant, ...], Callable[..., tuple[Dataset, Dataset]]]] = {
    "sen2ships": (SHIPS, read_ships),
    "hit-uav": (THERMAL, read_thermal),
}


def trainer_of(
    contestant: Contestant, options: argparse.Namespace, training: Dataset
) -> Callable[[int], Trained]:
    """What trains a contestant for a number of epochs."""
    from benchmarks.lib.torchvision_training import RATE, TorchvisionTraining
    from benchmarks.lib.trained import train_foveal, train_torchvision

    if contestant.preset:
        return lambda epochs: train_foveal(
            training, settings_of(contestant, options, epochs=epochs)
        )

    import torch

    return lambda epochs: train_torchvision(
        "retinanet",
        training,
        TorchvisionTraining(epochs=epochs, batch=8, rate=RATE, precision=torch.float32),
        weights=Path(options.weights),
        size=options.size,
        seed=options.seed,
    )


def take_time(contestant: Contestant, options: argparse.Namespace) -> dict[str, Any]:
    """How long an epoch takes: one is trained, of a few images where there are many."""
    training, _test = STUDIES[options.data][1](options, contestant.bands)
    few = training[:TIMED_IMAGES]
    seconds = max(trainer_of(contestant, options, few)(1).seconds) * len(training) / len(few)
    return {"": contestant.name, "seconds": seconds}


def measure(contestant: Contestant, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Train for as many epochs of so many seconds as the minutes hold, and measure."""
    from benchmarks.lib.trained import epochs_in

    training, test = STUDIES[options.data][1](options, contestant.bands)
    began = time.perf_counter()
    epochs = epochs_in(options.minutes, seconds)
    trained = trainer_of(contestant, options, training)(epochs)
    evaluation = trained.evaluate(test)
    return {
        "": contestant.name,
        "AP": evaluation.ap,
        "AP50": evaluation.ap50,
        "AP under 32 px": evaluation.ap_small,
        "recall": evaluation.recall,
        "precision": evaluation.precision,
        "epochs": epochs,
        "seconds an epoch": seconds,
        "minutes": epochs * seconds / 60,
        "first stride": trained.facts["first stride"],
        "input": trained.facts["input"],
        "all minutes": (time.perf_counter() - began) / 60,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = [
        each for each in STUDIES[options.data][0] if not options.only or each.name in options.only
    ]
    times = [
        keep_row(
            kept_file(each, options, "time-"),
            {"settings": options.set},
            lambda each=each: take_time(each, options),
        )
        for each in chosen
    ]
    if options.only_time:
        print_table([_shown(row) for row in times])
        return
    asked = {"seed": options.seed, "minutes": options.minutes, "settings": options.set}
    rows = [
        _shown(
            keep_row(
                kept_file(each, options),
                asked,
                lambda each=each, took=took: measure(each, options, took["seconds"]),
            )
        )
        for each, took in zip(chosen, times, strict=True)
    ]
    print_table(rows)
    name = f"small_objects_{options.data.replace('-', '_')}"
    path = write_result(name, rows, folder=options.out, options=vars(options))
    print("written:", path.name)


def kept_file(contestant: Contestant, options: argparse.Namespace, prefix: str = "") -> Path:
    """Where a contestant's row is kept."""
    name = f"{prefix}{options.data}-{contestant.name.replace(', ', '-')}.json"
    return Path(options.work / name)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "asked"}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(STUDIES), default="sen2ships")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each training")
    parser.add_argument("--weights", default=str(MOBILENET), help="MobileNetV2's, a file")
    parser.add_argument("--size", type=int, default=512, help="torchvision's shorter side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="one contestant's name")
    parser.add_argument("--only-time", action="store_true", help="take the times and end")
    parser.add_argument("--set", action="append", default=[], help="a foveal setting")
    parser.add_argument("--work", type=Path, required=True, help="the folder of finished rows")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
