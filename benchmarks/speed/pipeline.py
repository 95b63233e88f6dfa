"""Images a second on one core, from file to augmented input, beside torchvision_v2.

    python -m benchmarks.speed.pipeline [--folder IMAGES] [--images 32] [--side 512] [--rounds 7]

Each row adds a step to the one before. Both read the same JPEGs, carry the same boxes along and
give uint8 images of one square size; torchvision works on tensors, as its documentation advises.
torchvision has no mosaic: there four images are decoded, resized and put together before the other
steps. A row's figure counts the images that come out. Without --folder the images are drawn.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.sample_images import draw_photographs
from benchmarks.lib.threads import threads
from benchmarks.lib.timing import interleave
from foveal.data.images.reading import read_image
from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.preparation import Preparation
from foveal.structures import Sample, Target

BOXES = 20
JITTER = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05}
AFFINE = {"rotation": 10.0, "shear": 5.0, "scale": (0.75, 1.33)}
FILL = (124, 116, 104)
STEPS = ("decode", "prepare", "flip", "color", "affine", "mosaic")


def draw_boxes(path: Path) -> np.ndarray:
    height, width = read_image(path).shape[:2]
    rng = np.random.default_rng(1)
    corners = np.sort(rng.uniform(0, (width, height), (BOXES, 2, 2)), axis=1)
    return corners.reshape(BOXES, 4).astype(np.float32)


def ours(step: str, paths: list[Path], boxes: dict[Path, np.ndarray], side: int) -> Callable:
    preparation = Preparation(mode="square", shorter=side, fill=FILL)
    level = STEPS.index(step)
    changes: dict[str, object] = {"flip_horizontal": level >= STEPS.index("flip")}
    for name, values in (("color", JITTER), ("affine", AFFINE), ("mosaic", {"mosaic": 1.0})):
        if level >= STEPS.index(name):
            changes.update(values)
    augmentation = Augmentation(**changes)

    def sample(path: Path) -> Sample:
        labels, ignored = np.zeros(BOXES, np.int64), np.zeros(BOXES, np.bool_)
        return Sample(read_image(path), Target(boxes[path], labels, ignored))

    def work() -> None:
        generator = np.random.default_rng(0)
        for number, path in enumerate(paths):
            drawn = sample(path)
            if step == "decode":
                continue
            if step == "prepare":
                preparation(drawn)
                continue
            others = iter(paths[(number + k) % len(paths)] for k in (1, 2, 3))
            augmentation(
                drawn, generator, preparation, another=lambda others=others: sample(next(others))
            )

    return work


def theirs(step: str, paths: list[Path], boxes: dict[Path, np.ndarray], side: int) -> Callable:
    level = STEPS.index(step)
    steps: list[torch.nn.Module] = []
    if level >= STEPS.index("flip"):
        steps.append(v2.RandomHorizontalFlip())
    if level >= STEPS.index("color"):
        steps.append(v2.ColorJitter(**JITTER))
    if level >= STEPS.index("affine"):
        steps.append(
            v2.RandomAffine(
                AFFINE["rotation"], scale=AFFINE["scale"], shear=AFFINE["shear"],
                interpolation=v2.InterpolationMode.BILINEAR, fill=FILL,
            )
        )  # fmt: skip
    transform = v2.Compose([*steps, v2.SanitizeBoundingBoxes()])

    def sample(path: Path) -> dict[str, torch.Tensor]:
        content = read_file(str(path))
        image = decode_image(content, mode=ImageReadMode.RGB, apply_exif_orientation=True)
        size = (image.shape[1], image.shape[2])
        box = tv_tensors.BoundingBoxes(boxes[path], format="XYXY", canvas_size=size)
        labels = torch.zeros(BOXES, dtype=torch.int64)
        return {"image": tv_tensors.Image(image), "boxes": box, "labels": labels}

    def fit(inputs: dict[str, torch.Tensor], height: int, width: int) -> dict[str, torch.Tensor]:
        rows, columns = inputs["image"].shape[1:]
        scale = min(height / rows, width / columns)
        size = [round(rows * scale), round(columns * scale)]
        inputs = v2.Resize(size, antialias=True)(inputs)
        padding = [0, 0, width - size[1], height - size[0]]
        return v2.Pad(padding, fill=FILL)(inputs)

    def mosaic(number: int) -> dict[str, torch.Tensor]:
        half = side // 2
        pixels = torch.empty(3, side, side, dtype=torch.uint8)
        boxes_of_parts = []
        for k, (top, left) in enumerate(((0, 0), (0, half), (half, 0), (half, half))):
            part = fit(sample(paths[(number + k) % len(paths)]), half, half)
            pixels[:, top : top + half, left : left + half] = part["image"]
            boxes_of_parts.append(part["boxes"] + torch.tensor([left, top, left, top]))
        box = tv_tensors.BoundingBoxes(
            torch.cat(boxes_of_parts), format="XYXY", canvas_size=(side, side)
        )
        labels = torch.zeros(len(box), dtype=torch.int64)
        return {"image": tv_tensors.Image(pixels), "boxes": box, "labels": labels}

    def work() -> None:
        torch.manual_seed(0)
        for number, path in enumerate(paths):
            if step == "mosaic":
                transform(mosaic(number))
                continue
            inputs = sample(path)
            if step != "decode":
                inputs = fit(inputs, side, side)
            if steps:
                transform(inputs)

    return work


def check_alike(paths: list[Path], side: int) -> None:
    """Both prepare an image to nearly the same pixels, or the comparison means nothing."""
    image = read_image(paths[0])
    prepared, _ = Preparation(mode="square", shorter=side)(Sample(image, Target.empty()))
    scale = side / max(image.shape[:2])
    size = [round(length * scale) for length in image.shape[:2]]
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    other = functional.resize(tensor, size, antialias=True).permute(1, 2, 0).numpy()
    difference = np.abs(prepared.image[: size[0], : size[1]].astype(int) - other).mean()
    if difference > 4:
        raise SystemExit(f"the prepared images differ by {difference:.1f} gray levels")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="JPEGs to use instead of drawn ones")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--width", type=int, default=640, help="of drawn images")
    parser.add_argument("--height", type=int, default=480, help="of drawn images")
    parser.add_argument("--side", type=int, default=512, help="of the input")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    with threads(1):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Time every step in turn, print the table and write it."""
    with tempfile.TemporaryDirectory() as folder:
        if options.folder:
            paths = sorted(options.folder.glob("*.jpg"))[: options.images]
        else:
            paths = draw_photographs(Path(folder), options.images, options.width, options.height)
        if not paths:
            raise SystemExit(f"{options.folder} holds no .jpg")
        boxes = {path: draw_boxes(path) for path in paths}
        check_alike(paths, options.side)
        contestants = {
            f"{name} {step}": make(step, paths, boxes, options.side)
            for step in STEPS
            for name, make in (("foveal", ours), ("torchvision", theirs))
        }
        seconds = interleave(contestants, rounds=options.rounds)
    rows = []
    for number, step in enumerate(STEPS):
        speeds = {
            name: len(paths) / seconds[f"{name} {step}"]["median"]
            for name in ("foveal", "torchvision")
        }
        rows.append(
            {
                "steps": " + ".join(STEPS[: number + 1]),
                "foveal images/s": speeds["foveal"],
                "torchvision images/s": speeds["torchvision"],
                "times": speeds["foveal"] / speeds["torchvision"],
            }
        )
    print_table(rows)
    source = options.folder.name if options.folder else f"{options.width}x{options.height}"
    path = write_result(
        "pipeline",
        rows,
        folder=options.out,
        source=source,
        threads=1,
        images=len(paths),
        side=options.side,
        rounds=options.rounds,
        seconds=seconds,
    )
    print("written:", path.name)


if __name__ == "__main__":
    main()
