"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foveal import files
from foveal.errors import DataError, FovealError
from foveal.files import (
    linked_folder,
    readable_path,
    replacing,
    replacing_database,
    write_file,
    write_parts,
    write_text,
)


def test_a_file_and_the_folders_above_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "name"
    write_file(path, "naïve\n")
    assert path.read_bytes() == "naïve\n".encode()
    write_file(path, b"other")
    assert path.read_bytes() == b"other"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_letter_is_spelled_out_and_json_reads_it_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_file(path, json.dumps("h\udcf6fe ü\n", ensure_ascii=False))
    assert path.read_bytes() == '"h\\udcf6fe ü\\n"'.encode()
    assert json.loads(path.read_text(encoding="utf-8")) == "h\udcf6fe ü\n"
    write_text(path, "\udcf6\n")
    assert path.read_bytes() == b"\\udcf6\n"


def test_text_is_written_here_alone() -> None:
    source = Path(files.__file__).parent
    offences = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if ".write_text(" in path.read_text(encoding="utf-8")
    ]
    assert offences == []


@pytest.fixture
def nameless(tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xf6n"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    return folder


def test_libraries_get_paths_that_are_text(nameless: Path, tmp_path: Path) -> None:
    for ending in (".xml", ".bin"):
        (nameless / f"best{ending}").write_text(ending)
    (nameless / "other.bin").write_text("no")
    with readable_path(nameless / "best.xml") as path:
        assert (path.read_text(), path.with_suffix(".bin").read_text()) == (".xml", ".bin")
        assert os.fspath(path).encode()
        assert len(list(path.parent.iterdir())) == 2
    assert not path.parent.exists()
    with linked_folder(nameless) as folder:
        (folder / "new").write_text("x")
        assert os.fspath(folder).encode()
    assert (nameless / "new").read_text() == "x"
    with readable_path(tmp_path / "a") as path, linked_folder(tmp_path) as folder:
        assert (path, folder) == (tmp_path / "a", tmp_path)


def test_others_may_read_it_as_they_may_read_other_files(tmp_path: Path) -> None:
    write_file(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "c.pt") as temporary:
            temporary.write_bytes(b"half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert not list(tmp_path.iterdir())


def test_without_waiting_for_the_disk_it_is_still_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: pytest.fail("waits for the disk"))
    path = tmp_path / "deep" / "a.jpg"
    write_file(path, b"good", sync=False)

    def fail(part: Path, _: bytes) -> None:
        part.write_bytes(b"half")
        raise OSError("full")

    monkeypatch.setattr(files, "_write_bytes", fail)
    with pytest.raises(FovealError, match=r"a\.jpg: can't be written \(full\)"):
        write_file(path, b"other", sync=False)
    assert path.read_bytes() == b"good"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_failed_write_leaves_the_old_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"good")

    def fail(part: Path, _: bytes) -> None:
        part.write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "_write_bytes", fail)
    message = rf"file: can't be written \({os.strerror(number)}\).*still there. Do this"
    with pytest.raises(DataError, match=message):
        write_file(path, b"other", error=DataError, advice="Do this.")
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FovealError, match=r"name: can't be written .*Choose another folder"):
        write_file(tmp_path / "file" / "name", "x")


KILLED = """
import os, signal, sys
from pathlib import Path
from foveal.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False, timeout=120)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    others = [
        tmp_path / name
        for name in (".c.pth.notes", ".c.pth.abcdefgh", ".other.pth.abcdefgh.part", "c.pth.part")
    ]
    for other in others:
        other.write_bytes(b"not ours")
    with replacing(path) as ours:  # another process writes at the same time
        ours.write_bytes(b"whole")
        write_file(path, b"theirs")
        assert ours.exists()
        assert not left.exists()
    assert path.read_bytes() == b"whole"
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


KILLED_DATABASE = """
import os, signal, sys
from pathlib import Path
from foveal.files import replacing_database
with replacing_database(Path(sys.argv[1])) as made:
    made.with_name(made.name + "-journal").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_database_takes_its_place_without_journals(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.gpkg"
    with replacing_database(path) as made:
        made.write_bytes(b"new")
        made.with_name(made.name + "-wal").write_bytes(b"journal")
        assert (path.exists(), made.suffix) == (False, ".gpkg")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(OSError, match="full"), replacing_database(path) as made:  # noqa: PT012
        made.write_bytes(b"half")
        raise OSError("full")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_writer_of_a_database_left_goes_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    done = subprocess.run([sys.executable, "-c", KILLED_DATABASE, path], check=False, timeout=120)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    with replacing_database(path) as ours:  # another process writes at the same time
        ours.write_bytes(b"whole")
        write_file(path, b"theirs")
        assert ours.exists()
        assert not left.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_parts_are_one_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_parts(path, ["a\r\n", "h\udcf6\n"])
    assert path.read_bytes() == b"a\r\nh\\udcf6\n"

    def fail() -> Iterator[str]:
        yield "half"
        raise DataError("the second part")

    with pytest.raises(DataError, match="the second part"):
        write_parts(path, fail())
    assert path.read_bytes() == b"a\r\nh\\udcf6\n"
    assert list(tmp_path.iterdir()) == [path]
