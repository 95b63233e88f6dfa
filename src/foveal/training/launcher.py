"""What `accelerate launch` asks of a run: it is honored, or refused in words, never lost.

The launcher puts its options and its configuration file into environment variables.
foveal takes the processes and the device from accelerate and computes each step itself, so that
accelerate's other parts are not at work.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from foveal.errors import SettingsError

if TYPE_CHECKING:
    from foveal.acceleration.precision import Precision

MIXED_PRECISION = "ACCELERATE_MIXED_PRECISION"
COMPILER = "ACCELERATE_DYNAMO_BACKEND"
SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP (--use_fsdp)",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed (--use_deepspeed)",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM (--use_megatron_lm)",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration (--use_parallelism_config)",
}
"""Ways to spread a network itself over the processes, and the variables that ask for them."""


def check_launcher() -> None:
    """See whether the launcher asks for something that foveal does not do.

    Raises:
        SettingsError: it does; the message says what to do instead.
    """
    for variable, name in SHARDING.items():
        if os.environ.get(variable, "").strip().lower() in ("true", "1", "yes"):
            raise SettingsError(
                f"accelerate launch asks for {name} ({variable}). foveal can't do that: each "
                "process holds the whole network and computes a part of each batch. Leave the "
                "option out, use --multi_gpu, or write another configuration: accelerate config."
            )
    compiler = os.environ.get(COMPILER, "").strip().lower()
    if compiler not in ("", "no"):
        raise SettingsError(
            f"accelerate launch asks for torch.compile by --dynamo_backend {compiler} "
            f"({COMPILER}). Expected foveal's own setting: leave the option out and give "
            "--set training.compile=on."
        )
    launched_precision("auto")


def launched_precision(setting: Precision) -> Precision:
    """The precision to train in: the setting's, or for 'auto' the one the launcher asks for.

    The launcher's 'no' asks for nothing: accelerate says it too where nobody has chosen.

    Args:
        setting: `training.precision`.

    Raises:
        SettingsError: the launcher asks for another precision than the setting, or for one in
            which foveal does not train.
    """
    asked = os.environ.get(MIXED_PRECISION, "").strip().lower()
    if asked in ("", "no"):
        return setting
    if asked != "bf16":
        raise SettingsError(
            f"accelerate launch asks for --mixed_precision {asked} ({MIXED_PRECISION}). foveal "
            "trains in bf16 or float32. Give --mixed_precision bf16, or no to let "
            "training.precision decide."
        )
    if setting == "float32":
        raise SettingsError(
            f"accelerate launch asks for --mixed_precision bf16 ({MIXED_PRECISION}), and "
            "training.precision is float32. Change one of them: --mixed_precision no, or "
            "--set training.precision=bf16."
        )
    return "bf16"
