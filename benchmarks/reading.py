"""How long it takes to read the annotations of many images: `python benchmarks/reading.py`.

Draws a COCO file of 10,000 images and about 75,000 objects, then times parsing its JSON alone,
reading it as a data set, and pickling that for a worker.
"""

from __future__ import annotations

import json
import pickle
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foveal

IMAGES = 10_000


def draw(folder: Path) -> Path:
    """Write the annotations, with an empty file for each image."""
    dice = random.Random(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i in range(IMAGES):
        name = f"{i:06d}.jpg"
        (folder / name).touch()
        images.append({"id": 3 * i + 1, "file_name": name, "width": 640, "height": 480})
        for _ in range(dice.randint(0, 15)):
            x, y = round(dice.uniform(0, 600), 2), round(dice.uniform(0, 440), 2)
            box = [x, y, round(dice.uniform(1, 640 - x), 2), round(dice.uniform(1, 480 - y), 2)]
            entry = {"id": len(annotations) + 1, "image_id": 3 * i + 1, "bbox": box}
            annotations.append(entry | {"category_id": dice.randint(1, 80), "iscrowd": 0})
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def best(work: Callable[[], Any], times: int = 5) -> float:
    """The shortest of several runs, seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = draw(Path(name))
        data = foveal.read(path)
        packed = pickle.dumps(data)
        print(f"{len(data):,} images, {sum(map(len, data)):,} objects")
        print(f"JSON alone  {best(lambda: json.loads(path.read_bytes())):6.2f} s")
        print(f"foveal.read {best(lambda: foveal.read(path)):6.2f} s")
        print(f"pickle      {best(lambda: pickle.dumps(data)):6.2f} s, {len(packed) / 1e6:.1f} MB")
        print(f"unpickle    {best(lambda: pickle.loads(packed)):6.2f} s")


if __name__ == "__main__":
    main()
