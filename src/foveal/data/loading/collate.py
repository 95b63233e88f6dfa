"""From prepared samples to a Batch of tensors with few shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from foveal.structures import Batch, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.geometry.placement import Placement

_FEWEST_BOXES = 8


def make_batch(
    prepared: Sequence[tuple[Sample, Placement]],
    *,
    images: NDArray[np.uint8] | None = None,
    indices: Sequence[int] = (),
) -> Batch:
    """Put prepared samples of one input size together.

    Boxes are padded to 8, 16, 32 ... places, so that compiled shapes repeat.

    Args:
        prepared: samples in input pixels, all images [H, W, C] of one size, and placements.
        images: [B, H, W, C] that holds the samples' images already; saves a copy.
        indices: each image's position in its data set.

    Returns:
        Images [B, C, H, W] channels_last, boxes in input pixels.

    Raises:
        ValueError: no sample, or images of several sizes.
    """
    if not prepared:
        raise ValueError("a batch needs at least one sample")
    samples = [sample for sample, _ in prepared]
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) > 1:
        raise ValueError(f"one batch has one input size, found {sorted(shapes)}")
    if images is None:
        images = np.stack([sample.image for sample in samples])
    counts = [len(sample.target) for sample in samples]
    places = padded_count(max(counts))
    boxes = np.zeros((len(samples), places, 4), np.float32)
    labels = np.zeros((len(samples), places), np.int64)
    ignored = np.zeros((len(samples), places), np.bool_)
    for row, (sample, count) in enumerate(zip(samples, counts, strict=True)):
        boxes[row, :count] = sample.target.boxes
        labels[row, :count] = sample.target.labels
        ignored[row, :count] = sample.target.ignored
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        torch.from_numpy(boxes),
        torch.from_numpy(labels),
        torch.from_numpy(ignored),
        torch.tensor(counts, dtype=torch.int64),
        placements=tuple(placement for _, placement in prepared),
        names=tuple(sample.name for sample in samples),
        has_ignored=bool(ignored.any()),
        indices=tuple(indices),
    )


def padded_count(count: int) -> int:
    """The number of places for so many boxes: 8, 16, 32 and on in powers of two."""
    return max(_FEWEST_BOXES, 1 << (count - 1).bit_length() if count else 0)
