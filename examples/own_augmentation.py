"""Train with an augmentation of your own: a plain function, torchvision's v2, or albumentations.

    python examples/own_augmentation.py
    python examples/own_augmentation.py --augment torchvision

Trains on drawn blood smears, so that there is nothing to download. The same names work on the
command line, in the folder of this file:

    foveal train DATA --augment own_augmentation:dim
    foveal train DATA --augment own_augmentation:FLIPS
    foveal train DATA --augment own_augmentation:TURNS

An augmentation takes the place of foveal's own. It sees training images only, as they are read:
uint8 [H, W, 3], boxes in pixels of that image. Resizing comes after it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from torchvision.transforms import v2

import foveal
from foveal.data.synthetic import draw_dataset


def dim(sample: foveal.Sample, generator: np.random.Generator) -> foveal.Sample:
    """A function from Sample to Sample. Every random choice comes from the generator."""
    light = generator.uniform(0.6, 1.0)
    return replace(sample, image=(sample.image * light).astype(np.uint8))


# A transform of torchvision's v2. Boxes follow by themselves.
FLIPS = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), v2.ColorJitter(0.2, 0.2)])

AUGMENTATIONS: dict[str, object] = {"function": dim, "torchvision": FLIPS}

if find_spec("albumentations"):  # pip install albumentations
    import albumentations

    # A list of albumentations' transforms. foveal composes them and tells them of the boxes.
    TURNS = [albumentations.SquareSymmetry(), albumentations.CLAHE(p=0.3)]
    AUGMENTATIONS["albumentations"] = TURNS


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train with an augmentation of your own.")
    parser.add_argument("--augment", choices=list(AUGMENTATIONS), default="function")
    parser.add_argument("--out", type=Path, default=Path("own_augmentation"))
    parser.add_argument("--images", type=int, default=80, help="how many to draw and train on")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", default="pretrained", help="'pretrained', a file or 'none'")
    parser.add_argument("--size", type=int, default=160, help="shorter side of the input, pixels")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args(arguments)

    splits = {"train": options.images, "valid": max(2, options.images // 4)}
    data = draw_dataset(options.out / "data", splits=splits, size=options.size)

    # What one image becomes, before an hour is spent on training with it:
    before = data["train"][0]
    after = dim(before, np.random.default_rng(0))
    print(f"mean of the pixels: {before.image.mean():.0f}, dimmed {after.image.mean():.0f}")

    detector = foveal.Detector(
        data["train"], backbone=options.backbone, weights=options.weights, size=options.size
    )
    detector.fit(
        epochs=options.epochs,
        valid=data["valid"],
        out=options.out / "run",
        augment=AUGMENTATIONS[options.augment],
    )
    evaluation = detector.evaluate(data["valid"])
    print(f"trained with {options.augment}: AP50 {evaluation.ap50:.3f}")


if __name__ == "__main__":
    main()
