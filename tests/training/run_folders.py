"""Folders of runs, written as training writes them, of the age that a test wants."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace

from foveal.training.presence import Presence
from foveal.training.run_records import RunReader

NOW = 1_000_000.0
BEGIN = {"kind": "begin", "time": NOW - 500, "epochs": 4, "steps": 10, "images": 80}


def epoch(number, ap=0.1, **more):
    measured = {} if ap is None else {"validation": {"AP": ap}}
    row = {"kind": "epoch", "epoch": number, "steps": 10, "loss": 1.0 / number, "seconds": 50.0}
    return row | measured | {"validation_seconds": 10.0} | more


def step(number, loss=1.0):
    return {"kind": "step", "step": number, "loss": loss}


def end(reason, text="It ended."):
    return {"kind": "end", "epoch": 1, "reason": reason, "text": text}


def write_run(folder, *rows, presence=None, settings="[training]\nepochs = 4\n", age=60.0):
    (folder / "state").mkdir(parents=True, exist_ok=True)
    log = folder / "metrics.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(log, (NOW - age, NOW - age))
    (folder / "config.toml").write_text(settings)
    if presence is not None:
        (folder / "state" / "process.json").write_text(json.dumps(asdict(presence)))
    return folder


def read(folder):
    return RunReader(folder, "run").read()


HERE = Presence.here()
GONE = replace(HERE, started=1.0)
ELSEWHERE = replace(HERE, machine="another")
