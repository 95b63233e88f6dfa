"""Images that show the same but for encoding and size, found by what they look like when small.

An image is shrunk to a small gray square. Of each pixel the mean of its surroundings is taken
away, and what is left is divided by how much it varies there: so a bright frame, a vignette or a
caption that all images share counts no more than anything else of its size. Of the square's cosine
transform the lower frequencies are kept, a unit vector: as the perceptual hash of DCT (pHash) does
it, without making bits of the numbers. The product of two of these vectors is the similarity of
two images, in -1..1.

Copies that were shrunk, compressed anew or converted have 0.98 or more with their original; images
of the same kind, such as blood smears of one microscope, less than 0.5, or 0.82 where all share a
black frame. Frames of one video, and the same view through another focus, come in between: they
are near-duplicates too, since who knows one knows the other.
"""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from foveal.data.images.thumbnails import read_thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset

ALIKE = 0.9
"""Similarity from which two images are near-duplicates."""
_SIDE = 32
"""Of the small square, pixels."""
_KEPT = 16
"""Frequencies kept in each direction."""
_MEAN_SIGMA, _SPREAD_SIGMA = 2.0, 1.5
"""How far the surroundings of a pixel reach, in pixels of the square."""
_NOISE = 1.0
"""Gray levels below which differences are no pattern."""
_PLAIN = 0.02
"""Mean square of the pattern below which an image shows none: a flat one is like no other."""
_BLOCK = 1024
"""Images that are compared with all others at a time, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Images that look alike; each looks like at least one other of them.

    Attributes:
        indices: of the images in the data set, ascending; two or more.
        similarity: of the image that is least like any other of them with the one that it is most
            like, ALIKE..1.
    """

    indices: tuple[int, ...]
    similarity: float


def find_near_duplicates(
    dataset: Dataset,
    *,
    mirrored: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[NearDuplicates]:
    """Groups of images that look alike: copies, resized, compressed anew, frames of one view.

    Images that can't be read, and flat ones, are in no group.

    Args:
        dataset: its images are read.
        mirrored: look for copies that were mirrored or turned by quarter turns, too.
        progress: called with (images looked at, images in all).

    Returns:
        The groups, in the order of their first image.
    """
    squares = read_squares(dataset.paths, progress=progress)
    return group_patterns(squares.patterns, mirrored=mirrored)


@dataclass(frozen=True, slots=True, eq=False)
class Squares:
    """Images, shrunk to small gray squares.

    Attributes:
        values: [N, S, S] uint8; zeros where an image can't be read.
        readable: [N], which images could be read.
    """

    values: NDArray[np.uint8]
    readable: NDArray[np.bool_]

    @property
    def patterns(self) -> NDArray[np.float32]:
        """What each looks like, [N, D] unit vectors; zeros where it is flat or can't be read."""
        patterns = np.zeros((len(self.values), _KEPT * _KEPT), np.float32)
        for pattern, square in zip(patterns, self.values, strict=True):
            pattern[:] = _pattern(square)
        return patterns


def read_squares(
    paths: Sequence[Path], *, progress: Callable[[int, int], None] | None = None
) -> Squares:
    """Shrink many images, each to a small gray square.

    Args:
        paths: of the images.
        progress: called with (images looked at, images in all).
    """
    values = np.zeros((len(paths), _SIDE, _SIDE), np.uint8)
    readable = np.zeros(len(paths), np.bool_)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        squares = pool.map(partial(read_thumbnail, side=_SIDE), paths)
        for index, square in enumerate(squares):
            if square is not None:
                values[index], readable[index] = square, True
            if progress is not None:
                progress(index + 1, len(paths))
    return Squares(values, readable)


def _pattern(square: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The vector [D] of a square; see the top of this file."""
    values = square.astype(np.float32)
    detail = values - cv2.GaussianBlur(values, (0, 0), _MEAN_SIGMA)
    spread = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _SPREAD_SIGMA))
    detail /= spread + _NOISE
    if float((detail * detail).mean()) < _PLAIN:
        return np.zeros(_KEPT * _KEPT, np.float32)
    waves = cv2.dct(detail)[:_KEPT, :_KEPT].copy()
    waves[0, 0] = 0  # the mean, which says nothing
    return np.asarray(waves / max(float(np.linalg.norm(waves)), 1e-12), np.float32).ravel()


def group_patterns(
    patterns: NDArray[np.float32], *, mirrored: bool = False
) -> list[NearDuplicates]:
    """Groups of images whose patterns are alike.

    Args:
        patterns: [N, D], of `Squares`.
        mirrored: whether mirrored and turned copies are alike, too.

    Returns:
        The groups, in the order of their first image.
    """
    labels = np.arange(len(patterns))
    nearest = np.full(len(patterns), -1, np.float32)
    for start, similarity in _compared(patterns, mirrored=mirrored):
        rows = np.arange(len(similarity))
        similarity[rows, rows] = -1
        best = similarity.max(axis=1)
        nearest[start:] = np.maximum(nearest[start:], similarity.max(axis=0))
        nearest[start + rows] = np.maximum(nearest[start + rows], best)
        for row in np.flatnonzero(best >= ALIKE):
            others = labels[start:][similarity[row] >= ALIKE]
            joined = np.unique(np.append(others, labels[start + row]))
            if len(joined) > 1:
                labels[np.isin(labels, joined)] = joined[0]
    members: dict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(nearest >= ALIKE).tolist():
        members[int(labels[index])].append(index)
    return [
        NearDuplicates(tuple(group), min(float(nearest[group].min()), 1.0))
        for group in members.values()
    ]


def _compared(
    patterns: NDArray[np.float32], *, mirrored: bool
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Similarities of each image with itself and all later ones, in blocks.

    Yields:
        The number of a block's first image, and [rows, N - first] of its images with all from the
        first on.
    """
    views = [view(patterns) for view in (_views() if mirrored else _views()[:1])]
    for start in range(0, len(patterns), _BLOCK):
        rest = patterns[start:].T
        best = views[0][start : start + _BLOCK] @ rest
        for seen in views[1:]:
            np.maximum(best, seen[start : start + _BLOCK] @ rest, out=best)
        yield start, best


def nearest_pattern(
    patterns: NDArray[np.float32], others: NDArray[np.float32], *, mirrored: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which of some other images each image looks most like.

    Args:
        patterns: [N, D], of `Squares`.
        others: [M, D], one or more.
        mirrored: whether mirrored and turned copies are alike, too.

    Returns:
        [N] the index of the other one, and [N] the similarity.
    """
    nearest = np.zeros(len(patterns), np.int64)
    similarity = np.full(len(patterns), -1, np.float32)
    for start in range(0, len(patterns), _BLOCK):
        block = slice(start, start + _BLOCK)
        best = patterns[block] @ others.T
        for view in _views()[1:] if mirrored else ():
            np.maximum(best, view(patterns[block]) @ others.T, out=best)
        nearest[block], similarity[block] = best.argmax(axis=1), best.max(axis=1)
    return nearest, similarity


@cache
def _views() -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], ...]:
    """Patterns [N, D] as they are, then of the image mirrored and turned in the seven other ways.

    A mirrored image has the same cosine transform but for the signs of the odd frequencies, and
    one with its sides swapped has it transposed.
    """
    signs = np.where(np.arange(_KEPT) % 2, -1, 1).astype(np.float32)

    def look(
        patterns: NDArray[np.float32], *, down: bool, across: bool, swapped: bool
    ) -> NDArray[np.float32]:
        waves = patterns.reshape(-1, _KEPT, _KEPT)
        waves = waves.transpose(0, 2, 1) if swapped else waves
        factors = (signs if down else abs(signs))[:, None] * (signs if across else abs(signs))
        return np.asarray((waves * factors).reshape(patterns.shape), np.float32)

    return tuple(
        partial(look, down=down, across=across, swapped=swapped)
        for swapped in (False, True)
        for down in (False, True)
        for across in (False, True)
    )
