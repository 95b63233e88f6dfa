"""Count blood cells: train on labeled smears, then write how many cells each image shows.

    python examples/cells.py PATH/TO/bccd
    python examples/cells.py PATH/TO/bccd --weights mobilenetv2_100.safetensors

The folder is Pascal VOC's: JPEGImages, Annotations and ImageSets with the splits train, val and
test. The counts are written to OUT/counts.csv: one line an image, one column a class.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import foveal


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Count cells in blood smears.")
    parser.add_argument("data", help="a folder in Pascal VOC's layout")
    parser.add_argument("--out", type=Path, default=Path("cells"), help="the folder for the run")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--weights", default="pretrained", help="'pretrained', a file or 'none'")
    parser.add_argument("--size", type=int, default=320, help="shorter side of the input, pixels")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args(arguments)

    detector = foveal.Detector(
        f"{options.data}:train",
        backbone=options.backbone,
        weights=options.weights,
        size=options.size,
    )
    detector.fit(epochs=options.epochs, valid=f"{options.data}:val", out=options.out / "run")

    # Counts on images that neither training nor the choice of the threshold has seen.
    test = foveal.read(f"{options.data}:test")
    evaluation = detector.evaluate(test, out=options.out / "evaluation")
    print(f"AP50 {evaluation.ap50:.3f}, counts off by {evaluation.counts.relative_error:.1%}")
    for result in evaluation.per_class:
        counts = result.counts
        print(f"  {result.name}: {counts.predicted.sum()} counted, {counts.true.sum()} labeled")

    # The same for images without labels: any list of paths will do.
    found = detector.detect_many(record.path for record in test)
    foveal.write(found, options.out / "counts.csv", counts=True)
    print(f"{options.out / 'counts.csv'}: one line for each of {len(found)} images")


if __name__ == "__main__":
    main()
