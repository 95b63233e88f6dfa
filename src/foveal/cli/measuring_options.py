"""Options of the commands that measure detectors on labeled images."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from foveal.cli.predict import Precision

BatchOption = Annotated[int, typer.Option(min=1, help="Images in one pass (models).")]
DeviceOption = Annotated[
    str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps (models).")
]
PrecisionOption = Annotated[
    Precision, typer.Option(help="How to compute (models); as for foveal predict.")
]
ResultBoxes = Annotated[
    str | None,
    typer.Option(
        metavar="READING",
        help="How the numbers of a bbox are meant in COCO results, where not as xywh; as "
        "--boxes says it of DATA.",
        show_default=False,
    ),
]
BadImages = Annotated[
    Literal["stop", "skip"],
    typer.Option(help="Images that can't be read: stop, or leave them out (models)."),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what an earlier run wrote into --out."),
]
