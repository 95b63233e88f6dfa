"""The last step of a training on a CPU: the best model in the form that predicts fastest there.

It is done by a process of its own. Converters and compilers of other projects are at work there, on
networks of all kinds; what they may do to a process, a crash included, is no end of a training.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import FovealError
from foveal.text import LONGEST_LAYER, as_text, counted, listed

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.exporting.export import ExportReport

_STEP, _RESULT = "\x1estep ", "\x1eresult "
"""Stand before what the process has to say, a line each: what it does, and what came of it. Other
projects' notes may be printed before them."""


def export_best(
    model: Path,
    path: Path,
    *,
    calibration: Dataset | None,
    check: Dataset,
    say: Callable[[str], None],
) -> bool:
    """Export a model to OpenVINO, in 8 bits if its AP stays, and say what that gains.

    The training is done and its files are written, so nothing that goes wrong here fails the run:
    it is reported, and the model file predicts as it is.

    Args:
        model: the best model's file.
        path: of the .xml file.
        calibration: images like those of use, to go to 8 bits with; None leaves 8 bits out.
        check: labeled images that it was not trained on.
        say: gets a sentence or two on what is done and what came of it.

    Returns:
        Whether the exported model is there.
    """
    if find_spec("openvino") is None:
        say("openvino is not installed, so nothing was exported. Run: pip install openvino")
        return False
    if calibration is not None and find_spec("nncf") is None:
        say("nncf is not installed, so 8 bits are left out. Run: pip install nncf")
        calibration = None
    say("Exporting the best model to OpenVINO, which predicts faster on CPUs.")
    code, result, errors = _run(pickle.dumps((model, path, calibration, check)), say)
    if code == 0 and result is not None:
        say(result)
        return path.is_file()
    reason = errors[-1][:200] if errors else f"it ended with code {code}"
    say(
        f"The best model was not exported: OpenVINO does not get along with its network ({reason})."
        " It predicts in PyTorch. --set training.export=false leaves this step out."
    )
    return False


def _run(asked: bytes, say: Callable[[str], None]) -> tuple[int, str | None, list[str]]:
    """Run the process; whatever ends this one's waiting ends it, too.

    Returns:
        Its exit code, what it says came of it, and the lines of its standard error.
    """
    result = None
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            [sys.executable, "-m", "foveal.exporting.after_training"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                # It may end before it has read all.
                with suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(asked)
                for printed in process.stdout:
                    line = printed.decode("utf-8", "replace").rstrip()
                    _, is_step, step = line.rpartition(_STEP)
                    _, is_result, end = line.rpartition(_RESULT)
                    if is_step:
                        say(step)
                    elif is_result:
                        result = end
            except BaseException:
                process.kill()
                raise
        errors.seek(0)
        lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return process.returncode, result, lines


def main() -> None:
    """What the process does: read what `export_best` sent, export, and say what came of it."""
    from foveal.checkpoints.model_file import load
    from foveal.checkpoints.model_page import MODEL_PAGE, write_model_page
    from foveal.exporting.export import CALIBRATION_IMAGES, export_model
    from foveal.exporting.images import decodable, spread
    from foveal.machine import describe_machine

    model, path, calibration, check = pickle.load(sys.stdin.buffer)
    try:
        if calibration is not None:
            calibration = decodable(spread(calibration, CALIBRATION_IMAGES))
        report = export_model(
            load(model), "openvino", path, int8=calibration, check=check, say=partial(_write, _STEP)
        )
        text = describe(report)
        if report.is_written and model.with_name(MODEL_PAGE).is_file():
            machine = describe_machine().text
            write_model_page(model, seconds=report.seconds, machine=machine)
    except FovealError as error:
        text = f"The best model was not exported: {error}"
    _write(_RESULT, text)


def _write(marker: str, text: str) -> None:
    """One line for the process that asked."""
    line = " ".join(as_text(text).split())
    sys.stdout.buffer.write(f"{marker}{line}\n".encode())
    sys.stdout.buffer.flush()


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
            f"AP {both.export:.3f}, {both.network:.3f} in PyTorch, on "
            f"{counted(both.images, 'validation image')}."
        )
    layers = report.export.float_layers
    if layers:
        named = listed(layers, 3, longest=LONGEST_LAYER)
        sentences.append(f"In float32 for AP's sake: {named}.")
    return " ".join([*sentences, *report.notes])


if __name__ == "__main__":
    main()
