"""Train on a table of your own, without settings: the shortest way from boxes to a detector.

    python examples/own_csv.py boxes.csv

One line for each object, the header as here (other customary names are known too), paths relative
to the table's folder, corners in pixels. A line with a path alone is an image without objects:

    image,xmin,ymin,xmax,ymax,label
    yard/one.jpg,310,40,388,97,car
    yard/two.jpg,,,,,

A part of the images is held out to measure the detector and to choose the score from which a
detection counts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import foveal


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a detector on a CSV table.")
    parser.add_argument("table", help="a .csv of boxes")
    parser.add_argument("--out", type=Path, default=Path("own"), help="the folder for the run")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", default="pretrained", help="'pretrained', a file or 'none'")
    parser.add_argument("--size", type=int, default=640, help="shorter side of the input, pixels")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args(arguments)

    data = foveal.read(options.table)
    print(data.summary())
    training, held_out = data.split(0.2, seed=0)

    detector = foveal.Detector(
        training, backbone=options.backbone, weights=options.weights, size=options.size
    )
    detector.fit(epochs=options.epochs, valid=held_out, out=options.out / "run")
    detector.save(options.out / "detector.safetensors")  # weights, classes, settings: all in one

    again = foveal.load(options.out / "detector.safetensors")
    image = held_out.records[0].path
    found = again.detect(image)
    print(f"{image.name}: {found.counts()}")
    for box, score, name in zip(found.boxes, found.scores, found.names, strict=True):
        left, top, right, bottom = box
        print(f"  {name} {score:.2f} at {left:.0f}, {top:.0f} to {right:.0f}, {bottom:.0f}")


if __name__ == "__main__":
    main()
