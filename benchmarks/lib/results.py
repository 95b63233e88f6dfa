"""Where a benchmark's rows go: a table on the screen, and JSON beside the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.lib.machine import machine
from foveal.files import write_file
from foveal.text import without_nan

RESULTS = Path(__file__).resolve().parents[1] / "results"


def write_result(
    name: str, rows: list[dict[str, Any]], *, folder: Path | None = None, **more: Any
) -> Path:
    """Write a benchmark's rows as JSON beside the machine that they were measured on.

    Absolute paths among the options are cut to their last part: they say nothing elsewhere.
    """
    path = (folder or RESULTS) / f"{name}.json"
    options = {key: _portable(value) for key, value in more.pop("options", {}).items()}
    content = {
        "benchmark": name,
        "machine": machine(),
        **({"options": options} if options else {}),
        **more,
        "rows": rows,
    }
    text = json.dumps(without_nan(content), indent=1, allow_nan=False)
    write_file(path, text + "\n")
    return path


def _portable(value: Any) -> Any:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    return value


def print_table(rows: list[dict[str, Any]], *, title: str = "") -> None:
    """Rows of one kind as a plain table."""
    columns = list(rows[0])
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(columns)]
    if title:
        print(f"\n{title}")
    for line in [columns, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
