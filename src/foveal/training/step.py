"""One step of training: losses, gradients and new weights for one batch, on whatever device."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from foveal.acceleration.accelerated import Accelerated
from foveal.acceleration.precision import autocast
from foveal.detection.criterion import Criterion, Losses
from foveal.errors import DeviceMemoryError
from foveal.models.norms import BATCH_NORMS
from foveal.structures import Batch
from foveal.training.ema import EmaModel
from foveal.training.optimizer import set_learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator

    from foveal.models.retinanet import RetinaNet
    from foveal.training.distillation import Distillation

MAX_COMPILATIONS = 64


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step gave, the same in all processes.

    Attributes:
        classification, box: losses of the whole batch, over all processes and accumulated parts.
        distillation: the loss against a teacher, with its weight; 0 where there is none.
        gradient_norm: before clipping.
        applied: False where something was not finite and the weights stayed as they were.
        stop: True where any process was asked to stop.
    """

    classification: float
    box: float
    gradient_norm: float
    applied: bool
    stop: bool
    distillation: float = 0.0

    @property
    def loss(self) -> float:
        """The sum of the losses."""
        return self.classification + self.box + self.distillation


class LossModule(nn.Module):
    """The network and its criterion as one module, for torch.compile and several processes."""

    def __init__(
        self, model: RetinaNet, criterion: Criterion, distillation: Distillation | None = None
    ) -> None:
        super().__init__()
        self.model = Accelerated(model)
        self.criterion = criterion
        self.distillation = distillation

    def forward(
        self, batch: Batch, anchors: Tensor, targets: tuple[Tensor, ...] = ()
    ) -> tuple[Losses, Tensor]:
        """The losses of a batch, and the loss against the teacher, 0 without one.

        Args:
            batch: of one input size.
            anchors: [A, 4] of that size.
            targets: what the teacher makes of the images; see `Distillation`.
        """
        levels, raw = self.model.with_pyramid(batch.images)
        losses = self.criterion(raw, anchors, batch)
        if self.distillation is None:
            return losses, torch.zeros_like(losses.box)
        return losses, self.distillation((levels, raw), targets)


class TrainStep:
    """The network with all that changes its weights.

    Args:
        model: on the accelerator's device.
        criterion: gives the losses.
        optimizer: holds every weight that is ever trained.
        accelerator: device and processes.
        precision: type of the matrix products; may be changed between steps.
        clip_gradient: largest norm; 0 leaves clipping out.
        ema_decay: of the averaged weights; 0 leaves averaging out.
        compiled: whether torch.compile is used.
        seed: of the network's own noise (dropped paths).
        distillation: the loss against a teacher; None where there is none.
    """

    def __init__(
        self,
        model: RetinaNet,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        *,
        accelerator: Accelerator,
        precision: torch.dtype,
        clip_gradient: float = 0.0,
        ema_decay: float = 0.0,
        compiled: bool = False,
        seed: int = 0,
        distillation: Distillation | None = None,
    ) -> None:
        self.model = model
        self.criterion = criterion
        self.optimizer = optimizer
        self.accelerator = accelerator
        self.precision = precision
        self.clip_gradient = clip_gradient
        self.ema = EmaModel(model, decay=ema_decay) if ema_decay else None
        self.compiled = compiled
        self.seed = seed
        self.distillation = distillation
        self._trained = [weight for weight in model.parameters() if weight.requires_grad]
        if distillation is not None:
            self._trained += distillation.parameters()
        self._backbone = {weight for weight in model.backbone.parameters() if weight.requires_grad}
        self._statistics = running_statistics(model)
        self._losses = self._wrap()

    @property
    def evaluation_model(self) -> RetinaNet:
        """The model to evaluate and to save: the averaged one where there is one."""
        return self.ema.model if self.ema else self.model

    def is_finite(self) -> bool:
        """Whether all weights and statistics of the model to evaluate are finite."""
        values = [
            value.isfinite().all()
            for value in self.evaluation_model.state_dict().values()
            if value.is_floating_point()
        ]
        return bool(torch.stack(values).all())

    def broadcast_statistics(self) -> None:
        """Give all processes the first one's running statistics, which are saved with the model.

        Each process's last step has changed its own.
        """
        if self.accelerator.num_processes > 1:
            for value in running_statistics(self.evaluation_model):
                distributed.broadcast(value, src=0)

    def freeze_backbone(self, stages: int) -> None:
        """Leave the backbone's first stages as they are from now on, and train the others.

        Weights that were not to be trained when this was made never are.
        """
        backbone = self.model.backbone
        if stages == backbone.frozen_stages:
            return
        backbone.freeze(stages)
        for weight in backbone.parameters():
            weight.requires_grad_(weight.requires_grad and weight in self._backbone)
        self._losses = self._wrap()

    @contextlib.contextmanager
    def trying(self) -> Iterator[None]:
        """Inside, steps may be tried before the first one; afterwards all is as it was."""
        models: list[nn.Module] = [self.model]
        models += [] if self.ema is None else [self.ema.model]
        models += [] if self.distillation is None else [self.distillation]
        before = [
            {name: value.clone() for name, value in model.state_dict().items()} for model in models
        ]
        try:
            yield
        finally:
            for model, values in zip(models, before, strict=True):
                model.load_state_dict(values)
            self.optimizer.state.clear()
            if self.ema is not None:
                self.ema.updates = 0

    def step(
        self, parts: Sequence[Batch], learning_rate: float, *, number: int = 0, stop: bool = False
    ) -> StepResult:
        """Lower the loss of a batch a little.

        Args:
            parts: what this process computes of the batch, one part after the other (gradient
                accumulation); the result is that of the whole batch. On the host or the device.
            learning_rate: of the new layers; each group has its factor on it.
            number: the step's number in the run, for the network's own noise.
            stop: whether this process was asked to stop.

        Raises:
            DeviceMemoryError: the device's memory is too small.
        """
        self._prepare_step(number)
        before = [value.clone() for value in self._statistics]
        try:
            losses = self._gradients(parts)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise memory_error(parts, self.accelerator.device) from error
        norm = self._gradient_norm()
        classification, box, distillation, gradient_norm, stops = self._read(
            losses, norm, stop=stop
        )
        applied = math.isfinite(classification + box + distillation + gradient_norm)
        if applied:
            self._clip(gradient_norm)
            set_learning_rate(self.optimizer, learning_rate)
            self.optimizer.step()
            if self.ema:
                self.ema.update(self.model)
        else:
            for value, old in zip(self._statistics, before, strict=True):
                value.copy_(old)
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(classification, box, gradient_norm, applied, stops, distillation)

    def _prepare_step(self, number: int) -> None:
        self.model.train()
        process = self.accelerator.process_index
        torch.manual_seed((self.seed * 1_000_003 + number) * 1_009 + process)

    def _gradients(self, parts: Sequence[Batch]) -> Tensor:
        """Leave the batch's gradients in the weights; give the losses on the device: [3].

        They are classification, box and distillation. Each part's losses were divided by the part's
        own divisor, the number of assigned anchors as a rule. They are multiplied by it again, and
        the sum over the parts is divided by the sum of the divisors. Where the box loss has another
        divisor than the classification loss (`weigh_boxes`), it is the mean of the parts', weighted
        in the same way; so is the loss against a teacher.
        """
        if len(parts) == 1:
            losses, distillation = self._part_losses(parts[0])
            (losses.total + distillation).backward()
            return torch.stack([losses.classification, losses.box, distillation]).detach()
        sums = torch.zeros(3, device=self.accelerator.device)
        divisor = torch.zeros((), device=self.accelerator.device)
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self._losses):
                losses, distillation = self._part_losses(part)
                weight, part_divisor = self._weight_of(losses, images=len(part))
                # A part without objects has a little weight, so that parts without any have all.
                part_weight = part_divisor.clamp(min=1 / len(parts))
                total = losses.total * weight + distillation * part_weight
                total.backward()
            values = [losses.classification * weight, losses.box * weight]
            sums += torch.stack([*values, distillation * part_weight]).detach()
            divisor += part_divisor
        divisor.clamp_(min=1)
        for gradient in self._gradients_now():
            gradient.div_(divisor)
        return sums / divisor

    def _part_losses(self, part: Batch) -> tuple[Losses, Tensor]:
        """What `LossModule` gives for a part of the batch."""
        device = self.accelerator.device
        part = part.to(device, non_blocking=True)
        anchors = self.model.anchors(*part.images.shape[-2:])
        targets: tuple[Tensor, ...] = ()
        if self.distillation is not None:
            targets = self.distillation.targets(part.images, self.precision)
        with autocast(device, self.precision):
            losses: tuple[Losses, Tensor] = self._losses(part, anchors, targets)
        return losses

    def _weight_of(self, losses: Losses, *, images: int) -> tuple[Tensor, Tensor]:
        """What a part's losses were divided by, and its part of the whole batch's divisor."""
        if self.criterion.divide_by == "image":
            weight = torch.tensor(float(images), device=losses.box.device)
            return weight, weight
        divisor = losses.divisor.clone()
        if self.accelerator.num_processes > 1:
            distributed.all_reduce(divisor)
        return divisor.clamp(min=1), divisor

    def _gradients_now(self) -> list[Tensor]:
        return [weight.grad for weight in self._trained if weight.grad is not None]

    def _gradient_norm(self) -> Tensor:
        return nn.utils.get_total_norm(self._gradients_now())

    def _clip(self, norm: float) -> None:
        if self.clip_gradient and norm > self.clip_gradient:
            nn.utils.clip_grads_with_norm_(self._trained, self.clip_gradient, torch.tensor(norm))

    def _read(
        self, losses: Tensor, norm: Tensor, *, stop: bool
    ) -> tuple[float, float, float, float, bool]:
        """Bring a step's numbers to the host at once, the same in all processes."""
        values = torch.cat([losses, losses.new_tensor([float(stop)]), norm.reshape(1)])
        if self.accelerator.num_processes > 1:
            distributed.all_reduce(values)
            values /= self.accelerator.num_processes
        classification, box, distillation, stops, gradient_norm = values.tolist()
        return classification, box, distillation, gradient_norm, stops > 0

    def _wrap(self) -> nn.Module:
        """The losses' module, spread over the processes and compiled where that is asked for."""
        module: nn.Module = LossModule(self.model, self.criterion, self.distillation)
        if self.accelerator.num_processes > 1:
            module = spread(module, self.accelerator.device, sync_buffers=bool(self._statistics))
        if self.compiled:
            module.compile(dynamic=False, **compile_options())
        return module


def compile_options() -> dict[str, int]:
    """Allow one compilation for each input size and each number of boxes there is room for.

    Before torch had the option, eight were compiled, and other sizes ran uncompiled.
    """
    name = "recompile_limit"
    known = inspect.signature(torch.compile).parameters
    return {name: MAX_COMPILATIONS} if name in known else {}


def spread(
    module: nn.Module, device: torch.device, *, sync_buffers: bool
) -> nn.parallel.DistributedDataParallel:
    """Let all processes compute a part of each batch and average the gradients (DDP).

    Args:
        module: the same in all processes.
        device: this process's.
        sync_buffers: whether the first process's buffers are sent to the others at each step.
    """
    parallel = nn.parallel.DistributedDataParallel
    new_name, old_name = "forward_sync_buffers", "broadcast_buffers"
    known = inspect.signature(parallel.__init__).parameters
    options: dict[str, Any] = {new_name if new_name in known else old_name: sync_buffers}
    return parallel(
        module,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **options,
    )


def memory_error(parts: Sequence[Batch], device: torch.device) -> DeviceMemoryError:
    """What to say when the memory is too small for a step: which setting to lower, and to what."""
    images, _, height, width = parts[0].images.shape
    if images > 1:
        advice = (
            f"Give --set training.accumulate={2 * len(parts)} (it is {len(parts)}): the same "
            f"result in parts of {math.ceil(images / 2)} image(s). Or halve the batch, --set "
            "training.batch=N"
        )
    else:
        advice = (
            "There is one image at a time already: make it smaller by a quarter, --set "
            "preparation.shorter=N --set preparation.longer=N"
        )
    return DeviceMemoryError(
        f"The memory of {device} is too small to train on {images} image(s) of {width} x {height} "
        f"pixels at once. {advice}; or choose a smaller network, --set "
        "model.backbone=NAME. --set training.precision=bf16 needs about half of what float32 does."
    )


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The buffers [C] that a forward pass in training changes: those of live batch norms."""
    return [
        buffer
        for module in model.modules()
        if isinstance(module, BATCH_NORMS)
        for buffer in module.buffers(recurse=False)
    ]


def is_out_of_memory(error: RuntimeError) -> bool:
    """True where a device or the host had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
