"""Labels damaged on purpose: how many of the suggestions of `foveal audit` name one.

    python -m benchmarks.studies.audit --work runs/audit [--seeds 0 1 2] [--epochs 30]
    python -m benchmarks.studies.audit --work runs/audit --data bccd:test --model light.safetensors

Of the labels of a data set 10 % are damaged, in equal parts: removed, given another class, shifted
by a third of their size, and invented where there is nothing. Then folds are trained on them, each
label is disputed by the model that did not learn from it, and as many suggestions are taken as
there are damages. Beside that stands the model that learned from all labels, the damaged ones
included. With --model nothing is trained: a model disputes labels that it has not seen.

Data have mistakes of their own. A suggestion that names none of ours may name one of those: how
many of these the audit of the undamaged labels brings as well is told beside the precision.

Nothing is written into the data: the damaged labels are a file of their own in --work. Trainings go
on where they were stopped.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import foveal
from benchmarks.lib.kept_rows import keep_row
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import BCCD, MOBILENET
from foveal.data.dataset import Dataset, Record
from foveal.devices import choose_device
from foveal.evaluation.label_audit import Dispute, LabelAudit, Suggestion, audit_labels
from foveal.geometry import arrays
from foveal.outputs.files import write
from foveal.structures import Detections

KINDS = {
    "removed": Dispute.MISSING,
    "class changed": Dispute.OTHER_CLASS,
    "shifted": Dispute.LOOSE_BOX,
    "invented": Dispute.NOTHING_THERE,
}
"""Each damage, and the kind of suggestion that names it rightly."""
_FREE = 0.3
"""An invented box overlaps no object by more than this IoU."""


@dataclass(frozen=True, eq=False)
class Damage:
    """One label that is wrong.

    Attributes:
        kind: one of KINDS.
        image: index of the image.
        index: of the label among the damaged ones of its image; None where it was removed.
        box: [4] float32 xyxy, original pixels: of a removed label as it was.
    """

    kind: str
    image: int
    index: int | None
    box: np.ndarray


@dataclass(frozen=True, eq=False)
class Damaged:
    """A data set with damaged labels.

    Attributes:
        data: with them.
        damages: all of them.
        origins: of each image's labels the index before, -1 of invented ones.
    """

    data: Dataset
    damages: tuple[Damage, ...]
    origins: tuple[np.ndarray, ...]


def damage(data: Dataset, *, fraction: float, seed: int) -> Damaged:
    """Damage a fraction of the labels, in four equal parts; regions to ignore stay."""
    generator = np.random.default_rng(seed)
    places = [(i, j) for i, r in enumerate(data) for j in np.flatnonzero(~r.ignored).tolist()]
    chosen = generator.permutation(len(places))[: round(fraction * len(places))]
    parts = [[places[n] for n in part] for part in np.array_split(chosen, len(KINDS))]
    removed, changed, shifted, invented = parts
    boxes = [record.boxes.copy() for record in data]
    labels = [record.labels.copy() for record in data]
    whole = [record.boxes for record in data]
    for i, j in changed:
        labels[i][j] = (labels[i][j] + generator.integers(1, len(data.classes))) % len(data.classes)
    for i, j in shifted:
        angle, sides = generator.uniform(0, 2 * np.pi), boxes[i][j, 2:] - boxes[i][j, :2]
        boxes[i][j] += np.tile(np.array([np.cos(angle), np.sin(angle)]) * sides / 3, 2)
    records, origins, damages = [], [], []
    more = _invent(generator, data, invented, places)
    for i, record in enumerate(data):
        gone = [j for image, j in removed if image == i]
        kept = np.setdiff1d(np.arange(len(record)), gone)
        new = [box for image, box in more if image == i]
        origin = np.concatenate([kept, np.full(len(new), -1)]).astype(np.int64)
        named = generator.integers(0, len(data.classes), len(new))
        records.append(
            Record(
                record.path,
                record.width,
                record.height,
                np.concatenate([boxes[i][kept], np.reshape(new, (-1, 4))]).astype(np.float32),
                np.concatenate([labels[i][kept], named]),
                np.concatenate([record.ignored[kept], np.zeros(len(new), np.bool_)]),
                image_id=record.image_id,
            )
        )
        origins.append(origin)
        damages += [Damage("removed", i, None, whole[i][j]) for j in gone]
        damages += [
            Damage(kind, i, int(np.flatnonzero(origin == j)[0]), whole[i][j])
            for kind, part in (("class changed", changed), ("shifted", shifted))
            for image, j in part
            if image == i
        ]
        damages += [
            Damage("invented", i, int(n), box)
            for n, box in zip(np.flatnonzero(origin < 0), new, strict=True)
        ]
    return Damaged(replace(data, records=tuple(records)), tuple(damages), tuple(origins))


def _invent(
    generator: np.random.Generator,
    data: Dataset,
    like: Sequence[tuple[int, int]],
    places: Sequence[tuple[int, int]],
) -> list[tuple[int, np.ndarray]]:
    """Boxes of the sizes of others, anywhere in the images where there is room."""
    made: list[tuple[int, np.ndarray]] = []
    for _ in like:
        for _ in range(100):
            image = int(generator.integers(len(data)))
            i, j = places[generator.integers(len(places))]
            record, box = data.records[image], data.records[i].boxes[j]
            room = np.maximum(np.array([record.width, record.height]) - (box[2:] - box[:2]), 1)
            corner = generator.uniform(0, 1, 2) * room
            new = np.concatenate([corner, corner + box[2:] - box[:2]]).astype(np.float32)
            others = np.concatenate([record.boxes, *(b[None] for n, b in made if n == image)])
            if arrays.iou(new.astype(np.float64), others.astype(np.float64)).max(initial=0) < _FREE:
                made.append((image, new))
                break
    return made


def score(audit: LabelAudit, damaged: Damaged, before: LabelAudit) -> dict[str, Any]:
    """Precision among as many suggestions as there are damages, by kind.

    Args:
        audit: of the damaged labels.
        damaged: what was damaged.
        before: the audit of the labels as they were, by the same detections.

    Returns:
        Among them by kind of suggestion: how many name a damage, of how many; and by kind of
        damage: how many are named, of how many.
    """
    left = list(damaged.damages)
    taken, hits, right = Counter[str](), Counter[str](), 0
    named = Counter[str]()
    old = {_place(before, row, None) for row in range(len(before.above(_LOW)))}
    known = 0
    best = audit.best(len(left))
    for row, one in enumerate(best):
        taken[one.kind] += 1
        hit = next((each for each in left if _names(one, each)), None)
        if hit is None:
            known += _place(best, row, damaged.origins) in old
            continue
        left.remove(hit)
        hits[one.kind] += 1
        named[hit.kind] += 1
        right += KINDS[hit.kind] is one.kind
    count = len(damaged.damages)
    damages = Counter(each.kind for each in damaged.damages)
    return {
        "damages": count,
        "suggestions": len(best),
        "precision": _ratio(hits.total(), len(best)),
        "kind right": _ratio(right, hits.total()),
        "disputed undamaged too": _ratio(known, len(best)),
        **{kind: f"{hits[kind]}/{taken[kind]}" for kind in Dispute},
        **{f"{kind} named": f"{named[kind]}/{damages[kind]}" for kind in KINDS},
    }


_LOW = 0.1
"""From which score on the undamaged labels count as disputed."""


def _names(one: Suggestion, each: Damage) -> bool:
    """Whether a suggestion is about a damage."""
    if one.image != each.image:
        return False
    if each.index is not None:
        return one.index == each.index
    if one.kind is not Dispute.MISSING or one.suggested_box is None:
        return False
    boxes = (one.suggested_box.astype(np.float64), each.box.astype(np.float64))
    return bool(arrays.iou(*boxes) >= 0.5)


def _place(
    audit: LabelAudit, row: int, origins: Sequence[np.ndarray] | None
) -> tuple[int, bool, int]:
    """What a suggestion is about: the label as it was numbered before, or the detection."""
    image, index = int(audit.images[row]), int(audit.indices[row])
    if index < 0:
        return image, False, int(audit.partners[row])
    return image, True, index if origins is None else int(origins[image][index])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def read_detections(path: Path, data: Dataset) -> list[Detections]:
    """What a file of detections says of the images of a data set."""
    from foveal.data.formats.coco_results import read_results

    return read_results(path, data, labels={})


def train(options: argparse.Namespace, damaged: Damaged, folder: Path) -> dict[str, Path]:
    """Train folds on damaged labels; the files of what was detected, by who detected it."""
    from foveal.experiments.folds import train_folds

    labels = folder / "damaged.json"
    if not labels.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(damaged.data, labels)
    run = folder / "folds"
    files = {"out of folds": run / "detections.json", "saw the labels": folder / "saw.json"}
    if not files["saw the labels"].exists():
        result = train_folds(
            damaged.data,
            out=run,
            folds=options.folds,
            recipe=recipe_of(options),
            resume=(run / "folds.json").is_file(),
        )
        detect(result.detector, damaged.data, files["saw the labels"])
    return files


def detect(detector: foveal.Detector, data: Dataset, file: Path) -> None:
    """Write what a detector finds, low scores too."""
    from foveal.outputs.files import write_coco

    low = detector.settings.decoding.score_threshold
    write_coco(file, detector.predictor(score_threshold=low).detect_many(data.paths))


def recipe_of(options: argparse.Namespace) -> Any:
    """How each of the trainings is made."""
    from foveal.config import make_settings
    from foveal.experiments.recipe import Recipe

    overrides = [f"model.weights={options.weights}", "training.export=false", *options.set]
    overrides += [
        f"training.{name}={getattr(options, name)}"
        for name in ("epochs", "minutes")
        if getattr(options, name) is not None
    ]
    settings = make_settings(preset=options.preset, overrides=overrides)
    return Recipe(preset=options.preset, settings=settings)


def rows_of(options: argparse.Namespace, data: Dataset, seed: int) -> list[dict[str, Any]]:
    """The rows of one seed: out of folds, and of who saw the labels; or of a model."""
    damaged = damage(data, fraction=options.fraction, seed=seed)
    folder = options.work / f"seed-{seed}"
    if options.model is None:
        files = train(options, damaged, folder)
    else:
        files = {"has not seen the labels": options.work / "detections.json"}
    rows = []
    for who, file in files.items():
        found = read_detections(file, damaged.data)
        before = audit_labels(found, data.targets, classes=len(data.classes))
        after = audit_labels(found, damaged.data.targets, classes=len(data.classes))
        rows.append({"model": who, "seed": seed, **score(after, damaged, before)})
    return rows


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The means over the seeds, a row for each model."""
    made = []
    for who in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == who]
        row: dict[str, Any] = {"model": who, "seeds": len(own)}
        for name, first in own[0].items():
            if isinstance(first, str) and "/" in first:
                parts = np.array([[int(n) for n in each[name].split("/")] for each in own])
                row[name] = "/".join(map(str, parts.sum(axis=0).tolist()))
            elif isinstance(first, float):
                row[name] = float(np.nanmean([each[name] for each in own]))
        made.append(row)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a training takes what there is
    choose_device(options.device)
    bccd = options.data.startswith("bccd:")
    data = foveal.read(f"{BCCD.parent}/{options.data}" if bccd else options.data)
    data = data.fit_sizes()
    if options.model is not None and not (options.work / "detections.json").exists():
        detect(foveal.load(options.model), data, options.work / "detections.json")
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        asked = {
            "data": options.data,
            "fraction": options.fraction,
            "folds": options.folds,
            "epochs": options.epochs,
            "minutes": options.minutes,
            "preset": options.preset,
            "settings": options.set,
            "model": options.model and Path(options.model).name,
        }
        kept = keep_row(
            options.work / f"seed-{seed}.json",
            asked,
            lambda each=seed: {"rows": rows_of(options, data, each)},  # type: ignore[misc]
        )
        rows += kept["rows"]
    print_table(_short(rows))
    print_table(_short(means(rows)), title="all seeds")
    path = write_result(
        options.name, rows, folder=options.out, options=vars(options), means=means(rows)
    )
    print("written:", path.name)


def _short(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if "named" not in name} for row in rows]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="bccd:train", help="bccd:SPLIT, or any address")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fraction", type=float, default=0.1, help="of the labels, damaged")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--preset", default="light")
    parser.add_argument("--epochs", type=int, help="of each training; else the preset's")
    parser.add_argument("--minutes", type=float, help="of all trainings of a seed together")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--weights", default=str(MOBILENET), help="MobileNetV2's, a file")
    parser.add_argument("--set", action="append", default=[], help="a foveal setting")
    parser.add_argument("--model", help="train nothing: this one disputes the labels")
    parser.add_argument("--name", default="audit", help="of the JSON file")
    parser.add_argument("--work", type=Path, required=True, help="the folder of trainings and rows")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
