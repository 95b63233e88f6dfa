"""Data sets as a command opens them: an address, and the options that stand wherever DATA does."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from foveal.data.formats import read_splits
from foveal.errors import DataError
from foveal.text import suggestion

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from foveal.data.dataset import Dataset
    from foveal.data.formats.issues import AnnotationIssue, BadBoxes
    from foveal.data.image_sizes import Sizes


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How data sets are read and which of their classes are meant: the same for all of a command.

    Attributes:
        format: one of FORMATS; None finds it by looking.
        images: the folder of the images, where they are not beside the annotations.
        bad_boxes: what happens to boxes that can't be right.
        page: which page of images that are stacks, counted from 1; None takes the first, told.
        boxes: how the numbers of a box are meant, where not as their format has them.
        class_column: the column of the class in tables and files of shapes on a map, or "=" and
            the one class of all objects.
        layer: the layer of files of shapes on a map that have several.
        rename: new names of classes; two that get the same name become one.
        ignore: classes whose boxes mark regions to ignore, by their new names.
        only: the classes to keep, by their new names, in this order; none keeps all.
        sizes: what is done where image files have another size than the annotations say: "scale"
            or turn ("stored") the boxes now, or "stop" where the images are used.
    """

    format: str | None = None
    images: str | os.PathLike[str] | None = None
    bad_boxes: BadBoxes = "drop"
    page: int | None = None
    boxes: str | None = None
    class_column: str | None = None
    layer: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    sizes: Sizes = "stop"

    def new_name(self, name: str) -> str:
        """What a class is called after renaming."""
        return self.rename.get(name, name)

    def with_images(self, images: str | os.PathLike[str] | None) -> DataOptions:
        """The options of a data set whose images lie in a folder of their own, if one is given."""
        return self if images is None else replace(self, images=images)


logger = logging.getLogger(__name__)

AS_FOUND = DataOptions()
"""Nothing was said: everything is found by looking."""

Source = tuple["str | os.PathLike[str]", DataOptions]
"""The address of a data set, and how it is read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A data set as it was read, for the doctor.

    Attributes:
        dataset: read with bad_boxes="keep".
        problems: what reading collected.
        splits: which images belong to which split, where the address names several.
    """

    dataset: Dataset
    problems: tuple[AnnotationIssue, ...] = ()
    splits: Mapping[str, Sequence[int]] = field(default_factory=dict)


def open_data(address: str | os.PathLike[str], options: DataOptions = AS_FOUND) -> Dataset:
    """Read a data set, and rename, ignore and choose its classes.

    Args:
        address: see `foveal.read`.
        options: see there.

    Raises:
        DataError: it can't be read, or lacks a class that the options name.
    """
    return open_splits(address, options)[0]


def open_splits(
    address: str | os.PathLike[str], options: DataOptions
) -> tuple[Dataset, dict[str, list[int]] | None]:
    """As `open_data`, and say which images belong to which split; None if none is named.

    Raises:
        DataError: it can't be read, or lacks a class that the options name.
    """
    dataset, splits = read_splits(
        address,
        options.format,
        images=options.images,
        bad_boxes=options.bad_boxes,
        page=options.page,
        boxes=options.boxes,
        class_column=options.class_column,
        layer=options.layer,
    )
    (dataset,) = choose_classes([_fitted(dataset, options)], options)
    return dataset, splits


def open_together(sources: Sequence[Source]) -> tuple[Dataset, ...]:
    """Read data sets that belong together, such as those to train on and to validate with.

    Args:
        sources: addresses with their options; those about classes are the same in all.

    Raises:
        DataError: one can't be read, or all of them lack a class that the options name.
    """
    datasets = [
        open_splits(address, replace(options, rename={}, ignore=(), only=()))[0]
        for address, options in sources
    ]
    return choose_classes(datasets, sources[0][1]) if sources else ()


def read_for_doctor(sources: Sequence[Source]) -> tuple[Reading, ...]:
    """Read data sets that belong together, every problem collected and bad boxes kept as they are.

    Args:
        sources: as for `open_together`.

    Raises:
        DataError: the annotations as a whole can't be read, or lack a class that the options name.
    """
    datasets = []
    problems = []
    splits: list[dict[str, list[int]]] = []
    for address, options in sources:
        collected: list[AnnotationIssue] = []
        dataset, named = read_splits(
            address,
            options.format,
            images=options.images,
            bad_boxes="keep",
            page=options.page,
            boxes=options.boxes,
            class_column=options.class_column,
            layer=options.layer,
            problems=collected,
        )
        datasets.append(_fitted(dataset, options))
        problems.append(tuple(collected))
        splits.append(named or {})
    chosen = choose_classes(datasets, sources[0][1]) if sources else ()
    return tuple(map(Reading, chosen, problems, splits))


def _fitted(dataset: Dataset, options: DataOptions) -> Dataset:
    """The data set with the sizes of its files, if boxes are to be moved to them."""
    if options.sizes == "stop":
        return dataset
    from foveal.data.checks.readiness import headers_of
    from foveal.data.image_sizes import fit_sizes

    return fit_sizes(dataset, headers_of(dataset), options.sizes, say=logger.warning)


def choose_classes(datasets: Sequence[Dataset], options: DataOptions) -> tuple[Dataset, ...]:
    """Rename, ignore and choose the classes of data sets that belong together.

    A class that only one of them has is changed there.

    Raises:
        DataError: none of them has a class that the options name.
    """
    changed = list(datasets)
    if options.rename:
        _expect(options.rename, changed, "--rename", new=())
        changed = [data.rename(_of(options.rename, data)) for data in changed]
    named = tuple(options.rename)
    if options.ignore:
        _expect(options.ignore, changed, "--ignore", new=named)
        changed = [data.ignoring(_present(options.ignore, data)) for data in changed]
    if options.only:
        _expect(options.only, changed, "--only", new=named)
        changed = [data.only(_present(options.only, data)) for data in changed]
    return tuple(changed)


def _of(rename: Mapping[str, str], data: Dataset) -> dict[str, str]:
    return {old: new for old, new in rename.items() if old in data.classes}


def _present(names: Iterable[str], data: Dataset) -> list[str]:
    return [name for name in names if name in data.classes]


def _expect(
    names: Iterable[str], datasets: Sequence[Dataset], option: str, *, new: Sequence[str]
) -> None:
    """Make sure that some data set has each class; `new` are those that were renamed before."""
    known = tuple(dict.fromkeys(name for data in datasets for name in data.classes))
    for name in names:
        if name in known:
            continue
        where = " and ".join(data.name or str(data.root) for data in datasets)
        if name in new:
            hint = " It was renamed: here its new name is meant."
        else:
            hint = suggestion(name, known)
        raise DataError(
            f"{option}: {where} {'has' if len(datasets) == 1 else 'have'} no class {name!r}. "
            f"Expected one of {', '.join(map(repr, known)) or 'none'}.{hint}"
        )
