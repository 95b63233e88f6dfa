"""A training step beside torchvision's: images a second and peak memory.

    python benchmarks/training_step.py --device cpu|cuda [--size 640x640] [--batch 2]
        [--objects 15 300] [--precision auto float32 bf16] [--plain]
        [--torchvision-precision float32 bf16]

ResNet-50 and 91 classes, the same weights, images and boxes. A step begins with uint8 images on
the host and ends with new weights. foveal's half is the engine of `foveal train`, with its own
choice of torch.compile, in both precisions; the ratios are those of the one that it chooses here.
--plain adds its network without what makes it faster on a CPU. torchvision's half is its network as
its training script uses it: in float32 as it comes, and with bf16 autocast and channels_last. bf16
is left out where it takes more than four times as long as float32, unless it is asked for. All
train all layers but the frozen norms by SGD with momentum, and all must find the same loss first,
or the benchmark stops.

Memory is the most that each takes for weights, gradients, momentum and two steps: on a CPU that of
a process of its own beyond the loaded libraries, on a GPU what torch allocates.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from harness import (
    Seconds,
    interleave,
    peak_megabytes,
    print_machine,
    print_table,
    write_result,
)
from marks import plain_forward
from networks import (
    Task,
    draw_images,
    draw_targets,
    for_torchvision,
    make_pair,
    memory_without_foveal,
    precision_name,
    to_tensors,
    torchvision_autocast,
)

from foveal.acceleration.precision_timing import HOPELESS, remembered_timing
from foveal.checkpoints.model_file import LoadedModel
from foveal.config import change_settings
from foveal.data.loading.collate import make_batch
from foveal.data.transforms.preparation import Preparation, make_preparation
from foveal.structures import Batch, Sample, Target
from foveal.training.setup import choose_compile, make_accelerator, make_train_step

LEARNING_RATE = 1e-6
"""Small: the weights are random, and every step is to be like the first."""
STEPS_OF_A_RUN = 100_000
"""Of a long run, for which foveal chooses whether to compile."""
SIZES = {"cpu": (640, 640), "cuda": (800, 1333)}
BATCHES = {"cpu": 2, "cuda": 16}
EVERYTHING = ("auto", "float32", "bf16")
LOSS_TOLERANCE = {"float32": 1e-3, "bf16": 0.05}

Step = Callable[[], float]


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
    engine = make_train_step(own.model, settings, accelerator=accelerator, compiled=use)
    batch = make_foveal_batch(own, task)

    def step() -> float:
        result = engine.step([batch], LEARNING_RATE)
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
    """The task's images and boxes as the loader gives them to the engine, on the host."""
    preparation = make_preparation(own.settings.preparation)
    prepared = []
    for image, (boxes, labels) in zip(draw_images(task), draw_targets(task), strict=True):
        target = Target(boxes, labels, torch.zeros(len(boxes), dtype=torch.bool).numpy())
        prepared.append(preparation(Sample(image, target)))
    batch = make_batch(prepared)
    return batch.pin_memory() if task.device == "cuda" else batch


def input_size(task: Task) -> str:
    """Height and width to which foveal brings the task's images."""
    preparation = Preparation(shorter=task.shorter, longer=task.longer)
    return "x".join(map(str, preparation.size_for(task.width, task.height)))


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


def twice(make: Callable[..., Step], *arguments: Any) -> Callable[[], None]:
    """Two steps, so that the momentum is there in the second; for the memory's process."""
    step = make(*arguments)

    def work() -> None:
        step()
        step()

    return work


def plain_step(task: Task, precision: str) -> Step:
    """foveal's step with the network's own forward."""
    step = foveal_step(task, precision, "off")

    def plain() -> float:
        with plain_forward():
            return step()

    return plain


def measure(
    task: Task, precisions: Sequence[str], others: Sequence[str], options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Seconds]]:
    """Time the contestants in turn: a row of the table, and the seconds of each.

    Args:
        task: what they compute.
        precisions: foveal's; the first is the one that is compared.
        others: torchvision's precisions.
        options: of the command line.
    """
    own = {f"foveal {name}": foveal_step(task, name, options.compile) for name in precisions}
    if options.plain:
        own |= {f"foveal plain {name}": plain_step(task, name) for name in precisions}
    foreign = {f"torchvision {other}": torchvision_step(task, other) for other in others}
    losses = {name: step() for name, step in (own | foreign).items()}
    for name in own:
        check_losses({"foveal": losses[name], **losses}, name.split()[-1], others)
    seconds = interleave(
        own | foreign, rounds=options.rounds, warmup=options.warmup, repeat=options.repeat
    )
    speed = {name: task.batch / found["median"] for name, found in seconds.items()}
    row: dict[str, Any] = {"objects": task.objects}
    row |= {f"{name} images/s": value for name, value in speed.items()}
    compared = speed[f"foveal {precisions[0]}"]
    row["same precision"] = ratio(compared, speed, f"torchvision {precisions[0]}")
    row["torchvision's default"] = ratio(compared, speed, "torchvision float32")
    row["loss"] = losses[f"foveal {precisions[0]}"]
    return row, seconds


def ratio(own: float, speed: dict[str, float], other: str) -> float | str:
    """How many times as fast as the other foveal is."""
    return own / speed[other] if other in speed else "-"


def chosen_precisions(wanted: Sequence[str], device: str) -> list[str]:
    """foveal's precisions, without repetition; 'auto' is what foveal chooses."""
    return list(dict.fromkeys(precision_name(name, device) for name in wanted))


def is_hopeless(precision: str, device: str) -> bool:
    """Whether a step in it would take minutes on this processor."""
    return precision == "bf16" and device == "cpu" and remembered_timing().ratio > HOPELESS


def check_losses(losses: dict[str, float], precision: str, others: Sequence[str]) -> None:
    """Both must compute the same thing, or the comparison means nothing."""
    for other in others:
        found, expected = losses["foveal"], losses[f"torchvision {other}"]
        tolerance = max(LOSS_TOLERANCE[precision], LOSS_TOLERANCE[other])
        if abs(found - expected) > tolerance * abs(expected):
            raise SystemExit(f"the first losses differ: foveal {found}, torchvision {expected}")


def measure_memory(
    task: Task, precision: str, others: Sequence[str], compiled: str
) -> dict[str, Any]:
    """The peak of each contestant, each in a process of its own."""
    peaks = {
        "foveal": peak_megabytes(
            twice, foveal_step, task, precision, compiled, device=task.device, whole=True
        )
    }
    for other in others:
        peaks[f"torchvision {other}"] = peak_megabytes(
            twice, torchvision_step, task, other, device=task.device, whole=True
        )
    row: dict[str, Any] = {"objects": task.objects}
    for name, (peak, complete) in peaks.items():
        row[f"{name} MB"] = round(peak) if complete else f"over {peak:.0f}"
    for other in others:
        row[f"share of {other}"] = peaks["foveal"][0] / peaks[f"torchvision {other}"][0]
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    height, width = options.size or SIZES[options.device]
    task = Task(
        options.device,
        options.backbone,
        options.classes,
        height=height,
        width=width,
        batch=options.batch or BATCHES[options.device],
    )
    precisions = chosen_precisions(options.precision or EVERYTHING, options.device)
    if not options.precision:
        precisions = [name for name in precisions if not is_hopeless(name, options.device)]
    precision = precisions[0]
    others = options.torchvision_precision or [
        name for name in ("float32", "bf16") if not is_hopeless(name, options.device)
    ]
    print_machine()
    size = input_size(task)
    title = f"{task.backbone}, {task.batch} images of {height}x{width} (foveal's input {size})"
    rows, seconds, memory = [], {}, []
    for objects in options.objects:
        row, found = measure(replace(task, objects=objects), precisions, others, options)
        rows.append(row)
        seconds[str(objects)] = found
    print_table(rows, title=f"training step, {title}, compared in {precision}")

    def write() -> Path:
        return write_result(
            f"training_step_{options.device}_{height}x{width}",
            rows,
            folder=options.out,
            task=asdict(task),
            foveal_input=size,
            precision=precision,
            rounds=options.rounds,
            seconds=seconds,
            memory=memory,
        )

    write()  # already now: the memory may take longer than there is time
    for objects in options.memory_objects:
        found = measure_memory(replace(task, objects=objects), precision, others, options.compile)
        memory.append(found)
    if memory:
        print_table(memory, title="peak memory, weights and optimizer with them")
    print("written:", write().name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default="resnet50", help="resnet18 or resnet50")
    parser.add_argument("--classes", type=int, default=91)
    parser.add_argument("--size", type=size_of, help="HEIGHTxWIDTH of the images")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--objects", type=int, nargs="+", default=[15, 300], help="an image")
    parser.add_argument("--memory-objects", type=int, nargs="*", default=[15, 5000])
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=EVERYTHING,
        help="foveal's; the first is compared. All, and what foveal chooses is compared",
    )
    parser.add_argument("--plain", action="store_true", help="foveal's own forward too")
    parser.add_argument("--torchvision-precision", nargs="+", choices=["float32", "bf16"])
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="steps in one turn")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


def size_of(text: str) -> tuple[int, int]:
    """'800x1333' as height and width."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


if __name__ == "__main__":
    main()
