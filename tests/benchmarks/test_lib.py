"""What the benchmarks share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.lib import contestants, marks, networks, packages, subjects
from benchmarks.lib.agreement import agreement, demand_agreement
from foveal.structures import Detections


def test_agreement_counts_what_both_found() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    scores, labels = np.array([0.9, 0.5], np.float32), np.array([0, 1])
    expected = Detections(boxes, scores, labels)
    assert agreement([expected], [expected]) == 1
    assert agreement([Detections(boxes, scores, labels[::-1])], [expected]) == 0
    assert agreement([Detections(boxes, scores - 0.1, labels)], [expected]) == 0
    assert agreement([Detections(boxes[:1], scores[:1], labels[:1])], [expected]) == 0.5
    moved = boxes + np.array([0, 0, 0, 5], np.float32)
    assert agreement([Detections(moved, scores, labels)], [expected]) == 0
    nothing = Detections(boxes[:0], scores[:0], labels[:0])
    assert agreement([nothing], [expected]) == 0
    assert agreement([expected], [nothing]) == 1
    half = Detections(boxes[:1], scores[:1], labels[:1])
    with pytest.raises(SystemExit, match=r"ours has only 50\.0% of the detections of theirs"):
        demand_agreement("ours", [half], [expected], other="theirs")


@pytest.mark.parametrize(("candidates", "expected"), [(5, 5), (-1, None)])
def test_heads_are_biased_to_a_number_of_candidates(candidates: int, expected: int | None) -> None:
    task = networks.Task(backbone="resnet18", classes=3, height=64, width=96)
    pair = networks.make_pair(task, candidates=candidates)
    image = torch.from_numpy(networks.draw_images(task, 1)[0]).permute(2, 0, 1)
    with torch.inference_mode():
        raw = pair.own.model(image[None])
    scores = torch.cat([level.flatten() for level in raw.logits]).sigmoid()
    found = int((scores > networks.THRESHOLD).sum())
    assert found == (len(scores) if expected is None else expected)


def test_traffic_counts_inputs_and_outputs_but_no_views() -> None:
    with marks.Traffic() as traffic:
        left = torch.ones(1000)
        assert traffic.bytes == 4000
        right = left.view(10, 100).t()
        assert traffic.bytes == 4000
        torch.add(right, right)
        assert traffic.bytes == 4000 + 8000
        left.mul_(2)
    assert traffic.bytes == 12_000 + 4000


def test_a_function_that_went_away_is_missed() -> None:
    with (
        pytest.raises(SystemExit, match="no vanished any more"),
        marks.around(marks, "vanished", before=print, after=print),
    ):
        pass


def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packages.main([]) == 0
    assert {"torch", "timm", "pytest"} <= set(packages.wanted())
    assert "openvino" in packages.wanted()
    assert "openvino" not in packages.wanted(gpu=True)
    monkeypatch.setattr(packages, "wanted", lambda gpu: {"torch": ">=2", "foveal-nowhere": ">=1"})
    assert packages.main([]) == 1
    assert "pip install 'foveal-nowhere>=1'" in capsys.readouterr().out


def test_a_contestant_that_is_not_there_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = networks.Task("cuda:99", classes=2, height=64, width=64)
    own = subjects.random_light(task)
    subject = subjects.Subject("", own, None, False, [], 0.1, 0.1, None)
    assert contestants.Workshop(subject, task, tmp_path).make("pytorch-float32") is None
    assert "pytorch-float32 is left out: Device 'cuda:99' is not there" in capsys.readouterr().out
