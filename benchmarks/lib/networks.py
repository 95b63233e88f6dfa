"""torchvision's RetinaNet with random weights, foveal's with the same ones, and images for both.

The weights reach foveal through `foveal import`'s function. Norms are set so that activations keep
their size on rough and on smooth images, and the outputs are scaled: scores differ from place to
place and boxes stay near their anchors, as those of a trained network do.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import mobilenet_v2
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from foveal.acceleration import allocator
from foveal.acceleration.precision import NAMES, Precision, choose_precision
from foveal.checkpoints.importing import import_model
from foveal.checkpoints.model_file import LoadedModel
from foveal.data.synthetic import draw_smear
from foveal.data.transforms.preparation import Preparation

LONGER = 5 / 3
"""The longest side that both allow, in shortest ones, as in the usual 800 and 1333."""
LOGIT_SPREAD = 1.0
"""Standard deviation of the logits around their bias."""
DELTA_SPREAD = 0.1
"""Standard deviation of the box deltas: anchors of 800 pixels move by some 80."""
THRESHOLD = 0.05
MOBILENET_LEVELS = {"6": "0", "13": "1", "17": "2"}
"""MobileNetV2's last blocks at strides 8, 16 and 32, with 32, 96 and 320 channels."""
EXAMPLE = 256
"""Side of the part of an image on which weights are scaled."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

WITHOUT_FOVEAL = {
    allocator.MMAP_MAX: 65_536,
    allocator.MMAP_THRESHOLD: 2**25,
    allocator.TRIM_THRESHOLD: 2**26,
    allocator.TOP_PAD: 2**17,
}
"""glibc's allocator as it comes, its thresholds where they rise to by themselves."""

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Task:
    """What both are to compute.

    Attributes:
        device: 'cpu' or 'cuda'.
        backbone: 'resnet18' or 'resnet50'.
        classes: channels of the class layer, in both.
        height, width: of the images, pixels.
        batch: images.
        objects: boxes in each.
        seed: of images, boxes and weights.
    """

    device: str = "cpu"
    backbone: str = "resnet50"
    classes: int = 91
    height: int = 640
    width: int = 640
    batch: int = 2
    objects: int = 15
    seed: int = 0

    @property
    def shorter(self) -> int:
        """The shorter side, to which both bring it: nothing is resized."""
        return min(self.height, self.width)

    @property
    def longer(self) -> int:
        """The longest side that both allow."""
        return max(self.height, self.width, round(LONGER * self.shorter))


@dataclass(frozen=True)
class Pair:
    """The same network twice, both in evaluation mode on the CPU."""

    foreign: RetinaNet
    own: LoadedModel


def make_pair(task: Task, *, candidates: int | None = None) -> Pair:
    """Make torchvision's network and bring its weights into foveal's.

    Args:
        task: which network.
        candidates: pairs of anchor and class above the threshold in the task's first image; -1 for
            all of them; None leaves the paper's prior of 0.01.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(task.seed)
        foreign = torchvision_network(task)
        if candidates is not None:
            _set_candidates(foreign, task, candidates)
    overrides = [
        f"preparation.shorter={task.shorter}",
        f"preparation.longer={task.longer}",
        f"decoding.score_threshold={THRESHOLD}",
    ]
    names = [f"class {number}" for number in range(task.classes)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(foreign.state_dict(), path)
        own = import_model(path, classes=names, overrides=overrides).loaded
    return Pair(foreign, own)


def draw_images(task: Task, count: int | None = None) -> list[NDArray[np.uint8]]:
    """Decoded images, [H, W, 3] uint8 each, of coarse and fine random detail."""
    generator = np.random.default_rng(task.seed)
    size = (task.batch if count is None else count, task.height, task.width, 3)
    fine = generator.integers(0, 128, size, dtype=np.uint8)
    coarse = generator.integers(
        0, 128, (size[0], -(-size[1] // 32), -(-size[2] // 32), 3), np.uint8
    )
    coarse = coarse.repeat(32, axis=1).repeat(32, axis=2)[:, : size[1], : size[2]]
    return list(fine + coarse)


def draw_targets(task: Task) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """For each image boxes [N, 4] xyxy inside it, of 8 to 128 pixels, and labels [N]."""
    generator = np.random.default_rng(task.seed + 1)
    extent = np.array([task.width, task.height], np.float64)
    targets = []
    for _ in range(task.batch):
        largest = np.minimum(128, extent / 2)
        sides = np.exp(generator.uniform(math.log(8), np.log(largest), (task.objects, 2)))
        corners = generator.uniform(0, 1, (task.objects, 2)) * (extent - sides)
        boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
        targets.append((boxes, generator.integers(0, task.classes, task.objects)))
    return targets


def to_tensors(images: list[NDArray[np.uint8]]) -> list[Tensor]:
    """Images as torchvision's decoder gives them: [3, H, W] uint8, each channel in one piece."""
    return [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]


def input_size(task: Task) -> str:
    """Height and width to which foveal brings the task's images."""
    preparation = Preparation(shorter=task.shorter, longer=task.longer)
    return "x".join(map(str, preparation.size_for(task.width, task.height)))


def parse_size(text: str) -> tuple[int, int]:
    """'800x1333' as height and width."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def precision_name(wanted: Precision, device: str) -> str:
    """'float32' or 'bf16', for 'auto' what foveal chooses on the device."""
    return NAMES[choose_precision(wanted, device)]


def for_torchvision(model: RetinaNet, device: str, precision: str) -> RetinaNet:
    """Its network on the device: as it comes in float32, with channels_last in bf16."""
    if precision == "bf16":
        return model.to(device=device, memory_format=torch.channels_last)
    return model.to(device=device)


def torchvision_autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """What torchvision's own training script has: autocast, or nothing in float32."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()


@contextmanager
def memory_without_foveal() -> Iterator[None]:
    """glibc as a program without foveal has it, where foveal has changed it in this process.

    Blocks above 32 MB, to which its threshold rises by itself, go back to the system when freed.
    """
    changed = allocator.keeps_freed_memory()
    if changed and not allocator.tell_libc(WITHOUT_FOVEAL):
        raise RuntimeError("glibc's allocator can't be set back")
    try:
        yield
    finally:
        if changed:
            allocator.tell_libc(allocator.KEEPING)


def make_foreign(task: Task) -> RetinaNet:
    """torchvision's network alone; here the backbone may be 'mobilenet_v2' too."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(task.seed)
        return torchvision_network(task)


def _torchvision_backbone(name: str) -> nn.Module:
    last = LastLevelP6P7(256, 256)
    if name == "mobilenet_v2":
        body = mobilenet_v2(weights=None, norm_layer=nn.BatchNorm2d).features
        return BackboneWithFPN(body, MOBILENET_LEVELS, [32, 96, 320], 256, extra_blocks=last)
    return resnet_fpn_backbone(
        backbone_name=name,
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
        returned_layers=[2, 3, 4],
        extra_blocks=last,
    )


def torchvision_network(task: Task) -> RetinaNet:
    """As `retinanet_resnet50_fpn` makes it, with frozen norms and every layer trained."""
    backbone = _torchvision_backbone(task.backbone)
    sizes = tuple(
        (x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)
    )
    model = RetinaNet(
        backbone,
        num_classes=task.classes,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        min_size=task.shorter,
        max_size=task.longer,
        score_thresh=THRESHOLD,
    )
    example = _example(task)
    _keep_activations(model.backbone, example)
    _freeze_norms(model)
    _spread_outputs(model, example)
    return model.eval()


def _example(task: Task) -> Tensor:
    """A part of two of the task's images and two drawn smears, as the network sees them.

    Normed on rough detail alone, activations would grow some twenty times on smooth ground: no
    score between 0 and 1 is left then, and rounding decides what is a detection.

    Returns:
        [4, 3, H, W] float32.
    """
    height, width = min(task.height, EXAMPLE), min(task.width, EXAMPLE)
    generator = np.random.default_rng(task.seed)
    smears = [draw_smear(generator, size=EXAMPLE).image for _ in range(2)]
    pictures = [image[:height, :width] for image in [*draw_images(task, 2), *smears]]
    images = torch.stack(to_tensors(pictures)) / 255
    mean, std = (torch.tensor(part)[:, None, None] for part in (MEAN, STD))
    height, width = images.shape[-2:]
    return nn.functional.pad((images - mean) / std, (0, -width % 32, 0, -height % 32))


def _keep_activations(backbone: nn.Module, example: Tensor) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0
    backbone.train()
    backbone(example)


def _freeze_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=0.0)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            _freeze_norms(child)


def _spread_outputs(model: RetinaNet, example: Tensor) -> None:
    classification, box = model.head.classification_head, model.head.regression_head
    for head in (classification, box):
        for layer in head.conv.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    features = list(model.eval().backbone(example).values())
    logits = classification(features)
    classification.cls_logits.weight.mul_(LOGIT_SPREAD / logits.std())
    box.bbox_reg.weight.mul_(DELTA_SPREAD / box(features).std())


def _set_candidates(model: RetinaNet, task: Task, candidates: int) -> None:
    """Shift all logits so that so many are above the threshold in the first image."""
    image = to_tensors(draw_images(task, 1))[0].float() / 255
    batch, _ = model.transform([image])
    head = model.head.classification_head
    logits = head(list(model.backbone(batch.tensors).values())).flatten()
    if candidates < 0:
        border = logits.min() - 0.1
    else:
        border = logits.topk(candidates + 1).values[-2:].mean()
    head.cls_logits.bias.add_(math.log(THRESHOLD / (1 - THRESHOLD)) - border)
