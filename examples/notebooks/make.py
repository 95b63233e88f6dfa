"""Make the notebooks beside this file from their sources, and run them.

    pip install nbclient ipykernel 'foveal[geo]'
    python examples/notebooks/make.py

A source is a Python program whose cells begin with `# %%`, as editors know them. What is shown is
kept small: pictures get a palette. They run in a folder that is gone afterwards.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CELL = re.compile(r"^# %%(?P<kind>.*)\n", re.MULTILINE)
COLORS = 96
"""Of a picture's palette."""


def read_cells(source: Path) -> list[tuple[str, str]]:
    """The cells of a source: (what kind, as its line says; the text)."""
    parts = CELL.split(source.read_text(encoding="utf-8"))[1:]
    cells = []
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        text = text.strip("\n")
        if "markdown" in kind:
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        cells.append((kind.strip(), text))
    return cells


def make_notebook(source: Path):
    """The notebook of a source, not run."""
    import nbformat.v4 as notebooks

    cells = []
    for number, (kind, text) in enumerate(read_cells(source)):
        make = notebooks.new_markdown_cell if "markdown" in kind else notebooks.new_code_cell
        cell = make(text, id=f"cell-{number}")
        if "parameters" in kind:
            cell.metadata["tags"] = ["parameters"]
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebooks.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def shrink(png: str) -> str:
    """A picture in base 64 with fewer colors."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def is_foreign(output: dict[str, object]) -> bool:
    """Whether an output is a warning out of another package."""
    return output.get("name") == "stderr" and "site-packages" in str(output.get("text"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make and run the notebooks.")
    parser.add_argument("names", nargs="*", default=["cells", "aerial"])
    options = parser.parse_args(arguments)

    import nbformat
    from nbclient import NotebookClient

    for name in options.names:
        notebook = make_notebook(HERE / f"{name}.py")
        with tempfile.TemporaryDirectory() as folder:
            place = {"metadata": {"path": folder}}
            NotebookClient(notebook, timeout=3600, record_timing=False, resources=place).execute()
        for cell in notebook.cells:
            if "outputs" in cell:  # without what other packages warn of on this machine
                cell["outputs"] = [each for each in cell["outputs"] if not is_foreign(each)]
            for output in cell.get("outputs", ()):
                data = output.get("data", {})
                data.pop("image/jpeg", None)
                if "image/png" in data:
                    data["image/png"] = shrink(data["image/png"])
        notebook.metadata.pop("language_info", None)
        nbformat.write(notebook, HERE / f"{name}.ipynb")
        print(f"{name}.ipynb: {(HERE / f'{name}.ipynb').stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
