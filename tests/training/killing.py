"""Run, kill and resume tiny runs; started by test_state.py in a process of its own.

It forks for every run, so that what is slow at first is paid for once, and prints for each place
of death in what the resumed run differs from the one that was never killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.training.conftest import tiny_settings

from foveal import files
from foveal.checkpoints import model_file
from foveal.data.synthetic import draw_dataset
from foveal.models.build import build_model
from foveal.training import metrics_log, trainer
from foveal.training.setup import make_accelerator
from foveal.training.step import TrainStep

SETTINGS = tiny_settings(
    "training.epochs=2",
    "training.batch=2",
    "training.ema_decay=0.9",
    "training.save_every_steps=2",
    "training.unfreeze_epoch=1",
    "training.learning_rate=0.05",
    "augmentation.scale=[0.8, 1.2]",
    "augmentation.brightness=0.2",
)
TIMES = {"images_per_second", "memory_megabytes", "seconds", "validation_seconds", "waiting"}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_call(owner, name, number, act, *, about=""):
    """Let the number-th call of a function do something else instead.

    Only calls count whose first argument has `about` in it.
    """
    real, calls = getattr(owner, name), [0]

    def changed(*arguments, **options):
        calls[0] += about in str(arguments[0]) if about else 1
        if calls[0] == number and about in str(arguments[:1]):
            return act(real, *arguments, **options)
        return real(*arguments, **options)

    setattr(owner, name, changed)


def die_before(owner, name, number, *, about=""):
    on_call(owner, name, number, lambda *_, **__: die(), about=about)


def die_after(owner, name, number):
    def act(real, *arguments, **options):
        real(*arguments, **options)
        die()

    on_call(owner, name, number, act)


def die_while_writing_the_state(number):
    def act(_, path, content):
        path.write_bytes(content[: len(content) // 2])
        die()

    on_call(files, "_write_bytes", number, act, about="state.safetensors")


def die_while_writing_the_journal(number):
    def act(_, self, kind, **values):
        self._file.write(b'{"kind": "step", "los')
        die()

    on_call(metrics_log.MetricsLog, "write", number, act)


# One epoch has 3 steps; the state is written at the start, after steps 2 and 4 and after each
# epoch; the journal has a line for each step and each epoch.
PLACES = {
    "before the first step": lambda: die_before(TrainStep, "step", 1),
    "in the first epoch": lambda: die_after(TrainStep, "step", 2),
    "while writing the first state": lambda: die_while_writing_the_state(2),
    "while writing a state in an epoch": lambda: die_while_writing_the_state(4),
    "while writing the last state": lambda: die_while_writing_the_state(5),
    "before a state takes its place": lambda: die_before(
        files, "_sync", 3, about=".state.safetensors."
    ),
    "while writing the journal": lambda: die_while_writing_the_journal(6),
    "in the validation": lambda: die_before(sys.modules[__name__], "measure", 2),
    "between the best and the last model": lambda: die_after(model_file, "save", 1),
    "between the models and the state": lambda: die_after(metrics_log.MetricsLog, "position", 5),
}


def measure(model) -> float:
    """A stand-in for AP that grows and falls with the weights."""
    return float(model.box.output.weight.abs().mean() * 1e3 % 1)


def run(data, out: Path, *, resumed: bool = False, place=None) -> None:
    if place:
        place()
    torch.manual_seed(1 if resumed else 0)
    model = build_model(SETTINGS, len(data.classes))
    trainer.train(
        model, SETTINGS, data, out=out, resume=resumed, validate=lambda m: {"AP": measure(m)}
    )


def in_child(*arguments, **options) -> int:
    """Run in a forked process; give its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            run(*arguments, **options)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def differences(one: Path, other: Path) -> list[str]:
    found = []
    for name in ("best.safetensors", "last.safetensors", "state/state.safetensors"):
        first, second = load_file(one / name), load_file(other / name)
        if first.keys() != second.keys():
            found.append(f"{name}: other tensors")
        found += [f"{name}: {key}" for key in first if not torch.equal(first[key], second.get(key))]
    if lines_of(one) != lines_of(other):
        found.append("metrics.jsonl")
    left = [path.name for path in other.rglob("*.part*")]
    return found + left


def lines_of(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in lines
        if line["kind"] != "begin"  # a run that goes on says so
    ]


def main(folder: Path) -> None:
    data = draw_dataset(folder / "data", splits={"train": 5}, size=64)["train"]
    build_model(SETTINGS, len(data.classes))
    make_accelerator()
    whole = folder / "whole"
    assert in_child(data, whole) == 0
    results = {}
    for number, (name, place) in enumerate(PLACES.items()):
        out = folder / f"killed-{number}"
        status = in_child(data, out, place=place)
        again = in_child(data, out, resumed=True)
        results[name] = {
            "killed": status == -signal.SIGKILL,
            "resumed": again == 0,
            "differences": differences(whole, out) if again == 0 else None,
        }
    sys.stdout.write(json.dumps(results) + "\n")
