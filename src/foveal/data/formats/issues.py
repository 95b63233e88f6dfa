"""What can be wrong with one object or image of a data set, as a value that can be collected."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

_SEEN = "%d x %s. %s. First: %s `foveal data check` shows more."

BadBoxes = Literal["drop", "stop", "keep"]
"""What reading does with a box that can't be right.

"drop": boxes that leave the image are clipped to it, boxes without area inside it and boxes that
are not finite are left out; one warning counts them and names the first. "stop": the first such
box is an error. "keep": finite boxes stay as they are written, for looking at them.
"""

Kind = Literal[
    "box without area",
    "box not finite",
    "box leaves image",
    "box outside image",
    "unknown class",
    "unknown image",
    "id twice",
    "image twice",
    "not a box",
    "no box",
    "image not readable",
    "encoding guessed",
    "boxes read otherwise",
    "boxes look otherwise",
    "image outside the data",
    "image in two folders",
    "image name disagrees",
    "images elsewhere",
    "stack of pages",
    "labels elsewhere",
    "invalid polygon",
    "empty layer",
]

BOX_KINDS: frozenset[str] = frozenset(
    {
        "box without area",
        "box not finite",
        "box leaves image",
        "box outside image",
        "no box",
        "image twice",
    }
)
"""The kinds that `bad_boxes` decides about."""

TOLD_KINDS: dict[str, str] = {
    "image name disagrees": "Taken is the image of the annotation file's own name",
    "images elsewhere": "Taken is what was found",
    "invalid polygon": "Taken is the box of the vertices",
    "empty layer": "Its images are without objects",
}
"""The kinds that reading settles by itself and tells, and what it does.

Every kind that is neither of these nor in `BOX_KINDS` stops reading unless it is collected.
"""


@dataclass(frozen=True, slots=True)
class AnnotationIssue:
    """One mistake in the annotations.

    Attributes:
        kind: which kind of mistake, the same words for the same kind in every format.
        file: the annotation file that holds it.
        place: where in the file ("object 3", "line 12", "annotation 1774").
        message: what is wrong, what was expected and what to do.
        image: the image that it concerns, where known.
    """

    kind: Kind
    file: Path
    place: str
    message: str
    image: Path | None = None

    def __str__(self) -> str:
        return f"{self.file.name}, {self.place}: {self.message}"


@dataclass(slots=True)
class IssuePolicy:
    """Decides for each problem whether reading stops, goes on with a warning, or collects it.

    Attributes:
        bad_boxes: the policy for boxes that can't be right.
        problems: where given, every problem is appended to it and nothing stops.
        boxes: how boxes are to be read, where not as their format has them; see `units`.
        class_column: the column of the class in tables and vector files, or "=" and the one class
            of all objects; None finds it by its name.
        layer: the layer of files that hold several; None takes the only one.
    """

    bad_boxes: BadBoxes = "drop"
    problems: list[AnnotationIssue] | None = None
    boxes: str | None = None
    class_column: str | None = None
    layer: str | None = None
    _seen: dict[str, list[AnnotationIssue]] = field(default_factory=dict)
    _notes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bad_boxes not in ("drop", "stop", "keep"):
            raise DataError(f'bad_boxes is {self.bad_boxes!r}. Expected "drop", "stop" or "keep".')

    def report(self, problem: AnnotationIssue) -> None:
        """Take note of a problem, or raise it as a DataError where the policy is to stop."""
        if self.problems is not None:
            self.problems.append(problem)
        elif problem.kind in TOLD_KINDS:
            self._seen.setdefault(problem.kind, []).append(problem)
        elif problem.kind not in BOX_KINDS:
            raise DataError(f"{problem.file}, {problem.place}: {problem.message}")
        elif self.bad_boxes == "stop":
            raise DataError(
                f"{problem.file}, {problem.place}: {problem.message} "
                "Correct it, or leave such boxes out: --bad-boxes drop (in Python bad_boxes="
                '"drop").'
            )
        else:
            self._seen.setdefault(problem.kind, []).append(problem)

    def note(self, what: str, *, file: Path, place: str, count: int = 1) -> None:
        """Take note of a choice that reading made, no mistake; `close` says each once.

        Args:
            what: what was read in which way, a sentence without its full stop.
            file, place: where.
            count: how often, where it is said once for several.
        """
        seen, first = self._notes.get(what, (0, f"{file.name}, {place}"))
        self._notes[what] = (seen + count, first)

    def close(self) -> None:
        """Log one line for each kind of problem that was let pass and for each choice made."""
        for what, (count, first) in self._notes.items():
            log.warning("%s (%d x, first: %s).", what, count, first)
        self._notes.clear()
        done = {"drop": "Left out", "keep": "Kept as it is"}
        for kind, problems in self._seen.items():
            what = TOLD_KINDS.get(kind) or done[self.bad_boxes]
            if kind == "box leaves image" and self.bad_boxes == "drop":
                what = "Clipped to the image"
            elif kind == "image twice":
                what = done["keep"]
            elif kind == "no box":
                what = done["drop"]
            log.warning(_SEEN, len(problems), kind, what, problems[0])
        self._seen.clear()


def count_by_kind(
    problems: list[AnnotationIssue],
) -> Iterator[tuple[str, int, list[AnnotationIssue]]]:
    """Go through the kinds of problem, most frequent first, with their number and themselves."""
    for kind, count in Counter(problem.kind for problem in problems).most_common():
        yield kind, count, [problem for problem in problems if problem.kind == kind]
