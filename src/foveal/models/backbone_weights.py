"""Weights for a backbone: a published or a local file, matched to the network by name."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from foveal.errors import WeightsError
from foveal.models.state_dicts import read_state_dict, strip_prefix

logger = logging.getLogger(__name__)


def load_backbone_weights(
    body: nn.Module,
    full: nn.Module,
    *,
    name: str,
    path: Path,
    bands: int,
    read: Callable[[Path, str], dict[str, Tensor]] | None = None,
) -> tuple[str, ...]:
    """Load weights into a backbone.

    Args:
        body: the network that gives feature maps; changed in place.
        full: the same network as timm makes it for classification, which the file's names are of.
        name: timm's name of it.
        path: a safetensors or torch file.
        bands: of the images.
        read: gives the file's tensors in timm's names, from its path and the network's name; None
            finds the names by the ways of training programs.

    Returns:
        The names of the body's tensors that the file lacked; they keep their initial values.

    Raises:
        WeightsError: the file can't be read, or most of the tensors don't match.
    """
    expected = full.state_dict()
    if read is None:
        state = _in_timm_names(read_state_dict(path), full, name=name)
    else:
        state = read(path, name)
    _adapt_first_convolutions(state, expected, name=name, bands=bands)
    own = {key: value for key, value in body.state_dict().items() if not _is_counter(key)}
    sources = {key: _source(key, expected) for key in own}
    found = {key: state[source] for key, source in sources.items() if source in state}
    _check_match(path, name, found, own, state)
    body.load_state_dict(found, strict=False)
    missing = tuple(source for key, source in sources.items() if key not in found)
    if missing:
        logger.warning(
            "%s lacks %d of %d tensors of %s, which start with random values: %s",
            path.name,
            len(missing),
            len(sources),
            name,
            ", ".join(summarize(missing)),
        )
    return missing


def adapt_bands(weight: Tensor, bands: int) -> Tensor:
    """Adapt a first convolution's weight [O, I, H, W] to another number of bands.

    timm's rule: for one band the input channels are added up; for others they are repeated in
    turn (RGBRG for five) and scaled by I / bands, so that an input that is equal in all bands
    gives the same as before.
    """
    count = weight.shape[1]
    if count == bands:
        return weight
    if bands == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, -(-bands // count), 1, 1)[:, :bands]
    return repeated * (count / bands)


def summarize(keys: tuple[str, ...], *, depth: int = 2) -> list[str]:
    """The modules that tensors belong to, shortened to their first parts, each once."""
    return list(dict.fromkeys(".".join(key.split(".")[:-1][:depth]) for key in keys))


def _in_timm_names(state: dict[str, Tensor], full: nn.Module, *, name: str) -> dict[str, Tensor]:
    """Names as timm has them now: without a training program's prefix, renamed by the family."""
    expected = full.state_dict()
    plain = strip_prefix(state, expected)
    module = sys.modules[timm.models.model_entrypoint(name).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None or expected.keys() <= plain.keys():
        return plain
    try:
        converted = dict(convert(dict(plain), full))
    except (KeyError, RuntimeError, AttributeError, IndexError):
        return plain
    return max(plain, converted, key=lambda names: len(expected.keys() & names.keys()))


def _adapt_first_convolutions(
    state: dict[str, Tensor], expected: Mapping[str, Tensor], *, name: str, bands: int
) -> None:
    config = timm.get_pretrained_cfg(name)
    first = getattr(config, "first_conv", None) or ()
    for convolution in (first,) if isinstance(first, str) else first:
        key = f"{convolution}.weight"
        if key in state and key in expected and state[key].shape != expected[key].shape:
            state[key] = adapt_bands(state[key], bands)


def _is_counter(key: str) -> bool:
    """True for live batch norm's count of batches, which nothing depends on."""
    return key.endswith("num_batches_tracked")


def _source(key: str, expected: Mapping[str, Tensor]) -> str:
    """The full network's name of a tensor; timm turns `stages.0` into `stages_0` in some bodies."""
    return key if key in expected else re.sub(r"^([^.]*)_(\d+)\.", r"\1.\2.", key)


def _check_match(
    path: Path,
    name: str,
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
) -> None:
    if 2 * len(found) < len(wanted):
        raise WeightsError(
            f"{path}: holds {len(found)} of the {len(wanted)} tensors of {name}. "
            f"Expected names such as {', '.join(list(wanted)[:3])}; "
            f"found {', '.join(list(state)[:3])}. Is it the weights of another network?"
        )
    wrong = [
        f"{key} {list(value.shape)} instead of {list(wanted[key].shape)}"
        for key, value in found.items()
        if value.shape != wanted[key].shape
    ]
    if wrong:
        raise WeightsError(
            f"{path}: {len(wrong)} tensors have another shape than in {name}: "
            f"{', '.join(wrong[:3])}. Is it the weights of another size of this network?"
        )
    broken = [key for key, value in found.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(f"{path}: {', '.join(broken[:3])} hold values that are not finite.")
