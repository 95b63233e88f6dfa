"""The last step of a training on a CPU: the best model in the form that predicts fastest there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import FovealError
from foveal.exporting.export import ExportReport, export_model

if TYPE_CHECKING:
    from foveal.checkpoints.model_file import LoadedModel
    from foveal.data.dataset import Dataset

logger = logging.getLogger(__name__)


def export_best(
    loaded: LoadedModel,
    path: Path,
    *,
    calibration: Dataset | None,
    check: Dataset,
    say: Callable[[str], None],
) -> ExportReport | None:
    """Export a model to OpenVINO, in 8 bits if its AP stays, and say what that gains.

    The training is done and its files are written: nothing that goes wrong here is an error of
    the run's. It is told, and the model file predicts as it is.

    Args:
        loaded: the best model.
        path: of the .xml file.
        calibration: images like those of use, to go to 8 bits with; None leaves 8 bits out.
        check: labeled images that it was not trained on.
        say: is told what is done and what came of it, a sentence or two each.

    Returns:
        The report; None where nothing could be exported.
    """
    if find_spec("openvino") is None:
        say("openvino is not installed, so nothing was exported. Run: pip install openvino")
        return None
    if calibration is not None and find_spec("nncf") is None:
        say("nncf is not installed, so 8 bits are left out. Run: pip install nncf")
        calibration = None
    say("Exporting the best model to OpenVINO, which predicts faster on CPUs.")
    try:
        report = export_model(loaded, "openvino", path, int8=calibration, check=check)
    except FovealError as error:
        say(f"The best model was not exported: {error}")
        return None
    except Exception as error:  # of converters and compilers, on networks of all kinds
        logger.debug("the export failed", exc_info=True)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        say(
            f"The best model was not exported, its network can't be converted ({reason}). "
            "It predicts in PyTorch. --set training.export=false leaves this step out."
        )
        return None
    say(describe(report))
    return report


def describe(report: ExportReport) -> str:
    """What was exported and what it gains, or why it was not."""
    if not report.is_written:
        return (
            "The best model was not exported, since what OpenVINO computes is not the same: "
            f"{'; '.join(report.problems[:3])}. It predicts in PyTorch."
        )
    (slow, before), *_, (fast, after) = report.seconds.items()
    sentences = [
        f"{report.path}: {fast}, {before / after:.1f} times as fast as PyTorch on this machine "
        f"({1000 * after:.1f} ms an image, {slow} {1000 * before:.1f} ms; the network alone)."
    ]
    both = report.average_precision
    if both is not None and both.network == both.network:
        sentences.append(
            f"AP {both.export:.3f}, {both.network:.3f} in PyTorch, on {both.images} "
            "validation images."
        )
    kept = report.export.float_layers
    if kept:
        named = ", ".join(kept[:3]) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")
        sentences.append(f"In float32 for AP's sake: {named}.")
    return " ".join([*sentences, *report.notes])
