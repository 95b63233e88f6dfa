"""One training step of foveal's and one of torchvision's, on the same images and boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.lib.networks import (
    Task,
    draw_images,
    draw_targets,
    for_torchvision,
    make_pair,
    memory_without_foveal,
    to_tensors,
    torchvision_autocast,
)
from foveal.checkpoints.model_file import LoadedModel
from foveal.config import change_settings
from foveal.data.loading.collate import make_batch
from foveal.data.transforms.preparation import make_preparation
from foveal.structures import Batch, Sample, Target
from foveal.training.setup import choose_compile, make_accelerator, make_train_step

LEARNING_RATE = 1e-6
"""Small: the weights are random, and every step is to be like the first."""
STEPS_OF_A_RUN = 100_000
"""Of a long run, for which foveal chooses whether to compile."""
SIZES = {"cpu": (640, 640), "cuda": (800, 1333)}
"""Height and width of the images, where nothing else is asked for."""
BATCHES = {"cpu": 2, "cuda": 16}

Step = Callable[[], float]
"""Takes a step and gives its loss."""


def foveal_step(task: Task, precision: str, compiled: str = "auto") -> Step:
    """foveal's step, as `foveal train` takes it; gives the loss."""
    return step_of(make_pair(task).own, task, precision, compiled)


def step_of(own: LoadedModel, task: Task, precision: str, compiled: str = "auto") -> Step:
    """The step of any foveal model."""
    settings = change_settings(
        own.settings, {"training": {"precision": precision, "optimizer": "sgd"}}
    )
    accelerator = accelerator_on(task.device)
    use, _ = choose_compile(compiled, accelerator.device, steps=STEPS_OF_A_RUN)
    train_step = make_train_step(own.model, settings, accelerator=accelerator, compiled=use)
    batch = make_foveal_batch(own, task)

    def step() -> float:
        result = train_step.step([batch], LEARNING_RATE)
        if not result.applied:
            raise SystemExit("foveal's loss is not finite: nothing is measured")
        return result.loss

    return step


def accelerator_on(device: str) -> Any:
    """As `foveal train` makes it; on the CPU of a machine with a GPU where that is asked for."""
    if device == "cpu" and torch.cuda.is_available():
        from accelerate import Accelerator

        return Accelerator(cpu=True)
    return make_accelerator()


def make_foveal_batch(own: LoadedModel, task: Task) -> Batch:
    """The task's images and boxes as the loader gives them to the training step, on the host."""
    preparation = make_preparation(own.settings.preparation)
    prepared = []
    for image, (boxes, labels) in zip(draw_images(task), draw_targets(task), strict=True):
        target = Target(boxes, labels, torch.zeros(len(boxes), dtype=torch.bool).numpy())
        prepared.append(preparation(Sample(image, target)))
    batch = make_batch(prepared)
    return batch.pin_memory() if task.device == "cuda" else batch


def torchvision_step(task: Task, precision: str) -> Step:
    """torchvision's step; gives the loss."""
    model = for_torchvision(make_pair(task).foreign, task.device, precision).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-4)
    images = to_tensors(draw_images(task))
    targets = [
        {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}
        for boxes, labels in draw_targets(task)
    ]
    if task.device == "cuda":
        images = [image.pin_memory() for image in images]
        targets = [{key: part.pin_memory() for key, part in item.items()} for item in targets]

    @memory_without_foveal()
    def step() -> float:
        on_device = [
            image.to(task.device, non_blocking=True).to(torch.float32) / 255 for image in images
        ]
        labeled = [
            {key: part.to(task.device, non_blocking=True) for key, part in item.items()}
            for item in targets
        ]
        with torchvision_autocast(task.device, precision):
            losses = model(on_device, labeled)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
