"""The settings: every one typed, with its default. Loads no torch."""

from __future__ import annotations

import math
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]

AnchorShape = tuple[float, float, float, float]

_SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)
_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_RATIOS = (0.5, 1.0, 2.0)
_ALPHA = 0.25
_QUALITY_WEIGHT = 1.0
_DISTRIBUTION_WEIGHT = 0.25


class Section(BaseModel):
    """A group of settings; unknown names are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _none_by_name(cls, values: Any) -> Any:
        """Read "none" as None where a setting may be None: TOML has no null."""
        if not isinstance(values, dict):
            return values
        optional = {
            name
            for name, field in cls.model_fields.items()
            if NoneType in get_args(field.annotation)
        }
        return {
            name: None if value == "none" and name in optional else value
            for name, value in values.items()
        }


class ModelSettings(Section):
    """The network."""

    backbone: str = "resnet50"
    weights: str = "pretrained"
    """'none', 'pretrained' (timm's), 'package' (of tf_efficientnet_lite0, with foveal[weights]) or
    the path of a local file."""
    bands: PositiveCount = 3
    norm: Literal["frozen", "live", "group"] = "frozen"
    norm_eps: Annotated[float, Field(ge=0)] | None = None
    """None keeps the backbone's own."""
    backbone_stride_in: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a ResNet's block halves the map: '1x1' is the first one, as in Caffe's
    networks, from which detectron2's published models come and MMDetection's 'caffe' ones."""
    frozen_stages: Count = 0
    fpn_channels: PositiveCount = 256
    fpn_depthwise: bool = False
    """3x3 in each channel, then 1x1, instead of full 3x3 convolutions."""
    p6_from: Literal["C5", "P5"] = "C5"
    relu_before_p7: bool = True
    head_depth: Count = 4
    head_channels: PositiveCount = 256
    head_norm: Literal["none", "group"] = "none"
    head_bias_before_norm: bool = False
    """'group': the convolutions before the norms have a bias too, as in detectron2."""
    head_depthwise: bool = False
    """As fpn_depthwise, in the subnets."""
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.01
    quality: Literal["none", "centerness", "iou"] = "none"
    """How well a box fits, predicted beside it and part of its score: how near its location is to
    the object's center (FCOS), or its IoU with the object."""
    level_scales: bool = False
    """A learned factor on the box predictions of each level (FCOS, ATSS)."""
    box_coding: Literal["deltas", "distances"] = "deltas"
    """What the box subnet predicts: offsets from the anchor, or how far left, top, right and bottom
    are from the location (FCOS), with one square anchor at each."""
    box_bins: Annotated[int, Field(ge=0, le=64)] = 0
    """'distances': each is the mean of a distribution over so many values 0, 1, 2 ..., in eighths
    of the anchor's side (generalized focal loss, which has 17); 0: plain numbers."""


class AnchorSettings(Section):
    """The anchor boxes: at each location of level l, sizes[l] * scales x ratios of them."""

    sizes: tuple[Positive, ...] = _SIZES
    """One base size a level, input pixels."""
    strides: tuple[PositiveCount, ...] = (8, 16, 32, 64, 128)
    scales: tuple[Positive, ...] = _SCALES
    ratios: tuple[Positive, ...] = _RATIOS
    """Height / width."""
    shapes: tuple[tuple[AnchorShape, ...], ...] = ()
    """In place of sizes, scales and ratios: for each level all boxes of a location, each as
    [x1, y1, x2, y2] from the location in input pixels. Imported models may have such anchors."""
    compat: Literal["none", "torchvision"] | tuple[Fraction, bool, bool] = "none"
    """'torchvision' makes anchors as torchvision does: detection/anchor_compat.py says what differs
    and what the three values mean, which imported models have and those of the first edition."""

    @field_validator("compat", mode="wrap")
    @classmethod
    def _compat(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:
            raise ValueError("expected 'none' or 'torchvision'") from None

    @property
    def per_location(self) -> int:
        """The number of anchors at each location."""
        return len(self.shapes[0]) if self.shapes else len(self.scales) * len(self.ratios)

    @model_validator(mode="after")
    def _levels(self) -> AnchorSettings:
        if self.shapes:
            self._check_shapes()
        elif len(self.sizes) != len(self.strides):
            raise ValueError(
                f"sizes has {len(self.sizes)} entries and strides {len(self.strides)}: "
                "expected one of each for every pyramid level"
            )
        return self

    def _check_shapes(self) -> None:
        counts = sorted({len(level) for level in self.shapes})
        if len(self.shapes) != len(self.strides) or len(counts) != 1 or not counts[0]:
            raise ValueError(
                f"shapes has {len(self.shapes)} levels with {', '.join(map(str, counts))} boxes: "
                f"expected {len(self.strides)} levels, as strides has, with equally many boxes"
            )
        for level, boxes in enumerate(self.shapes):
            for box in boxes:
                x1, y1, x2, y2 = box
                if not (math.isfinite(sum(box)) and x1 < x2 and y1 < y2):
                    raise ValueError(
                        f"shapes: the box {list(box)} of level {level} has no area: expected "
                        "[x1, y1, x2, y2] with x1 < x2 and y1 < y2"
                    )
        if (self.sizes, self.scales, self.ratios) != (_SIZES, _SCALES, _RATIOS):
            raise ValueError(
                "shapes takes the place of sizes, scales and ratios: leave these out, or "
                "give --set anchors.shapes=[]"
            )


class AssignmentSettings(Section):
    """Which anchors are objects, which background."""

    method: Literal["iou", "atss", "task_aligned", "fcos"] = "iou"
    """'iou' is the paper's. 'atss' asks each object's own statistics what a good IoU is,
    'task_aligned' the network what it predicts well, and 'fcos' goes by place and size alone, with
    one anchor a location."""
    foreground_iou: Fraction = 0.5
    """Of 'iou', as the next."""
    background_iou: Fraction = 0.4
    candidates: PositiveCount | None = None
    """'atss': the locations of each level that an object looks at; 'task_aligned': the most anchors
    that it gets. None: 9 and 13, as in the papers."""
    allow_low_quality_matches: bool = True
    """'iou': give every object its best anchors, however low their IoU. The others: give one to
    objects that would get none, such as tiny ones between the locations."""
    ignored_overlap: Fraction = 0.5
    """An unassigned anchor with this share of its area in a region to ignore is ignored; 'fcos'
    ignores the locations inside instead."""


class LossSettings(Section):
    """The two losses and what they are divided by."""

    classification: Literal["focal", "cross_entropy", "quality_focal", "varifocal"] = "focal"
    """'quality_focal' (generalized focal loss) and 'varifocal' teach a score that says how well the
    box fits, too: the IoU of the predicted box, or what the assignment wants."""
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = _ALPHA
    """Weight of objects, background has 1 - alpha; None leaves the balance out. Of 'varifocal' only
    background has its weight. 'quality_focal' has no such balance."""
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """How much easy anchors are left out of the loss ('quality_focal': the paper's beta)."""
    box: Literal["smooth_l1", "l1", "giou", "diou", "ciou"] = "smooth_l1"
    """'smooth_l1' and 'l1' compare offsets from anchors; the others compare boxes by their overlap,
    their distance ('diou') and their aspect ratio too ('ciou'); with them try box_weight = 2."""
    beta: Annotated[float, Field(ge=0)] = 0.11
    box_weight: Positive = 1.0
    weigh_boxes: bool = False
    """Multiply each anchor's box loss by the score that the assignment wants; where it wants none,
    by what model.quality is, or by the IoU; and divide by the sum of these instead of the number of
    anchors. With training.accumulate each part is divided by its own sum."""
    quality_weight: Positive = _QUALITY_WEIGHT
    """Of the loss of model.quality, which is shown as part of the box loss."""
    distribution_weight: Annotated[float, Field(ge=0)] = _DISTRIBUTION_WEIGHT
    """Of the distribution focal loss of model.box_bins, which is shown as part of the box loss."""
    class_weights: dict[str, Positive] | tuple[Positive, ...] = {}
    """Factors on the classification loss of single classes, by name, or of all in their order;
    a class without one has 1."""
    divide_by: Literal["batch", "image"] = "batch"
    """Assigned anchors of the whole batch (all processes), or each image's own, then the mean."""

    @model_validator(mode="after")
    def _balance(self) -> LossSettings:
        if self.classification == "quality_focal" and self.alpha not in (_ALPHA, None):
            raise ValueError(
                f"alpha = {self.alpha:g} has no effect on 'quality_focal', which balances by the "
                "scores themselves. Leave loss.alpha out, or choose loss.classification=focal"
            )
        return self


class DecodingSettings(Section):
    """From raw output to detections."""

    score_threshold: Fraction = 0.05
    top_per_level: PositiveCount = 1000
    nms_iou: Fraction = 0.5
    nms_method: Literal["hard", "soft_linear", "soft_gaussian"] = "hard"
    """'hard' removes what overlaps a better detection by more than nms_iou. Soft-NMS (Bodla et al.
    2017) lowers its score: times 1 - IoU above nms_iou, or times exp(-IoU^2 / nms_sigma)."""
    nms_sigma: Positive = 0.5
    max_detections: PositiveCount = 100
    class_agnostic: bool = False


class PreparationSettings(Section):
    """From an original image to the network's input."""

    mode: Literal["keep", "square", "windows"] = "keep"
    """'keep' holds the aspect ratio within the side limits, 'square' pads to shorter x shorter,
    'windows' cuts windows of shorter x shorter out of the image at one scale, without shrinking."""
    scale: Positive = 1.0
    """'windows': input pixels that one original pixel becomes; 2 shows objects twice as large."""
    shorter: PositiveCount = 640
    longer: PositiveCount = 1066
    multiple: PositiveCount = 32
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Of each band, in 0..1; buffers of the model."""
    std: tuple[Positive, ...] = (0.229, 0.224, 0.225)
    band_low: tuple[float, ...] = ()
    """16-bit data: the value of each band that becomes 0; empty for 8-bit data."""
    band_high: tuple[float, ...] = ()
    """16-bit data: the value of each band that becomes 255."""

    @model_validator(mode="after")
    def _limits(self) -> PreparationSettings:
        if self.longer < self.shorter:
            raise ValueError(f"longer ({self.longer}) is below shorter ({self.shorter})")
        if self.mode == "windows" and self.shorter % self.multiple:
            nearest = max(1, round(self.shorter / self.multiple)) * self.multiple
            raise ValueError(
                f"shorter = {self.shorter}: a window's side is a multiple of {self.multiple} "
                f"(preparation.multiple), such as {nearest}"
            )
        return self


class AugmentationSettings(Section):
    """Random changes of training images; 0 or False leaves one out."""

    flip_horizontal: bool = True
    flip_vertical: bool = False
    quarter_turns: bool = False
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    """Smallest and largest random zoom; above 1 crops, below 1 pads."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees, either way."""
    shear: Annotated[float, Field(ge=0, le=45)] = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    blur: Fraction = 0.0
    """Fraction of images blurred."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation, gray levels."""
    mosaic: Fraction = 0.0
    """Fraction of samples made of four images."""
    copy_paste: Fraction = 0.0
    """Fraction of samples into which one to three objects of other images are pasted, of each class
    as often as of any other, so that rare ones are seen more often."""
    strong_until: Fraction = 1.0
    """Share of the run after which no more samples are made of several images, by mosaic or
    copy_paste; 1: never."""
    min_visibility: Fraction = 0.25
    """Boxes with less of their area left in the picture are dropped; in windows of larger images
    they become regions to ignore."""
    rotated_boxes: Literal["corners", "ellipse"] = "corners"
    """A rotated box encloses its corners, or the ellipse within it (tighter for round things)."""
    custom: str | None = None
    """'package.module:name' of an augmentation of your own, which takes the place of all these."""


class TrainingSettings(Section):
    """How the network is trained."""

    epochs: PositiveCount = 20
    minutes: Positive | None = None
    """How long the training and its validations may take on this machine, in place of `epochs`;
    the report and the export come afterwards."""
    batch: PositiveCount = 8
    """Images a step, over all processes and accumulated steps."""
    accumulate: PositiveCount = 1
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: Positive | None = None
    """For a batch of 16 (linear rule for sgd, square root for adamw); None: 0.01 or 1e-3."""
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """None: 1e-4 (sgd) or 0.05 (adamw)."""
    decay_norms: bool = True
    backbone_learning_rate: Positive = 1.0
    """Factor on the backbone's learning rate."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Layer-wise: a further factor on the learning rate of the backbone's last stage, its square
    on the one before it, and so on."""
    schedule: Literal["steps", "cosine", "one_cycle", "constant"] = "cosine"
    warmup_steps: Count = 100
    warmup_factor: Fraction = 0.001
    step_epochs: tuple[Positive, ...] = (0.667, 0.889)
    """Where 'steps' divides the learning rate by 10, as shares of the run."""
    clip_gradient: Annotated[float, Field(ge=0)] = 10.0
    """Largest gradient norm; 0 leaves clipping out."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights (EMA); 0 leaves averaging out."""
    teacher: str | None = None
    """A trained model whose pyramid the network imitates (PKD, training/distillation.py): a model
    file, a run's folder or a checkpoint that `foveal import` can read."""
    distillation_weight: Positive = 10.0
    """Of the loss against the teacher; 10 is the paper's for detectors of one stage."""
    unfreeze_epoch: Count = 0
    """The epoch from which the backbone is trained too; 0: from the start."""
    unfreeze: tuple[Fraction, ...] = ()
    """Shares of the run at each of which one more stage of the backbone is trained, the last stage
    first; before the first of them none is, and at the last all but model.frozen_stages."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    workers: Count | None = None
    """Processes that load images; None: chosen from the machine's cores."""
    cache_megabytes: Count = 0
    background_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """'windows': the share of windows of larger images that show no object, where that can be."""
    bad_images: Literal["stop", "skip"] = "stop"
    sizes: tuple[PositiveCount, ...] = ()
    """Shorter sides to draw from for each batch (multi-scale); empty: the preparation's."""
    size_schedule: tuple[tuple[Share, PositiveCount], ...] = ()
    """Shorter sides of smaller inputs to begin with, each until a share of the run: [[0.6, 320]]
    shows the first 60 % at 320 pixels and the rest at the preparation's. Whole epochs belong to
    one of them. Anchors, validation and the model's card are those of the preparation's size."""
    sampling: Literal["uniform", "repeat_factor"] = "uniform"
    """'repeat_factor' shows images of rare classes more often (LVIS, Gupta et al. 2019): an image
    max(1, sqrt(repeat_threshold / f)) times, f the share of images with its rarest class."""
    repeat_threshold: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Classes in a smaller share of the images are repeated. LVIS, of 1203 classes, has 0.001."""
    evaluate_every: PositiveCount = 1
    save_every_steps: Count = 0
    """Write the resume state also every so many steps; 0: at the end of an epoch only."""
    patience: Count = 0
    """Stop after so many evaluations without a better AP; 0: never."""
    validation_loss: bool = True
    """Measure the loss on the validation images too, in the same pass through the network. The
    first validation takes up to twice as long where objects are many, later ones hardly longer."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Fraction held out where no validation data is given; 0 trains on all images, measures nothing
    and keeps the last epoch."""
    max_nonfinite_steps: PositiveCount = 20
    """Stop after so many steps in a row whose loss is not finite."""
    log_every: PositiveCount = 10
    """Steps from one line in metrics.jsonl to the next."""
    export: bool = True
    """After training on a CPU, export the best model to OpenVINO, which predicts faster there."""
    int8: bool = True
    """Export it in 8 bits, if its AP stays (within 0.002)."""
    keep_freed_memory: bool = True
    """On Linux CPUs: keep freed memory for the next tensors; faster, but a higher peak."""
    trackers: tuple[str, ...] = ()
    """Where the numbers go besides metrics.jsonl: 'tensorboard', 'wandb', 'mlflow', ..."""
    seed: int = 0

    @model_validator(mode="after")
    def _one_thaw(self) -> TrainingSettings:
        if list(self.unfreeze) != sorted(set(self.unfreeze)):
            raise ValueError(
                f"unfreeze is {list(self.unfreeze)}: expected each share of the run above the one "
                "before, such as [0.1, 0.2, 0.3]"
            )
        if self.unfreeze and self.unfreeze_epoch:
            raise ValueError(
                f"unfreeze is {list(self.unfreeze)} and unfreeze_epoch {self.unfreeze_epoch}: "
                "expected one of them"
            )
        return self

    @field_validator("size_schedule")
    @classmethod
    def _ascending(cls, value: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
        shares = [share for share, _ in value]
        if sorted(set(shares)) != shares:
            raise ValueError(
                f"the shares of the run are {shares}: expected each above the one before, such as "
                "[[0.4, 256], [0.7, 320]]"
            )
        return value


class Settings(Section):
    """All settings of a model and its training."""

    model: ModelSettings = ModelSettings()
    anchors: AnchorSettings = AnchorSettings()
    assignment: AssignmentSettings = AssignmentSettings()
    loss: LossSettings = LossSettings()
    decoding: DecodingSettings = DecodingSettings()
    preparation: PreparationSettings = PreparationSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _losses_of_what_there_is(self) -> Settings:
        model, loss = self.model, self.loss
        if model.quality == "none" and loss.quality_weight != _QUALITY_WEIGHT:
            raise ValueError(
                f"loss.quality_weight = {loss.quality_weight:g}, but the network has no quality "
                "branch. Leave it out, or give --set model.quality=centerness (or iou)"
            )
        if not model.box_bins and loss.distribution_weight != _DISTRIBUTION_WEIGHT:
            raise ValueError(
                f"loss.distribution_weight = {loss.distribution_weight:g}, but the network "
                "predicts no distributions. Leave it out, or give --set model.box_bins=17 --set "
                "model.box_coding=distances"
            )
        if model.quality != "none" and loss.classification in ("quality_focal", "varifocal"):
            raise ValueError(
                f"loss.classification = {loss.classification!r} teaches the scores how well a box "
                f"fits, and so does model.quality = {model.quality!r}: it would count twice. Give "
                "--set model.quality=none or --set loss.classification=focal"
            )
        return self

    @model_validator(mode="after")
    def _boxes_of_locations(self) -> Settings:
        anchors = self.anchors.per_location
        if self.assignment.method == "fcos" and anchors != 1:
            raise ValueError(
                f"assignment.method = 'fcos' has one anchor a location, and anchors.scales and "
                f"anchors.ratios give {anchors}. Add --set anchors.scales=[1] --set "
                "anchors.ratios=[1], or choose another method, such as 'atss'"
            )
        model = self.model
        if model.box_bins == 1 or (model.box_bins and model.box_coding == "deltas"):
            raise ValueError(
                f"model.box_bins is {model.box_bins} and model.box_coding {model.box_coding!r}: "
                "expected 0, or at least 2 (17 by custom) with --set model.box_coding=distances"
            )
        if model.box_coding == "distances" and self.anchors.shapes:
            raise ValueError(
                "model.box_coding = 'distances' has one square anchor a location, and "
                "anchors.shapes gives others. Add --set anchors.shapes=[] --set anchors.scales=[1] "
                "--set anchors.ratios=[1]"
            )
        if model.box_coding == "distances" and (anchors != 1 or self.anchors.ratios != (1.0,)):
            raise ValueError(
                "model.box_coding = 'distances' has one square anchor a location, and the scales "
                f"are {list(self.anchors.scales)} and the ratios {list(self.anchors.ratios)}. Add "
                "--set anchors.scales=[1] --set anchors.ratios=[1]"
            )
        return self
