"""Assignment beside torchvision's matcher: time and peak memory against the number of objects.

    python benchmarks/assignment.py [--rounds 5]

One image of 800 x 1333 pixels, padded to 800 x 1344 (201,600 anchors). Both must give the same
assignment, or the benchmark stops. Where torchvision's matcher asks for more memory than is free,
the table says how much it was allowed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from harness import interleave, peak_megabytes, print_table, write_result
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from foveal.detection.anchors import AnchorGrid
from foveal.detection.assignment import assign

HEIGHT, WIDTH = 800, 1344
OBJECTS = (100, 1000, 5000)


def inputs(objects: int) -> tuple[torch.Tensor, torch.Tensor]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(objects)
    centers = torch.rand(objects, 2, generator=generator) * torch.tensor([1333.0, 800.0])
    sides = torch.rand(objects, 2, generator=generator) * 120 + 8
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], dim=1)
    return AnchorGrid().tensor(HEIGHT, WIDTH, device=device), boxes.to(device)


def ours(objects: int) -> Callable[[], torch.Tensor]:
    anchors, boxes = inputs(objects)
    counts = torch.tensor([objects], device=boxes.device)
    return lambda: assign(anchors, boxes[None], counts)[0]


def theirs(objects: int) -> Callable[[], torch.Tensor]:
    anchors, boxes = inputs(objects)
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
    return lambda: matcher(box_iou(boxes, anchors))


def measure(objects: int, rounds: int) -> dict[str, object]:
    mine, _ = peak_megabytes(ours, objects)
    other, complete = peak_megabytes(theirs, objects)
    row: dict[str, object] = {
        "objects": objects,
        "foveal MB": mine,
        "torchvision MB": other if complete else f"over {other:.0f}",
        "share of memory": mine / other,
    }
    contestants = {"foveal": ours(objects)}
    if complete:
        contestants["torchvision"] = theirs(objects)
        if not torch.equal(*(contestant() for contestant in contestants.values())):
            raise SystemExit(f"{objects} objects: the two assignments differ")
    seconds = interleave(contestants, rounds=rounds)
    row["foveal s"] = seconds["foveal"]["median"]
    row["torchvision s"] = seconds["torchvision"]["median"] if complete else "out of memory"
    if complete:
        row["times as fast"] = seconds["torchvision"]["median"] / seconds["foveal"]["median"]
    else:
        row["times as fast"] = "-"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    options = parser.parse_args()
    rows = [measure(objects, options.rounds) for objects in OBJECTS]
    print_table(rows)
    name = "assignment_cuda" if torch.cuda.is_available() else "assignment"
    print("written:", write_result(name, rows, folder=options.out).name)


if __name__ == "__main__":
    main()
