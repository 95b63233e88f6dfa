"""What predicts: a model of foveal's, torchvision's beside it, and images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import RetinaNet

import foveal
from benchmarks.lib.networks import (
    THRESHOLD,
    Task,
    draw_images,
    draw_targets,
    make_foreign,
    make_pair,
)
from foveal.checkpoints.model_file import LoadedModel, load
from foveal.config import make_settings
from foveal.data.dataset import Dataset, Record
from foveal.inference.predictor import Predictor
from foveal.models.build import build_model
from foveal.structures import ModelCard

LIGHT_SIDE = 416
PREDICTION_SIZES = {"cpu": (640, 640), "cuda": (800, 800)}
"""Height and width of the images that ResNet-50 predicts, where nothing else is asked for."""
FEW = 200
"""Pairs of anchor and class above the threshold in the first image, with random weights."""
DRAWN = 8
"""Images on which random weights are calibrated."""

Images = list[NDArray[np.uint8]]


@dataclass(frozen=True)
class Subject:
    """A model with what it is compared with and what it looks at.

    Attributes:
        name: of the table.
        own: foveal's.
        foreign: torchvision's, on the CPU, in evaluation mode.
        same_weights: whether torchvision's has the same weights, so that its detections are the
            same.
        images: [H, W, 3] uint8 each, all of one size.
        few: the threshold that leaves few candidates.
        counted: from which score detections are compared.
        calibration: for 8 bits, other images than those.
        check: images on which 8 bits must keep AP; None takes a part of the calibration's.
        test: images with boxes on which AP is measured; None where weights are random.
    """

    name: str
    own: LoadedModel
    foreign: RetinaNet
    same_weights: bool
    images: Images
    few: float
    counted: float
    calibration: Dataset
    check: Dataset | None = None
    test: Dataset | None = None

    @property
    def trained(self) -> bool:
        """Whether the weights are."""
        return self.test is not None


def resnet50(task: Task, count: int, folder: Path) -> Subject:
    """torchvision's ResNet-50 (or the task's backbone) with random weights, and ours with the same.

    Args:
        task: the network and the images.
        count: of images.
        folder: for the drawn images that 8 bits are calibrated on.
    """
    pair = make_pair(task, candidates=FEW)
    return Subject(
        "resnet50",
        pair.own,
        pair.foreign,
        same_weights=True,
        images=draw_images(task, count),
        few=THRESHOLD,
        counted=THRESHOLD,
        calibration=drawn_dataset(replace(task, seed=task.seed + 1), pair.own.card.classes, folder),
    )


def light(task: Task, count: int, folder: Path, *, file: Path | None, data: Path) -> Subject:
    """foveal's preset `light`, beside torchvision's RetinaNet on MobileNetV2 (random weights).

    Args:
        task: device and size of the images; its classes are the file's where there is one.
        count: of images.
        folder: for drawn images.
        file: a trained model; None for random weights and drawn images.
        data: a data set with the splits train, val and test, that the file was trained on.
    """
    if file is None:
        own = random_light(task)
        drawn = drawn_dataset(replace(task, seed=task.seed + 1), own.card.classes, folder)
        foreign = foreign_of(own, replace(task, backbone="mobilenet_v2", classes=task.classes + 1))
        images = draw_images(task, count)
        few = score_of(FEW, own, images[0])
        return Subject(
            "light",
            own,
            foreign,
            same_weights=False,
            images=images,
            few=few,
            counted=few,
            calibration=drawn,
        )
    own = load(file)
    classes = len(own.card.classes)
    foreign = foreign_of(own, replace(task, backbone="mobilenet_v2", classes=classes + 1))
    test = foveal.read(f"{data}:test")
    size = (task.height, task.width)
    pixels = [squared(test[index % len(test)].image, size) for index in range(count)]
    return Subject(
        "light",
        own,
        foreign,
        same_weights=False,
        images=pixels,
        few=own.settings.decoding.score_threshold,
        counted=own.card.score_threshold,
        calibration=foveal.read(f"{data}:train"),
        check=foveal.read(f"{data}:val"),
        test=test,
    )


def random_light(task: Task) -> LoadedModel:
    """The preset with random weights."""
    sides = [f"preparation.shorter={task.shorter}", f"preparation.longer={task.longer}"]
    settings = make_settings(preset="light", overrides=["model.weights=none", *sides])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        model = build_model(settings, task.classes).eval()
    names = tuple(f"class {number}" for number in range(task.classes))
    return LoadedModel(model, settings, ModelCard(names))


def score_of(rank: int, own: LoadedModel, image: NDArray[np.uint8]) -> float:
    """The score that so many pairs of anchor and class in an image reach."""
    height, width = (side - side % 32 for side in image.shape[:2])
    pixels = torch.from_numpy(image[:height, :width]).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = torch.cat([level.flatten() for level in own.model(pixels).logits])
    return float(logits.topk(min(rank, len(logits))).values[-1].sigmoid())


def foreign_of(own: LoadedModel, task: Task) -> RetinaNet:
    """torchvision's network for the task, keeping as many detections as foveal's model."""
    foreign = make_foreign(task)
    foreign.detections_per_img = own.settings.decoding.max_detections
    return foreign


def drawn_dataset(task: Task, classes: tuple[str, ...], folder: Path) -> Dataset:
    """Drawn images with boxes at random places, as files in a folder."""
    task = replace(task, batch=DRAWN)
    records = []
    for number, (image, (boxes, labels)) in enumerate(
        zip(draw_images(task), draw_targets(task), strict=True)
    ):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        ignored = np.zeros(len(boxes), np.bool_)
        # The task's classes may count one more than there are names.
        labels = labels % len(classes)
        records.append(Record(path, task.width, task.height, boxes, labels, ignored))
    return Dataset(tuple(records), classes, folder, name="drawn images")


def squared(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[H, W, C] at another height and width, by the nearest pixels."""
    sides = zip(image.shape[:2], size, strict=True)
    rows, columns = (np.linspace(0, old - 1, new).round().astype(int) for old, new in sides)
    return image[rows[:, None], columns]


def check_same_work(foreign: RetinaNet, own: Predictor) -> None:
    """The same threshold, candidates, NMS and number of detections in both.

    Raises:
        SystemExit: they differ, and times would mean nothing.
    """
    settings = {
        "score_threshold": (own.score_threshold, foreign.score_thresh),
        "candidates a level": (own.top_per_level, foreign.topk_candidates),
        "NMS IoU": (own.nms_iou, foreign.nms_thresh),
        "max detections": (own.max_detections, foreign.detections_per_img),
        "over all classes together": (own.class_agnostic, False),
        "views": ((own.flip, own.scales), (False, (1.0,))),
    }
    for name, (ours, other) in settings.items():
        if ours != other:
            raise SystemExit(f"{name}: foveal has {ours}, torchvision {other}")
