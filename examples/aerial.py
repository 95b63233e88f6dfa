"""Find people and vehicles in aerial thermal images, where most objects are smaller than 32 pixels.

    python examples/aerial.py PATH/TO/hit-uav

The folder holds COCO files train.json and val.json. Three things matter for small objects: anchors
that fit them, an input that is not scaled down, and regions that nobody could label (here the class
DontCare), which must count neither as objects nor as background.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import foveal


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Find small objects in aerial images.")
    parser.add_argument("data", type=Path, help="a folder with train.json and val.json")
    parser.add_argument("--out", type=Path, default=Path("aerial"), help="the folder for the run")
    parser.add_argument("--ignore", default="DontCare", help="the class that marks regions")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", default="pretrained", help="'pretrained', a file or 'none'")
    parser.add_argument("--size", type=int, default=512, help="shorter side of the input, pixels")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args(arguments)

    training = foveal.read(options.data / "train.json")
    ignored = [name for name in (options.ignore,) if name in training.classes]
    print(training.ignoring(ignored).summary())

    # Without scales= and ratios=, anchors are fitted to the objects. What they reach:
    detector = foveal.Detector(
        training,
        backbone=options.backbone,
        weights=options.weights,
        size=options.size,
        ignore=ignored,
    )
    if detector.anchors is not None:
        print(detector.anchors.text)

    validation = foveal.read(options.data / "val.json")
    detector.fit(epochs=options.epochs, valid=validation, out=options.out / "run")

    evaluation = detector.evaluate(validation, out=options.out / "evaluation")
    print(f"AP {evaluation.ap:.3f}, AP50 {evaluation.ap50:.3f}")
    for size in evaluation.by_size:
        if size.objects:
            print(f"  {size.name}: {size.objects} objects, AP {size.ap:.3f}")
    print(f"{options.out / 'evaluation' / 'report.html'}: curves, error types, pictures")


if __name__ == "__main__":
    main()
