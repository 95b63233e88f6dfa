"""Evaluations made up for the report's tests, with numbers that are easy to recognize."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from foveal.data.dataset import Dataset, Record
from foveal.data.synthetic import draw_smear
from foveal.evaluation.results import (
    Calibration,
    ClassResult,
    CocoMetrics,
    Confusion,
    Counts,
    Curve,
    Errors,
    ErrorType,
    Evaluation,
    ImageResult,
    Interval,
    SizeResult,
)
from foveal.structures import Detections, Target

NAN = float("nan")
NOWHERE = Interval(NAN, NAN)
GRID = np.linspace(0, 1, 101)


def coco_numbers(ap: float) -> CocoMetrics:
    return CocoMetrics(*(ap + shift / 100 for shift in range(13)))


def curve(*, empty: bool) -> Curve:
    if empty:
        none = np.zeros(0)
        return Curve(none, none, none, none, none, none, NAN, NAN)
    precision = np.clip(1.02 - GRID**9, 0, 1)
    f1 = np.clip(3.6 * GRID * (1 - GRID), 0, 1)
    return Curve(GRID, precision, GRID, precision, 1 - GRID, f1, float(f1.max()), 0.5)


def counts(true: np.ndarray, predicted: np.ndarray) -> Counts:
    difference = predicted - true
    if not len(true):
        return Counts(true, predicted, NAN, NAN, NAN, NAN, NOWHERE, NOWHERE)
    error = float(np.abs(difference).mean())
    return Counts(
        true,
        predicted,
        float(difference.mean()),
        error,
        float(np.abs(difference).sum() / true.sum()) if true.sum() else NAN,
        0.97,
        Interval(-0.2, 0.4),
        Interval(0.8 * error, 1.2 * error),
    )


def class_result(name: str, true: np.ndarray, predicted: np.ndarray) -> ClassResult:
    objects = int(true.sum())
    ap = 0.6 if objects else NAN
    return ClassResult(
        name,
        int((true > 0).sum()),
        objects,
        coco_numbers(ap),
        ap + 0.1,
        ap + 0.2,
        Interval(ap - 0.04, ap + 0.05) if objects else NOWHERE,
        Interval(ap + 0.2, ap + 0.3) if objects else NOWHERE,
        0.94 if objects else NAN,
        0.91 if objects else NAN,
        0.925 if objects else NAN,
        curve(empty=not objects),
        counts(true, predicted),
    )


def evaluation(
    true: np.ndarray,
    predicted: np.ndarray,
    classes: tuple[str, ...],
    hardest: tuple[ImageResult, ...] = (),
) -> Evaluation:
    """An evaluation from true and predicted numbers [images, classes]."""
    total = int(true.sum())
    kinds = [ErrorType(0.01 * place, 7 * place, place) for place in range(6)]
    matrix = np.zeros((len(classes) + 1,) * 2, np.int64)
    np.fill_diagonal(matrix[:-1, :-1], true.sum(axis=0))
    matrix[:-1, -1], matrix[-1, :-1] = 3, 2
    known = np.arange(10) > 1
    return Evaluation(
        classes=classes,
        images=len(true),
        objects=total,
        detections=int(predicted.sum()),
        max_detections=100,
        coco=coco_numbers(0.61 if total else NAN),
        ap_interval=Interval(0.57, 0.66) if total else NOWHERE,
        ap50_interval=Interval(0.87, 0.93) if total else NOWHERE,
        voc2007=0.81 if total else NAN,
        voc2012=0.83 if total else NAN,
        score_threshold=0.42,
        threshold_chosen_here=True,
        precision=0.934 if predicted.sum() else NAN,
        recall=0.915 if total else NAN,
        f1=0.925 if total else NAN,
        counts=counts(true.sum(axis=1), predicted.sum(axis=1)),
        per_class=tuple(
            class_result(name, true[:, label], predicted[:, label])
            for label, name in enumerate(classes)
        ),
        by_size=(
            SizeResult("under 16 px", 0, 16, total // 3, 0.4, 0.7, 0.5),
            SizeResult("16 to 32 px", 16, 32, total - total // 3, 0.7, 0.9, 0.8),
            SizeResult("96 px and above", 96, np.inf, 0, NAN, NAN, NAN),
        ),
        errors=Errors(*kinds, 0.1, 0.2, 0.9),
        confusion=Confusion((*classes, "background"), matrix),
        calibration=Calibration(
            np.linspace(0, 1, 11),
            np.where(known, 40, 0),
            np.where(known, np.linspace(0.05, 0.95, 10), NAN),
            np.where(known, np.linspace(0.15, 0.9, 10), NAN),
            0.052,
        ),
        hardest=hardest,
    )


def nothing(classes: tuple[str, ...] = ("cell",), *, images: int = 0) -> Evaluation:
    """An evaluation without objects and detections."""
    none = np.zeros((images, len(classes)), np.int64)
    return evaluation(none, none, classes)


def smears(folder: Path, *, classes: tuple[str, ...], images: int = 6) -> Dataset:
    """Drawn images with their annotations."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(images):
        sample = draw_smear(np.random.default_rng((5, index)), size=160)
        path = folder / f"smear_{index}.png"
        cv2.imwrite(str(path), sample.image[..., ::-1])
        boxes, labels = sample.target.boxes, sample.target.labels % len(classes)
        records.append(Record(path, 160, 160, boxes, labels, sample.target.ignored))
    return Dataset(tuple(records), classes, folder, name="smears:test")


def evaluated_smears(dataset: Dataset) -> Evaluation:
    """An evaluation of drawn images in which some objects are missed and some found twice."""
    generator = np.random.default_rng(0)
    hardest, true, predicted = [], [], []
    for index, record in enumerate(dataset):
        found = generator.random(len(record)) < 0.85
        false = record.boxes[~found] + generator.normal(0, 8, ((~found).sum(), 4)) + (0, 0, 9, 9)
        kept = len(false) // 2
        labels = record.labels
        hardest.append(
            ImageResult(
                index,
                None,
                Detections(
                    record.boxes[found],
                    np.full(found.sum(), 0.8, np.float32),
                    labels[found],
                    classes=dataset.classes,
                ),
                Detections(
                    false[:kept].astype(np.float32),
                    np.full(kept, 0.6, np.float32),
                    labels[~found][:kept],
                    classes=dataset.classes,
                ),
                Target(record.boxes[~found], labels[~found], record.ignored[~found]),
                np.asarray([[4, 4, 30, 20]], np.float32)[: index % 2],
            )
        )
        true.append(np.bincount(labels, minlength=len(dataset.classes)))
        seen = np.concatenate([labels[found], labels[~found][:kept]])
        predicted.append(np.bincount(seen, minlength=len(dataset.classes)))
    hardest.sort(key=lambda result: -result.errors)
    return evaluation(np.stack(true), np.stack(predicted), dataset.classes, tuple(hardest))


def history(epochs: int = 6, steps: int = 20) -> list[dict[str, object]]:
    """Lines as training writes them into metrics.jsonl."""
    rows: list[dict[str, object]] = []
    for epoch in range(1, epochs + 1):
        for step in range((epoch - 1) * steps + 1, epoch * steps + 1):
            loss = float(np.exp(-step / 60))
            common = {"classification": loss, "box": loss / 2, "loss": 1.5 * loss}
            rate = 0.01 * min(1, step / 20)
            rows.append(
                {"kind": "step", "epoch": epoch, "step": step, "learning_rate": rate} | common
            )
        rows.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "seconds": 31.0,
                "learning_rate": rate,
                "validation": {"AP": 1 - loss, "AP50": 1 - loss / 2, "AP75": None},
                "best": epoch != epochs,
            }
            | common
        )
    return rows
