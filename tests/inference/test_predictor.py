"""Prediction: every kind of image, batches against single images, several looks at one image."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.inference.conftest import predictor_of

from foveal.data.images.reading import read_image
from foveal.detection.decoding import decode
from foveal.errors import ImageError
from foveal.inference.opening import open_network
from foveal.runtimes.base import InputSizes
from foveal.structures import Detections, Sample, Target


def assert_same(found: Detections, expected: Detections, *, pixels: float = 0.01) -> None:
    """Object by object; those whose scores differ by rounding only may have changed places."""
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    same = (
        (found.labels[:, None] == expected.labels)
        & (np.abs(found.scores[:, None] - expected.scores) <= 1e-5)
        & (np.abs(found.boxes[:, None] - expected.boxes) <= pixels).all(axis=2)
    )
    assert (same.sum(axis=0) == 1).all()
    assert (same.sum(axis=1) == 1).all()


@pytest.fixture(scope="session")
def paths(picture_folder: Path) -> list[Path]:
    return sorted(picture_folder.iterdir())


def test_found_objects_lie_inside_the_image_best_first(predictor, paths):
    for path in paths:
        found = predictor.detect(path)
        with Image.open(path) as picture:
            assert (found.width, found.height) == picture.size
        assert found.path == path
        assert 3 < len(found) <= 100
        assert (np.diff(found.scores) <= 0).all()
        assert (found.scores > 0.05).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2] <= found.width).all()
        assert (found.boxes[:, 3] <= found.height).all()
        assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
        assert found.labels.dtype == np.int64


def test_detect_is_what_the_parts_give(predictor, paths):
    """The same by hand: resize by hand, decode, divide by the scale."""
    image = read_image(paths[2])  # 64 x 64, shown at 96 x 96
    assert image.shape == (64, 64, 3)
    resized = predictor.preparation(Sample(image, Target.empty()))[0].image
    assert resized.shape == (96, 96, 3)
    with torch.inference_mode():
        model = predictor.runtime.model
        raw = model(torch.from_numpy(resized).permute(2, 0, 1)[None])
        padded = decode(raw, model.anchors(96, 96), score_threshold=0.05)
    count = int(padded.counts[0])
    found = predictor.detect(paths[2])
    assert len(found) == count
    expected = (padded.boxes[0, :count].numpy() * 64 / 96).clip(0, 64)
    np.testing.assert_allclose(found.scores, padded.scores[0, :count].numpy(), atol=1e-5)
    inside = (expected > 0).all(axis=1) & (expected < 64).all(axis=1)
    assert inside.any()
    np.testing.assert_allclose(found.boxes[inside], expected[inside], atol=0.01)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("batch", [2, 3, 8])
def test_a_batch_gives_the_same_as_one_by_one(loaded, paths, batch, precision):
    alone = replace(predictor_of(loaded, precision=precision), batch=1)
    together = replace(alone, batch=batch)
    for found, path in zip(together.detect_many(paths), paths, strict=True):
        assert_same(found, alone.detect(path))


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 3e-3), ("bf16", 2e-2)])
def test_a_batch_gives_the_same_as_one_by_one_on_a_gpu(loaded, paths, precision, tolerance):
    """To rounding, TF32's or bfloat16's: another number of images means other kernels there."""
    predictor = predictor_of(loaded, device="cuda", precision=precision)
    try:
        together = predictor.detect_many(paths)
        for found, path in zip(together, paths, strict=True):
            alone = predictor.detect(path)
            assert len(found) == len(alone)
            np.testing.assert_allclose(found.scores, alone.scores, atol=tolerance)
    finally:
        loaded.model.cpu()


def test_the_order_of_images_changes_nothing(predictor, paths):
    forwards = predictor.detect_many(paths)
    backwards = predictor.detect_many(paths[::-1])[::-1]
    for found, expected in zip(forwards, backwards, strict=True):
        assert_same(found, expected)
        assert found.path == expected.path


def test_every_kind_of_image_gives_the_same(predictor, paths):
    pixels = read_image(paths[0])
    with Image.open(paths[0]) as picture:
        picture.load()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = predictor.detect(paths[0])
    for image in (
        str(paths[0]),
        picture,
        pixels,
        tensor,
        tensor.float() / 255,
        tensor.double() / 255,
        pixels.astype(np.uint16) * 257,
        np.dstack([pixels, pixels[..., :1]]),
        np.asfortranarray(pixels),
    ):
        assert_same(predictor.detect(image), expected, pixels=0)


def test_a_stack_of_tensors_is_several_images(predictor):
    stack = torch.randint(0, 255, (3, 3, 64, 80), dtype=torch.uint8)
    found = predictor.detect_many(stack)
    assert [each.path for each in found] == [None] * 3
    assert_same(found[1], predictor.detect(stack[1]))


def test_no_images_give_no_detections(predictor):
    assert predictor.detect_many([]) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 2), (7, 300)])
def test_images_of_odd_sizes_have_objects_with_an_area(predictor, size):
    found = predictor.detect(np.zeros((*size, 3), np.uint8))
    assert (found.height, found.width) == size
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.boxes[:, 2:] <= (found.width, found.height)).all()


def test_a_score_equal_to_the_threshold_counts(predictor, paths):
    everything = predictor.detect(paths[0])
    for place in (0, 3, len(everything) - 1):
        score_threshold = float(everything.scores[place])
        found = replace(predictor, score_threshold=score_threshold).detect(paths[0])
        assert_same(found, everything.above(score_threshold), pixels=0)
        assert found.scores[-1] == everything.scores[place]


def test_no_threshold_lets_everything_through(predictor, paths):
    found = replace(predictor, score_threshold=0.0, max_detections=5000, nms_iou=1.0).detect(
        paths[0]
    )
    assert len(found) > 1000


def test_nothing_found_is_an_ordinary_answer(predictor, paths):
    found = replace(predictor, score_threshold=1.01).detect(paths[0])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.counts() == {"normal": 0, "infected": 0, "platelet": 0}


def test_a_generator_is_not_read_far_ahead(predictor):
    asked = []

    def images():
        for index in range(100):
            asked.append(index)
            yield np.full((64, 64, 3), index, np.uint8)

    stream = replace(predictor, batch=2, workers=1).stream(images())
    assert next(stream).index == 0
    assert len(asked) <= 6
    stream.close()
    assert len(asked) <= 6


def test_many_sizes_do_not_pile_up(predictor):
    sizes = [(32 + 40 * (index % 9), 100) for index in range(40)]
    images = [np.full((*size, 3), 128, np.uint8) for size in sizes]
    found = replace(predictor, batch=3).detect_many(images)
    assert [(each.height, each.width) for each in found] == sizes


def test_a_broken_image_is_named(predictor, paths, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        predictor.detect_many([paths[0], broken])
    errors = {}
    stream = predictor.stream([paths[0], broken, paths[1]], on_error=errors.__setitem__)
    assert {each.index for each in stream} == {0, 2}
    assert "broken.jpg" in str(errors[1])


def test_the_model_keeps_its_modes(loaded, paths):
    predictor = predictor_of(loaded, device=None)
    model = loaded.model
    try:
        model.train()
        model.backbone.eval()
        modes = [module.training for module in model.modules()]
        assert_same(predictor.detect(paths[0]), predictor.detect(paths[0]), pixels=0)
        assert [module.training for module in model.modules()] == modes
    finally:
        model.eval()


def test_a_mirrored_image_has_mirrored_objects(predictor, paths):
    """Flip averaging is symmetric: an image and its mirror image give mirrored boxes."""
    both = replace(predictor, flip=True)
    image = read_image(paths[0])
    found = both.detect(image)
    mirrored = both.detect(np.ascontiguousarray(image[:, ::-1]))
    assert len(found) == len(mirrored)
    back = mirrored.boxes.copy()
    back[:, [0, 2]] = found.width - mirrored.boxes[:, [2, 0]]
    np.testing.assert_allclose(mirrored.scores, found.scores, atol=1e-4)
    np.testing.assert_allclose(back, found.boxes, atol=0.05)


def test_fusion_gives_means_of_what_both_looks_see(predictor, paths):
    alone = replace(predictor, merge="fusion")
    assert_same(alone.detect(paths[0]), predictor.detect(paths[0]), pixels=0)
    fused = replace(predictor, flip=True, merge="fusion").detect(paths[0])
    best = replace(predictor, flip=True).detect(paths[0])
    assert 0 < len(fused) <= 100
    assert fused.scores.min() >= predictor.score_threshold
    assert fused.scores[0] < best.scores[0]  # random weights: no two looks are equally sure


def test_soft_nms_keeps_what_overlaps_with_a_lower_score(predictor, paths):
    hard = replace(predictor, max_detections=5000).detect(paths[0])
    soft = replace(predictor, max_detections=5000, nms_method="soft_linear").detect(paths[0])
    assert len(soft) > len(hard)
    assert soft.scores[0] == hard.scores[0]
    assert (np.diff(soft.scores) <= 0).all()


def test_several_scales_are_merged_without_duplicates(predictor, paths):
    looks = replace(predictor, scales=(0.75, 1.0, 1.5), flip=True)
    alone = predictor.detect(paths[0])
    found = looks.detect(paths[0])
    assert found.scores[0] >= alone.scores[0]
    for label in range(3):
        boxes = torch.from_numpy(found.boxes[found.labels == label])
        ious = pairwise_iou(boxes)
        assert (ious.fill_diagonal_(0) <= 0.5).all()
    for each, path in zip(looks.detect_many(paths), paths, strict=True):
        assert_same(each, looks.detect(path))


def pairwise_iou(boxes: torch.Tensor) -> torch.Tensor:
    low = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return shared / (area[:, None] + area - shared)


def test_settings_reach_the_predictor(loaded):
    opened = open_network(loaded, device="cpu")
    predictor = opened.predictor(
        score_threshold=0.4, max_detections=7, nms_iou=0.3, class_agnostic=True
    )
    assert (predictor.score_threshold, predictor.max_detections, predictor.nms_iou) == (0.4, 7, 0.3)
    assert predictor.class_agnostic
    assert opened.predictor().score_threshold == loaded.card.score_threshold
    assert predictor.preparation.shorter == 96
    assert predictor.preparation.fill == (124, 116, 104)


def test_zero_is_a_threshold_too(loaded):
    assert open_network(loaded, device="cpu").predictor(score_threshold=0.0).score_threshold == 0.0


def test_pixels_are_given_where_they_are_kept(predictor, paths):
    for each in predictor.stream(paths, keep_pixels=True):
        np.testing.assert_array_equal(each.pixels, read_image(paths[each.index]))
    assert all(each.pixels is None for each in predictor.stream(paths[:2]))


class Recording:
    """A runtime that remembers what it was asked to compute."""

    name, precision = "recording", "float32"

    def __init__(self, runtime, *, device="cpu", sizes=None):
        self.runtime, self.device = runtime, device
        self.sizes = sizes or runtime.sizes
        self.shapes = []

    def __call__(self, images):
        assert images.dtype == np.uint8
        self.shapes.append(images.shape)
        return self.runtime(images)


def test_one_image_alone_is_computed_alone_on_an_accelerator_too(predictor, paths):
    runtime = Recording(predictor.runtime, device="cuda:0")
    alone = replace(predictor, runtime=runtime)
    assert_same(alone.detect(paths[0]), predictor.detect(paths[0]))
    assert [shape[0] for shape in runtime.shapes] == [1]
    runtime.shapes.clear()
    for found, path in zip(alone.detect_many([paths[0]] * 11), [paths[0]] * 11, strict=True):
        assert_same(found, predictor.detect(path))
    assert [shape[0] for shape in runtime.shapes] == [8, 4]  # 11 are 8 and 3


def test_a_runtime_for_one_number_of_images_gets_that_number(predictor, paths):
    runtime = Recording(predictor.runtime, sizes=InputSizes(batch=3))
    together = replace(predictor, runtime=runtime)
    for found, path in zip(together.detect_many(paths), paths, strict=True):
        assert_same(found, predictor.detect(path))
    assert {shape[0] for shape in runtime.shapes} == {3}


def test_a_runtime_for_one_size_gets_that_size_or_the_image_is_named(predictor, paths):
    runtime = Recording(predictor.runtime, sizes=InputSizes(height=128, width=160))
    fixed = replace(predictor, runtime=runtime)
    for path in (paths[0], paths[2], paths[4]):
        found, expected = fixed.detect(path), predictor.detect(path)
        # More padding than usual: objects at the image's edge see it.
        assert abs(len(found) - len(expected)) <= 0.2 * len(expected)
    assert {shape[2:] for shape in runtime.shapes} == {(128, 160)}
    with pytest.raises(ImageError, match=r"smear_1\.png: 100 x 130 .* 160 x 96 only.*--size"):
        replace(
            predictor, runtime=Recording(runtime, sizes=InputSizes(height=96, width=160))
        ).detect(paths[1])


def test_predicting_from_arrays_loads_no_torch():
    """With a runtime of its own: so that exported models need none."""
    code = """
import sys
import numpy as np
from foveal.config import Settings
from foveal.checkpoints.description import describe
from foveal.inference.opening import Opened
from foveal.runtimes.base import InputSizes
from foveal.structures import ModelCard, RawOutput

class Nothing:
    name, device, precision, sizes = "nothing", "cpu", "float32", InputSizes()
    def __call__(self, images):
        batch, _, height, width = images.shape
        counts = [9 * -(-height // s) * -(-width // s) for s in (8, 16, 32, 64, 128)]
        return RawOutput(
            tuple(np.full((batch, n, 1), -9, np.float32) for n in counts),
            tuple(np.zeros((batch, n, 4), np.float32) for n in counts),
        )

predictor = Opened(Nothing(), describe(Settings(), ModelCard(("cell",)))).predictor()
assert len(predictor.detect(np.zeros((64, 80, 3), np.uint8))) == 0
heavy = {"torch", "torchvision", "timm", "accelerate", "matplotlib", "openvino"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_impossible_batch_is_refused(predictor):
    with pytest.raises(ValueError, match="must be positive"):
        replace(predictor, batch=0)
    with pytest.raises(ValueError, match="must be positive"):
        replace(predictor, scales=())
