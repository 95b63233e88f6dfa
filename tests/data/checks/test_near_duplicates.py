"""Near-duplicates: copies in every encoding are told, and other images of the same kind are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from foveal.data.checks.near_duplicates import (
    ALIKE,
    NearDuplicates,
    find_near_duplicates,
    group_patterns,
    nearest_pattern,
    read_squares,
)
from foveal.data.dataset import Dataset, Record
from foveal.data.opening import open_data


def draw(seed: int, *, width: int = 192, height: int = 128) -> Image.Image:
    """Blobs of some sizes on a slope, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    pixels = 120 + 0.2 * x + rng.normal(0, 3, (height, width))
    for _ in range(25):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(6, 20)
        pixels -= rng.uniform(20, 70) * (np.hypot(x - cx, y - cy) < r)
    gray = pixels.clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([gray, gray // 2, 255 - gray], axis=2))


def dataset_of(paths: list[Path], root: Path) -> Dataset:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    return Dataset(tuple(Record(path, 0, 0, *nothing) for path in paths), (), root)


Saver = Callable[[Image.Image, Path], None]
COPIES: dict[str, Saver] = {
    "half.jpg": lambda i, p: i.resize((i.width // 2, i.height // 2)).save(p, quality=90),
    "three_quarters.jpg": lambda i, p: i.resize((i.width * 3 // 4, i.height * 3 // 4)).save(p),
    "compressed.jpg": lambda i, p: i.save(p, quality=30),
    "lossless.png": lambda i, p: i.save(p),
    "other.webp": lambda i, p: i.save(p, quality=60),
    "gray.bmp": lambda i, p: i.convert("L").save(p),
    "square.jpg": lambda i, p: i.resize((160, 160)).save(p, quality=80),
    "deep.tif": lambda i, p: tifffile.imwrite(
        p, np.asarray(i).astype(np.uint16) * 16, photometric="rgb"
    ),
    "turned.jpg": lambda i, p: _save_turned(i, p),
}
MIRRORED: dict[str, Saver] = {
    "left_right.jpg": lambda i, p: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(p),
    "up_down.png": lambda i, p: i.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(p),
    "quarter.png": lambda i, p: i.transpose(Image.Transpose.ROTATE_90).save(p),
    "half_turn.png": lambda i, p: i.transpose(Image.Transpose.ROTATE_180).save(p),
    "swapped.png": lambda i, p: i.transpose(Image.Transpose.TRANSPOSE).save(p),
    "quarter_back.png": lambda i, p: i.transpose(Image.Transpose.ROTATE_270).save(p),
    "transverse.png": lambda i, p: i.transpose(Image.Transpose.TRANSVERSE).save(p),
}


def _save_turned(image: Image.Image, path: Path) -> None:
    """Stored on its side, with the orientation that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of the same kind that show other things; all through one black frame."""
    root = tmp_path_factory.mktemp("strangers")
    y, x = np.mgrid[:128, :192]
    inside = np.hypot((x - 96) / 92, (y - 64) / 60) < 1
    paths = []
    for seed in range(24):
        image = draw(seed)
        plain, framed = root / f"{seed}.jpg", root / f"framed_{seed}.jpg"
        image.save(plain, quality=90)
        Image.fromarray(np.asarray(image) * inside[..., None].astype(np.uint8)).save(framed)
        paths += [plain, framed]
    return paths


def test_images_of_one_kind_are_no_near_duplicates(strangers: list[Path], tmp_path: Path) -> None:
    assert find_near_duplicates(dataset_of(strangers, tmp_path)) == []


@pytest.mark.parametrize("name", [*COPIES, *MIRRORED])
def test_a_copy_is_told_whatever_was_done_to_it(
    name: str, strangers: list[Path], tmp_path: Path
) -> None:
    copy = tmp_path / name
    (COPIES | MIRRORED)[name](draw(5), copy)
    data = dataset_of([copy, *strangers[:16]], tmp_path)

    (pair,) = find_near_duplicates(data, mirrored=name in MIRRORED)

    assert pair.indices == (0, 1 + 10)
    assert pair.similarity > 0.97
    if name in MIRRORED:
        assert find_near_duplicates(data) == []


def test_what_cannot_be_compared_is_in_no_group(tmp_path: Path) -> None:
    names = ["flat_1.png", "flat_2.png", "gone.png", "text.png"]
    for name in names[:2]:
        Image.new("RGB", (64, 48), (9, 9, 9)).save(tmp_path / name)
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    steps: list[tuple[int, int]] = []

    data = dataset_of([tmp_path / name for name in names], tmp_path)
    found = find_near_duplicates(data, progress=lambda done, total: steps.append((done, total)))

    assert found == []
    assert steps == [(number, 4) for number in range(1, 5)]


def test_no_images_have_no_groups(tmp_path: Path) -> None:
    assert find_near_duplicates(dataset_of([], tmp_path)) == []


def test_groups_are_joined_by_links_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.data.checks.near_duplicates._BLOCK", 3)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 256)).astype(np.float32)
    second -= first * (first @ second) / (first @ first)
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    angle = np.arccos(ALIKE) * 0.9

    def at(steps: float) -> np.ndarray:
        return np.cos(steps * angle) * first + np.sin(steps * angle) * second

    far = rng.normal(size=(3, 256))
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    # 0, 1 and 2 steps away: the first and last are alike by the one between them alone.
    patterns = np.stack([at(0), far[0], at(2), far[1], far[2], at(1), far[1]], dtype=np.float32)

    groups = group_patterns(patterns)

    assert [group.indices for group in groups] == [(0, 2, 5), (3, 6)]
    assert groups[0].similarity == pytest.approx(np.cos(angle), abs=1e-5)
    assert groups[1] == NearDuplicates((3, 6), pytest.approx(1, abs=1e-6))


def test_real_smears_have_one_pair_and_their_copies_are_told(shared: Path, tmp_path: Path) -> None:
    data = open_data(f"{shared / 'data' / 'bccd'}:trainval")
    # The same field, sharp and out of focus: this pair is one.
    focus = [path for path in data.paths if path.stem in ("BloodImage_00037", "BloodImage_00038")]
    chosen = data.take([i for i, path in enumerate(data.paths) if path in focus or i % 3 == 0])

    (pair,) = find_near_duplicates(chosen)
    assert [chosen.paths[index] for index in pair.indices] == focus

    copies, originals = [], chosen.paths[2:8]
    for path in originals:
        image = Image.open(path)
        half = tmp_path / path.name
        image.resize((320, 240)).save(half, quality=30)
        copies.append(half)
    similarities = (read_squares(copies).patterns * read_squares(originals).patterns).sum(axis=1)
    assert similarities.min() > 0.98


def test_the_most_similar_of_others_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.data.checks.near_duplicates._BLOCK", 2)
    patterns = np.eye(5, 256, dtype=np.float32)

    nearest, similarity = nearest_pattern(patterns, patterns[[3, 0]])

    assert nearest[[0, 3]].tolist() == [1, 0]
    assert similarity.tolist() == [1, 0, 0, 1, 0]
    assert len(nearest_pattern(patterns[:0], patterns)[0]) == 0
