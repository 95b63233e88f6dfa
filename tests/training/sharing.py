"""What processes do together; started by test_validation.py in two gloo processes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from tests import forked
from torch import distributed

from foveal.distributed import broadcast, explaining_lost_processes, parallel_map
from foveal.errors import ImageError
from foveal.training.step import TrainStep


def run(*, processes: int) -> list[dict]:
    """Start the processes; give what each of them found."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (Path(folder), processes)
        for ended in forked.run(main, *arguments, folder=Path(folder), processes=processes):
            assert ended.code == 0, ended.complaint
        return [
            json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(processes)
        ]


def said(act) -> str:
    try:
        return str(act())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def fail(items):
    if 3 in items:
        raise KeyError("bad")
    return items


def miss(items):
    if 3 in items:
        raise ImageError("3.jpg")
    return items


def statistics(rank: int) -> list[float]:
    """An train_step's running mean, which differs between the processes before it is shared."""
    model = torch.nn.BatchNorm2d(2)
    model.running_mean.fill_(rank)
    train_step = SimpleNamespace(
        evaluation_model=model, accelerator=SimpleNamespace(num_processes=2)
    )
    TrainStep.broadcast_statistics(train_step)
    return model.running_mean.tolist()


def main(folder: Path, processes: int) -> None:
    rank = int(os.environ["RANK"])
    store = distributed.FileStore(str(folder / "store"), processes)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    shares = []

    def work(items):
        shares.extend(items)
        return [10 * item for item in items]

    found = {
        "results": parallel_map(range(5), work),
        "share": shares,
        "broadcast": broadcast(rank),
        "statistics": statistics(rank),
        "one fails": said(lambda: parallel_map(range(5), fail)),
        "an image is missing": said(lambda: parallel_map(range(5), miss)),
    }
    if rank == 0:

        def wait():
            with explaining_lost_processes(processes):
                distributed.all_reduce(torch.zeros(1))

        found["one ends"] = said(wait)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    os._exit(0)  # without taking leave of the group
