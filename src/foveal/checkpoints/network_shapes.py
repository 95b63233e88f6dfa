"""What the shapes of a state dict tell of its pyramid and subnets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def network_settings(state: Mapping[str, Tensor]) -> list[str]:
    """Settings of pyramid and subnets, `section.name=value` each.

    Args:
        state: in our names, with lateral convolutions for C3, C4 and C5.
    """

    def shape(key: str) -> tuple[int, ...]:
        return tuple(state[key].shape) if key in state else ()

    hidden = [key for key in state if re.match(r"classification\.tower\.\d+\.conv\.weight$", key)]
    grouped = "classification.tower.0.norm.weight" in state
    found = [f"model.head_depth={len(hidden)}", f"model.head_norm={'group' if grouped else 'none'}"]
    if grouped and "classification.tower.0.conv.bias" in state:
        found.append("model.head_bias_before_norm=true")
    if hidden:
        found.append(f"model.head_channels={shape(hidden[0])[0]}")
    lateral, extra = shape("fpn.lateral.2.weight"), shape("fpn.extra.0.weight")
    if lateral:
        found.append(f"model.fpn_channels={lateral[0]}")
        # Where C5 has as many channels as the pyramid, this can't be seen.
        from_c5 = not extra or extra[1] == lateral[1]
        found.append(f"model.p6_from={'C5' if from_c5 else 'P5'}")
    return found
