"""Checkpoints of detectron2: the same output as the network there, and every trap on the way."""

from __future__ import annotations

import pickle
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
from tests.checkpoints.make_shapes import (
    KINDS,
    NETWORKS,
    read_shapes,
    to_text,
)
from tests.checkpoints.make_shapes import (
    detectron2 as make_shapes,
)
from tests.checkpoints.plain_networks import State, random_state

from foveal.checkpoints import detectron2
from foveal.checkpoints.foreign_files import read_foreign
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import find_source, import_model
from foveal.checkpoints.model_file import LoadedModel
from foveal.errors import SettingsError, WeightsError

BGR, MSRA = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)
RGB, TORCHVISION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.fixture(scope="module")
def r50() -> State:
    return random_state(make_shapes(KINDS["r50"], classes=3), std=60.0)


@pytest.fixture(scope="module")
def r50_model(r50: State) -> LoadedModel:
    return convert(detectron2, foreign_file(r50))[1]


@pytest.fixture(scope="module")
def r18() -> State:
    return random_state(make_shapes(KINDS["r18"], width=32, classes=3))


@pytest.fixture(scope="module")
def r18_model(r18: State) -> LoadedModel:
    return convert(detectron2, foreign_file(r18))[1]


def changed(state: State, name: str, value: Any) -> State:
    return state | {name: torch.as_tensor(value)}


@pytest.mark.parametrize("network", NETWORKS["detectron2"])
def test_names_and_shapes_are_those_of_the_rules(network: str) -> None:
    shapes = read_shapes("detectron2", network)
    assert to_text(shapes) == to_text(make_shapes(KINDS[network]))
    with torch.device("meta"):
        state = {name: torch.empty(sides) for name, sides in shapes.items()}
    imported = detectron2.convert(foreign_file(state), ImportOptions())
    assert imported.settings.model.backbone == network.replace("r", "resnet")
    assert imported.classes is not None
    assert imported.classes[:2] == ("person", "bicycle")
    assert (imported.classes[11], imported.classes[79]) == ("stop sign", "toothbrush")
    assert "taken to be COCO's" in imported.notes[-1]
    assert {imported.foreign_name(name) for name in imported.state} == shapes.keys()
    if network == "r101":  # the others are built below
        with_weights(imported)


@pytest.mark.parametrize("size", SIZES)
def test_an_msra_model_gives_the_same(size: Any, r50: State, r50_model: LoadedModel) -> None:
    image = image_of(*size)
    expected = plain_networks.detectron2(r50, image, KINDS["r50"], stride_in_1x1=True)
    assert is_equal(own_output(r50_model, image), expected)


def test_each_trap_would_be_seen(r50: State, r50_model: LoadedModel) -> None:
    image = image_of(64, 96)
    own = own_output(r50_model, image)

    def plain(state: State = r50, **changes: Any) -> Any:
        options: dict[str, Any] = {"stride_in_1x1": True} | changes
        return plain_networks.detectron2(state, image, KINDS["r50"], **options)

    right = plain()
    assert is_equal(own, right)
    assert not is_equal(own, plain(stride_in_1x1=False))
    assert not is_equal(own, plain(bgr=False))
    assert not is_equal(own, plain(std=TORCHVISION))
    scores = right.logits.unflatten(0, (-1, 9))
    classes_first = scores.flatten(1).unflatten(1, (3, 9)).transpose(1, 2)
    assert not is_equal(own, right._replace(logits=classes_first.flatten(0, 1)))
    with_background = scores[:, :, [2, 0, 1]]
    assert not is_equal(own, right._replace(logits=with_background.flatten(0, 1)))


def test_group_norm_in_the_subnets_keeps_the_bias_before_it() -> None:
    state = random_state(make_shapes(KINDS["r18"], width=64, classes=2, group_norm=True))
    imported, loaded = convert(detectron2, foreign_file(state))
    assert imported.settings.model.head_bias_before_norm
    image = image_of(96, 128)
    expected = plain_networks.detectron2(
        state, image, KINDS["r18"], stride_in_1x1=False, mean=RGB, std=TORCHVISION, bgr=False
    )
    assert is_equal(own_output(loaded, image), expected)


def test_a_torchvision_backbone_is_said_by_the_stride(r50: State) -> None:
    imported, loaded = convert(
        detectron2, foreign_file(r50), ImportOptions(backbone_stride_in="3x3")
    )
    assert "RGB with mean 123.675, 116.28, 103.53" in imported.notes[0]
    assert imported.settings.preparation.mean == (0.485, 0.456, 0.406)
    image = image_of(64, 96)
    expected = plain_networks.detectron2(
        r50, image, KINDS["r50"], stride_in_1x1=False, mean=RGB, std=TORCHVISION, bgr=False
    )
    assert is_equal(own_output(loaded, image), expected)


CONFIG = """
MODEL:
  META_ARCHITECTURE: RetinaNet
  PIXEL_MEAN: [100.0, 110.0, 120.0]
  PIXEL_STD: [50.0, 55.0, 60.0]
  ANCHOR_GENERATOR: {OFFSET: 0.0}
  RETINANET: {NUM_CLASSES: 3, BBOX_REG_WEIGHTS: "(10.0, 10.0, 5.0, 5.0)", SCORE_THRESH_TEST: 0.2}
INPUT: {FORMAT: RGB, MIN_SIZE_TEST: 600}
"""


def test_the_config_beside_the_file_is_heard(tmp_path: Path, r18: State) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    imported, loaded = convert(detectron2, foreign_file(r18, path=tmp_path / "m.pth"))
    assert "config.yaml" in imported.notes[0]
    assert imported.settings.decoding.score_threshold == 0.2
    assert (imported.settings.preparation.shorter, imported.settings.preparation.longer) == (
        600,
        1333,
    )
    image = image_of(64, 96)
    expected = plain_networks.detectron2(
        r18,
        image,
        KINDS["r18"],
        stride_in_1x1=False,
        mean=(100.0, 110.0, 120.0),
        std=(50.0, 55.0, 60.0),
        bgr=False,
    )
    divided = expected._replace(deltas=expected.deltas / torch.tensor([10.0, 10.0, 5.0, 5.0]))
    assert is_equal(own_output(loaded, image), divided)


@pytest.mark.parametrize(
    ("sizes", "ratios", "expected"),
    [
        ("[[32, 64], [64, 128], [128, 256], [256, 512], [512, 1024]]", "[[0.5, 1.0]]", "rule"),
        ("[[32, 64], [64, 100], [128, 256], [256, 512], [512, 900]]", "[[0.5, 1.0]]", "boxes"),
    ],
)
def test_the_anchors_of_a_config(tmp_path: Path, sizes: str, ratios: str, expected: str) -> None:
    state = random_state(make_shapes(KINDS["r18"], width=32, classes=9))
    for layer, channels in (("cls_score", 36), ("bbox_pred", 16)):
        for part in ("weight", "bias"):
            state[f"head.{layer}.{part}"] = state[f"head.{layer}.{part}"][:channels]
    (tmp_path / "m.yaml").write_text(
        "MODEL:\n  META_ARCHITECTURE: RetinaNet\n  RETINANET: {NUM_CLASSES: 9}\n"
        f"  ANCHOR_GENERATOR: {{SIZES: {sizes}, ASPECT_RATIOS: {ratios}}}\n"
    )
    imported, loaded = convert(detectron2, foreign_file(state, path=tmp_path / "m.pth"))
    assert bool(imported.settings.anchors.shapes) == (expected == "boxes")
    second = loaded.model.anchors(128, 128)[16 * 16 * 4 :][:4]  # at the corner of level 1
    sides = second[:, 2:] - second[:, :2]
    larger = 128 if expected == "rule" else 100
    for row, (size, ratio) in enumerate(((64, 0.5), (64, 1), (larger, 0.5), (larger, 1))):
        assert sides[row].tolist() == pytest.approx([size / ratio**0.5, size * ratio**0.5])
    assert (second[:, 2:] + second[:, :2]).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("MODEL: {META_ARCHITECTURE: GeneralizedRCNN}", "no config of a detectron2 RetinaNet"),
        ("- 1", "no config of a detectron2 RetinaNet"),
        ("MODEL: {META_ARCHITECTURE: RetinaNet}", "80 classes instead of 3"),
    ],
)
def test_a_config_of_something_else_is_not_used(
    tmp_path: Path, r18: State, text: str, note: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    imported = detectron2.convert(
        foreign_file(r18, path=tmp_path / "m.pth"), ImportOptions(backbone_stride_in="3x3")
    )
    assert note in " ".join(imported.notes)
    assert imported.settings.preparation.shorter == 800


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: [", "can't be read as YAML"),
        (CONFIG.replace("RGB", "L"), "INPUT.FORMAT is 'L'"),
        (CONFIG.replace("600", "big"), "MIN_SIZE_TEST is 'big'. Expected a number"),
        (CONFIG.replace("[50.0, ", "["), "PIXEL_STD is .*Expected 3 numbers"),
        (CONFIG.replace("{OFFSET: 0.0}", "{SIZES: [[1], [2]]}"), "anchors for 5 levels"),
    ],
)
def test_a_config_that_makes_no_sense(tmp_path: Path, r18: State, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(WeightsError, match=message):
        detectron2.convert(foreign_file(r18, path=tmp_path / "m.pth"), ImportOptions())


def test_the_normalization_in_old_files_is_heard(r18: State) -> None:
    old = r18 | {
        "pixel_mean": torch.tensor(BGR)[:, None, None],
        "pixel_std": torch.tensor((40.0, 50.0, 60.0))[:, None, None],
    }
    imported, loaded = convert(detectron2, foreign_file(old))
    assert imported.settings.preparation.std == pytest.approx((60 / 255, 50 / 255, 40 / 255))
    image = image_of(64, 96)
    expected = plain_networks.detectron2(
        r18, image, KINDS["r18"], stride_in_1x1=False, mean=BGR, std=(40.0, 50.0, 60.0)
    )
    assert is_equal(own_output(loaded, image), expected)


def test_the_anchors_in_old_files_are_heard(r18: State) -> None:
    rule = detectron2.convert(foreign_file(r18), ImportOptions()).settings.anchors
    from foveal.detection.anchors import AnchorGrid

    grid = AnchorGrid(**rule.model_dump())
    cells = {
        f"anchor_generator.cell_anchors.{level}": torch.from_numpy(grid.at_origin(level).copy())
        for level in range(5)
    }
    same = detectron2.convert(foreign_file(r18 | cells), ImportOptions())
    assert same.settings.anchors == rule
    assert len(same.unused) == 5
    other = {name: value + 1 for name, value in cells.items()}
    imported, loaded = convert(detectron2, foreign_file(r18 | other))
    assert "box by box" in imported.notes[-1]
    assert torch.allclose(loaded.model.anchors(64, 64), grid.tensor(64, 64) + 1)


def test_a_pyramid_with_batch_norm_gives_the_same(r18: State) -> None:
    name = "backbone.fpn_output4"
    normed = {key: value for key, value in r18.items() if key != f"{name}.bias"}
    for part, value in (
        ("weight", 0.5),
        ("bias", 0.3),
        ("running_mean", 0.2),
        ("running_var", 2.0),
    ):
        normed[f"{name}.norm.{part}"] = torch.full((32,), value)
    imported, loaded = convert(detectron2, foreign_file(normed))
    assert "batch norms of the pyramid" in imported.notes[0]
    scale = 0.5 / (2 + 1e-5) ** 0.5
    folded = r18 | {
        f"{name}.weight": r18[f"{name}.weight"] * scale,
        f"{name}.bias": torch.full((32,), 0.3 - 0.2 * scale),
    }
    image = image_of(64, 96)
    expected = plain_networks.detectron2(
        folded, image, KINDS["r18"], stride_in_1x1=False, mean=RGB, std=TORCHVISION, bgr=False
    )
    assert is_equal(own_output(loaded, image), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("head.cls_subnet.1.0.running_mean", "subnets have batch norm"),
        ("backbone.fpn_lateral3.norm.weight", "pyramid has group norm"),
    ],
)
def test_norms_that_we_have_not(r18: State, name: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        detectron2.convert(foreign_file(changed(r18, name, [1.0])), ImportOptions())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("head.bbox_pred.bias", torch.zeros(38), "head.bbox_pred gives 38 values"),
        ("head.bbox_pred.bias", torch.zeros(12), "has 3 anchors at each location, expected 9"),
    ],
)
def test_other_outputs(r18: State, name: str, value: Any, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        detectron2.convert(foreign_file(r18 | {name: value}), ImportOptions())


def test_options_that_can_not_be(r18: State) -> None:
    file = foreign_file(r18)
    with pytest.raises(WeightsError, match="has no background channel"):
        detectron2.convert(file, ImportOptions(background=True))
    with pytest.raises(WeightsError, match="has 3 classes and there are 2 names"):
        detectron2.convert(file, ImportOptions(classes=("a", "b")))
    with pytest.raises(SettingsError, match="no bottleneck"):
        convert(detectron2, file, ImportOptions(backbone_stride_in="1x1"))


def test_others_are_not_recognized(r18: State) -> None:
    assert detectron2.recognize(foreign_file({})) is None
    boxes = {name: value for name, value in r18.items() if "bbox_pred" not in name}
    assert detectron2.recognize(foreign_file(boxes)) is None


def test_a_training_checkpoint(tmp_path: Path, r18: State, r18_model: LoadedModel) -> None:
    path = tmp_path / "model_final.pth"
    torch.save({"model": r18, "optimizer": {"state": {}}, "iteration": 89999}, path)
    imported = detectron2.convert(read_foreign(path), ImportOptions(classes=("a", "b", "c")))
    assert imported.classes == ("a", "b", "c")
    own = r18_model.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in imported.state.items())
    other = {name: value for name, value in r18.items() if name != "backbone.top_block.p7.bias"}
    other["backbone.bottom_up.res2.0.conv2_offset.weight"] = torch.zeros(1)
    torch.save({"model": other}, path)
    with pytest.raises(WeightsError, match=r"1 missing: .*p7\.bias; 1 unknown: .*conv2_offset"):
        import_model(path)


def test_a_model_zoo_file(tmp_path: Path, r18: State, r18_model: LoadedModel) -> None:
    arrays = {name: value.numpy() for name, value in r18.items()}
    content = {"model": arrays, "__author__": "Detectron2 Model Zoo"}
    path = tmp_path / "model_final_bfca0b.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    file = read_foreign(path)
    source, _, others = find_source(file)
    assert (source, others) == ("detectron2", {})
    own, imported = r18_model.model.state_dict(), detectron2.convert(file, ImportOptions())
    assert all(torch.equal(own[name], value) for name, value in imported.state.items())
