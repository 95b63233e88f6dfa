"""From MODEL to a predictor: files of every kind, and options that a file can't take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.inference.conftest import CLASSES

from foveal.acceleration import allocator
from foveal.checkpoints.description import Export
from foveal.checkpoints.model_file import LoadedModel
from foveal.errors import FovealError, ModelFileError, SettingsError
from foveal.inference.opening import Opened, open_model, open_network
from foveal.structures import DEFAULT_SCORE_THRESHOLD, ModelCard


@pytest.fixture
def inside(loaded: LoadedModel) -> Opened:
    """A model with decoding and NMS inside its file, as its description says."""
    opened = open_network(loaded, device="cpu")
    described = opened.description.exported_as(Export(nms=True))
    return replace(opened, description=described, path=Path("cells.onnx"))


def test_a_model_file_is_opened_in_pytorch(model_path: Path) -> None:
    opened = open_model(model_path, device="cpu", precision="float32")
    assert (opened.runtime.name, opened.runtime.device) == ("PyTorch", "cpu")
    assert opened.runtime.precision == "float32"
    assert opened.path == model_path
    assert opened.description.card.classes == CLASSES
    assert opened.network is not None


def test_predicting_leaves_the_process_as_it_was(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator's parameters are for the whole process: only training sets them."""
    monkeypatch.setattr(allocator, "tell_libc", lambda _: pytest.fail("the allocator was told"))
    allocator._keep.cache_clear()
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    predictor = open_network(loaded, device="cpu", precision="float32").predictor()
    predictor.detect(np.zeros((40, 60, 3), np.uint8))
    assert not allocator._keep.cache_info().currsize
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_the_score_threshold_is_the_cards(loaded: LoadedModel) -> None:
    assert open_network(loaded, device="cpu").predictor().score_threshold == DEFAULT_SCORE_THRESHOLD
    chosen = replace(loaded, card=ModelCard(CLASSES, score_threshold=0.62))
    assert open_network(chosen, device="cpu").predictor().score_threshold == 0.62


def test_what_is_decoded_inside_takes_its_own_values(inside: Opened) -> None:
    own = inside.description.decoding
    predictor = inside.predictor(
        score_threshold=0.5,
        nms_iou=own.nms_iou,
        max_detections=own.max_detections,
        class_agnostic=own.class_agnostic,
    )
    assert predictor.score_threshold == 0.5


@pytest.mark.parametrize(("limit", "top"), [(None, 1000), (50, 1000), (400, 4000)])
def test_candidates_follow_a_limit_above_the_models_own(loaded, limit, top) -> None:
    predictor = open_network(loaded, device="cpu").predictor(max_detections=limit)
    assert (predictor.max_detections, predictor.top_per_level) == (limit or 100, top)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nms_iou": 0.3}, r"cells\.onnx: .*nms_iou = 0\.5, and 0\.3 is wanted.*without --nms"),
        ({"max_detections": 7}, "max_detections = 100, and 7 is wanted"),
        ({"class_agnostic": True}, "class_agnostic = False, and True is wanted"),
        ({"nms_method": "soft_linear"}, "nms_method = hard, and soft_linear is wanted"),
        ({"score_threshold": 0.01}, r"no scores below 0\.05; the threshold 0\.01 is lower"),
    ],
)
def test_what_is_decoded_inside_takes_no_others(inside, options, message) -> None:
    with pytest.raises(SettingsError, match=message):
        inside.predictor(**options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cells.bin", b"weights", r"weights of an OpenVINO model\. Expected .*cells\.xml"),
        ("cells.onnx", b"", r"cells\.onnx"),
        ("cells.xml", b"<net/>", r"cells\.xml"),
        ("cells.safetensors", b"half", "no complete safetensors file"),
        ("cells.txt", b"hello", "no complete safetensors file"),
    ],
)
def test_files_that_are_no_models_are_named(tmp_path: Path, name, content, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FovealError, match=message) as caught:
        open_model(tmp_path / name)
    assert isinstance(caught.value, ModelFileError)


def test_a_device_that_is_not_there_is_named(model_path: Path) -> None:
    with pytest.raises(SettingsError, match="Device 'abacus' is unknown"):
        open_model(model_path, device="abacus")
