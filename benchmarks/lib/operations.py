"""Floating point operations of a network's parts."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.lib.marks import Marks, marked_backward, marked_forward
from foveal.models.retinanet import RetinaNet


def operations(model: RetinaNet, shape: Sequence[int], *, with_gradients: bool) -> dict[str, float]:
    """Floating point operations of each part, counted without computing them."""
    twin = copy.deepcopy(model).to("meta")
    images = torch.empty(*shape, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter:
        marks = Marks(lambda: float(counter.get_total_flops()))
        with marked_forward(twin, marks), torch.set_grad_enabled(with_gradients):
            if not with_gradients:
                marks.start()
                twin.eval()(images)
                return marks.parts
            with marked_backward(twin, marks):
                marks.start()
                raw = twin.train()(images)
                sum(output.float().sum() for output in (*raw.logits, *raw.deltas)).backward()
                marks.end("backbone, backward")
    return marks.parts
