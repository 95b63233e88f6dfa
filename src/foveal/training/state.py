"""The state of a run on disk, from which a killed run goes on bit for bit.

One safetensors file holds it all: tensors (weights, averages, optimizer) and, as JSON in its
header, where the run was. There is no pickle. Random states are no part of it because none lives
from one step to the next: data is drawn from (seed, epoch, image), the network's noise from (seed,
step, process).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from foveal.checkpoints.anchor_order import OUTPUT_LAYER, from_ratio_major, reorder_weights
from foveal.config import Settings
from foveal.config.renamed import is_ratio_major, rename_settings
from foveal.errors import TrainingError
from foveal.files import readable_path, write_file
from foveal.text import as_text, counted
from foveal.training.run_folder import HOW_TO_GO_ON

if TYPE_CHECKING:
    from foveal.data.dataset import Record

FORMAT = "foveal training state 1"

RENAMED = {
    "averaged": "ema_updates",
    "bad_steps": "nonfinite_steps",
    "journal_bytes": "metrics_bytes",
}
"""Of each field that earlier versions wrote under another name, today's."""

FREE_TO_CHANGE = frozenset(
    {
        "workers",
        "cache_megabytes",
        "trackers",
        "save_every_steps",
        "log_every",
        "max_nonfinite_steps",
        "export",
        "int8",
        "keep_freed_memory",
        "patience",
        "validation_loss",
        "teacher",  # the file may move; what it holds is compared
    }
)
"""Settings under [training] that change nothing in the weights: a resumed run may have others."""

_OF_PREDICTION = "decoding"
"""The section that changes nothing in the weights. Runs of before were written with it."""


@dataclass(slots=True)
class RunState:
    """Where a run is: everything that decides how it goes on, apart from the tensors.

    Attributes:
        epoch: 0 .. epochs; the one under way.
        step: steps of this epoch that are done.
        nonfinite_steps: how many steps in a row had a loss that was not finite.
        ema_updates: how many updates the averaged weights have had.
        best: the best result of a validation so far, and its epoch; None before the first.
        best_epoch: the epoch (from 1) that gave it.
        unimproved: evaluations since then.
        sums: what this epoch's means are made of.
        history: one entry an epoch, as in metrics.jsonl.
        metrics_bytes: how much of metrics.jsonl belongs to the run up to here.
        progress: the share of the run that was done when the epoch under way began, 0..1.
        planned_steps: of the whole run, where it has minutes instead of epochs; else 0.
        seconds: that a run with minutes has taken so far.
        pace: how fast it goes, see `foveal.training.budget.Pace`.
        precision: in which the run computes, 'float32' or 'bf16'; '' in states that don't say.
    """

    epoch: int = 0
    step: int = 0
    nonfinite_steps: int = 0
    ema_updates: int = 0
    best: float | None = None
    best_epoch: int = 0
    unimproved: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics_bytes: int = 0
    progress: float = 0.0
    planned_steps: int = 0
    seconds: float = 0.0
    pace: dict[str, Any] = field(default_factory=dict)
    precision: str = ""

    def add(self, **values: float) -> None:
        """Add to the epoch's sums."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value


def write_state(
    path: Path, tensors: Mapping[str, Tensor], state: RunState, *, fingerprint: Mapping[str, Any]
) -> None:
    """Write the state; until the new file is complete the old one stays.

    Args:
        path: the file.
        tensors: on any device, in any memory format.
        state: where the run is.
        fingerprint: what must be the same when the run is resumed (see `fingerprint_of`).

    Raises:
        TrainingError: the file can't be written; the old one is still there.
    """
    header = {
        "format": FORMAT,
        "position": json.dumps(asdict(state)),
        "fingerprint": json.dumps(fingerprint),
    }
    content = save(
        {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, header
    )
    write_file(path, content, error=TrainingError, advice=HOW_TO_GO_ON)


def read_state(
    path: Path, *, fingerprint: Mapping[str, Any], trained: Sequence[str] = ()
) -> tuple[dict[str, Tensor], RunState]:
    """Read the state back.

    Args:
        path: the file.
        fingerprint: of the run that goes on.
        trained: the names of the optimizer's weights, in its order (`trained_names`); states of the
            first edition may need them.

    Raises:
        TrainingError: the file is missing or not ours, or belongs to a run with other settings or
            other data (the message names them).
    """
    if not path.is_file():
        raise TrainingError(
            f"{path}: there is no state to resume from. Start the run without --resume."
        )
    try:
        with readable_path(path) as name, safe_open(name, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise TrainingError(
                    f"{path}: is no training state of this version. Expected {FORMAT!r}, "
                    f"found {header.get('format')!r}. Start again in another run folder."
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TrainingError(
            f"{path}: can't be read ({error}). Start again in another run folder."
        ) from None
    before = json.loads(header["fingerprint"])
    check_same_run(before, fingerprint, where=path)
    anchors = before["settings"].get("anchors", {})
    if is_ratio_major(anchors):
        tensors = _reordered(tensors, anchors, trained)
    values = json.loads(header["position"]).items()
    return tensors, RunState(**{RENAMED.get(name, name): value for name, value in values})


def trained_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of the optimizer's weights in the order in which it numbers them.

    A weight that is no part of the model has none: ''.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    return [
        names.get(id(weight), "") for group in optimizer.param_groups for weight in group["params"]
    ]


def _reordered(
    tensors: Mapping[str, Tensor], anchors: Mapping[str, Any], trained: Sequence[str]
) -> dict[str, Tensor]:
    """Weights, averages and moments of a state with our order of the anchors."""
    scales, ratios = len(anchors["scales"]), len(anchors["ratios"])
    # An optimizer's moments lie under its weight's number, and counters of steps have no channels.
    numbers = {
        f"optimizer.{number}"
        for number, name in enumerate(trained)
        if OUTPUT_LAYER.search(name) is not None
    }
    moments = {
        name: from_ratio_major(value, scales=scales, ratios=ratios)
        for name, value in tensors.items()
        if name.rpartition(".")[0] in numbers and value.ndim > 0
    }
    return reorder_weights(tensors, scales=scales, ratios=ratios) | moments


def fingerprint_of(
    settings: Settings,
    *,
    classes: Iterable[str],
    records: Iterable[Record],
    steps: int,
    teacher: str = "",
) -> dict[str, Any]:
    """What a run and its continuation must have in common: settings, classes and training data.

    Folders may move: of a path only the file's name counts, of a teacher's file what it holds.

    Args:
        settings: of the run.
        classes: their names.
        records: of the training images.
        steps: of an epoch.
        teacher: the digest of its file; '' where there is none.
    """
    values = settings.model_dump(mode="json", exclude={_OF_PREDICTION})
    values["training"] = {
        name: value for name, value in values["training"].items() if name not in FREE_TO_CHANGE
    }
    digest = hashlib.sha256()
    images = 0
    for record in records:
        digest.update(as_text(record.path.name).encode())
        for part in (record.boxes, record.labels, record.ignored):
            digest.update(part.tobytes())
        images += 1
    return {
        "settings": values,
        "classes": list(classes),
        "images": images,
        "data": digest.hexdigest(),
        "steps an epoch": steps,
        "teacher": teacher,
    }


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any], *, where: Path) -> None:
    """Compare two fingerprints.

    Raises:
        TrainingError: they differ; the message has each difference.
    """
    settings_before = _comparable(rename_settings(before["settings"]))
    settings_now = _comparable(now["settings"])
    lines = [
        f"{name} was {settings_before.get(name)!r} and is now {settings_now.get(name)!r}"
        for name in sorted(settings_before.keys() | settings_now.keys())
        if settings_before.get(name) != settings_now.get(name)
    ]
    if before["classes"] != now["classes"]:
        lines.append(f"the classes were {before['classes']} and are now {now['classes']}")
    if before["images"] != now["images"]:
        lines.append(f"there were {before['images']} training images and are now {now['images']}")
    elif before["data"] != now["data"]:
        lines.append("the training images' names, order or boxes have changed")
    elif before["steps an epoch"] != now["steps an epoch"] and not lines:
        lines.append(
            f"an epoch had {before['steps an epoch']} steps and has now {now['steps an epoch']}"
        )
    if before.get("teacher", "") != now["teacher"]:
        lines.append(_how_teachers_differ(before.get("teacher", ""), now["teacher"]))
    epochs = "training.epochs"
    planned, wanted = settings_before[epochs], settings_now[epochs]
    if len(lines) == 1 and planned < wanted:
        schedule = settings_now["training.schedule"]
        if schedule == "constant":
            return
        raise TrainingError(
            _how_to_train_longer(where, planned=planned, wanted=wanted, schedule=schedule)
        )
    if lines:
        raise TrainingError(
            f"{where}: this run can't be resumed, because "
            + "; ".join(lines)
            + ". Resume it with what it was started with, or start another run folder."
        )


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """By section.name what changes the weights; settings that are newer have their defaults."""
    values = _flat(_without_prediction(settings))
    defaults = _flat(_without_prediction(Settings().model_dump(mode="json")))
    return {
        name: value
        for name, value in (defaults | values).items()
        if name not in {f"training.{each}" for each in FREE_TO_CHANGE}
    }


def _how_teachers_differ(before: str, now: str) -> str:
    if before and now:
        return "the teacher's file has another content now"
    return "it had a teacher (--teacher) and has none" if before else "it had no teacher"


def _how_to_train_longer(where: Path, *, planned: int, wanted: int, schedule: str) -> str:
    """What to do where more epochs are asked for than a run was planned for."""
    run = where.parent.parent
    return (
        f"{where}: this run was planned for {counted(planned, 'epoch')} and is to have {wanted}: "
        f"its learning rate fell by the schedule {schedule!r} towards its end, and a longer run "
        "would have had another. Train on from its best model, as a new run: the same command with "
        f"--start {run} --out {run}-longer in place of --out {run} --resume (in Python "
        "fit(start=..., out=...)). Only training.schedule=constant lets a run be made longer."
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by 'number of the weight.name of the value'."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, each value in its weight's memory format.

    Fused optimizers walk through memory without looking at strides, so that a channels_last weight
    needs a channels_last momentum.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        weight = weights[int(index)]
        if value.shape == weight.shape and value.ndim > 0:
            value = torch.empty_like(weight, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _without_prediction(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in settings.items() if name != _OF_PREDICTION}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
