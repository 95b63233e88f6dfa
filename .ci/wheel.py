"""Build the wheel, install it into a bare environment, and use it there as a user would.

    .venv/bin/python .ci/wheel.py

The environment has the wheel and what the wheel says it needs, and what these need, and nothing
else: no extras, no tools, no source. Packages are linked from the environment that runs this, which
must have them. There is no compiler on the path. It takes about a minute on two slow cores.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import tempfile
import venv
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sysconfig.get_path("scripts"))
SITE = Path(sysconfig.get_path("purelib"))


def build(folder: Path) -> Path:
    """The wheel of the source."""
    command = [TOOLS / "uv", "build", "--quiet", "--wheel", "--out-dir", folder, ROOT]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def expect_all_files(wheel: Path) -> None:
    """See that the wheel has every file of the source.

    Raises:
        SystemExit: it lacks some.
    """
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    listed = subprocess.run(
        ["git", "ls-files", "-z", "src/foveal"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    source = {name.removeprefix("src/") for name in listed.split("\0") if name}
    lacking = sorted(source - packed)
    if not source or lacking:
        raise SystemExit(f"{wheel.name} lacks {', '.join(lacking) or 'everything'}.")
    print(f"{wheel.name}: all {len(source)} files of the source")


def needed(package: Distribution) -> list[Distribution]:
    """All that an installed package needs, and what that needs, each once.

    Raises:
        SystemExit: something of it is not installed here.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(package, "")]
    while todo:
        package, extra = todo.pop()
        for text in package.requires or ():
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            try:
                found.setdefault(name, distribution(name))
            except PackageNotFoundError:
                raise SystemExit(f"{package.name} needs {name}, which is not here.") from None
            for wanted in ("", *requirement.extras):
                if (name, wanted) not in seen:
                    seen.add((name, wanted))
                    todo.append((found[name], wanted))
    return list(found.values())


def link(package: Distribution, site: Path) -> None:
    """Let an environment have a package: links to what it installed, folder by folder."""
    tops = {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", ".")}
    for top in tops - {"__pycache__"}:
        target = SITE / top
        if target.exists() and not (site / top).exists():
            (site / top).symlink_to(target)


def main() -> None:
    """Do all of it; the first thing that goes wrong ends it."""
    with tempfile.TemporaryDirectory(prefix="foveal-wheel-") as name:
        folder = Path(name)
        wheel = build(folder / "dist")
        expect_all_files(wheel)
        bare = folder / "bare"
        venv.create(bare, with_pip=False, symlinks=True)
        (site,) = bare.glob("lib/python*/site-packages")
        install = [TOOLS / "uv", "pip", "install", "--quiet", "--offline", "--no-deps"]
        subprocess.run([*install, "--python", bare / "bin" / "python", wheel], check=True)
        (metadata,) = site.glob("foveal-*.dist-info")
        packages = needed(Distribution.at(metadata))
        for package in packages:
            link(package, site)
        print(f"a bare environment: foveal and {len(packages)} packages")
        variables = {
            key: value
            for key, value in os.environ.items()
            if not re.fullmatch(r"CC|CXX|PYTHON.*|VIRTUAL_ENV|FOVEAL_.*", key)
        }
        variables |= {"PATH": str(bare / "bin"), "FOVEAL_CACHE": str(folder / "cache")}
        foveal = bare / "bin" / "foveal"
        for arguments in (
            ["--version"],
            ["demo", "--quick", "--images", "40", "--out", "demo"],  # trains, evaluates, predicts
            ["export", "demo/run", "--to", "openvino", "--out", "exported.xml"],
            ["predict", "exported.xml", "demo/data/images/test_*.jpg", "--out", "found"],
        ):
            print(f"$ foveal {' '.join(arguments)}", flush=True)
            subprocess.run([foveal, *arguments], cwd=folder, env=variables, check=True)
        code = "import foveal, sys; sys.exit(not foveal.__file__.startswith(sys.prefix))"
        subprocess.run([bare / "bin" / "python", "-c", code], env=variables, check=True)


if __name__ == "__main__":
    main()
