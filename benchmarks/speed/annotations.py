"""How long it takes to read the annotations of many images.

    python -m benchmarks.speed.annotations [--images 10000] [--rounds 5]

Draws a COCO file with about 7.5 objects an image, then times parsing its JSON alone, reading it as
a data set, pickling that for a worker, and reading and checking it as `foveal data check` does. The
images are empty files. The memory is the largest above that of the program's libraries.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import foveal
from benchmarks.lib.machine import print_machine
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.timing import interleave
from foveal.data.checks.diagnose import diagnose
from foveal.data.checks.subject import InputGrid
from foveal.data.opening import AS_FOUND, read_for_doctor
from foveal.data.transforms.preparation import Preparation


def draw(folder: Path, images: int) -> Path:
    """Write the annotations, with an empty file for each image."""
    dice = random.Random(0)
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i in range(images):
        name = f"{i:06d}.jpg"
        (folder / name).touch()
        entries.append({"id": 3 * i + 1, "file_name": name, "width": 640, "height": 480})
        for _ in range(dice.randint(0, 15)):
            x, y = round(dice.uniform(0, 600), 2), round(dice.uniform(0, 440), 2)
            box = [x, y, round(dice.uniform(1, 640 - x), 2), round(dice.uniform(1, 480 - y), 2)]
            entry = {"id": len(annotations) + 1, "image_id": 3 * i + 1, "bbox": box}
            annotations.append(entry | {"category_id": dice.randint(1, 80), "iscrowd": 0})
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
    document = {"images": entries, "annotations": annotations, "categories": categories}
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    print_machine()
    before = _gigabytes()
    with tempfile.TemporaryDirectory() as name:
        path = draw(Path(name), options.images)
        data = foveal.read(path)
        pickled = pickle.dumps(data)
        seconds = interleave(
            {
                "JSON alone": lambda: json.loads(path.read_bytes()),
                "foveal.read": lambda: foveal.read(path),
                "pickle": lambda: pickle.dumps(data),
                "unpickle": lambda: pickle.loads(pickled),
                "read and checked": lambda: check(path),
            },
            rounds=options.rounds,
        )
    rows = [{"work": work, "seconds": times["median"]} for work, times in seconds.items()]
    objects = sum(map(len, data))
    memory = _gigabytes() - before
    title = f"{len(data):,} images, {objects:,} objects; pickled {len(pickled) / 1e6:.1f} MB; "
    title += f"at most {memory:.2f} GB"
    print_table(rows, title=title)
    path = write_result(
        "annotations",
        rows,
        folder=options.out,
        images=len(data),
        objects=objects,
        pickled_megabytes=len(pickled) / 1e6,
        gigabytes=memory,
        seconds=seconds,
    )
    print("written:", path.name)


def check(path: Path) -> None:
    """What `foveal data check` does, without its output."""
    grid = InputGrid(Preparation().with_shorter(640))
    (reading,) = read_for_doctor([(path, AS_FOUND)])
    diagnose(reading, grid=grid)


def _gigabytes() -> float:
    """The largest memory so far (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
