"""Which file a person means by MODEL: a file, a run's folder, a name in the library.

Loads no torch.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from foveal.checkpoints.library import ENDINGS, resolve_model
from foveal.errors import ModelFileError

BEST = "best.safetensors"
"""The best epoch's model in the folder of a run."""
LAST = "last.safetensors"
"""The last epoch's model in the folder of a run."""
EXPORTED = "best.xml"
"""The best epoch's model as exported to OpenVINO, in the folder of a run; weights in best.bin."""

NETWORK, OPENVINO, ONNX = ENDINGS
"""The endings of files that predict."""


def network_file(path: Path | str) -> Path:
    """The model file that holds a network which can be trained on and exported.

    Args:
        path: a model file, the folder of a run, whose best model is meant, or a name in the
            library.

    Raises:
        ModelFileError: there is none.
    """
    path = resolve_model(path)
    if not path.is_dir():
        if path.suffix.lower() in (OPENVINO, ONNX):
            raise ModelFileError(
                f"{path}: is an exported model, which can only predict. Expected the "
                f"{NETWORK} file that it was exported from."
            )
        return path
    for name in (BEST, LAST):
        if (path / name).is_file():
            return path / name
    raise ModelFileError(
        f"{path}: is a folder without {BEST}. Expected a model file, or the folder of a run "
        "that foveal train wrote."
    )


def prediction_file(path: Path | str, *, device: str = "auto") -> Path:
    """The file to predict with: the one given, or the fastest of a run for this machine.

    A run that was trained on a CPU holds an exported model too, which is the fastest on CPUs.

    Args:
        path: a model file, an exported model, the folder of a run, or a name in the library.
        device: on which to predict.

    Raises:
        ModelFileError: there is none.
    """
    path = resolve_model(path)
    if not path.is_dir():
        if not path.is_file():
            raise ModelFileError(
                f"{path}: no such file. Expected a model that foveal wrote or exported "
                f"({NETWORK}, {OPENVINO}, {ONNX}), the folder of a run, or a name in the library "
                "(foveal models list)."
            )
        return path
    exported = path / EXPORTED
    usable = exported.is_file() and importlib.util.find_spec("openvino") is not None
    if usable and (device == "cpu" or (device == "auto" and not _has_accelerator())):
        return exported
    return network_file(path)


def _has_accelerator() -> bool:
    """Whether PyTorch would compute on something else than the CPU.

    PyTorch is loaded only where a driver says that there may be one: it takes seconds.
    """
    if sys.platform != "darwin" and not (
        shutil.which("nvidia-smi") or Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()
    ):
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    from foveal.devices import choose_device

    return choose_device("auto").type != "cpu"
