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
    """The network that turns an image into features: a name of timm's that gives strides 8, 16 and
    32.

    Change it for speed or accuracy: a smaller one, such as mobilenetv2_100, predicts faster, a
    larger one sees more where there is data to teach it."""
    weights: str = "pretrained"
    """'none', 'pretrained' (timm's), 'package' (of tf_efficientnet_lite0, with foveal[weights]) or
    the path of a local file. Where foveal[weights] is installed the presets medium, light and
    scenes take that backbone and 'package', unless a backbone or weights are set.

    Change it to 'none' to train from scratch (with norm=live), or to a file on a machine without a
    network."""
    bands: PositiveCount = 3
    """The bands of an image; 3 are red, green and blue.

    Unit: bands. Leave it: it follows from the training images."""
    norm: Literal["frozen", "live", "group"] = "frozen"
    """What becomes of the backbone's batch norms: 'frozen' keeps the statistics of its weights,
    'live' learns new ones, 'group' puts group norms in their place.

    Change it to 'live' where the backbone has no weights or the images look nothing like
    photographs; small batches want 'frozen' or 'group'."""
    norm_eps: Annotated[float, Field(ge=0)] | None = None
    """What is added to a variance before it divides, in the backbone's norms. None keeps the
    backbone's own.

    Unit: none (of the features' squares). Leave it: only models of torchvision need another one."""
    backbone_stride_in: Literal["3x3", "1x1"] = "3x3"
    """Which convolution of a ResNet's block halves the map: '1x1' is the first one, as in Caffe's
    networks, from which detectron2's published models come and MMDetection's 'caffe' ones.

    Leave it: imported models say which they need."""
    frozen_stages: Count = 0
    """How many of the backbone's stages keep their weights, counted from the image.

    Unit: stages. Change it to 1 or 2 where there are few images or little time, to 0 where the
    images look nothing like photographs."""
    fpn_channels: PositiveCount = 256
    """Channels of the feature pyramid.

    Unit: channels. Change it to 64 or 128 for speed."""
    fpn_depthwise: bool = False
    """3x3 in each channel, then 1x1, instead of full 3x3 convolutions in the pyramid.

    Change it for speed on CPUs; it costs some accuracy."""
    p6_from: Literal["C5", "P5"] = "C5"
    """From which map the level P6 is computed: the backbone's last one, or the pyramid's.

    Leave it: FCOS, ATSS and torchvision's first RetinaNet have P5."""
    relu_before_p7: bool = True
    """Apply ReLU to P6 before P7 is computed from it.

    Leave it: some imported models have none."""
    head_depth: Count = 4
    """Convolutions in each subnet before the last one.

    Unit: layers. Change it to 2 for speed."""
    head_channels: PositiveCount = 256
    """Channels of the two subnets.

    Unit: channels. Change it to 64 or 128 for speed."""
    head_norm: Literal["none", "group"] = "none"
    """Whether the subnets' convolutions are followed by group norms.

    Change it to 'group' where a training from scratch is unsteady."""
    head_bias_before_norm: bool = False
    """'group': the convolutions before the norms have a bias too, as in detectron2.

    Leave it: imported models say which they need."""
    head_depthwise: bool = False
    """3x3 in each channel, then 1x1, instead of full 3x3 convolutions in the subnets.

    Change it for speed on CPUs; full convolutions of 128 channels were more accurate and as fast to
    train."""
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """The score that every anchor has before training, so that the many background anchors do not
    swamp the first steps (the paper's pi).

    Unit: probability, 0 to 1. Leave it."""
    quality: Literal["none", "centerness", "iou"] = "none"
    """How well a box fits, predicted beside it and part of its score: how near its location is to
    the object's center (FCOS), or its IoU with the object.

    Change it to 'iou', along with loss.classification 'focal', to see which suits your images: on
    bccd's validation images it gained a little. The presets fcos and atss have 'centerness'."""
    level_scales: bool = False
    """A learned factor on the box predictions of each level (FCOS, ATSS).

    Leave it: presets whose boxes are distances choose it, and atss."""
    box_coding: Literal["deltas", "distances"] = "deltas"
    """What the box subnet predicts: offsets from the anchor, or how far left, top, right and bottom
    are from the location (FCOS), with one square anchor at each.

    Leave it: presets with one square anchor a location choose 'distances', those with several
    'deltas'."""
    box_bins: Annotated[int, Field(ge=0, le=64)] = 0
    """'distances': each is the mean of a distribution over so many values 0, 1, 2 ..., in eighths
    of the anchor's side (generalized focal loss, which has 17); 0: plain numbers.

    Unit: values. Change it to 0 to see what distributions bring; the presets that have them have
    17."""


class AnchorSettings(Section):
    """The anchor boxes: at each location of level l, sizes[l] * scales x ratios of them."""

    sizes: tuple[Positive, ...] = _SIZES
    """One base size a level, input pixels.

    Unit: pixels of the input. Leave it where anchors are fitted; set it to use sizes that you know,
    one for each stride."""
    strides: tuple[PositiveCount, ...] = (8, 16, 32, 64, 128)
    """The distance of neighboring locations of each level.

    Unit: pixels of the input. Change it to begin with 4 where most objects are under 16 pixels; the
    preset scenes does so by itself."""
    scales: tuple[Positive, ...] = _SCALES
    """Factors on a level's size; with ratios they make the anchors of a location.

    Unit: factors. Leave it: they are fitted to the data where a location has several anchors."""
    ratios: tuple[Positive, ...] = _RATIOS
    """Height / width of the anchors.

    Unit: height / width. Leave it: they are fitted to the data where a location has several
    anchors."""
    shapes: tuple[tuple[AnchorShape, ...], ...] = ()
    """In place of sizes, scales and ratios: for each level all boxes of a location, each as [x1,
    y1, x2, y2] from the location in input pixels. Imported models may have such anchors.

    Unit: pixels of the input. Leave it: imported models bring it."""
    compat: Literal["none", "torchvision"] | tuple[Fraction, bool, bool] = "none"
    """'torchvision' makes anchors as torchvision does: detection/anchor_compat.py says what differs
    and what the three values mean, which imported models have and those of the first edition.

    Leave it: it is for models that torchvision or others trained."""

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
    one anchor a location.

    Change it by choosing a preset: standard, medium and light have 'task_aligned', scenes
    'atss', retinanet 'iou'."""
    foreground_iou: Fraction = 0.5
    """'iou': anchors that overlap an object by this much learn it.

    Unit: IoU, 0 to 1. Change it to 0.4 where objects are so small or thin that anchors overlap them
    badly; foveal anchors shows how many do."""
    background_iou: Fraction = 0.4
    """'iou': anchors that overlap every object by less than this are background; between both they
    are left out of the loss.

    Unit: IoU, 0 to 1. Change it along with foreground_iou."""
    candidates: PositiveCount | None = None
    """'atss': the locations of each level that an object looks at; 'task_aligned': the most anchors
    that it gets. None: 9 and 13, as in the papers.

    Unit: locations or anchors. Leave it, or raise it where objects are large and few."""
    allow_low_quality_matches: bool = True
    """'iou': give every object its best anchors, however low their IoU. The others: give one to
    objects that would get none, such as tiny ones between the locations.

    Change it to false to follow the paper; small objects may then be learned by nothing."""
    ignored_overlap: Fraction = 0.5
    """An unassigned anchor with this share of its area in a region to ignore is ignored; 'fcos'
    ignores the locations inside instead.

    Unit: share of the anchor, 0 to 1. Leave it."""


class LossSettings(Section):
    """The two losses and what they are divided by."""

    classification: Literal["focal", "cross_entropy", "quality_focal"] = "focal"
    """'quality_focal' (generalized focal loss) teaches a score that says how well the box fits too:
    the IoU of the predicted box, or what the assignment wants.

    Change it by choosing a preset: those with one anchor a location have 'quality_focal' or
    'focal', retinanet and paper 'focal'."""
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = _ALPHA
    """Weight of objects, background has 1 - alpha; None leaves the balance out. 'quality_focal' has
    no such balance.

    Unit: weight, 0 to 1. Leave it: it goes with gamma, and the paper's pair is 0.25 and 2."""
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """How much easy anchors are left out of the loss ('quality_focal': the paper's beta).

    Unit: exponent. Change it to 0 to see what the focal term brings."""
    box: Literal["smooth_l1", "l1", "giou"] = "smooth_l1"
    """'smooth_l1' and 'l1' compare offsets from anchors, 'giou' compares boxes by their overlap.

    Change it to 'giou' with box_weight 2 where boxes should fit closely."""
    beta: Annotated[float, Field(ge=0)] = 0.11
    """'smooth_l1': where the loss turns from quadratic to linear; 0 is the same as 'l1'.

    Unit: offsets, in sides of the anchor. Leave it."""
    box_weight: Positive = 1.0
    """Weight of the box loss beside the classification loss.

    Unit: factor. Change it to 2 with 'giou'."""
    weigh_boxes: bool = False
    """Multiply each anchor's box loss by the score that the assignment wants; where it wants none,
    by what model.quality is, or by the IoU; and divide by the sum of these instead of the number of
    anchors. With training.accumulate each part is divided by its own sum.

    Leave it: the presets fcos and atss choose it."""
    quality_weight: Positive = _QUALITY_WEIGHT
    """Of the loss of model.quality, which is shown as part of the box loss.

    Unit: factor. Leave it."""
    distribution_weight: Annotated[float, Field(ge=0)] = _DISTRIBUTION_WEIGHT
    """Of the distribution focal loss of model.box_bins, which is shown as part of the box loss.

    Unit: factor. Leave it."""
    class_weights: dict[str, Positive] | tuple[Positive, ...] = {}
    """Factors on the classification loss of single classes, by name, or of all in their order; a
    class without one has 1.

    Unit: factors. Change it where a class matters more than others; a class that is merely rare is
    helped by training.sampling first."""
    divide_by: Literal["batch", "image"] = "batch"
    """Assigned anchors of the whole batch (all processes), or each image's own, then the mean.

    Leave it: torchvision's presets have 'image'."""

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
    """The least score of a candidate. What counts as a detection is the score threshold on the
    model's card, which is higher.

    Unit: score, 0 to 1. Change it to a lower one only to measure AP on images with very many weak
    detections."""
    top_per_level: PositiveCount = 1000
    """How many candidates of each level, those with the best scores, go on to NMS.

    Unit: candidates. Leave it: it is raised where images hold many objects."""
    nms_iou: Fraction = 0.5
    """Of two detections of a class that overlap by more than this, the weaker one goes.

    Unit: IoU, 0 to 1. Change it to 0.6 or 0.7 where objects lie close together or overlap, to 0.3
    where one object gets two boxes."""
    nms_method: Literal["hard", "soft_linear", "soft_gaussian"] = "hard"
    """'hard' removes what overlaps a better detection by more than nms_iou. Soft-NMS (Bodla et al.
    2017) lowers its score: times 1 - IoU above nms_iou, or times exp(-IoU^2 / nms_sigma).

    Change it to 'soft_gaussian' where objects overlap so much that NMS removes some of them;
    exported files with --nms have 'hard' alone."""
    nms_sigma: Positive = 0.5
    """'soft_gaussian': how fast a score falls with the overlap; smaller is faster.

    Unit: none (of IoU squared). Leave it."""
    max_detections: PositiveCount = 100
    """The most detections of an image, and of a window where there are windows.

    Unit: detections. Leave it: it is twice the objects of the fullest training image, at least 100.
    Raise it where new images may be fuller still."""
    class_agnostic: bool = False
    """NMS over all classes together: an object gets one box, whatever its class.

    Change it where one object gets boxes of two classes."""


class PreparationSettings(Section):
    """From an original image to the network's input."""

    mode: Literal["keep", "square", "windows"] = "keep"
    """'keep' holds the aspect ratio within the side limits, 'square' pads to shorter x shorter,
    'windows' cuts windows of shorter x shorter out of the image at one scale, without shrinking.

    Change it to 'windows' for images much larger than the network's input; the preset scenes does.
    """
    scale: Positive = 1.0
    """'windows': input pixels that one original pixel becomes; 2 shows objects twice as large.

    Unit: pixels of the input for one of the image. Change it to 2 where objects are a few pixels
    large, if the time allows it: it costs four times as much."""
    shorter: PositiveCount = 640
    """The side that the shorter one of an image is scaled to; with 'windows' and 'square' the side
    of the input.

    Unit: pixels of the input. Change it to a larger one for small objects, to a smaller one for
    speed: time goes with its square."""
    longer: PositiveCount = 1066
    """The most that the longer side may become; the shorter one is then smaller.

    Unit: pixels of the input. Change it along with shorter; 1.67 times as much suits photographs.
    """
    multiple: PositiveCount = 32
    """The sides of an input are multiples of this; the rest is filled.

    Unit: pixels of the input. Leave it: the network needs it."""
    compat: Literal["none", "torchvision"] = "none"
    """'torchvision', with mode 'keep', scales and pads images as torchvision's detectors do: sides
    are rounded down, pixels interpolated without a filter, and padded to the next multiple.

    Leave it: it is for models that torchvision trained, which imported ones say. There are more
    input sizes with it, and fine patterns alias where images shrink."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """What is subtracted from each band, in 0..1; kept in the model.

    Unit: share of the band's range, 0 to 1. Leave it: the backbone's weights were trained with it.
    """
    std: tuple[Positive, ...] = (0.229, 0.224, 0.225)
    """What each band is divided by after that.

    Unit: share of the band's range. Leave it: the backbone's weights were trained with it."""
    band_low: tuple[float, ...] = ()
    """16-bit data: the value of each band that becomes 0; empty for 8-bit data.

    Unit: the images' own values. Leave it: it follows from the training images. Set it, with
    band_high, where the range of the values is known."""
    band_high: tuple[float, ...] = ()
    """16-bit data: the value of each band that becomes 255.

    Unit: the images' own values. Leave it, as band_low."""

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
    """Mirror every other image left to right.

    Change it to false where left and right mean something, such as letters."""
    flip_vertical: bool = False
    """Mirror every other image top to bottom.

    Change it to true where there is no top, as under a microscope or from above."""
    quarter_turns: bool = False
    """Turn images by 0, 90, 180 or 270 degrees.

    Change it to true where no direction is special, as under a microscope or from above."""
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    """Smallest and largest random zoom; above 1 crops, below 1 pads.

    Unit: factors. Change it to such as [0.8, 1.25] where objects come in other sizes than in the
    training images."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """The largest angle by which images are turned, either way.

    Unit: degrees. Change it where objects stand at any angle. Boxes become looser: quarter_turns
    keep them exact."""
    shear: Annotated[float, Field(ge=0, le=45)] = 0.0
    """The largest angle by which an axis is tilted, either way.

    Unit: degrees. Change it to a few degrees where the camera's point of view varies."""
    brightness: Fraction = 0.0
    """The largest change of the brightness: 0.1 is a factor between 0.9 and 1.1.

    Unit: share, 0 to 1. Change it to 0.1 or 0.2 where light varies."""
    contrast: Fraction = 0.0
    """The largest change of the contrast, likewise.

    Unit: share, 0 to 1. Change it to 0.1 or 0.2 where light or staining varies."""
    saturation: Fraction = 0.0
    """The largest change of the saturation, likewise; images of three bands only.

    Unit: share, 0 to 1. Change it to 0.1 or 0.2 where cameras or staining vary."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The largest turn of the color circle, either way; images of three bands only.

    Unit: turns of the circle, 0 to 0.5. Change it to 0.02 or so where cameras or staining vary; not
    where color tells classes apart."""
    blur: Fraction = 0.0
    """The share of images that are blurred, by a standard deviation between 0.4 and 1.6 pixels of
    the input.

    Unit: share of the images, 0 to 1. Change it to 0.1 or so where some images will be out of
    focus."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """The largest standard deviation of noise that is added.

    Unit: gray levels of 255. Change it to a few levels where cameras are noisy."""
    mosaic: Fraction = 0.0
    """Fraction of samples made of four images.

    Unit: share of the samples, 0 to 1. Change it to 0.5 or so for long trainings on few images; end
    it by strong_until."""
    copy_paste: Fraction = 0.0
    """Fraction of samples into which one to three objects of other images are pasted, of each class
    as often as of any other, so that rare ones are seen more often.

    Unit: share of the samples, 0 to 1. Change it to 0.5, and strong_until to 0.85, for few images
    or rare classes; the images that objects come from are read, too."""
    strong_until: Fraction = 1.0
    """Share of the run after which no more samples are made of several images, by mosaic or
    copy_paste; 1: never.

    Unit: share of the run, 0 to 1. Change it to 0.8 or so with mosaic or copy_paste, so that the
    last epochs see images as they are."""
    min_visibility: Fraction = 0.25
    """Boxes with less of their area left in the picture are dropped; in windows of larger images
    they become regions to ignore.

    Unit: share of the box, 0 to 1. Change it to a lower one where parts of objects should be found,
    too."""
    rotated_boxes: Literal["corners", "ellipse"] = "corners"
    """A rotated box encloses its corners, or the ellipse within it (tighter for round things).

    Change it to 'ellipse' for round objects, with rotation."""
    custom: str | None = None
    """'package.module:name' of an augmentation of your own, which takes the place of all these.

    Change it by --augment, to use your own."""


class TrainingSettings(Section):
    """How the network is trained."""

    epochs: PositiveCount = 20
    """How often each training image is seen.

    Unit: epochs. Change it to more where AP still rises in the last epochs, as the report says."""
    minutes: Positive | None = None
    """How long the training and its validations may take on this machine, in place of `epochs`; the
    report and the export come afterwards.

    Unit: minutes. Change it by --minutes, where time is what limits you."""
    batch: PositiveCount = 8
    """Images a step, over all processes and accumulated steps.

    Unit: images. Change it to fewer where memory is short, or let --batch auto choose."""
    accumulate: PositiveCount = 1
    """Over how many parts a batch is spread, one after the other.

    Unit: parts. Change it where a batch does not fit into the memory: the step is the same, the
    parts are smaller."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """How weights follow the gradient.

    Change it to 'sgd' to follow the paper, or torchvision."""
    learning_rate: Positive | None = None
    """For a batch of 16 (linear rule for sgd, square root for adamw); None: 0.01 or 1e-3.

    Unit: none (a step's size). Change it to what --find-learning-rate suggests, or to a third of it
    where the loss is not finite."""
    momentum: Fraction = 0.9
    """Of SGD; AdamW's first beta.

    Unit: share, 0 to 1. Leave it."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """How much weights shrink in each step. None: 1e-4 (sgd) or 0.05 (adamw).

    Unit: factor on the learning rate. Leave it."""
    decay_norms: bool = True
    """Whether norms and biases shrink too.

    Leave it."""
    backbone_learning_rate: Positive = 1.0
    """Factor on the backbone's learning rate.

    Unit: factor. Change it to 0.1 where a pretrained backbone forgets what it knew, as with few
    images."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Layer-wise: a further factor on the learning rate of the backbone's last stage, its square on
    the one before it, and so on.

    Unit: factor. Change it to 0.7 or so for transformers as backbones."""
    schedule: Literal["steps", "cosine", "one_cycle", "constant"] = "cosine"
    """How the learning rate falls: by steps, along a cosine, up and down (one_cycle), or not at
    all.

    Change it to 'steps' to follow the paper."""
    warmup_steps: Count = 100
    """Over how many steps the learning rate rises at the beginning; at most a fifth of the run.

    Unit: steps. Change it to 500 or so where the first steps are unsteady."""
    warmup_factor: Fraction = 0.001
    """The learning rate of the first step, as a share of the full one.

    Unit: share, 0 to 1. Leave it."""
    step_epochs: tuple[Positive, ...] = (0.667, 0.889)
    """Where 'steps' divides the learning rate by 10, as shares of the run.

    Unit: shares of the run. Leave it: they are the paper's 60,000 and 80,000 of 90,000
    steps.
    """
    clip_gradient: Annotated[float, Field(ge=0)] = 10.0
    """Largest gradient norm; 0 leaves clipping out.

    Unit: gradient norm. Change it to a lower one where the loss jumps."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights (EMA); 0 leaves averaging out.

    Unit: share, 0 to 1. Change it to 0.997 or so for runs of a thousand steps and more: the average
    often is a little better."""
    teacher: str | None = None
    """A trained model that the network imitates: a model file, a run's folder or a checkpoint that
    `foveal import` can read.

    Change it by --teacher, to make a small network better."""
    distillation: Literal["auto", "predictions", "pyramid"] = "auto"
    """What of the teacher is imitated: 'predictions' (scores and boxes of each anchor) needs one
    that knows the classes and has the network's anchors, model.box_bins and model.quality;
    'pyramid' (PKD: Cao et al. 2022) needs levels of the same strides alone. 'auto' takes
    predictions where it can.

    Leave it."""
    distillation_weight: Positive | None = None
    """Of the loss against the teacher; None is 1 for predictions and 10 for the pyramid, which is
    the paper's for detectors of one stage.

    Unit: factor. Leave it."""
    unfreeze_epoch: Count = 0
    """The epoch from which the backbone is trained too; 0: from the start.

    Unit: epochs. Change it to 1 or 2 where a pretrained backbone forgets what it knew in the first
    steps."""
    unfreeze: tuple[Fraction, ...] = ()
    """Shares of the run at each of which one more stage of the backbone is trained, the last stage
    first; before the first of them none is, and at the last all but model.frozen_stages.

    Unit: shares of the run. Change it to such as [0.1, 0.2, 0.3] for very few images."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """In which numbers it is computed; 'auto' measures what is faster on this machine, once.

    Change it to 'float32' to repeat a run exactly on other machines, or where the loss is not
    finite."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch.compile makes the network faster; 'auto' does so for long runs on a GPU.

    Change it to 'off' where it fails, to 'on' for runs that you know to be long."""
    workers: Count | None = None
    """Processes that load images; None: chosen from the machine's cores.

    Unit: processes. Change it to 0 to find mistakes in an augmentation of your own; more where the
    log says that images are waited for."""
    cache_megabytes: Count = 0
    """Memory for decoded images, shared by all workers: what fits is read once.

    Unit: megabytes. Change it where reading images takes longer than training on them and there is
    memory to spare."""
    background_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """'windows': the share of windows of larger images that show no object, where that can be.

    Unit: share of the windows, 0 to 1. Change it to more where things are found in empty places."""
    bad_images: Literal["stop", "skip"] = "stop"
    """What becomes of training images that can't be read: 'stop' names them before the run begins,
    'skip' trains without them.

    Change it to 'skip' where a few broken files are no surprise."""
    sizes: tuple[PositiveCount, ...] = ()
    """Shorter sides to draw from for each batch (multi-scale); empty: the preparation's.

    Unit: pixels of the input. Change it to such as [320, 416, 512] where objects come in many
    sizes."""
    size_schedule: tuple[tuple[Share, PositiveCount], ...] = ()
    """Shorter sides of smaller inputs to begin with, each until a share of the run: [[0.6, 320]]
    shows the first 60 % at 320 pixels and the rest at the preparation's. Whole epochs belong to one
    of them. Anchors, validation and the model's card are those of the preparation's size.

    Unit: share of the run, pixels of the input. Change it to [[0.6, 320]] or so to save time: the
    first part of the run then costs less."""
    sampling: Literal["uniform", "repeat_factor"] = "uniform"
    """'repeat_factor' shows images of rare classes more often (LVIS, Gupta et al. 2019): an image
    max(1, sqrt(repeat_threshold / f)) times, f the share of images with its rarest class.

    Change it to 'repeat_factor' where some classes are rare."""
    repeat_threshold: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Classes in a smaller share of the images are repeated. LVIS, of 1203 classes, has 0.001.

    Unit: share of the images, 0 to 1. Change it to a higher one to repeat more classes."""
    evaluate_every: PositiveCount = 1
    """After how many epochs the validation images are looked at.

    Unit: epochs. Change it to more where validation takes a large part of the time."""
    save_every_steps: Count = 0
    """Write the resume state also every so many steps; 0: at the end of an epoch only.

    Unit: steps. Change it for epochs that take hours, so that --resume loses less."""
    patience: Count = 0
    """Stop after so many evaluations without a better AP; 0: never.

    Unit: evaluations. Change it to 5 or 10 to end runs that no longer improve."""
    validation_loss: bool = True
    """Measure the loss on the validation images too, in the same pass through the network. The
    first validation takes up to twice as long where objects are many, later ones hardly longer.

    Change it to false where the first validation takes too long."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Fraction held out where no validation data is given; 0 trains on all images, measures nothing
    and keeps the last epoch.

    Unit: share of the images, 0 to 1. Change it, or give --valid, where the images that are held
    out should be others."""
    max_nonfinite_steps: PositiveCount = 20
    """Stop after so many steps in a row whose loss is not finite.

    Unit: steps. Leave it."""
    log_every: PositiveCount = 10
    """Steps from one line in metrics.jsonl to the next.

    Unit: steps. Change it to 1 to follow short runs."""
    export: bool = True
    """After training on a CPU, export the best model to OpenVINO, which predicts faster there.

    Change it to false where nothing will be predicted on CPUs."""
    int8: bool = True
    """Export it in 8 bits, if its AP stays (within 0.002).

    Change it to false where float32 is wanted, or calibration takes too long."""
    keep_freed_memory: bool = True
    """On Linux CPUs: keep freed memory for the next tensors; faster, but a higher peak.

    Change it to false where memory is short."""
    trackers: tuple[str, ...] = ()
    """Where the numbers go besides metrics.jsonl: 'tensorboard', 'wandb', 'mlflow', ...

    Change it to such as ['tensorboard'] to see runs where you see your others."""
    seed: int = 0
    """What all that is random follows from.

    Unit: none (a name for a run's chances). Change it to see how much a result is chance: foveal
    bench --seeds does so."""

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
    """All settings of a model and its training.

    Examples:
        >>> from foveal.config import make_settings
        >>> settings = make_settings(preset="light", overrides=["training.epochs=60"])
        >>> settings.training.epochs
        60
        >>> settings.training.optimizer
        'adamw'
    """

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
        if model.quality != "none" and loss.classification == "quality_focal":
            raise ValueError(
                "loss.classification = 'quality_focal' teaches the scores how well a box fits, and "
                f"so does model.quality = {model.quality!r}: it would count twice. Give "
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
