"""Which images make which batch: a function of the seed and the epoch, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from foveal.data.transforms.preparation import Preparation


@dataclass(frozen=True, slots=True)
class BatchTask:
    """One batch to be made: all that a worker must know.

    Attributes:
        seed, epoch: of the random choices.
        indices: the images' positions in the data set.
        repeats: how often each came before in this epoch.
        turns: quarter turns of each.
        size: the input's height and width.
        shorter: the preparation's shorter side.
        aims: what each window is to show, see `foveal.data.loading.windows`; empty where images
            are shown whole.
        strong: whether samples may be made of several images.
    """

    seed: int
    epoch: int
    indices: tuple[int, ...]
    repeats: tuple[int, ...]
    turns: tuple[int, ...]
    size: tuple[int, int]
    shorter: int
    aims: tuple[int, ...] = ()
    strong: bool = True

    def part(self, start: int, stop: int) -> BatchTask:
        """The task of making some of the images only."""
        cut = slice(start, stop)
        return BatchTask(
            self.seed, self.epoch, self.indices[cut], self.repeats[cut], self.turns[cut],
            self.size, self.shorter, self.aims[cut], self.strong,
        )  # fmt: skip


def image_generator(seed: int, epoch: int, index: int, repeat: int = 0) -> Generator:
    """The source of every random choice about one image in one epoch."""
    return np.random.default_rng([seed % 2**63, epoch, 1 + index, repeat])


def plan_training(
    sizes: NDArray[np.int64],
    preparation: Preparation,
    *,
    batch: int,
    seed: int,
    epoch: int,
    quarter_turns: bool = False,
    shorter_sides: Sequence[int] = (),
    chosen: NDArray[np.int64] | None = None,
) -> list[BatchTask]:
    """Draw an epoch's batches, each of images that share an input size as far as possible.

    Every image comes once, or as often as it was chosen. What is left over of each input size makes
    batches together, in an input large enough for all of their images; the last of these is filled
    up with images that come once more. So there are always ceil(N / batch) batches of one length.

    Args:
        sizes: [N, 2] width and height of each image, pixels.
        preparation: gives the input sizes.
        batch: images in a batch.
        seed, epoch: give the same batches again.
        quarter_turns: draw quarter turns, which change the input size that an image needs.
        shorter_sides: shorter sides to draw from for each batch; empty: the preparation's.
        chosen: positions of the epoch's images, some perhaps several times; None: each once.
    """
    images = np.arange(len(sizes)) if chosen is None else chosen
    count = len(images)
    if count == 0:
        return []
    sizes = sizes[images]
    generator = np.random.default_rng([seed % 2**63, epoch, 0])
    turns = generator.integers(0, 4 if quarter_turns else 1, count)
    turned = np.where(turns[:, None] % 2, sizes[:, ::-1], sizes)
    shapes, kinds = np.unique(turned, axis=0, return_inverse=True)
    inputs = np.array([preparation.size_for(*map(int, shape)) for shape in shapes])[kinds]
    batches = _draw_batches(inputs, batch, generator)
    seen = np.zeros(int(images.max()) + 1, np.int64)
    tasks = []
    for indices in batches:
        shorter = int(generator.choice(shorter_sides or (preparation.shorter,)))
        repeats = [_count_up(seen, index) for index in images[indices]]
        scaled = preparation.with_shorter(shorter)
        needed = np.array([scaled.size_for(*map(int, turned[index])) for index in indices])
        height, width = needed.max(axis=0)
        tasks.append(
            BatchTask(
                seed, epoch, tuple(map(int, images[indices])), tuple(repeats),
                tuple(map(int, turns[indices])), (int(height), int(width)), shorter,
            )
        )  # fmt: skip
    return tasks


def part_of_process(
    tasks: Sequence[BatchTask], *, batch: int, rank: int, processes: int
) -> list[BatchTask]:
    """One process's part of every batch.

    Raises:
        SettingsError: the batch can't be divided evenly.
    """
    if batch % processes:
        raise SettingsError(
            f"training.batch = {batch} can't be divided among {processes} processes. "
            f"Expected a multiple of {processes}, such as --set training.batch="
            f"{-(-batch // processes) * processes}."
        )
    length = batch // processes
    return [task.part(rank * length, (rank + 1) * length) for task in tasks]


def _draw_batches(
    inputs: NDArray[np.int64], batch: int, generator: Generator
) -> list[NDArray[np.int64]]:
    """Random batches of images with equal rows of `inputs` [N, 2], as far as possible."""
    order = generator.permutation(len(inputs))
    order = order[np.lexsort(inputs[order].T)]  # stable: random within an input size
    rows = inputs[order]
    borders = np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1
    full: list[NDArray[np.int64]] = []
    rest = []
    for group in np.split(order, borders):
        whole = len(group) // batch * batch
        full += [group[start : start + batch] for start in range(0, whole, batch)]
        rest.append(group[whole:])
    left = np.concatenate(rest)
    missing = -len(left) % batch
    if missing:
        alike = order[(rows == inputs[left[-1]]).all(axis=1)]
        left = np.concatenate([left, np.resize(alike, missing)])
    full += [left[start : start + batch] for start in range(0, len(left), batch)]
    return [full[place] for place in generator.permutation(len(full))]


def _count_up(seen: NDArray[np.int64], index: int) -> int:
    seen[index] += 1
    return int(seen[index]) - 1
