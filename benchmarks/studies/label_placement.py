"""How well boxes of a data set's labels can be foretold at all: what bounds AP besides the network.

    python -m benchmarks.studies.label_placement [--data bccd:test]

Cells that lie alone on a light ground can be cut out without a network. Labels are drawn with a
margin around them. Here each such label is foretold from the cell's own edges and the mean margin
of all others of its class, in shares of the cell's side. The IoU of label and foretold box is what
a detector reaches that knows the cell's edges exactly and the labelers' mean habit, but not their
whim. The share of labels with at least an IoU, squared, is the AP at this IoU of such a detector
that misses nothing, invents nothing and can't know which boxes lie badly; the share itself is the
AP of one that knows that.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import foveal
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import BCCD
from foveal.data.dataset import Dataset
from foveal.data.images.reading import read_image
from foveal.geometry.arrays import areas, intersections, iou

IOUS = np.arange(0.5, 0.96, 0.05)
_LEAST_AREA = 150
"""Pixels; smaller spots are dirt."""
_INSIDE = 0.97
"""A label belongs to a cell with this share of the cell's box inside, and no other cell's."""
_LEAST_FILLING = 0.25
"""Of the label's box by the cell's: less is a spot in a label that means something else."""


def cell_edges(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Boxes (x1, y1, x2, y2) of what is darker than the ground and does not touch the border."""
    green = cv2.GaussianBlur(image[..., 1], (5, 5), 0)
    _, mask = cv2.threshold(green, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    left, top, width, height, area = stats[1:].T
    boxes = np.stack([left, top, left + width, top + height], axis=1).astype(np.float64)
    rows, columns = mask.shape
    whole = (left > 0) & (top > 0) & (left + width < columns) & (top + height < rows)
    return boxes[whole & (area >= _LEAST_AREA)]


def lone_pairs(
    cells: NDArray[np.float64], labels: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], int]]:
    """Cells with the number of the only label that they lie in, where it holds no other cell."""
    pairs = []
    shared = intersections(cells[:, None], labels)
    inside = shared / areas(cells)[:, None]
    filling = shared / areas(labels)
    for number, share in enumerate(inside):
        (of,) = np.nonzero(share > 0.05)
        if len(of) != 1 or share[of[0]] < _INSIDE or filling[number, of[0]] < _LEAST_FILLING:
            continue
        if (inside[:, of[0]] > 0.05).sum() == 1:
            pairs.append((cells[number], int(of[0])))
    return pairs


def foretell(
    cells: NDArray[np.float64], labels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IoU of each label with the cell's edges and the mean margins of the others; and margins.

    Args:
        cells: N x 4, the cells' edges.
        labels: N x 4, their labels.

    Returns:
        N IoUs, and N x 4 margins (left, top, right, bottom) in shares of the cell's width or
        height; outward is positive.
    """
    size = np.tile(cells[:, 2:] - cells[:, :2], 2)
    outward = np.array([-1.0, -1.0, 1.0, 1.0])
    margins = (labels - cells) / size * outward
    others = (margins.sum(axis=0) - margins) / max(1, len(margins) - 1)
    return iou(cells + others * size * outward, labels), margins


def measure(data: Dataset) -> list[dict[str, Any]]:
    """A row for each class of which there are lone cells."""
    pairs: dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = defaultdict(list)
    for record in data.records:
        boxes = np.asarray(record.boxes, np.float64)
        for cell, label in lone_pairs(cell_edges(read_image(record.path)), boxes):
            pairs[int(record.labels[label])].append((cell, boxes[label]))
    rows = []
    for label, found in sorted(pairs.items()):
        if len(found) < 2:
            continue
        values, margins = foretell(*(np.array(each) for each in zip(*found, strict=True)))
        shares = (values[:, None] >= IOUS).mean(axis=0)
        rows.append(
            {
                "class": data.classes[label],
                "lone cells": len(found),
                "labels": sum(int((each.labels == label).sum()) for each in data.records),
                "mean margin": float(margins.mean()),
                "its deviation": float(margins.std()),
                "mean IoU": float(values.mean()),
                "IoU >= 0.75": float((values >= 0.75).mean()),
                "AP, whims unknown": float((shares**2).mean()),
                "AP, whims known": float(shares.mean()),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rows = measure(foveal.read(options.data))
    print_table(rows)
    path = write_result("label_placement", rows, folder=options.out, options=vars(options))
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=f"{BCCD}:test", help="annotations of cells")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
