"""Names of classes as annotations write them, and the lists that fix their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.data.dataset import ANY_CLASS
from foveal.data.formats.issues import AnnotationIssue
from foveal.data.formats.parsing import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from foveal.data.formats.issues import IssuePolicy

IGNORE = "__ignore__"
"""The name of a region to ignore whatever the class, in formats that write names (LabelMe's)."""


def class_file(folder: Path) -> tuple[str, ...]:
    """The class names of `labels.txt` or `classes.txt`, one in a line; none without such a file.

    Raises:
        DataError: the file is not text.
    """
    for name in ("labels.txt", "classes.txt"):
        if (folder / name).is_file():
            lines = read_lines(folder / name)
            return tuple(dict.fromkeys(x for x in lines if x not in ("", IGNORE, "_background_")))
    return ()


def found_classes(names: Iterable[str]) -> tuple[str, ...]:
    """The different names among those of all objects, sorted."""
    return tuple(sorted(set(names) - {"", IGNORE}))


class Labels:
    """Turns names into labels, and reports those that are not classes."""

    def __init__(self, classes: tuple[str, ...], policy: IssuePolicy) -> None:
        self.classes = classes
        self._index = {name: label for label, name in enumerate(classes)} | {IGNORE: ANY_CLASS}
        self._judge = policy

    def of(self, name: str, *, file: Path, place: str, image: Path | None = None) -> int | None:
        """The label of a name, ANY_CLASS for IGNORE; None, and a report, where it is no class."""
        label = self._index.get(name)
        if label is None:
            known = ", ".join(map(repr, self.classes[:20])) or "none"
            message = f"class {name!r} is not one of the classes. Expected one of {known}."
            if not name:
                message = "the object has no class. Expected the name of one."
            self._judge.report(AnnotationIssue("unknown class", file, place, message, image))
        return label
