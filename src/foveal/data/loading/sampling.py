"""How often each image comes in an epoch: once, or more often where it shows rare classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from foveal.data.dataset import Record


def repeat_factors(
    records: Sequence[Record], *, classes: int, threshold: float
) -> NDArray[np.float64]:
    """How often images should come in an epoch, by their rarest class (LVIS, Gupta et al. 2019).

    A class c that is in a fraction f(c) of the images has r(c) = max(1, sqrt(threshold / f(c))). An
    image has the largest r of its classes; one without objects has 1.

    Args:
        records: of the N images; regions to ignore are no objects.
        classes: K.
        threshold: of f(c), in 0..1.

    Returns:
        [N], at least 1.
    """
    labels = [
        np.unique(record.labels[~record.ignored & (record.labels >= 0)]) for record in records
    ]
    factors = np.ones(len(labels))
    if not sum(map(len, labels)):
        return factors
    images = np.bincount(np.concatenate(labels), minlength=classes)
    of_class = np.ones(classes)
    seen = images > 0
    of_class[seen] = np.maximum(1, np.sqrt(threshold * len(labels) / images[seen]))
    for index, present in enumerate(labels):
        if len(present):
            factors[index] = of_class[present].max()
    return factors


def images_an_epoch(factors: NDArray[np.float64]) -> int:
    """How many images an epoch has where each comes as often as its factor says, [N]."""
    return int(np.ceil(factors.sum() - 1e-6))


def draw_repeated(factors: NDArray[np.float64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """An epoch's images: each one as often as its factor says, rounded up or down by chance.

    There are `images_an_epoch` of them in every epoch.

    Args:
        factors: [N], at least 1.
        seed, epoch: give the same images again.

    Returns:
        Positions 0..N-1, the repeated ones several times.
    """
    generator = np.random.default_rng([seed % 2**63, epoch, 0, 1])
    return draw_weighted(factors, images_an_epoch(factors), generator)


def draw_weighted(
    weights: NDArray[np.float64], total: int, generator: Generator
) -> NDArray[np.int64]:
    """So many positions, each as often as its share of the weights, rounded up or down by chance.

    The chances are drawn one after the other along one line (systematic sampling).

    Args:
        weights: [N], positive.
        total: how many.
        generator: draws the order and the beginning of the line.

    Returns:
        [total] in ascending order.
    """
    if not total:
        return np.zeros(0, np.int64)
    order = generator.permutation(len(weights))
    ends = np.cumsum(weights[order]) * (total / weights.sum())
    ends[-1] = total
    points = generator.random() + np.arange(total)
    return np.sort(order[np.searchsorted(ends, points, side="right").clip(max=len(order) - 1)])
