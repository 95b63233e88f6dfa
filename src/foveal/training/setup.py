"""From settings to the parts of a run: device and processes, criterion, train step, trackers."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from foveal.acceleration.allocator import keep_freed_memory
from foveal.acceleration.precision import NAMES, TYPES, Precision, choose_precision
from foveal.detection.criterion import Criterion
from foveal.devices import choose_device
from foveal.distributed import broadcast
from foveal.errors import MissingExtraError, SettingsError
from foveal.models.build import build_model
from foveal.text import counted, listed, suggestion
from foveal.training.distillation_choice import make_distillation
from foveal.training.launcher import check_launcher, launched_precision
from foveal.training.optimizer import make_optimizer
from foveal.training.step import TrainStep
from foveal.tuning.assignment import make_assigner

if TYPE_CHECKING:
    from accelerate import Accelerator

    from foveal.config import Settings, TrainingSettings
    from foveal.models.retinanet import RetinaNet

STEPS_WORTH_COMPILING = 1000
"""torch.compile takes a minute or two: shorter runs end sooner without it."""

_MAX_NAMES = 8

TRACKER_PACKAGES = {
    "aim": "aim",
    "clearml": "clearml",
    "comet_ml": "comet_ml",
    "dvclive": "dvclive",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}


def make_accelerator(trackers: tuple[str, ...] = (), *, folder: Path | None = None) -> Accelerator:
    """The device, the processes (as torchrun or accelerate launch started them) and the trackers.

    Raises:
        SettingsError: a tracker's name is unknown, or it needs a run folder and there is none; or
            the launcher asks for what foveal does not do.
        MissingExtraError: a tracker's package is not installed.
    """
    check_launcher()
    check_trackers(trackers)
    if trackers and folder is None:
        raise SettingsError(
            f"training.trackers = {list(trackers)}: trackers need a run folder. Give one: --out "
            "RUN (in Python out=...)."
        )
    from accelerate import Accelerator

    return Accelerator(
        cpu=choose_device("auto").type == "cpu",
        log_with=list(trackers) or None,
        project_dir=str(folder) if folder else None,
    )


def check_trackers(trackers: tuple[str, ...]) -> None:
    """See whether each tracker is known and installed.

    Raises:
        SettingsError, MissingExtraError: one is not.
    """
    for name in trackers:
        if name not in TRACKER_PACKAGES:
            raise SettingsError(
                f"training.trackers: {name!r} is unknown. "
                f"Expected some of: {', '.join(TRACKER_PACKAGES)}."
                + suggestion(name, TRACKER_PACKAGES)
            )
        package = TRACKER_PACKAGES[name]
        if importlib.util.find_spec(package) is None:
            wanted = "'foveal[tensorboard]'" if name == "tensorboard" else package
            raise MissingExtraError(
                f"training.trackers: {name!r} needs the package {package}. "
                f"Install it with: pip install {wanted}"
            )


def make_model(settings: Settings, num_classes: int, *, empty: bool = False) -> RetinaNet:
    """The network that a run begins with: the same settings and seed, the same weights.

    Args:
        settings: of the model, the anchors, the preparation and the seed.
        num_classes: K.
        empty: leave the backbone's weights out, since a whole model's will follow.

    Raises:
        WeightsError: the backbone's weights can't be got, read or matched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        return build_model(settings, num_classes, empty=empty)


def make_criterion(settings: Settings, classes: Sequence[str] = ()) -> Criterion:
    """The losses that the settings describe.

    Raises:
        SettingsError: the weights of classes do not fit the classes.
    """
    loss = settings.loss
    classification, gamma = loss.classification, loss.gamma
    if classification == "cross_entropy":
        classification, gamma = "focal", 0.0
    return Criterion(
        assigner=make_assigner(settings.assignment, settings.anchors),
        classification=classification,
        alpha=loss.alpha,
        gamma=gamma,
        box=loss.box,
        beta=loss.beta,
        box_weight=loss.box_weight,
        weigh_boxes=loss.weigh_boxes,
        quality=settings.model.quality,
        quality_weight=loss.quality_weight,
        distribution_weight=loss.distribution_weight,
        class_weights=resolve_class_weights(loss.class_weights, classes),
        divide_by=loss.divide_by,
    )


def resolve_class_weights(
    weights: Mapping[str, float] | Sequence[float], classes: Sequence[str]
) -> tuple[float, ...] | None:
    """A factor for each class, [K]; None where all are 1.

    Args:
        weights: `loss.class_weights`, by name or in the classes' order.
        classes: the K names.

    Raises:
        SettingsError: a name is none of the classes, or there are not as many weights as classes.
    """
    known = listed(classes, _MAX_NAMES)
    if isinstance(weights, Mapping):
        for name in weights:
            if name not in classes:
                raise SettingsError(
                    f"loss.class_weights: {name!r} is none of the classes. Expected some of: "
                    f"{known}." + suggestion(name, classes)
                )
        found = tuple(weights.get(name, 1.0) for name in classes)
    else:
        found = tuple(weights)
        if found and len(found) != len(classes):
            raise SettingsError(
                f"loss.class_weights has {counted(len(found), 'value')} for "
                f"{counted(len(classes), 'class')}: {known}. Expected one each, or a table by name "
                "such as --set 'loss.class_weights={NAME = 2.0}'."
            )
    return None if all(weight == 1 for weight in found) else found


def make_train_step(
    model: RetinaNet,
    settings: Settings,
    *,
    classes: Sequence[str] = (),
    accelerator: Accelerator,
    compiled: bool = False,
) -> TrainStep:
    """Bring the model to the accelerator's device and give it all that changes its weights.

    Raises:
        SettingsError: the weights of classes do not fit the classes, or the teacher not the images
            or the network.
        ModelFileError, WeightsError: the teacher can't be read.
    """
    training = settings.training
    device = accelerator.device
    if training.keep_freed_memory:
        keep_freed_memory(device)
    # pyrefly: ignore[no-matching-overload]
    model.to(device=device, memory_format=torch.channels_last)
    distillation = make_distillation(model, settings, classes=classes)
    optimizer = make_optimizer(
        model,
        others=() if distillation is None else tuple(distillation.parameters()),
        name=training.optimizer,
        momentum=training.momentum,
        weight_decay=_weight_decay(training),
        decay_norms=training.decay_norms,
        backbone_factor=training.backbone_learning_rate,
        layer_decay=training.layer_decay,
    )
    return TrainStep(
        model,
        make_criterion(settings, classes),
        optimizer,
        accelerator=accelerator,
        precision=broadcast_precision(launched_precision(training.precision), accelerator),
        clip_gradient=training.clip_gradient,
        ema_decay=training.ema_decay,
        compiled=compiled,
        seed=training.seed,
        distillation=distillation,
    )


def broadcast_precision(wanted: Precision, accelerator: Accelerator) -> torch.dtype:
    """What `choose_precision` gives in the main process, in all processes."""
    chosen = ""
    if accelerator.is_main_process:
        chosen = NAMES[choose_precision(wanted, accelerator.device)]
    return TYPES[broadcast(chosen)]


def _weight_decay(training: TrainingSettings) -> float:
    if training.weight_decay is not None:
        return training.weight_decay
    return 1e-4 if training.optimizer == "sgd" else 0.05


def choose_compile(wanted: str, device: torch.device, *, steps: int) -> tuple[bool, str]:
    """Whether to use torch.compile, and what to tell the user about it ('' for nothing).

    Args:
        wanted: 'auto', 'on' or 'off'; 'auto' compiles long runs on a GPU.
        device: to train on.
        steps: of the whole run.
    """
    if wanted == "off" or (
        wanted == "auto" and (device.type != "cuda" or steps < STEPS_WORTH_COMPILING)
    ):
        return False, ""
    lacking = lacking_compiler(device)
    if lacking:
        return False, f"torch.compile is left out: {lacking}."
    return True, "torch.compile is used: the first steps take a minute or two longer."


def lacking_compiler(device: torch.device) -> str:
    """What torch.compile lacks on this machine; '' where it lacks nothing."""
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang", "g++", "cl")):
        return "no C compiler was found (on Debian or Ubuntu: apt install build-essential)"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    return ""


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Every setting by section.name, as the plain values that trackers take."""
    return {
        f"{section}.{name}": value if isinstance(value, bool | int | float | str) else str(value)
        for section, part in settings.model_dump(mode="json").items()
        for name, value in part.items()
    }
