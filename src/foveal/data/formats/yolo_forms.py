"""What the numbers of a YOLO row may be: a box, with a score, with keypoints, or a polygon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.data.formats.issues import AnnotationIssue

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.data.formats.issues import IssuePolicy

_BOX = 4
_ROTATED = 8
_VISIBILITY = (0.0, 1.0, 2.0)


class Forms:
    """Tells the forms of rows apart by how many numbers follow the class, and counts them."""

    def __init__(self, keypoints: tuple[int, int] | None) -> None:
        """Keypoints as data.yaml's kpt_shape says: how many, and of how many numbers each."""
        self._keypoints = keypoints
        self._posed = _BOX + keypoints[0] * keypoints[1] if keypoints else 0
        self._seen: dict[str, tuple[int, Path, str]] = {}
        self._lengths: set[int] = set()
        self._visible = True
        self._twos = False

    def fault(self, values: list[float]) -> str:
        """Why a row has not as many numbers as any form, "" where it has."""
        count = len(values)
        if self._keypoints:
            number, each = self._keypoints
            if count in (_BOX, self._posed):
                return ""
            return (
                f"{count + 1} numbers. Expected class x y width height and {number} keypoints of "
                f"{each} numbers, as kpt_shape in data.yaml says."
            )
        if count in (_BOX, _BOX + 1) or (count >= 6 and count % 2 == 0):
            return ""
        advice = ""
        if count > _BOX and (count - _BOX) % 3 == 0:
            number = (count - _BOX) // 3
            advice = f" If they are keypoints, say so in data.yaml: kpt_shape: [{number}, 3]."
        return (
            f"{count + 1} numbers. Expected class x y width height, or class and the corners "
            f"of a polygon.{advice}"
        )

    def take(self, values: list[float], file: Path, place: str) -> list[float]:
        """The numbers of a row's box or polygon; what goes with them is left out and counted."""
        count = len(values)
        if count == _BOX:
            return values
        if self._keypoints:
            self._count("Keypoints are left out, their box is read", file, place)
            return values[:_BOX]
        if count == _BOX + 1:
            self._count("A sixth number is taken for a score and left out", file, place)
            return values[:_BOX]
        self._lengths.add(count)
        marks = values[6::3]
        self._visible = self._visible and all(mark in _VISIBILITY for mark in marks)
        self._twos = self._twos or 2.0 in marks
        self._count(_POLYGON, file, place)
        return values

    def report(self, policy: IssuePolicy) -> None:
        """Say which forms were met.

        Raises:
            DataError: what was read as polygons can only be keypoints, and the policy stops.
        """
        count = next(iter(self._lengths), 0)
        alike = len(self._lengths) == 1
        if alike and self._visible and self._twos and (count - _BOX) % 3 == 0:
            _, file, place = self._seen.pop(_POLYGON)
            message = (
                f"{count + 1} numbers in each row, a 0, 1 or 2 after every two: they look like "
                "keypoints and were read as polygons. Say so in data.yaml: kpt_shape: "
                f"[{(count - _BOX) // 3}, 3]."
            )
            policy.report(AnnotationIssue("not a box", file, place, message))
        for what, (number, file, place) in self._seen.items():
            if what == _POLYGON and self._lengths == {_ROTATED}:
                what = "Four corners (a rotated box) are read as their extent"
            policy.note(what, file=file, place=place, count=number)

    def _count(self, what: str, file: Path, place: str) -> None:
        number, first, where = self._seen.get(what, (0, file, place))
        self._seen[what] = (number + 1, first, where)


_POLYGON = "A polygon is read as its extent"
