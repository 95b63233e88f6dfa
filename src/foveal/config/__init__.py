"""Every setting, typed, with its default; read from and written to TOML. Loads no torch.

A setting is reached as `section.name`, in a TOML file as `name = ...` under `[section]` and on the
command line as `--set section.name=value`. `settings.py` says what each is and does.
"""

from foveal.config.loading import (
    change_settings,
    gather_settings,
    make_settings,
    parse_settings,
    to_toml,
)
from foveal.config.presets import NETWORK_SECTIONS, PRESETS
from foveal.config.settings import (
    AnchorSettings,
    AssignmentSettings,
    AugmentationSettings,
    DecodingSettings,
    LossSettings,
    ModelSettings,
    PreparationSettings,
    Section,
    Settings,
    TrainingSettings,
)

__all__ = [
    "NETWORK_SECTIONS",
    "PRESETS",
    "AnchorSettings",
    "AssignmentSettings",
    "AugmentationSettings",
    "DecodingSettings",
    "LossSettings",
    "ModelSettings",
    "PreparationSettings",
    "Section",
    "Settings",
    "TrainingSettings",
    "change_settings",
    "gather_settings",
    "make_settings",
    "parse_settings",
    "to_toml",
]
