"""The command line: one small file per verb, each loading what it needs when it runs."""

from __future__ import annotations

import sys

import typer

from foveal.errors import FovealError

app = typer.Typer(
    name="foveal",
    help="RetinaNet end to end: from labelled images to a trained, measured object detector.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; a mistake that foveal can explain ends in one message and exit code 2."""
    try:
        app()
    except FovealError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
