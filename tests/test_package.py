"""The package's face: what it exports, how light it is, and the rules that its files keep."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import foveal

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    *("torch", "torchvision", "timm", "accelerate", "cv2", "numpy", "pydantic", "matplotlib"),
    "jinja2",
)
FORBIDDEN = re.compile(
    r"""
    (?<![\w.])/(?:work|root|home/\w+|Users/\w+|opt/\w+|mnt/\w+)/   # a path of one machine
    | (?:pypi|pythonhosted|npmjs|anaconda|conda)\.(?:org|com)       # a package registry's host
    | download\.pytorch\.org | registry\.\w+\.\w+ | (?<!no-emit-)(?:index|simple)-url
    """,
    re.VERBOSE | re.IGNORECASE,
)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code as a user's Python would: with compiled files kept."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=120,
    )


START = {
    "import foveal": "import foveal",
    "foveal --help": """
import sys, runpy
sys.argv = ["foveal", "--help"]
try:
    runpy.run_module("foveal", run_name="__main__", alter_sys=True)
except SystemExit as exit:
    assert not exit.code, exit.code
""",
}


def test_exported_names_are_what_the_namespace_has():
    for name in foveal.__all__:
        assert getattr(foveal, name) is not None
    names = {name for name in vars(foveal) if not name.startswith("_")}
    modules = {name for name in names if isinstance(getattr(foveal, name), ModuleType)}
    helpers = {"annotations", "import_module", "TYPE_CHECKING", "Any"}
    assert names - modules - helpers == set(foveal.__all__) - {"__version__"}
    assert dir(foveal) == sorted(foveal.__all__)
    kinds = {name: getattr(foveal, name) for name in foveal.__all__ if name[0].isupper()}
    assert all(kind.__name__ == name for name, kind in kinds.items())


@pytest.mark.parametrize("name", foveal.__all__)
def test_every_exported_name_has_a_home(name):
    assert getattr(foveal, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'foveal' has no attribute 'Detektor'"):
        _ = foveal.Detektor


@pytest.mark.parametrize("start", START)
def test_starting_loads_nothing_heavy(start):
    done = run_python(
        f"{START[start]}\nimport json, sys\nprint()\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def source_files() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a clone, to know which files are the project's")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_tracked_files_name_no_machine_and_no_registry():
    offences = []
    for path in tracked_files():
        if path == Path(__file__).resolve() or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        offences += [f"{path.relative_to(ROOT)}: {hit}" for hit in FORBIDDEN.findall(text)]
    assert offences == []


@pytest.mark.parametrize(
    "text",
    [
        "see /root/data",
        'path = "/home/ann/cells"',
        "https://pypi.org/simple",
        "files.pythonhosted.org",
        "--extra-index-url",
    ],
)
def test_the_rule_about_tracked_files_can_fail(text):
    assert FORBIDDEN.search(text)


def test_no_lock_file_is_tracked():
    names = {path.name for path in tracked_files()}
    assert names.isdisjoint({"uv.lock", "pylock.toml"})


def test_constraints_hold_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pin = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?")
    assert [line for line in lines if not pin.fullmatch(line)] == []
    assert any(line.startswith("torch==") for line in lines)


def test_every_source_folder_is_a_package():
    folders = {path.parent for path in source_files()} - {ROOT / "src"}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
