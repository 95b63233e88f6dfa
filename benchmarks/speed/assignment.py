"""Assignment beside torchvision's matcher: time and peak memory against the number of objects.

    python -m benchmarks.speed.assignment [--objects 100 1000 5000] [--rounds 5]

One image of 800 x 1333 pixels, padded to 800 x 1344 (201,600 anchors). Both must give the same
assignment, or the benchmark stops. Where torchvision's matcher asks for more memory than is free,
the table says how much it was allowed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from benchmarks.lib.memory import peak_megabytes
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.timing import interleave
from foveal.detection.anchors import AnchorGrid
from foveal.detection.assignment import assign

HEIGHT, WIDTH = 800, 1333


def inputs(objects: int) -> tuple[torch.Tensor, torch.Tensor]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(objects)
    centers = torch.rand(objects, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    sides = torch.rand(objects, 2, generator=generator) * 120 + 8
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], dim=1)
    height, width = (-(-side // 32) * 32 for side in (HEIGHT, WIDTH))
    return AnchorGrid().tensor(height, width, device=device), boxes.to(device)


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
        "memory ratio": mine / other,
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


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rows = [measure(objects, options.rounds) for objects in options.objects]
    print_table(rows)
    name = "assignment_cuda" if torch.cuda.is_available() else "assignment"
    print("written:", write_result(name, rows, folder=options.out).name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
