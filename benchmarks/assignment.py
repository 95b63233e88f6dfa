"""Assignment beside torchvision's matcher: time and peak memory against the number of objects.

    python benchmarks/assignment.py [--rounds 5]

One image of 800 x 1333 pixels, padded to 800 x 1344 (201,600 anchors). Both must give the same
assignment, or the benchmark stops.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

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
    centres = torch.rand(objects, 2, generator=generator) * torch.tensor([1333.0, 800.0])
    sides = torch.rand(objects, 2, generator=generator) * 120 + 8
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    return AnchorGrid().boxes(HEIGHT, WIDTH).to(device), boxes.to(device)


def ours(objects: int) -> Callable[[], torch.Tensor]:
    anchors, boxes = inputs(objects)
    counts = torch.tensor([objects], device=boxes.device)
    return lambda: assign(anchors, boxes[None], counts)[0]


def theirs(objects: int) -> Callable[[], torch.Tensor]:
    anchors, boxes = inputs(objects)
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
    return lambda: matcher(box_iou(boxes, anchors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows = []
    for objects in OBJECTS:
        mine, other = ours(objects), theirs(objects)
        if not torch.equal(mine(), other()):
            raise SystemExit(f"{objects} objects: the two assignments differ")
        seconds = interleave({"foveal": mine, "torchvision": other}, rounds=rounds)
        peaks = [peak_megabytes(function, objects) for function in (ours, theirs)]
        rows.append(
            {
                "objects": objects,
                "foveal s": seconds["foveal"]["median"],
                "torchvision s": seconds["torchvision"]["median"],
                "times as fast": seconds["torchvision"]["median"] / seconds["foveal"]["median"],
                "foveal MB": peaks[0],
                "torchvision MB": peaks[1],
                "share of memory": peaks[0] / peaks[1],
            }
        )
    print_table(rows)
    print("written:", write_result("assignment", rows).name)


if __name__ == "__main__":
    main()
