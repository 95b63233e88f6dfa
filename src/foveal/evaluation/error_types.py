"""Which types of errors a detector makes and what each costs (Bolya et al. 2020, "TIDE").

Every detection that counts and finds nothing is given one kind, and every object that is not found
is missed unless a detection of the kinds "localization" or "wrong class" stands for it. The cost of
a kind is the AP50 gained by mending it alone (section 2.3): a misplaced or misnamed detection
becomes right where its object is free, the others go; missed objects are no longer asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.average_precision import mean_over_classes, precision_at_recalls
from foveal.evaluation.matching import MIN_IOU, match_any_class
from foveal.evaluation.results import Confusion, Errors, ErrorType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.evaluation.matching import Matches, MatchTable

MATCH_IOU = 0.5
"""From which overlap on a detection has an object."""


class Kind(IntEnum):
    """What is wrong with a detection."""

    NONE = 0
    LOCALIZATION = 1
    WRONG_CLASS = 2
    DUPLICATE = 3
    BACKGROUND = 4
    BOTH = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    """Each detection's type of error and the object it stands for, [D]; missed objects, [G]."""

    kinds: NDArray[np.int64]
    stands_for: NDArray[np.int64]
    missed: NDArray[np.bool_]


def find_errors(pool: MatchTable, matches: Matches, *, score_threshold: float) -> Errors:
    """Kinds, numbers and costs of all errors.

    Args:
        pool: all images.
        matches: at the IoU 0.5 first, all areas.
        score_threshold: the score from which detections count in `number_at_threshold`.
    """
    everything = np.ones(len(pool.scores), np.bool_)
    verdict = _name_errors(pool, matches, everything)
    above = _name_errors(pool, matches, pool.scores >= np.float32(score_threshold))
    true_positives, false_positives = matches.true_positives[0], matches.false_positives[0]
    ap50 = _mean_ap(pool, pool.labels, true_positives, false_positives, matches.counted)

    def gain(mended: float) -> float:
        return max(mended - ap50, 0.0) if ap50 == ap50 else float("nan")

    def kind(which: Kind) -> ErrorType:
        labels, fixed = _mend(pool, matches, verdict, which)
        left = false_positives & (verdict.kinds != which)
        return ErrorType(
            gain(_mean_ap(pool, labels, true_positives | fixed, left, matches.counted)),
            int((verdict.kinds == which).sum()),
            int((above.kinds == which).sum()),
        )

    is_matched = np.zeros(len(pool.ignored), np.bool_)
    is_matched[matches.matched[0][true_positives]] = True
    wanted = matches.counted & ~verdict.missed
    missed = ErrorType(
        gain(
            _mean_ap(
                pool, pool.labels, true_positives, false_positives, wanted, was=matches.counted
            )
        ),
        int(verdict.missed.sum()),
        int(above.missed.sum()),
    )
    return Errors(
        wrong_class=kind(Kind.WRONG_CLASS),
        localization=kind(Kind.LOCALIZATION),
        both=kind(Kind.BOTH),
        duplicate=kind(Kind.DUPLICATE),
        background=kind(Kind.BACKGROUND),
        missed=missed,
        false_positive=gain(
            _mean_ap(
                pool, pool.labels, true_positives, np.zeros_like(false_positives), matches.counted
            )
        ),
        false_negative=gain(
            _mean_ap(
                pool, pool.labels, true_positives, false_positives, is_matched, was=matches.counted
            )
        ),
        ap50=ap50,
    )


def _name_errors(pool: MatchTable, matches: Matches, keep: NDArray[np.bool_]) -> _Verdict:
    """Name the error of each detection to keep; the first kind that fits, in TIDE's order."""
    true_positives, false_positives = (
        matches.true_positives[0] & keep,
        matches.false_positives[0] & keep,
    )
    real = matches.counted[pool.pair_object]
    same = pool.same_class
    own_object, own = _best_pair(pool, real & same)
    other_object, other = _best_pair(pool, real & ~same)
    near_own, near_other = own >= MIN_IOU, other >= MIN_IOU
    kinds = np.select(
        [
            ~false_positives,
            near_own & (own < MATCH_IOU),
            other >= MATCH_IOU,
            own >= MATCH_IOU,
            ~near_own & ~near_other,
        ],
        [Kind.NONE, Kind.LOCALIZATION, Kind.WRONG_CLASS, Kind.DUPLICATE, Kind.BACKGROUND],
        Kind.BOTH,
    ).astype(np.int64)
    stands_for = np.full(len(kinds), -1, np.int64)
    for kind, objects in ((Kind.LOCALIZATION, own_object), (Kind.WRONG_CLASS, other_object)):
        stands_for[kinds == kind] = objects[kinds == kind]
    missed = matches.counted.copy()
    missed[matches.matched[0][true_positives]] = False
    missed[stands_for[stands_for >= 0]] = False
    return _Verdict(kinds, stands_for, missed)


def _best_pair(
    pool: MatchTable, use: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The object that each detection overlaps most among some pairs, -1 for none; the IoU; [D]."""
    target = np.full(len(pool.scores), -1, np.int64)
    iou = np.zeros(len(pool.scores))
    order = np.flatnonzero(use)
    order = order[np.argsort(pool.pair_iou[order], kind="stable")]
    target[pool.pair_detection[order]] = pool.pair_object[order]
    iou[pool.pair_detection[order]] = pool.pair_iou[order]
    return target, iou


def _mend(
    pool: MatchTable, matches: Matches, verdict: _Verdict, kind: Kind
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels, [D], and which detections become right, [D], when errors of one kind are mended.

    Of those that stand for one object only the best score is mended, and only where nothing else
    has found the object.
    """
    labels, fixed = pool.labels.copy(), np.zeros(len(pool.labels), np.bool_)
    taken = np.zeros(len(pool.ignored), np.bool_)
    taken[matches.matched[0][matches.true_positives[0]]] = True
    able = np.flatnonzero((verdict.kinds == kind) & (verdict.stands_for >= 0))
    able = able[~taken[verdict.stands_for[able]]]
    able = able[np.argsort(-pool.scores[able], kind="stable")]
    chosen = able[np.unique(verdict.stands_for[able], return_index=True)[1]]
    fixed[chosen] = True
    labels[chosen] = pool.object_labels[verdict.stands_for[chosen]]
    return labels, fixed


def _mean_ap(
    pool: MatchTable,
    labels: NDArray[np.int64],
    true_positives: NDArray[np.bool_],
    false_positives: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    *,
    was: NDArray[np.bool_] | None = None,
) -> float:
    """Mean AP50 over classes with objects, from detections with these labels and verdicts.

    Args:
        pool: all images.
        labels, true_positives, false_positives: [D].
        wanted: [G] the objects to find.
        was: [G] the objects there were before some were taken away: a class that has lost all of
            them has nothing left to find, and an AP of 1 unless something wrong is found.
    """
    objects = pool.objects_of_class(wanted)
    before = objects if was is None else pool.objects_of_class(was)
    used = np.flatnonzero(true_positives | false_positives)
    used = used[np.lexsort((-pool.scores[used], labels[used]))]
    starts = np.searchsorted(labels[used], np.arange(pool.classes + 1))
    aps = np.full(pool.classes, np.nan)
    for label in np.flatnonzero(before).tolist():
        order = used[starts[label] : starts[label + 1]]
        if objects[label]:
            hit, miss = true_positives[order][None], false_positives[order][None]
            aps[label] = precision_at_recalls(hit, miss, int(objects[label])).mean()
        else:
            aps[label] = 0.0 if len(order) else 1.0
    return mean_over_classes(aps)


def find_confusion(
    pool: MatchTable, matches: Matches, classes: tuple[str, ...], *, score_threshold: float
) -> Confusion:
    """Which class is taken for which.

    Detections that found an object of their own class come first, so that the diagonal holds what
    the other numbers call right; what is left is matched whatever the class.

    Args:
        pool: all images.
        matches: at the IoU 0.5 first, all areas.
        classes: the K class names.
        score_threshold: the score from which detections count.
    """
    keep = pool.scores >= np.float32(score_threshold)
    true_positives, false_positives = (
        matches.true_positives[0] & keep,
        matches.false_positives[0] & keep,
    )
    free = matches.counted.copy()
    free[matches.matched[0][true_positives]] = False
    other = match_any_class(pool, false_positives, free, iou=MATCH_IOU)
    confused = other >= 0
    free[other[confused]] = False
    background = len(classes)
    matrix = np.zeros((background + 1, background + 1), np.int64)
    np.add.at(matrix, (pool.labels[true_positives], pool.labels[true_positives]), 1)
    np.add.at(matrix, (pool.object_labels[other[confused]], pool.labels[confused]), 1)
    matrix[:background, background] = pool.objects_of_class(free)
    matrix[background, :background] = np.bincount(
        pool.labels[false_positives & ~confused], minlength=background
    )
    return Confusion((*classes, "background"), matrix)
