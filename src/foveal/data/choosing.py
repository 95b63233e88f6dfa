"""Which images of a data set to look at: some of every class, the rarest classes first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from foveal.data.statistics import stack_objects
from foveal.errors import DataError
from foveal.text import listed, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from foveal.data.dataset import Dataset

_EMPTY_EVERY = 8
"""Of so many images one is without objects, where there are such."""
_MAX_NAMES = 8


class Choice(NamedTuple):
    """An image, and why it was chosen.

    Attributes:
        image: its position in the data set.
        label: the class it stands for; None for an image without objects.
    """

    image: int
    label: int | None


def rarest_first(dataset: Dataset) -> list[int]:
    """The labels of the classes that have objects, those with the fewest first."""
    objects = stack_objects(dataset)
    labels = objects.labels[~objects.ignored & (objects.labels >= 0)]
    counts = np.bincount(labels, minlength=len(dataset.classes))
    order = np.argsort(counts, kind="stable")
    return [int(label) for label in order if counts[label]]


def draw_images(
    dataset: Dataset, *, classes: Sequence[str] = (), seed: int = 0
) -> Iterator[Choice]:
    """Draw images in turn from each class, the rarest first, each image once at most.

    Args:
        dataset: the records; no image is opened.
        classes: images that show one of these; none takes all images.
        seed: gives the same ones again.

    Raises:
        DataError: there is no class of such a name.
    """
    wanted = [_label_of(name, dataset) for name in classes]
    objects = stack_objects(dataset)
    shown = ~objects.ignored & (objects.labels >= 0)
    labels, images = objects.labels[shown], objects.images[shown]
    generator = np.random.default_rng(seed)
    queues: list[tuple[int | None, deque[int]]] = []
    for label in rarest_first(dataset):
        of_class = generator.permutation(np.unique(images[labels == label]))
        if not classes or label in wanted:
            queues.append((label, deque(of_class.tolist())))
    empty: deque[int] = deque()
    if not classes:
        without = np.setdiff1d(np.arange(len(dataset)), images)
        empty = deque(generator.permutation(without).tolist())
    return _in_turn(queues, empty)


def _in_turn(queues: list[tuple[int | None, deque[int]]], empty: deque[int]) -> Iterator[Choice]:
    drawn: set[int] = set()
    while queues or empty:
        for label, queue in queues:
            while queue and queue[0] in drawn:
                queue.popleft()
            if not queue:
                continue
            drawn.add(queue[0])
            yield Choice(queue.popleft(), label)
            if empty and len(drawn) % _EMPTY_EVERY == _EMPTY_EVERY - 1:
                drawn.add(empty[0])
                yield Choice(empty.popleft(), None)
        queues = [(label, queue) for label, queue in queues if queue]
        if not queues:
            yield from (Choice(index, None) for index in empty)
            return


def _label_of(name: str, dataset: Dataset) -> int:
    if name in dataset.classes:
        return dataset.classes.index(name)
    raise DataError(
        f"--class (in Python classes): {dataset.name or dataset.root} has no class {name!r}. "
        f"Expected some of: {listed(dataset.classes, _MAX_NAMES) or 'none'}."
        f"{suggestion(name, dataset.classes)}"
    )
