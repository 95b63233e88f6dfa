"""A training step beside torchvision's: images a second and peak memory.

    python -m benchmarks.speed.training_step --device cpu|cuda [--size 640x640] [--batch 2]
        [--objects 15 300] [--precision auto float32 bf16] [--plain]
        [--torchvision-precision float32 bf16]

ResNet-50 and 91 classes, the same weights, images and boxes. A step begins with uint8 images on
the host and ends with new weights. foveal's half is the step of `foveal train`, with its own
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

from benchmarks.lib.machine import print_machine
from benchmarks.lib.marks import plain_forward
from benchmarks.lib.memory import peak_megabytes
from benchmarks.lib.networks import Task, input_size, parse_size, precision_name
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.steps import BATCHES, SIZES, Step, foveal_step, torchvision_step
from benchmarks.lib.timing import Seconds, interleave
from foveal.acceleration.precision_timing import HOPELESS, remembered_timing

EVERYTHING = ("auto", "float32", "bf16")
LOSS_TOLERANCE = {"float32": 1e-3, "bf16": 0.05}


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
    speed = {name: task.batch / times["median"] for name, times in seconds.items()}
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
        loss, expected = losses["foveal"], losses[f"torchvision {other}"]
        tolerance = max(LOSS_TOLERANCE[precision], LOSS_TOLERANCE[other])
        if abs(loss - expected) > tolerance * abs(expected):
            raise SystemExit(f"the first losses differ: foveal {loss}, torchvision {expected}")


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
        row[f"ratio to {other}"] = peaks["foveal"][0] / peaks[f"torchvision {other}"][0]
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
        row, times = measure(replace(task, objects=objects), precisions, others, options)
        rows.append(row)
        seconds[str(objects)] = times
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
        peaks = measure_memory(replace(task, objects=objects), precision, others, options.compile)
        memory.append(peaks)
    if memory:
        print_table(memory, title="peak memory, weights and optimizer with them")
    print("written:", write().name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default="resnet50", help="resnet18 or resnet50")
    parser.add_argument("--classes", type=int, default=91)
    parser.add_argument("--size", type=parse_size, help="HEIGHTxWIDTH of the images")
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


if __name__ == "__main__":
    main()
