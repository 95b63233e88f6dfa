"""Somebody who types what a page shows, in a folder of their own.

The folder holds

    cells/          Pascal VOC, splits train (6 images), val (2) and test (4), 64 x 64 pixels,
                    classes normal, infected and platelet
    smears/         the images alone; smear.jpg is one of them
    clip.mp4        some of them as a video of 10 frames a second
    run/            a finished tiny training: foveal train cells:train --valid cells:val --out run
    cells.safetensors, ships.safetensors        its model
    ports/train, ports/valid, scene.tif         scenes on the map with their labels, and one without
                                                (where rasterio is installed)

Commands of foveal are called in this process, all others by bash; Python is executed, with one set
of names a page. So that a page costs a second and not an hour:

- Presets, `foveal train` and `foveal bench` have a tiny network and an epoch or two. `--minutes` is
  left out, `--folds` are 2, `--fractions` 0.5 and 1, `--seeds` 1. In Python the backbone is
  test_resnet and epochs=1.
- A command that a page has typed already is not typed again. What the commands of `READY` write is
  made once for all pages, and copied where a page types one.
- `foveal serve` listens in a thread until the page ends, at a free port that the lines after it are
  told.
"""

from __future__ import annotations

import glob
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from tests.docs.pages import Block, Page, is_run
from tests.journeys.conftest import TINY

import foveal as library
from foveal import config
from foveal.data import formats
from foveal.data.images.reading import read_image
from foveal.data.synthetic import draw_dataset

READY = (
    "foveal train cells:train --valid cells:val --out run",
    "foveal train ports/train --valid ports/valid --preset scenes --out run",
    "foveal train cells --folds 5 --out folds",
    "foveal export run --to openvino --out cells.xml",
    "foveal export run --to onnx --out cells.onnx",
)
"""Commands that many pages show. The first one's result is in the folder from the beginning."""

TRAINING_VERBS = ("train", "bench")
SHORTER = {"--folds": "2", "--fractions": "0.5,1", "--seeds": "1"}
LEFT_OUT = ("--minutes",)
NETWORK = {
    "weights": "none",
    "norm": "live",
    "fpn_channels": 16,
    "head_channels": 16,
    "head_depth": 1,
}
TRAINING = {
    "epochs": 1,
    "workers": 0,
    "batch": 4,
    "warmup_steps": 0,
    "precision": "float32",
    "export": False,
}
SAME_EVERYWHERE = "docs/explanation/"
"""Pages whose Python prints the same wherever it runs: it is compared with the block after it."""
SECONDS = 60
"""That a command of the shell may take, and a server to begin."""

Foveal = Callable[..., tuple[int, str, str]]


class Reader:
    """Types the blocks of one page.

    Args:
        foveal: runs a command; gives (exit code, standard output, standard error).
        folder: where it is typed; empty.
        monkeypatch: of the test.
    """

    def __init__(self, foveal: Foveal, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.foveal = foveal
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.typed: set[str] = set()
        self.addresses: dict[str, str] = {}
        self.servers: list[Callable[[], None]] = []
        self.has_ready_run = True
        kept = Path(os.environ["FOVEAL_TESTS"]) / "docs"
        self.kept = kept
        kept.mkdir(exist_ok=True)
        _use_tiny_presets(monkeypatch)
        monkeypatch.setenv("FOVEAL_CACHE", str(kept / "cache"))
        scripts = Path(sys.executable).parent
        monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
        home = self._once("home", lambda: _prepare_home(self.foveal))
        shutil.copytree(home, folder, dirs_exist_ok=True)
        monkeypatch.chdir(folder)

    def follow(self, page: Page) -> None:
        """Type all blocks of a page that are run, in their order."""
        try:
            for block, after in zip_longest(page.blocks, page.blocks[1:]):
                printed = self.take(block, page.name)
                if page.name.startswith(SAME_EVERYWHERE) and block.language == "python":
                    shown = after.text if after is not None and after.language == "text" else ""
                    where = f"{page.name}:{block.line}"
                    assert printed in (None, shown), f"{where} prints\n{printed}"
        finally:
            self.close()

    def close(self) -> None:
        """End the servers that were started."""
        for end in self.servers:
            end()
        self.servers.clear()

    def take(self, block: Block, page: str) -> str | None:
        """Type a block, or write it where it is a file; gives what Python printed."""
        where = f"{page}:{block.line}"
        if block.note == "file":
            path = self.folder / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif not is_run(block):
            return None
        elif block.language == "python":
            return self.execute(block.text, where)
        else:
            lines = commands_of(block.text)
            for number, line in enumerate(lines, start=1):
                last = number == len(lines) and block.note == "exit code"
                self.type(line, where, code=int(block.value) if last else 0)
        return None

    def execute(self, source: str, where: str) -> str:
        """Execute Python; gives what it printed."""
        source = re.sub(r'backbone="\w+"', 'backbone="test_resnet"', source)
        source = re.sub(r"epochs=\d+", "epochs=1", source)
        # Blocks of a page share the lines' numbers, so that a mistake is shown where it stands.
        line = int(where.rpartition(":")[2])
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * line + self._addressed(source), where, "exec"), self.names)
        return printed.getvalue()

    def type(self, line: str, where: str, *, code: int = 0) -> None:
        """Type one command."""
        if line in self.typed:
            return
        self.typed.add(line)
        if line in READY and not code and not self._was_changed(line):
            self._take_ready(line)
            return
        head, rest = split_at_operator(line)
        words = [] if "$" in head or "`" in head else shlex.split(head)
        variables = []
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            variables.append(words.pop(0).split("=", 1))
        if not words or words[0] != "foveal":
            self._ask_bash(line, where, code)
            return
        for name, value in variables:
            self.monkeypatch.setenv(name, value)
        if words[1] == "serve" and "--help" not in words:
            self._serve(words[1:], where)
            return
        arguments = shortened([each for word in words[1:] for each in _expanded(word)])
        self._make_room(arguments)
        ended, said, complaint = self.foveal(*arguments)
        assert ended == code, f"{where}: {line}\n{said}{complaint}"
        if rest.startswith("|"):
            self._ask_bash(rest[1:], where, 0, given=said)
        elif rest.startswith(">"):
            mode = "a" if rest.startswith(">>") else "w"
            with Path(rest.lstrip("> ").strip()).open(mode, encoding="utf-8") as file:
                file.write(said)
        else:
            assert rest in ("", "&"), f"{where}: {line}: {rest} is not understood here."

    def _was_changed(self, command: str) -> bool:
        """Whether a ready result is not what the command gives now: it would use another run."""
        return command.split()[1] != "train" and not self.has_ready_run

    def _make_room(self, arguments: list[str]) -> None:
        """The ready run gives way to a training that writes there."""
        out = arguments[arguments.index("--out") + 1] if "--out" in arguments else ""
        if arguments[0] != "train" or out != "run" or "--dry-run" in arguments:
            return
        if self.has_ready_run and not {"--resume", "--overwrite"} & {*arguments}:
            shutil.rmtree(self.folder / "run", ignore_errors=True)
        self.has_ready_run = False

    def _take_ready(self, command: str) -> None:
        """Copy what a command writes; it is run once for all pages."""
        if command == READY[0] and self.has_ready_run:
            return
        out = command.split()[-1]
        if out == "run":
            shutil.rmtree(self.folder / out, ignore_errors=True)
            self.has_ready_run = command == READY[0]
        name = hashlib.sha256(command.encode()).hexdigest()[:12]
        made = self._once(name, lambda: self._run_in_copy(command))
        shutil.copytree(made, self.folder, dirs_exist_ok=True)
        for path in (self.folder / out).rglob("*.json"):  # which say where their data are
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(f"{made}.new", str(self.folder)), encoding="utf-8")

    def _run_in_copy(self, command: str) -> None:
        """Run a ready command in a copy of the page's folder, and leave what it made."""
        shutil.copytree(self.kept / "home", ".", dirs_exist_ok=True)
        out = Path(command.split()[-1])
        shutil.rmtree(out, ignore_errors=True)
        before = [*Path().iterdir()]
        _call(self.foveal, command)
        for path in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _once(self, name: str, make: Callable[[], object]) -> Path:
        """A folder that is made once, whichever of the tests' processes needs it first.

        `make` is called in the folder.
        """
        folder = self.kept / name
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                made = Path(f"{folder}.new")
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                before = Path.cwd()
                os.chdir(made)
                try:
                    make()
                finally:
                    os.chdir(before)
                made.rename(folder)
        return folder

    def _addressed(self, text: str) -> str:
        for shown, real in self.addresses.items():
            text = text.replace(shown, real)
        return text

    def _ask_bash(self, line: str, where: str, code: int, *, given: str = "") -> None:
        tool = shlex.split(line, comments=True)[0]
        if shutil.which("bash") is None or re.fullmatch(r"jq|curl|rio|gdal\w+", tool):
            for each in ("bash", tool):
                if shutil.which(each) is None:
                    pytest.skip(f"{where} needs {each}, which this machine has not")
        command = ["bash", "-euo", "pipefail", "-c", self._addressed(line)]
        ended = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert ended.returncode == code, f"{where}: {line}\n{ended.stdout}{ended.stderr}"

    def _serve(self, words: list[str], where: str) -> None:
        """Start a server in a thread."""
        import uvicorn

        serve = import_module("foveal.cli.serve")  # its name in the package is the function's
        port = words[words.index("--port") + 1] if "--port" in words else "8000"

        def start(app: Any, listening: Any) -> None:
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()

            def end() -> None:
                server.should_exit = True
                thread.join(SECONDS)
                listening.close()

            self.servers.append(end)
            for _ in range(SECONDS * 20):
                if server.started:
                    break
                time.sleep(0.05)
            assert server.started, f"{where}: the server did not begin."
            here = f"127.0.0.1:{listening.getsockname()[1]}"
            self.addresses |= {f"127.0.0.1:{port}": here, f"localhost:{port}": here}

        with self.monkeypatch.context() as patch:
            patch.setattr(serve, "_run", start)
            patch.setattr(serve, "_log_to_screen", lambda: None)
            ended, said, complaint = self.foveal(*words, "--port", 0)
        assert ended == 0, f"{where}: {' '.join(words)}\n{said}{complaint}"


def commands_of(text: str) -> list[str]:
    """The commands of a block, one a line: without comments, with continued lines in one."""
    lines = (_without_comment(line) for line in text.replace("\\\n", " ").splitlines())
    return [re.sub(r"\s+", " ", line) for line in lines if line]


def split_at_operator(line: str) -> tuple[str, str]:
    """A line up to its first |, <, >, & or ; outside of quotes, and from there on."""
    for place, letter in _unquoted(line):
        if letter in "|<>&;":
            return line[:place].strip(), line[place:].strip()
    return line.strip(), ""


def shortened(words: list[str]) -> list[str]:
    """A command of foveal with what makes its trainings tiny."""
    short: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in LEFT_OUT:
            next(rest, None)
        elif word in SHORTER:
            short += [word, SHORTER[word]]
            next(rest, None)
        else:
            short.append(word)
    if words[0] not in TRAINING_VERBS or {"--help", "--show"} & {*words}:
        return short
    of_bench = "training.export"  # which it sets itself, and refuses
    given = [each for each in TINY if words[0] == "train" or not each.startswith(of_bench)]
    return short + [word for each in given for word in ("--set", each)]


def _without_comment(line: str) -> str:
    for place, letter in _unquoted(line):
        if letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place].strip()
    return line.strip()


def _unquoted(line: str) -> Iterator[tuple[int, str]]:
    """The letters outside of quotes, and where they are."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            yield place, letter


def _expanded(word: str) -> list[str]:
    """What the shell makes of a word with stars."""
    return sorted(glob.glob(word)) or [word] if "*" in word or "?" in word else [word]  # noqa: PTH207


def _use_tiny_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, preset in config.PRESETS.items():
        model = preset.get("model", {}) | NETWORK | {"backbone": "test_resnet"}
        model.pop("frozen_stages", None)
        preparation = preset.get("preparation", {}) | {"shorter": 64, "longer": 64}
        training = preset.get("training", {}) | TRAINING
        tiny = {"model": model, "preparation": preparation, "training": training}
        monkeypatch.setitem(config.PRESETS, name, preset | tiny)


def _call(foveal: Foveal, command: str) -> None:
    code, said, complaint = foveal(*shortened(shlex.split(command)[1:]))
    assert code == 0, f"{command}\n{said}{complaint}"


def _prepare_home(foveal: Foveal) -> None:
    """Write what a page's folder holds into the current one."""
    draw_dataset(Path("drawn"), splits={"train": 8, "test": 4}, size=64, seed=3)
    train, test = library.read("drawn/train.json"), library.read("drawn/test.json")
    splits = {"train": range(6), "val": range(6, 8), "test": range(8, 12)}
    formats.write(train.merge(test), Path("cells"), "voc", splits=splits)
    shutil.copytree("drawn/images", "smears")
    shutil.copy("drawn/images/test_0000.jpg", "smear.jpg")
    _write_video(Path("clip.mp4"), [read_image(path) for path in test.paths])
    if find_spec("rasterio") is not None:
        _prepare_scenes(train)
    shutil.rmtree("drawn")
    _call(foveal, READY[0])
    for name in ("cells.safetensors", "ships.safetensors"):
        shutil.copy("run/best.safetensors", name)


def _write_video(path: Path, frames: list[np.ndarray[Any, Any]]) -> None:
    import cv2

    height, width, _ = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def _prepare_scenes(data: library.Dataset) -> None:
    """ports/train and ports/valid, images on the map beside their labels, and scene.tif."""
    records = []
    for number, record in enumerate(data):
        path = Path(f"drawn/port{number}.tif").resolve()
        _write_geotiff(path, read_image(record.path), left=1000.0 * number)
        records.append(replace(record, path=path))
    data = replace(data, records=tuple(records))
    for split, part in (("train", data[:4]), ("valid", data[4:6])):
        formats.write(part, Path("ports") / split, "geo")
    scene = np.tile(read_image(data.paths[6]), (5, 5, 1))
    _write_geotiff(Path("scene.tif"), scene, left=9000.0)


def _write_geotiff(path: Path, image: Any, *, left: float) -> None:
    import rasterio

    height, width, bands = image.shape
    form = {"driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": "uint8"}
    place = rasterio.Affine(10, 0, 500_000 + left, 0, -10, 5_700_000)
    with rasterio.open(path, "w", crs="EPSG:32631", transform=place, **form) as file:
        file.write(image.transpose(2, 0, 1))
