"""Sound files with random bytes changed: what is read is sound, or the error is one of ours."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.data.dataset import ANY_CLASS
from foveal.data.formats import FORMATS, read, write
from foveal.errors import FovealError

PIECES = (
    b"", b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b"../../../etc/passwd", b"/etc/passwd",
    b"\xff", b"\0", b"<a>", b"&x;", b"'", b'"', b",", b"\n", b" ", b"true", b"9" * 400, b"*a",
    b"&a ", b"!!python/name:os.system", b"[[[[", b":", b"\xe2\x80\xa8", b"-0.5", b"0", b"C:\\x",
)  # fmt: skip


def mutate(content: bytes, dice: random.Random) -> bytes:
    """Cut a file short, or replace, repeat or insert a few of its bytes."""
    start = dice.randrange(len(content))
    end = min(len(content), start + dice.randint(0, 12))
    piece = dice.choice((dice.choice(PIECES), content[start:end] * 3))
    rest = b"" if dice.random() < 0.2 else content[end:]
    return content[:start] + piece + rest


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_read_is_sound_or_the_error_is_ours(
    name: str, make_dataset: Callable, tmp_path: Path
) -> None:
    objects = [((1, 2, 11, 14), 0, False), ((3, 4, 20, 30.5), 1, True)]
    rows = [("a.png", 64, 48, objects), ("b.png", 64, 48, [])]
    write(make_dataset(rows, ("x", "y")), tmp_path / "sound", name, splits={"train": [0, 1]})
    dice = random.Random(name)
    outcomes = []
    for _ in range(40):
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "sound", folder)
        files = sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix != ".png")
        file = dice.choice([f for f in files if f.stat().st_size])
        file.write_bytes(mutate(file.read_bytes(), dice))
        try:
            data = read(f"{folder}:train", dice.choice((name, None)))
        except FovealError as error:
            outcomes.append("error" if "\n" not in str(error) else f"many lines: {error}")
            continue
        outcomes.append("read")
        for record in data:
            assert record.path.is_relative_to(tmp_path) or record.path.is_relative_to(Path.cwd())
            assert ".." not in record.path.parts
            assert np.isfinite(record.boxes).all()
            assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()
            assert ((record.labels >= ANY_CLASS) & (record.labels < len(data.classes))).all()
            assert record.ignored[record.labels == ANY_CLASS].all()
    assert set(outcomes) == {"error", "read"}
