"""Names of classes as annotations write them, and the lists that fix their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.data.dataset import ANY_CLASS
from foveal.data.formats.issues import AnnotationIssue
from foveal.data.formats.parsing import read_lines
from foveal.files import write_text
from foveal.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from foveal.data.formats.issues import IssuePolicy

CLASS_FILES = ("labels.txt", "classes.txt")
"""Files that list the classes, one in a line."""

IGNORE = "__ignore__"
"""The name of a region to ignore whatever the class, in formats that write names (LabelMe's)."""


def class_file(folder: Path) -> tuple[str, ...]:
    """The class names of `labels.txt` or `classes.txt`, one in a line; none without such a file.

    Raises:
        DataError: the file is not text.
    """
    file = class_source(folder)
    lines: list[str] = [] if file is None else read_lines(file)
    return tuple(dict.fromkeys(x for x in lines if x not in ("", IGNORE, "_background_")))


def class_source(folder: Path) -> Path | None:
    """The file that `class_file` reads, if there is one."""
    files = (folder / name for name in CLASS_FILES)
    return next((file for file in files if file.is_file()), None)


def write_class_file(folder: Path, classes: Iterable[str]) -> None:
    """Write the list that `class_file` reads: `labels.txt`, one class in a line."""
    write_text(folder / CLASS_FILES[0], "".join(f"{name}\n" for name in classes))


def found_classes(names: Iterable[str]) -> tuple[str, ...]:
    """The different names among those of all objects, sorted; numbers by their value."""
    found = set(names) - {"", IGNORE}
    if all(name.isdecimal() and len(name) < 20 for name in found):
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


class Labels:
    """Turns names into labels, and reports those that are not classes."""

    def __init__(
        self, classes: tuple[str, ...], policy: IssuePolicy, *, source: Path | None = None
    ) -> None:
        """Labels of classes; `source` is the file that lists them, where one does."""
        self.classes = classes
        self._index = {name: label for label, name in enumerate(classes)} | {IGNORE: ANY_CLASS}
        self._judge = policy
        self._known = listed([repr(name) for name in classes], 20) or "none"
        self._of_source = f" in {source.name}" if source else ""
        self._advice = f" Correct {source}, or move it away if it is another's." if source else ""

    def of(self, name: str, *, file: Path, place: str, image: Path | None = None) -> int | None:
        """The label of a name, ANY_CLASS for IGNORE; None, and a report, where it is no class."""
        label = self._index.get(name)
        if label is None:
            message = (
                f"class {name!r} is not one of the classes{self._of_source}. Expected one of "
                f"{self._known}.{self._advice}"
            )
            if not name:
                message = "the object has no class. Expected the name of one."
            self._judge.report(AnnotationIssue("unknown class", file, place, message, image))
        return label
