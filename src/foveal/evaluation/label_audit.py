"""Which labels the detections of a model dispute, ranked: a pure function of both.

The model should not have seen the labels: its detections are out of folds, or it was trained on
other images. Labels and detections are paired by place first, whatever their classes. Then it is
asked what does not fit: a sure detection without a label, a label without any detection, a class
that the model is sure of where the label says another (Northcutt et al. 2021, "Confident
learning"), boxes that agree badly (Chachula et al. 2022, "CLOD"; Tkachenko et al. 2023,
"ObjectLab"). How these are weighed against one another is our own.

A score is the product of two parts, so that one list can hold all kinds:

- the evidence in 0..1: how sure the model is and how badly the label fits. A model is as sure as
  its detections of that class and score have a label (Platt 1999).
- the rarity in 0..1: the worst of a kind count in full, up to `EXPECTED` of all labels. What is
  disputed much oftener is rather a habit of the labels, or of the model, and each case is worth
  less.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.matching import MOSTLY_INSIDE, make_pool
from foveal.geometry import arrays
from foveal.geometry.overlaps import keep_greedily, overlapping_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from foveal.evaluation.matching import MatchTable
    from foveal.structures import Detections, Target

EXPECTED = 0.025
"""So large a fraction of the labels may be disputed in one way before each case is worth less."""
_FEW = 5
"""So many may be in any case."""
SAME_PLACE = 0.5
"""From this IoU on a detection and a label mean one object, whatever their classes."""
NEAR = 0.2
"""From this IoU on a label may be the box gone astray of a detection of its class."""
_ONE_PLACE = 0.6
"""Detections that overlap more are several guesses at one object, whatever their classes."""
_SURE_DOUBLE = 0.9
"""From this IoU on two labels are one object without a doubt."""
_TELLS_MORE = 3.0
"""What says how a label is to be mended is taken for its fault where it is a third as likely."""
_SCORE_WEIGHT = 3.0
"""How firmly scores are taken for probabilities: few detections don't change that."""
_USUAL = 0.25
"""Boxes agree as a rule better than this fraction of them does."""
_A_LITTLE_SURE = 0.25
_LEAST = 0.05
"""What is less suspicious is none."""
_STEPS = 25


class Dispute(StrEnum):
    """How detections dispute a label."""

    MISSING = "missing"
    NOTHING_THERE = "nothing there"
    OTHER_CLASS = "other class"
    LOOSE_BOX = "loose box"
    DOUBLE = "double"


@dataclass(frozen=True, slots=True, eq=False)
class Suggestion:
    """A label that is disputed, or the place of one that is missing.

    Attributes:
        kind: how it is disputed.
        score: in 0..1, the larger the more suspicious; comparable between kinds.
        image: index of the image.
        index: of the label in the image's target; None of a missing one.
        label: its class, 0..K-1; None of a missing one.
        box: [4] float32 xyxy, original pixels; None of a missing one.
        detection_label, detection_box, detection_score: of the detection that disputes it, or that
            was the nearest to it; None without one.
    """

    kind: Dispute
    score: float
    image: int
    index: int | None
    label: int | None
    box: NDArray[np.float32] | None
    detection_label: int | None
    detection_box: NDArray[np.float32] | None
    detection_score: float | None

    @property
    def removes(self) -> bool:
        """Whether the label would go."""
        return self.kind in (Dispute.NOTHING_THERE, Dispute.DOUBLE)

    @property
    def suggested_label(self) -> int | None:
        """The class that the label would have; None where it would go."""
        return None if self.removes else self.detection_label

    @property
    def suggested_box(self) -> NDArray[np.float32] | None:
        """[4] float32 xyxy, the box that the label would have; None where it would go.

        A box that fits stays as a person drew it where the class alone is disputed.
        """
        if self.removes:
            return None
        return self.box if self.kind is Dispute.OTHER_CLASS else self.detection_box


@dataclass(frozen=True, slots=True, eq=False)
class LabelAudit:
    """All disputes that matter, the most suspicious first, as columns of S rows.

    Attributes:
        kinds: [S] indices into `tuple(Dispute)`.
        scores: [S] float64 in 0..1, falling.
        images: [S] int64 indices of images.
        indices: [S] int64 positions of labels in their image's target, -1 for missing ones.
        partners: [S] int64 positions of detections in their image's, -1 for none.
        labels: how many labels were audited; regions to ignore are none.
        seen: how many of them the model is a little sure of, at their place and of their class.
        detections, targets: what was audited.
    """

    kinds: NDArray[np.int64]
    scores: NDArray[np.float64]
    images: NDArray[np.int64]
    indices: NDArray[np.int64]
    partners: NDArray[np.int64]
    labels: int
    seen: int
    detections: Sequence[Detections]
    targets: Sequence[Target]

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, count: int) -> LabelAudit:
        """The audit with its most suspicious rows alone."""
        return self._rows(slice(count))

    def above(self, score: float) -> LabelAudit:
        """The audit with the rows of at least this score alone."""
        return self._rows(slice(int((self.scores >= score).sum())))

    def counts(self) -> dict[Dispute, int]:
        """How many disputes there are of each kind."""
        numbers = np.bincount(self.kinds, minlength=len(Dispute))
        return {kind: int(number) for kind, number in zip(Dispute, numbers, strict=True)}

    def __getitem__(self, row: int) -> Suggestion:
        image, index, partner = (
            int(column[row]) for column in (self.images, self.indices, self.partners)
        )
        target, detections = self.targets[image], self.detections[image]
        labeled, detected = index >= 0, partner >= 0
        return Suggestion(
            kind=tuple(Dispute)[self.kinds[row]],
            score=float(self.scores[row]),
            image=image,
            index=index if labeled else None,
            label=int(target.labels[index]) if labeled else None,
            box=target.boxes[index] if labeled else None,
            detection_label=int(detections.labels[partner]) if detected else None,
            detection_box=detections.boxes[partner] if detected else None,
            detection_score=float(detections.scores[partner]) if detected else None,
        )

    def __iter__(self) -> Iterator[Suggestion]:
        return (self[row] for row in range(len(self)))

    def _rows(self, rows: slice) -> LabelAudit:
        return LabelAudit(
            self.kinds[rows],
            self.scores[rows],
            self.images[rows],
            self.indices[rows],
            self.partners[rows],
            self.labels,
            self.seen,
            self.detections,
            self.targets,
        )


def audit_labels(
    detections: Sequence[Detections], targets: Sequence[Target], *, classes: int
) -> LabelAudit:
    """Rank the labels that detections dispute.

    Regions to ignore are not audited, and detections mostly inside of one say nothing, whatever
    the class.

    Args:
        detections: one for each image, original pixels, of a model that did not see the labels;
            with low scores too, for they tell what the model takes for possible.
        targets: one for each image, original pixels, the same order of images.
        classes: K.

    Raises:
        DataError: not as many detections as targets, or a label outside 0..K-1.
    """
    pool = make_pool(detections, targets, classes=classes, max_detections=None)
    places = _find_places(pool)
    pairing = _pair(pool, places)
    disputes = _Disputes.joined(
        [
            _missing(pool, pairing),
            _wrong_labels(pool, pairing),
            _doubles(pairing),
        ]
    )
    seen = int((pairing.support[~pool.ignored] >= _A_LITTLE_SURE).sum())
    return _ranked(pool, disputes, detections, targets, seen=seen)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairing:
    """Which place means which label.

    Attributes:
        places: [D] bool, detections that stand for a place: the best one there, whatever its class.
        sureness: [D] float64, how often a detection of its class and score has a label.
        label_of: [D] int64, the label at a place, -1 for none.
        place_of: [G] int64, the place of a label, -1 for none.
        iou: [G] float64, of a label with its place, 0 without one.
        support: [G] float64, of any detection of the label's own class at its place.
        doubles: [N] and [N], labels that mean what another one does, and that other; [N] their IoU.
    """

    places: NDArray[np.bool_]
    sureness: NDArray[np.float64]
    label_of: NDArray[np.int64]
    place_of: NDArray[np.int64]
    iou: NDArray[np.float64]
    support: NDArray[np.float64]
    doubles: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class _Disputes:
    """Some disputes: kinds, evidence, objects and detections of the pool, -1 for none; [S]."""

    kinds: NDArray[np.int64]
    evidence: NDArray[np.float64]
    objects: NDArray[np.int64]
    partners: NDArray[np.int64]

    @staticmethod
    def joined(parts: Sequence[_Disputes]) -> _Disputes:
        """The disputes of all kinds that have any evidence, the best evidence first."""
        kinds, evidence, objects, partners = (
            np.concatenate([getattr(part, name) for part in parts]) for name in _Disputes.__slots__
        )
        order = np.argsort(-evidence, kind="stable")
        order = order[evidence[order] > 0]
        return _Disputes(kinds[order], evidence[order], objects[order], partners[order])


def _number(kind: Dispute) -> int:
    return tuple(Dispute).index(kind)


def _near(
    boxes: NDArray[np.float32], image: NDArray[np.int64], images: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of boxes of one image that overlap by half or more, the earlier first, and the IoU."""
    ones = []
    others = []
    ious = []
    starts = np.searchsorted(image, np.arange(images + 1))
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        own = boxes[start:stop]
        for one, other in overlapping_pairs(own, np.ones(len(own), np.bool_)):
            once = one < other
            one, other = one[once], other[once]
            iou = arrays.iou(own[one].astype(np.float64), own[other].astype(np.float64))
            much = iou >= SAME_PLACE
            ones.append(one[much] + start)
            others.append(other[much] + start)
            ious.append(iou[much])
    nothing = np.zeros(0, np.int64)
    return (
        np.concatenate([nothing, *ones]),
        np.concatenate([nothing, *others]),
        np.concatenate([np.zeros(0), *ious], dtype=np.float64),
    )


def _find_places(pool: MatchTable) -> NDArray[np.bool_]:
    """[D] the detections that are the best where they are, whatever the class."""
    in_region = pool.ignored[pool.pair_object] & (pool.pair_inside >= MOSTLY_INSIDE)
    heard = np.ones(len(pool.scores), np.bool_)
    heard[pool.pair_detection[in_region]] = False
    # Detections are ordered from the best score down in each image.
    better, worse, iou = _near(pool.boxes, pool.image, pool.images)
    same = iou > _ONE_PLACE
    return keep_greedily(heard, better[same], worse[same])


def _pair(pool: MatchTable, places: NDArray[np.bool_]) -> _Pairing:
    """Pair places and labels: where they are the same first, then what is left and near."""
    detections, objects = len(pool.scores), len(pool.ignored)
    label_of = np.full(detections, -1, np.int64)
    place_of = np.full(objects, -1, np.int64)
    of_label = ~pool.ignored[pool.pair_object]
    at_place = of_label & places[pool.pair_detection]

    def pair(chosen: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(chosen)
        one, other = pool.pair_detection[rows], pool.pair_object[rows]
        free = (label_of[one] < 0) & (place_of[other] < 0)
        rows, one, other = rows[free], one[free], other[free]
        # A hair more for the same class decides between labels at one and the same place.
        worth = pool.pair_iou[rows] * pool.scores[one] * np.where(pool.same_class[rows], 1.0, 0.99)
        taken = _mutually_best(one, other, worth)
        label_of[one[taken]] = other[taken]
        place_of[other[taken]] = one[taken]

    pair(at_place & (pool.pair_iou >= SAME_PLACE))
    exact = place_of >= 0
    doubles = _find_doubles(pool, exact)
    spare = np.zeros(objects, np.bool_)
    spare[doubles[0]] = True
    pair(at_place & pool.same_class & (pool.pair_iou >= NEAR) & ~spare[pool.pair_object])
    same_class = np.zeros(detections, np.bool_)
    placed = np.flatnonzero(label_of >= 0)
    same_class[placed] = pool.labels[placed] == pool.object_labels[label_of[placed]]
    sureness = _find_sureness(pool, places, same_class)
    own = np.flatnonzero(of_label & pool.same_class & (pool.pair_iou >= SAME_PLACE))
    support = np.zeros(objects)
    np.maximum.at(support, pool.pair_object[own], sureness[pool.pair_detection[own]])
    iou = np.zeros(objects)
    paired = np.flatnonzero(at_place)
    paired = paired[label_of[pool.pair_detection[paired]] == pool.pair_object[paired]]
    iou[pool.pair_object[paired]] = pool.pair_iou[paired]
    return _Pairing(places, sureness, label_of, place_of, iou, support, doubles)


def _mutually_best(
    one: NDArray[np.int64], other: NDArray[np.int64], worth: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Rows of pairs that are taken greedily, the worthiest first, each side once.

    In each turn all pairs go that are the best of both their sides, so that turns are few.
    """
    rows = np.argsort(-worth, kind="stable")
    taken = []
    while len(rows):
        first_of_one, first_of_other = np.zeros((2, len(rows)), np.bool_)
        first_of_one[np.unique(one[rows], return_index=True)[1]] = True
        first_of_other[np.unique(other[rows], return_index=True)[1]] = True
        best = rows[first_of_one & first_of_other]
        taken.append(best)
        rows = rows[~np.isin(one[rows], one[best]) & ~np.isin(other[rows], other[best])]
    return np.concatenate([np.zeros(0, np.int64), *taken])


def _find_doubles(
    pool: MatchTable, placed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Labels without a place of their own that overlap another one by half: they, it, the IoU."""
    one, other, iou = _near(pool.object_boxes, pool.object_image, pool.images)
    labels = ~pool.ignored
    # Of two that nothing stands for the later one is spare.
    swapped = placed[other] & ~placed[one]
    spare, kept = np.where(swapped, one, other), np.where(swapped, other, one)
    rows = np.flatnonzero(labels[one] & labels[other] & ~placed[spare])
    rows = rows[np.argsort(-iou[rows], kind="stable")]
    rows = rows[np.unique(spare[rows], return_index=True)[1]]
    return spare[rows], kept[rows], iou[rows]


def _find_sureness(
    pool: MatchTable, places: NDArray[np.bool_], labeled: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[D] how often a detection of a class and score has a label of that class (Platt 1999).

    Of each class the logits of the scores are scaled and moved; few detections move them little.

    Args:
        pool: all images.
        places: [D] detections that are asked for it.
        labeled: [D] whether they have one.
    """
    scores = np.clip(pool.scores.astype(np.float64), 1e-4, 1 - 1e-4)
    logits = np.log(scores / (1 - scores))
    sure = scores.copy()
    for label in range(pool.classes):
        own = pool.of_class(label)
        asked = own[places[own]]
        x, y = logits[asked], labeled[asked].astype(np.float64)
        scale, shift = 1.0, 0.0
        for _ in range(_STEPS):
            guess = 1 / (1 + np.exp(-(scale * x + shift)))
            spread = guess * (1 - guess)
            slope = np.array(
                [
                    (x * (guess - y)).sum() + _SCORE_WEIGHT * (scale - 1),
                    (guess - y).sum() + _SCORE_WEIGHT * shift,
                ]
            )
            bend = np.array(
                [[(x * x * spread).sum(), (x * spread).sum()], [(x * spread).sum(), spread.sum()]]
            ) + _SCORE_WEIGHT * np.eye(2)
            step = np.clip(np.linalg.solve(bend, slope), -1, 1)
            scale, shift = max(float(scale - step[0]), 0.05), float(shift - step[1])
        sure[own] = 1 / (1 + np.exp(-(scale * logits[own] + shift)))
    return sure


def _missing(pool: MatchTable, pairing: _Pairing) -> _Disputes:
    """Places without a label, the surer and the less they overlap one, the more suspicious."""
    alone = np.flatnonzero(pairing.places & (pairing.label_of < 0))
    overlap = np.zeros(len(pool.scores))
    of_label = ~pool.ignored[pool.pair_object]
    np.maximum.at(overlap, pool.pair_detection[of_label], pool.pair_iou[of_label])
    return _Disputes(
        np.full(len(alone), _number(Dispute.MISSING)),
        pairing.sureness[alone] * (1 - overlap[alone]),
        np.full(len(alone), -1),
        alone,
    )


def _wrong_labels(pool: MatchTable, pairing: _Pairing) -> _Disputes:
    """Labels that are wrong in themselves.

    Nothing there: no detection is sure of anything. Other class: the model is sure of another one
    at the label's place. Loose box: a detection of the class is near, and the boxes agree much
    worse than boxes do here as a rule. A label that may be wrong in two ways is the more
    suspicious.
    """
    double = np.zeros(len(pool.ignored), np.bool_)
    double[pairing.doubles[0]] = True
    labels = np.flatnonzero(~pool.ignored & ~double)
    places = pairing.place_of[labels]
    placed = places >= 0
    # Index -1 reads what stands at the end for labels without a place.
    sure = np.append(pairing.sureness, 0.0)[places]
    alike = placed & (np.append(pool.labels, -1)[places] == pool.object_labels[labels])
    support, ious = pairing.support[labels], pairing.iou[labels]
    usual = max(float(np.quantile(ious[alike], _USUAL)), SAME_PLACE + 0.1) if alike.any() else 1.0
    looseness = np.where(alike, np.clip((usual - ious) / (usual - SAME_PLACE), 0, 1), 0.0)
    ways = np.stack(
        [
            1 - np.maximum(support, sure),
            np.where(placed & ~alike, sure * (1 - support), 0.0),
            sure * looseness**2,
        ]
    )
    kinds = np.array(
        [_number(kind) for kind in (Dispute.NOTHING_THERE, Dispute.OTHER_CLASS, Dispute.LOOSE_BOX)]
    )
    likeliest = np.argmax(ways * np.array([[1.0], [_TELLS_MORE], [_TELLS_MORE]]), axis=0)
    return _Disputes(kinds[likeliest], np.minimum(ways.sum(axis=0), 1.0), labels, places)


def _doubles(pairing: _Pairing) -> _Disputes:
    """Labels that mean an object which another label has, and for which no detection is left."""
    spare, kept, iou = pairing.doubles
    return _Disputes(
        np.full(len(spare), _number(Dispute.DOUBLE)),
        np.clip((iou - SAME_PLACE) / (_SURE_DOUBLE - SAME_PLACE), 0, 1),
        spare,
        pairing.place_of[kept],
    )


def _ranked(
    pool: MatchTable,
    disputes: _Disputes,
    detections: Sequence[Detections],
    targets: Sequence[Target],
    *,
    seen: int,
) -> LabelAudit:
    """The disputes by evidence times rarity."""
    labels = int((~pool.ignored).sum())
    by_kind = np.argsort(disputes.kinds, kind="stable")
    sorted_kinds = disputes.kinds[by_kind]
    rank = np.empty(len(by_kind), np.int64)
    rank[by_kind] = np.arange(1, len(by_kind) + 1) - np.searchsorted(sorted_kinds, sorted_kinds)
    scores = disputes.evidence * np.minimum(max(EXPECTED * labels, _FEW) / np.maximum(rank, 1), 1.0)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= _LEAST]
    objects, partners = disputes.objects[order], disputes.partners[order]
    image = np.where(
        objects >= 0,
        np.append(pool.object_image, 0)[objects],
        np.append(pool.image, 0)[partners],
    )
    # The pool's detections are ordered by score; people have theirs as they were given.
    given = [np.argsort(-one.scores, kind="stable") for one in detections]
    starts = np.append(0, np.cumsum([len(target) for target in targets]))
    return LabelAudit(
        kinds=disputes.kinds[order],
        scores=scores[order],
        images=image,
        indices=np.where(objects >= 0, objects - starts[image], -1),
        partners=np.concatenate([*given, [-1]]).astype(np.int64)[partners],
        labels=labels,
        seen=seen,
        detections=detections,
        targets=targets,
    )
