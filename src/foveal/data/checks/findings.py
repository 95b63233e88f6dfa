"""What the doctor says: findings, each with a count, the first places and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from foveal.text import without_nan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.data.statistics import Statistics

Level = Literal["fault", "doubt", "information"]
"""A fault can't be right: reading drops or changes it, or training suffers from it. A doubt may be
meant so. Information is neither."""

SHOWN_PLACES = 5
EXPLAINS_OTHERS = "box convention"
_FIRST = frozenset({EXPLAINS_OTHERS, "boxes read otherwise", "boxes look otherwise"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of thing that the doctor found.

    Attributes:
        kind: a stable name for programs, such as "missing image".
        level: how bad it is.
        count: how many there are.
        what: one sentence, the count included.
        places: the first few, each a line.
        advice: what to do; empty for information that asks for nothing.
        check: the name of the check that found it; see `foveal.data.checks.names`.
    """

    kind: str
    level: Level
    count: int
    what: str
    places: tuple[str, ...] = ()
    advice: str = ""
    check: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that the doctor found in a data set.

    Attributes:
        statistics: of the data set, then of the validation data where it was given.
        findings: faults first, then doubts, then information; the most frequent first.
        opened: whether the images themselves were decoded.
        checks: the names of those that were made.
        left_out: the names of those that were not, since they would take long and were not asked
            for by name.
    """

    statistics: tuple[Statistics, ...]
    findings: tuple[Finding, ...]
    opened: bool
    checks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        """The findings of one level."""
        return tuple(finding for finding in self.findings if finding.level == level)

    @property
    def has_faults(self) -> bool:
        """Whether anything was found that can't be right."""
        return bool(self.of_level("fault"))

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as plain data for JSON; what is undefined is None."""
        plain: dict[str, Any] = without_nan(asdict(self))
        plain["faults"] = len(self.of_level("fault"))
        plain["doubts"] = len(self.of_level("doubt"))
        return plain


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Faults first, then doubts, then information; within a level the most frequent first.

    A mistaken convention of the boxes comes before all, since it explains other findings.
    """
    levels = ("fault", "doubt", "information")

    def rank(finding: Finding) -> tuple[bool, int, int, str]:
        explains = finding.kind in _FIRST
        return not explains, levels.index(finding.level), -finding.count, finding.kind

    return tuple(sorted(findings, key=rank))


def make_finding(
    kind: str, level: Level, what: str, places: Sequence[str], *, advice: str
) -> list[Finding]:
    """One finding of as many places as there are, none where there are none.

    Args:
        kind, level, advice: see Finding.
        what: one sentence in which {n} stands for the count, {s} and {es} for a plural's ending.
        places: all of them.
    """
    if not places:
        return []
    count = len(places)
    one = count == 1
    sentence = what.format(n=f"{count:,}", s="" if one else "s", es="" if one else "es")
    return [Finding(kind, level, count, sentence, tuple(places[:SHOWN_PLACES]), advice)]
