"""Who predicts: foveal's model in each runtime and precision, and torchvision's.

A name is a runtime and a precision: 'openvino-float32'. 'default' is what the runtime chooses, and
'int8' is NNCF's, calibrated on the subject's images.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import RetinaNet

from benchmarks.lib.networks import (
    Task,
    for_torchvision,
    memory_without_foveal,
    to_tensors,
    torchvision_autocast,
)
from benchmarks.lib.subjects import Images, Subject
from benchmarks.lib.timing import clock
from foveal.checkpoints.model_file import LoadedModel
from foveal.data.dataset import Dataset
from foveal.errors import FovealError
from foveal.evaluation.evaluate import evaluate
from foveal.evaluation.results import Evaluation
from foveal.exporting.export import ExportReport, export_model
from foveal.inference.opening import Opened, open_model, open_network
from foveal.inference.predictor import Predictor
from foveal.structures import Detections, Sample, Target

NAMES = {
    "cpu": (
        "pytorch-float32", "pytorch-bf16", "openvino-float32", "openvino-default", "openvino-int8",
        "onnx-float32", "onnx-int8", "torchvision-float32", "torchvision-bf16",
    ),
    "cuda": (
        "pytorch-float32", "pytorch-bf16", "onnx-float32", "torchvision-float32",
        "torchvision-bf16",
    ),
}  # fmt: skip
"""All that can be measured on a device."""
TITLES = {"pytorch": "PyTorch", "openvino": "OpenVINO", "onnx": "ONNX Runtime"}
ENDINGS = {"openvino": ".xml", "onnx": ".onnx"}


class Contestant(Protocol):
    """One that predicts."""

    @property
    def title(self) -> str:
        """By what, for people."""

    @property
    def precision(self) -> str:
        """What it computes in."""

    def prediction(
        self, images: Images, *, batch: int, score_threshold: float
    ) -> Callable[[], list[Detections]]:
        """From decoded images, [H, W, 3] uint8 in memory, to detections."""

    def network(self, images: Images) -> Callable[[], object]:
        """The network alone, on these images as one prepared batch."""


@dataclass(frozen=True)
class Ours:
    """foveal's predictor on a runtime."""

    title: str
    opened: Opened

    @property
    def precision(self) -> str:
        return self.opened.runtime.precision

    def predictor(self, *, batch: int, score_threshold: float) -> Predictor:
        """As `Detector.detect` has it, with this threshold."""
        return replace(self.opened.predictor(score_threshold=score_threshold), batch=batch)

    def prediction(
        self, images: Images, *, batch: int, score_threshold: float
    ) -> Callable[[], list[Detections]]:
        """One image by `detect`, more by `detect_many`."""
        predictor = self.predictor(batch=batch, score_threshold=score_threshold)
        if batch == 1:
            return lambda: [predictor.detect(image) for image in images]
        return lambda: predictor.detect_many(images)

    def network(self, images: Images) -> Callable[[], object]:
        """The runtime's call, from uint8 on the host to raw output on the device."""
        prepare = self.opened.predictor().preparation
        prepared = [prepare(Sample(image, Target.empty()))[0].image for image in images]
        pixels = np.stack(prepared).transpose(0, 3, 1, 2)
        return lambda: self.opened.runtime(pixels)


@dataclass(frozen=True)
class Theirs:
    """torchvision's network."""

    title: str
    model: RetinaNet
    task: Task
    precision: str

    def prediction(
        self, images: Images, *, batch: int, score_threshold: float
    ) -> Callable[[], list[Detections]]:
        """Batches of images; its labels as they are."""
        work = torchvision_prediction(
            self.model, replace(self.task, batch=batch), images, self.precision
        )

        def with_threshold() -> list[Detections]:
            self.model.score_thresh = score_threshold
            return work()

        return with_threshold

    def network(self, images: Images) -> Callable[[], object]:
        """Backbone and heads, from prepared float32 images on the device."""
        model = for_torchvision(self.model, self.task.device, self.precision).eval()
        pixels = [image.to(self.task.device).float() / 255 for image in to_tensors(images)]
        inputs: Tensor = model.transform(pixels)[0].tensors
        if self.precision == "bf16":
            inputs = inputs.contiguous(memory_format=torch.channels_last)

        @memory_without_foveal()
        def work() -> object:
            with torch.inference_mode(), torchvision_autocast(self.task.device, self.precision):
                return model.head(list(model.backbone(inputs).values()))

        return work


def evaluated(contestant: Ours, test: Dataset) -> Evaluation:
    """What it is worth on images with boxes, with the model's own preparation."""
    decoding = contestant.opened.description.decoding
    predictor = contestant.predictor(batch=1, score_threshold=decoding.score_threshold)
    detections = predictor.detect_many(test.paths)
    return evaluate(detections, test.targets, test.classes, max_detections=decoding.max_detections)


def torchvision_prediction(
    foreign: RetinaNet, task: Task, images: Images, precision: str
) -> Callable[[], list[Detections]]:
    """torchvision's network on batches of the task's size, its labels as they are."""
    model = for_torchvision(foreign, task.device, precision).eval()
    tensors = to_tensors(images)
    # It may have more classes than the task: one more is its background.
    channels = foreign.head.classification_head.num_classes
    classes = tuple(f"class {number}" for number in range(channels))

    @memory_without_foveal()
    def work() -> list[Detections]:
        detections = []
        for start in range(0, len(tensors), task.batch):
            part = tensors[start : start + task.batch]
            on_device = [image.to(task.device, non_blocking=True).float() / 255 for image in part]
            with torch.inference_mode(), torchvision_autocast(task.device, precision):
                outputs = model(on_device)
            for output in outputs:
                boxes, scores, labels = (
                    output[key].float().cpu().numpy() for key in ("boxes", "scores", "labels")
                )
                detections.append(
                    Detections(boxes, scores, labels.astype(np.int64), classes=classes)
                )
        return detections

    return work


@dataclass
class Workshop:
    """Makes contestants, each exported file once.

    Attributes:
        subject: what they predict with.
        task: on which device.
        folder: for exported files; those that are there are taken as they are.
        exports: of each file that was made, what is worth knowing of it.
    """

    subject: Subject
    task: Task
    folder: Path
    exports: dict[str, dict[str, Any]] = field(default_factory=dict)

    def make(self, name: str) -> Contestant | None:
        """A contestant by its name; None, and a word, where it can't be had here."""
        kind, _, precision = name.partition("-")
        if kind == "torchvision":
            # In bf16 it is moved to another memory format, and the two must not share it.
            foreign = copy.deepcopy(self.subject.foreign)
            return Theirs(f"torchvision {precision}", foreign, self.task, precision)
        try:
            opened = self._open(kind, precision)
        except FovealError as error:
            print(f"{name} is left out: {error}", flush=True)
            return None
        if precision == "default" and opened.runtime.precision == "float32":
            print(f"{name} is left out: float32 is what it chooses here", flush=True)
            return None
        return Ours(f"{TITLES[kind]} {precision}", opened)

    def _open(self, kind: str, precision: str) -> Opened:
        device = self.task.device
        if kind == "pytorch":
            own = self.subject.own  # stays on the CPU, for the exports
            own = replace(own, model=copy.deepcopy(own.model))
            return open_network(own, device=device, precision=precision)
        file = self._exported(kind, int8=precision == "int8")
        wanted = "float32" if precision == "float32" else "auto"
        return open_model(file, device=device, precision=wanted)

    def _exported(self, kind: str, *, int8: bool) -> Path:
        precision = "int8" if int8 else "float32"
        file = self.folder / f"{self.subject.name}_{precision}{ENDINGS[kind]}"
        made = f"{kind} {precision}"
        if made in self.exports:
            return file
        if file.is_file():
            print(f"{file.name} is taken as it is there", flush=True)
            self.exports[made] = {"taken": True}
        else:
            calibration = self.subject.calibration if int8 else None
            start = time.perf_counter()
            report = export(self.subject.own, kind, file, calibration, self.subject.check)
            self.exports[made] = {
                "seconds": time.perf_counter() - start,
                "megabytes": sum(path.stat().st_size for path in beside(file)) / 1e6,
                "precision": report.export.precision,
                "float_layers": list(report.export.float_layers),
                "notes": list(report.notes),
            }
        return file


def export(
    own: LoadedModel,
    kind: str,
    file: Path,
    calibration: Dataset | None = None,
    check: Dataset | None = None,
) -> ExportReport:
    """Export a model, in 8 bits where there are images to calibrate on.

    Args:
        own: the model.
        kind: 'openvino' or 'onnx'.
        file: where to.
        calibration: images for 8 bits; None exports in float32.
        check: images on which 8 bits must keep AP; None takes a part of the calibration's.

    Raises:
        FovealError: it does not do the same as the network, or a package is missing.
    """
    print(f"exporting {file.name} ...", flush=True)
    chosen = {} if calibration is None else {"int8": calibration, "check": check}
    report = export_model(own, kind, file, **chosen)
    if not report.is_written:
        raise FovealError(f"{file.name} is not as the network: {'; '.join(report.problems)}")
    if float_layers := report.export.float_layers:
        print(f"  in float32 stay: {', '.join(float_layers)}")
    for note in report.notes:
        print(f"  {note}")
    return report


def beside(file: Path) -> list[Path]:
    """An exported file and, of OpenVINO's, its weights."""
    return [path for path in (file, file.with_suffix(".bin")) if path.is_file()]


class Timed:
    """A runtime that remembers when its last call began and ended."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self.name, self.sizes = runtime.name, runtime.sizes
        self.device, self.precision = runtime.device, runtime.precision
        self.began = self.ended = 0.0

    def __call__(self, images: NDArray[np.uint8]) -> Any:
        self.began = clock()
        output = self._runtime(images)
        self.ended = clock()
        return output


def spans(contestant: Ours, images: Images, *, score_threshold: float) -> list[tuple[float, ...]]:
    """For each image, alone: seconds before, in and after the network."""
    predictor = contestant.predictor(batch=1, score_threshold=score_threshold)
    timed = Timed(predictor.runtime)
    predictor = replace(predictor, runtime=timed)
    seconds = []
    for image in images:
        start = clock()
        predictor.detect(image)
        end = clock()
        seconds.append((timed.began - start, timed.ended - timed.began, end - timed.ended))
    return seconds
