"""Checkpoints of MMDetection: the same output as the network there, and every trap on the way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import plain_networks
from tests.checkpoints.imports import (
    SIZES,
    convert,
    foreign_file,
    image_of,
    is_equal,
    own_output,
    with_weights,
)
from tests.checkpoints.imports import ratio_major_as_ours as ordered
from tests.checkpoints.make_shapes import (
    KINDS,
    NETWORKS,
    read_shapes,
    to_text,
)
from tests.checkpoints.make_shapes import (
    mmdetection as make_shapes,
)
from tests.checkpoints.plain_networks import Output, State, random_state

from foveal.checkpoints import mmdetection
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import import_model
from foveal.checkpoints.mmdetection_config import MMDetectionConfig, read_config
from foveal.checkpoints.model_file import LoadedModel
from foveal.errors import WeightsError

CAFFE = """
auto_scale_lr = dict(base_batch_size=16, enable=False)
img_scale = (640, 480)
model = dict(
    backbone=dict(
        depth=50, init_cfg=dict(checkpoint='detectron2/resnet50_caffe', type='Pretrained'),
        norm_cfg=dict(requires_grad=False, type='BN'), norm_eval=True,
        style='caffe', type='ResNet'),
    bbox_head=dict(
        anchor_generator=dict(
            octave_base_scale=4, ratios=[0.5, 1.0, 2.0], scales_per_octave=3,
            strides=[8, 16, 32, 64, 128], type='AnchorGenerator'),
        bbox_coder=dict(
            target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2],
            type='DeltaXYWHBBoxCoder'),
        in_channels=256, num_classes=3, type='RetinaHead'),
    data_preprocessor=dict(
        bgr_to_rgb=False, mean=[103.53, 116.28, 123.675], pad_size_divisor=32, std=[1.0, 1.0, 1.0],
        type='DetDataPreprocessor'),
    neck=dict(add_extra_convs='on_input', in_channels=[256, 512, 1024, 2048], num_outs=5,
        out_channels=256, start_level=1, type='FPN'),
    test_cfg=dict(
        max_per_img=77, min_bbox_size=0, nms=dict(iou_threshold=0.6, type='nms'), nms_pre=500,
        score_thr=0.1),
    type='RetinaNet')
test_cfg = dict(type='TestLoop')
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(keep_ratio=True, scale=(1200, 700), type='Resize')]
"""
PYTORCH = CAFFE.replace("'caffe'", "'pytorch'").replace("0.1, 0.1, 0.2, 0.2", "1.0, 1.0, 1.0, 1.0")


@pytest.fixture(scope="module")
def r50() -> State:
    return random_state(make_shapes(KINDS["r50"], classes=3), std=60.0)


@pytest.fixture(scope="module")
def r50_model(r50: State) -> LoadedModel:
    return convert(mmdetection, foreign_file(r50), ImportOptions(backbone_stride_in="1x1"))[1]


@pytest.fixture(scope="module")
def r18() -> State:
    return random_state(make_shapes(KINDS["r18"], width=32, classes=3))


def with_config(text: str, **meta: Any) -> dict[str, Any]:
    return {"meta": {"cfg": text, **meta}}


@pytest.mark.parametrize("network", NETWORKS["mmdetection"])
def test_names_and_shapes_are_those_of_the_rules(network: str) -> None:
    shapes = read_shapes("mmdetection", network)
    assert to_text(shapes) == to_text(make_shapes(KINDS[network]))
    with torch.device("meta"):
        state = {name: torch.empty(sides) for name, sides in shapes.items()}
    imported = mmdetection.convert(foreign_file(state), ImportOptions())
    name = network.replace("x101", "resnext101").replace("r1", "resnet1").replace("r5", "resnet5")
    assert imported.settings.model.backbone == name
    assert imported.classes is not None
    assert (imported.classes[11], imported.classes[79]) == ("stop sign", "toothbrush")
    assert "taken to be COCO's" in imported.notes[-1]
    if network == "x101_64x4d":  # the others are as it is, or built below
        with_weights(imported)
    assert {imported.foreign_name(name) for name in imported.state} == shapes.keys()


@pytest.mark.parametrize("size", SIZES)
def test_a_caffe_model_gives_the_same(size: Any, r50: State, r50_model: LoadedModel) -> None:
    image = image_of(*size)
    expected = plain_networks.mmdetection(r50, image, KINDS["r50"], caffe=True)
    assert is_equal(own_output(r50_model, image), ordered(expected))


@pytest.mark.parametrize("size", SIZES)
def test_a_pytorch_model_gives_the_same(size: Any, r18: State) -> None:
    imported, loaded = convert(mmdetection, foreign_file(r18))
    assert "style pytorch: RGB with mean 123.675" in imported.notes[0]
    image = image_of(*size)
    expected = plain_networks.mmdetection(r18, image, KINDS["r18"], caffe=False)
    assert is_equal(own_output(loaded, image), ordered(expected))


def test_each_trap_would_be_seen(r50: State, r50_model: LoadedModel) -> None:
    image = image_of(64, 96)
    own = own_output(r50_model, image)

    def plain(state: State = r50, **changes: Any) -> Output:
        options: dict[str, Any] = {"caffe": True} | changes
        return plain_networks.mmdetection(state, image, KINDS["r50"], **options)

    normalization = {"mean": (103.53, 116.28, 123.675), "std": (1.0, 1.0, 1.0)}
    right = plain()
    assert is_equal(own, ordered(right))
    assert not is_equal(own, right)  # scale by scale, as nothing there says
    assert not is_equal(own, ordered(plain(bgr=False, **normalization)))
    assert not is_equal(own, ordered(plain(caffe=False, bgr=True, **normalization)))
    scores = right.logits.unflatten(0, (-1, 9))
    classes_first = scores.flatten(1).unflatten(1, (3, 9)).transpose(1, 2)
    assert not is_equal(own, ordered(right._replace(logits=classes_first.flatten(0, 1))))
    with_background = scores[:, :, [2, 0, 1]]
    assert not is_equal(own, ordered(right._replace(logits=with_background.flatten(0, 1))))


def test_there_is_no_relu_before_p7_unless_the_config_has_one(r18: State) -> None:
    def relu(text: str) -> bool:
        values = with_config(text)
        return mmdetection.convert(
            foreign_file(r18, values), ImportOptions()
        ).settings.model.relu_before_p7

    assert not relu(PYTORCH)
    assert relu(PYTORCH.replace("num_outs=5", "num_outs=5, relu_before_extra_convs=True"))


def test_the_config_in_the_file_is_heard(r50: State) -> None:
    values = with_config(CAFFE, dataset_meta={"CLASSES": ("a", "b", "c"), "palette": []})
    imported, loaded = convert(mmdetection, foreign_file(r50, values))
    assert loaded.card.classes == ("a", "b", "c")
    decoding, preparation = imported.settings.decoding, imported.settings.preparation
    assert (decoding.score_threshold, decoding.top_per_level) == (0.1, 500)
    assert (decoding.nms_iou, decoding.max_detections) == (0.6, 77)
    assert (preparation.shorter, preparation.longer) == (700, 1200)
    image = image_of(64, 96)
    expected = ordered(plain_networks.mmdetection(r50, image, KINDS["r50"], caffe=True))
    factors = torch.tensor([0.1, 0.1, 0.2, 0.2])
    own = own_output(loaded, image)
    assert is_equal(own, expected._replace(deltas=expected.deltas * factors))
    assert not is_equal(own, expected)


def test_nothing_is_read_into_what_the_config_does_not_say() -> None:
    assert read_config(None) == read_config({"cfg": 3, "config": None}) == MMDetectionConfig()
    assert read_config({"config": "x = ("}) == MMDetectionConfig(text=True)
    json = read_config({"cfg": '{"backbone": {"style": "caffe"}, "mean": [1, 2, 3]}'})
    assert (json.caffe, json.mean) == (True, (1.0, 2.0, 3.0))
    two = read_config({"config": "test_cfg = dict(nms_pre=7, nms=dict(type='soft_nms'))"})
    assert (two.top_per_level, two.nms) == (7, "soft_nms")
    ((lone),) = read_config({"CLASSES": "ship"}).classes or ()
    assert lone == "ship"


def test_octaves_ratios_and_offsets_of_a_config() -> None:
    text = "anchor_generator=dict(scales=[8], ratios=[1.0], strides=[8, 16], center_offset=0.5)"
    assert read_config({"cfg": text}).anchors() == [
        "anchors.compat=[0.5, false, false]",
        "anchors.sizes=[64.0, 128.0]",
        "anchors.strides=[8, 16]",
        "anchors.scales=[1.0]",
        "anchors.ratios=[1.0]",
    ]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("'RetinaHead'", "'FSAFHead'", "has a FSAFHead"),
        ("'AnchorGenerator'", "'LegacyAnchorGenerator'", "has a LegacyAnchorGenerator"),
        ("'DeltaXYWHBBoxCoder'", "'TBLRBBoxCoder'", "has a TBLRBBoxCoder"),
        ("'on_input'", "'on_lateral'", "lateral convolution's result"),
        ("in_channels=256", "norm_cfg=dict(num_groups=16)", "has 16 groups"),
    ],
)
def test_configs_of_other_networks(r18: State, before: str, after: str, message: str) -> None:
    file = foreign_file(r18, with_config(PYTORCH.replace(before, after)))
    with pytest.raises(WeightsError, match=re.escape(message)):
        mmdetection.convert(file, ImportOptions())


def test_weights_of_other_networks(r18: State) -> None:
    def message(changes: State, values: Any = None, **options: Any) -> str:
        with pytest.raises(WeightsError) as caught:
            mmdetection.convert(foreign_file(r18 | changes, values), ImportOptions(**options))
        return str(caught.value)

    bias = "bbox_head.retina_reg.bias"
    assert "rotated boxes" in message({bias: torch.zeros(45)})
    assert "has 4 channels and bbox_head.retina_cls 27" in message({bias: torch.zeros(4)})
    assert "MMDetection 1" in message({"bbox_head.cls_convs.0.weight": torch.zeros(1)})
    assert "MMDetection 1" in message({}, {"meta": {"mmdet_version": "1.2.0"}})
    assert "no background" in message({}, background=True)
    assert "3 classes and there are 2 names" in message({}, classes=("a", "b"))
    networks = {f"{name}.{key}": value for name in ("a", "b") for key, value in r18.items()}
    assert "holds 3 networks" in message(networks)


def test_batch_norm_in_subnets_and_pyramid_gives_the_same(r18: State) -> None:
    normed, folded = dict(r18), dict(r18)
    for name in ("bbox_head.cls_convs.1", "neck.lateral_convs.0"):
        del normed[f"{name}.conv.bias"]
        for part, value in (("weight", 0.5), ("bias", 0.3), ("running_mean", 0.2)):
            normed[f"{name}.bn.{part}"] = torch.full((32,), value)
        normed[f"{name}.bn.running_var"] = torch.full((32,), 2.0)
        normed[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)
        scale = 0.5 / (2 + 1e-5) ** 0.5
        folded[f"{name}.conv.weight"] = r18[f"{name}.conv.weight"] * scale
        folded[f"{name}.conv.bias"] = torch.full((32,), 0.3 - 0.2 * scale)
    imported, loaded = convert(mmdetection, foreign_file(normed))
    assert "batch norms of 2 convolutions" in imported.notes[0]
    image = image_of(64, 96)
    expected = plain_networks.mmdetection(folded, image, KINDS["r18"], caffe=False)
    assert is_equal(own_output(loaded, image), ordered(expected))


def test_group_norm_in_the_subnets_has_no_bias_before_it(r18: State) -> None:
    normed = {
        name: value
        for name, value in r18.items()
        if not re.search(r"_convs\.\d\.conv\.bias", name) or name.startswith("neck")
    }
    for subnet in ("cls", "reg"):
        for layer in range(4):
            for part in ("weight", "bias"):
                normed[f"bbox_head.{subnet}_convs.{layer}.gn.{part}"] = torch.ones(32)
    imported, _ = convert(mmdetection, foreign_file(normed))
    assert imported.settings.model.head_norm == "group"
    assert not imported.settings.model.head_bias_before_norm


def test_averaged_weights_are_those_in_the_networks_place(r18: State) -> None:
    aside = {f"ema_{name.replace('.', '_')}": value + 1 for name, value in r18.items()}
    imported, loaded = convert(mmdetection, foreign_file(r18 | aside))
    assert "averaged weights (EMA)" in imported.notes[0]
    assert len(imported.unused) == len(r18)
    found = loaded.model.state_dict()["box.tower.0.conv.weight"]
    assert torch.equal(found, r18["bbox_head.reg_convs.0.conv.weight"])


def test_of_teacher_and_student_the_teacher_is_taken(r18: State) -> None:
    both = {f"teacher.{name}": value for name, value in r18.items()}
    both |= {f"student.{name}": value + 1 for name, value in r18.items()}
    imported, loaded = convert(mmdetection, foreign_file(both))
    assert "the teacher was taken" in imported.notes[0]
    found = loaded.model.state_dict()["box.tower.0.conv.weight"]
    assert torch.equal(found, r18["bbox_head.reg_convs.0.conv.weight"])
    assert imported.foreign_name("box.output.bias") == "teacher.bbox_head.retina_reg.bias"


def test_names_that_do_not_fit_are_told_and_left(r18: State) -> None:
    imported, _ = convert(mmdetection, foreign_file(r18, {"meta": {"CLASSES": ("a", "b")}}))
    assert imported.classes is None
    assert "names 2 classes and its network has 3" in imported.notes[-1]


def test_others_are_not_recognized(r18: State) -> None:
    assert mmdetection.recognize(foreign_file({})) is None
    boxes = {name: value for name, value in r18.items() if "retina_reg" not in name}
    assert mmdetection.recognize(foreign_file(boxes)) is None


def test_a_published_file(tmp_path: Path, r18: State) -> None:
    path = tmp_path / "retinanet_r18_fpn_1x_coco.pth"
    meta = {"CLASSES": ("a", "b", "c"), "mmdet_version": "2.3.0", "config": PYTORCH, "epoch": 12}
    torch.save({"meta": meta, "state_dict": r18}, path, _use_new_zipfile_serialization=False)
    imported = import_model(path)
    assert imported.source == "mmdetection"
    assert imported.loaded.card.classes == ("a", "b", "c")
    assert imported.loaded.card.origin.startswith("imported: mmdetection 2.3.0")
    assert imported.loaded.settings.decoding.max_detections == 77
    own = imported.loaded.model.state_dict()
    assert torch.equal(own["fpn.extra.1.weight"], r18["neck.fpn_convs.4.conv.weight"])
