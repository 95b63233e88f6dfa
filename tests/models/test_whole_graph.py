"""Model and criterion as one graph: what training compiles."""

from __future__ import annotations

import torch
from tests.models.conftest import make_thin

from foveal.structures import Batch
from foveal.training.setup import make_criterion


def make_batch() -> Batch:
    corner = torch.tensor([[[4.0, 6.0], [40.0, 30.0]], [[10.0, 10.0], [0.0, 0.0]]])
    return Batch(
        images=torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8),
        boxes=torch.cat([corner, corner + 40], dim=-1),
        labels=torch.tensor([[0, 2], [1, 0]]),
        ignored=torch.zeros(2, 2, dtype=torch.bool),
        counts=torch.tensor([2, 0]),
        has_ignored=False,
    )


def test_model_and_criterion_compile_without_a_break():
    torch.manual_seed(0)
    torch.compiler.reset()
    # With a backbone of timm it is compiled in tests/acceleration.
    model, settings = make_thin()
    model.train()
    criterion = make_criterion(settings)
    anchors = model.anchors(96, 128)

    def total(batch: Batch) -> torch.Tensor:
        return criterion(model(batch.images), anchors, batch).total

    batch = make_batch()
    expected = total(batch)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager")
    found = compiled(batch)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, list(model.parameters()))
    for ours, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
