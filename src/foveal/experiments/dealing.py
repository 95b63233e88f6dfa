"""Images dealt out into parts that resemble one another, groups of copies undivided.

Groups are dealt out one after the other, those with the largest share of anything first, each to
the part that has least of what it brings: stratification for images that show several classes
(Sechidis et al. 2011, "On the Stratification of Multi-Label Data", section 3), for whole groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset


def deal(
    data: Dataset, groups: Sequence[Sequence[int]], *, shares: Sequence[float], seed: int
) -> list[list[int]]:
    """Deal the images out.

    Every part gets the images that its share makes, as exactly as whole groups allow, and about
    that share of the objects of each class, of the images that show it, and of those without
    objects. No part stays empty while there are as many groups as parts.

    Args:
        data: the images.
        groups: their indices, each in one group; groups stay together.
        shares: [P] of each part, positive, together 1.
        seed: decides between groups that are alike.

    Returns:
        The indices of each part's images, in the data set's order.
    """
    sizes = np.array([len(group) for group in groups], np.int64)
    fractions = _fractions(data, groups)
    wanted = np.asarray(shares, np.float64)
    room = np.diff(np.round(np.cumsum(wanted) * len(data)), prepend=0)
    have, counts = np.zeros((len(wanted), fractions.shape[1])), np.zeros(len(wanted), np.int64)
    parts: list[list[int]] = [[] for _ in shares]
    chance = np.random.default_rng(seed).permutation(len(groups))
    for number in np.lexsort((chance, -np.linalg.norm(fractions, axis=1))).tolist():
        brought, size = fractions[number], sizes[number]
        # By so much the sum of squares of what each part has, in units of its share, would grow.
        cost = (2 * have @ brought + brought @ brought) / wanted
        fits = counts + size <= room
        if fits.any():
            part = int(np.argmin(np.where(fits, cost, np.inf)))
        else:
            part = int(np.lexsort((cost, counts / wanted))[0])
        have[part] += brought
        counts[part] += size
        parts[part].extend(groups[number])
    return [sorted(part) for part in parts]


def _fractions(data: Dataset, groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """What share each group has of what there is, [G, up to 2 + 2 K].

    Of all images, of those without objects, of each class's objects and of the images that show it;
    what there is none of is left out.
    """
    classes = len(data.classes)
    rows = np.zeros((len(data), 2 + 2 * classes))
    for row, record in zip(rows, data, strict=True):
        labels = record.labels[~record.ignored & (record.labels >= 0)]
        row[2 : 2 + classes] = np.bincount(labels, minlength=classes)
    rows[:, 0] = 1
    rows[:, 2 + classes :] = rows[:, 2 : 2 + classes] > 0
    rows[:, 1] = ~rows[:, 2:].any(axis=1)
    owner = np.zeros(len(data), np.int64)
    for number, group in enumerate(groups):
        owner[list(group)] = number
    sums = np.zeros((len(groups), rows.shape[1]))
    np.add.at(sums, owner, rows)
    totals = sums.sum(axis=0)
    return np.asarray(sums[:, totals > 0] / totals[totals > 0])
