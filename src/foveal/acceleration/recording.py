"""Whether somebody follows the operations, so that they must be PyTorch's plain ones."""

from __future__ import annotations

import torch


def is_recorded() -> bool:
    """True while a network is compiled, exported, traced, or its operations are counted.

    A faster way to the same numbers would then end up in a file that other programs can't run, fix
    sizes that should stay open, or hide from a counter of operations.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0
    )
