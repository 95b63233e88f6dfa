"""What the doctor looks for in classes: their names, how many objects they have, and where."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.findings import Finding, make_finding
from foveal.text import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.checks.subject import Part, Subject

IGNORE_NAMES = frozenset({"dontcare", "ignore", "ignored", "crowd", "dontcareregion"})
SKEW = 2.0
"""How many times as frequent a class is in one split as in another to be told."""
_DEVIATIONS = 5.0
"""Standard errors by which chance would have to be off. Images of one scene are alike, so that less
would be told of splits that are as good as they can be."""
_FEWEST_IMAGES, _FEWEST_SHOWING = 20, 10
"""Images of a split, and images that show a class, below which nothing is said of shares."""


def check_class_names(subject: Subject) -> list[Finding]:
    """Find classes that are written in several ways."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(name for part in subject.parts for name in part.data.classes):
        alike[_plain(name)].append(name)
    return make_finding(
        "class written in several ways", "fault",
        "{n} class name{s} written in several ways (case, blanks)",
        [" / ".join(map(repr, same)) for same in alike.values() if len(same) > 1],
        advice="Give them one name in the annotations, or when they are read: --rename OLD=NEW (in "
        "Python dataset.rename(...)).",
    )  # fmt: skip


def check_unseen(subject: Subject) -> list[Finding]:
    """Find classes that are in the validation data only."""
    trained = _counts(subject.parts[0])
    unseen = [
        f"{name!r}: {count:,} in valid"
        for part in subject.parts[1:]
        for name, count in _counts(part).items()
        if count and not trained.get(name)
    ]
    return make_finding(
        "class in valid only", "fault", "{n} class{es} in the validation data only", unseen,
        advice="They can't be learned: move images to the training data, or leave them out.",
    )  # fmt: skip


def check_rare(subject: Subject) -> list[Finding]:
    """Find classes that appear once or never in the data to learn from."""
    trained = _counts(subject.parts[0])
    return [
        *make_finding(
            "class once", "doubt", "{n} class{es} with a single object",
            [repr(name) for name, count in trained.items() if count == 1],
            advice="A slip of the pen? Else label more of them, or leave the class out.",
        ),
        *make_finding(
            "class never", "information", "{n} class{es} without objects",
            [repr(name) for name, count in trained.items() if count == 0],
            advice="They take room in the model; leave them out if none will come.",
        ),
    ]  # fmt: skip


def check_ignore_names(subject: Subject) -> list[Finding]:
    """Find classes that are regions to ignore, by their names."""
    trained = _counts(subject.parts[0])
    return make_finding(
        "class to ignore", "doubt", "{n} class{es} whose name speaks of regions to ignore",
        [repr(n) for n, count in trained.items() if count and _plain(n) in IGNORE_NAMES],
        advice="Such regions are learned as objects unless you say --ignore NAME (in Python "
        "dataset.ignoring(...)).",
    )  # fmt: skip


def check_shares(subject: Subject) -> list[Finding]:
    """Find classes whose share of the objects differs strongly between splits.

    The share of the first split is compared with that of each other one. Objects of one image go
    together, so the image is what is drawn: the error of a share is that of a ratio of sums over
    images (Cochran, Sampling Techniques, 1977, section 6.4), with the variance of all images
    together, as if splits were drawn at random.
    """
    first, *others = subject.splits
    names = list(dict.fromkeys(name for part in subject.parts for name in part.data.classes))
    table = _count_by_image(subject, names)
    places = []
    for other in others:
        one, two = table[list(first.members)], table[list(other.members)]
        if min(len(one), len(two)) < _FEWEST_IMAGES or not (one.sum() and two.sum()):
            continue
        for label in np.flatnonzero(_differ(one, two)).tolist():
            shares = [percent(float(t[:, label].sum() / t.sum()), 1) for t in (one, two)]
            places.append(
                f"{names[label]!r}: {shares[0]} of the objects in {first.name}, {shares[1]} in "
                f"{other.name}"
            )
    return make_finding(
        "skewed split", "doubt", "{n} class{es} far more frequent in one split than in another",
        places,
        advice="More than chance would do. If the splits are meant to be alike, draw them anew "
        "from all images; else say what the validation data stand for.",
    )  # fmt: skip


def _differ(one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[K] which classes' shares differ strongly between images [N, K] and [M, K] of counts."""
    both = np.concatenate([one, two])
    totals = both.sum(axis=1, keepdims=True)
    # How far each image is from having the share that all have together.
    residuals = both - totals * (both.sum(axis=0) / totals.sum())
    variance = (residuals**2).sum(axis=0) / (len(both) - 1)
    error = np.sqrt(variance * sum(len(t) / float(t.sum()) ** 2 for t in (one, two)))
    low, high = np.sort([t.sum(axis=0) / t.sum() for t in (one, two)], axis=0)
    showing = (both > 0).sum(axis=0) >= _FEWEST_SHOWING
    return np.asarray(showing & (high >= SKEW * low) & (high - low > _DEVIATIONS * error), np.bool_)


def _count_by_image(subject: Subject, names: list[str]) -> NDArray[np.int64]:
    """[N, K] how many objects of each class each image shows."""
    tables = []
    for part in subject.parts:
        table = np.zeros((len(part.data), len(names)), np.int64)
        column = np.array([names.index(name) for name in part.data.classes], np.int64)
        objects = part.objects
        kept = ~objects.ignored & (objects.labels >= 0)
        np.add.at(table, (objects.images[kept], column[objects.labels[kept]]), 1)
        tables.append(table)
    return np.concatenate(tables)


def _counts(part: Part) -> dict[str, int]:
    """How many objects each class has, regions to ignore left out."""
    labels = part.objects.labels[~part.objects.ignored & (part.objects.labels >= 0)]
    counts = np.bincount(labels, minlength=len(part.data.classes))
    return dict(zip(part.data.classes, counts.tolist(), strict=True))


def _plain(name: str) -> str:
    """A name without case, blanks, _, - and forms of signs; numbers in it stay apart."""
    words = (
        unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ").split()
    )
    joint = " " if any(c.isdigit() for c in name) else ""
    return joint.join(words) or name
