"""Names of tensors in one system's terms and in another's: told by how they begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from foveal.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

Prefixes = Sequence[tuple[str, str]]
"""(the foreign beginning, ours), in the order of looking; an empty one fits every name."""


def own_names(state: Mapping[str, Tensor], prefixes: Prefixes) -> dict[str, Tensor]:
    """The same tensors under our names; those of no prefix keep theirs."""
    return {_renamed(key, prefixes): value for key, value in state.items()}


def foreign_name(key: str, prefixes: Prefixes) -> str:
    """The foreign name of a tensor of ours."""
    return _renamed(key, [(own, foreign) for foreign, own in prefixes])


def _renamed(key: str, pairs: Prefixes) -> str:
    for before, after in pairs:
        if key.startswith(before):
            return after + key.removeprefix(before)
    return key


def without_prefix(
    state: Mapping[str, Tensor], known: str
) -> tuple[dict[str, Tensor], list[str]] | None:
    """A network's tensors without what a training program put before their names.

    Args:
        state: all of a file.
        known: one name that the network has.

    Returns:
        The tensors below the prefix, and the names of the others; None where the name is not there.
    """
    found = next((key for key in state if key == known or key.endswith("." + known)), None)
    if found is None:
        return None
    prefix = found.removesuffix(known)
    inside = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
    return inside, [key for key in state if not key.startswith(prefix)]


def outputs_a_location(
    state: Mapping[str, Tensor], *, scores: str, boxes: str, where: object
) -> tuple[int, int]:
    """How many anchors a location has, and how many classes each of them.

    Args:
        state: of the network.
        scores, boxes: the names of the output layers.
        where: the file, for messages.

    Raises:
        WeightsError: one is missing, or they contradict one another.
    """
    counts = []
    for layer in (scores, boxes):
        bias = state.get(f"{layer}.bias")
        if bias is None or f"{layer}.weight" not in state:
            raise WeightsError(
                f"{where}: has no {layer}; it is incomplete. Expected the complete weights of a "
                "trained RetinaNet."
            )
        counts.append(bias.numel())
    anchors, rest = divmod(counts[1], 4)
    if rest or not anchors or counts[0] % anchors:
        raise WeightsError(
            f"{where}: its {boxes} gives {counts[1]} values at each location and its {scores} "
            f"{counts[0]}. Expected 4 and the number of classes for each anchor."
        )
    return anchors, counts[0] // anchors
