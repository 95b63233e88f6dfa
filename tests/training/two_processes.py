"""A tiny run on drawn images; started by test_distributed.py, alone and in two processes."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.training.conftest import tiny_settings

from foveal.data.dataset import Dataset
from foveal.data.formats import coco
from foveal.models.build import build_model
from foveal.training import trainer


def main(data: Path, out: Path, *overrides: str) -> None:
    dataset: Dataset = coco.read(data)
    settings = tiny_settings("training.warmup_steps=1", "training.learning_rate=0.4", *overrides)
    torch.manual_seed(0)
    model = build_model(settings, len(dataset.classes))

    def validate(network) -> dict[str, float]:
        return {"AP": float(network.box.output.weight.detach().abs().sum())}

    result = trainer.train(model, settings, dataset, out=out, validate=validate)
    assert len(result.history) == settings.training.epochs
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
