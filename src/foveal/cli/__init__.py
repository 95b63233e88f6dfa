"""The command line: one small file per verb, each loading what it needs when it runs."""

from __future__ import annotations

import shlex
import sys
import time
import traceback
from typing import Annotated

import typer

from foveal import __version__
from foveal.cli.anchors import anchors
from foveal.cli.answers import add_verb
from foveal.cli.audit import audit
from foveal.cli.bench import bench
from foveal.cli.compare import compare
from foveal.cli.console import prepare_streams, say
from foveal.cli.data import data_app
from foveal.cli.demo import demo
from foveal.cli.evaluate import evaluate
from foveal.cli.export import export
from foveal.cli.import_ import import_checkpoint
from foveal.cli.models import models_app
from foveal.cli.outcomes import Outcome, describe_exit_codes, outcome_of
from foveal.cli.predict import predict
from foveal.cli.serve import serve
from foveal.cli.train import train
from foveal.cli.watch import watch
from foveal.distributed import is_first_process
from foveal.errors import FovealError, TrainingInterrupted

SECONDS_TO_BE_ENDED = 6.0
"""Where one of several processes fails, torchrun ends the others: they wait for that before they
speak, so that what all of them would say is said by the first one alone."""

app = typer.Typer(
    name="foveal",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"foveal {__version__}")
        raise typer.Exit


@app.callback(epilog=f"Exit codes:\n\n{describe_exit_codes()}")
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
) -> None:
    """RetinaNet end to end: from labeled images to a trained, measured object detector."""


# In the order of use.
add_verb(app, demo)
add_verb(app, anchors)
add_verb(app, train)
add_verb(app, watch)
add_verb(app, evaluate)
add_verb(app, compare)
add_verb(app, audit)
add_verb(app, bench)
add_verb(app, predict)
add_verb(app, serve)
add_verb(app, export)
add_verb(app, import_checkpoint)
app.add_typer(models_app)
app.add_typer(data_app)


def main() -> None:
    """Run the command line.

    Every end has its exit code (`outcomes.Outcome`). A mistake that foveal can explain ends in a
    message; a fault of its own keeps the traceback.
    """
    prepare_streams()
    try:
        app()
    except FovealError as error:
        if isinstance(error, TrainingInterrupted) and not is_first_process():
            sys.exit(outcome_of(error).code)  # all of them know it; the first one says it
        if not is_first_process():
            time.sleep(SECONDS_TO_BE_ENDED)
        say(
            str(error) if isinstance(error, TrainingInterrupted) else f"error: {error}", stderr=True
        )
        sys.exit(outcome_of(error).code)
    except Exception:
        traceback.print_exc()
        say(
            "error: this is a fault of foveal's own. Please report it with all lines above, and "
            f"the command: foveal {shlex.join(sys.argv[1:])}",
            stderr=True,
        )
        sys.exit(Outcome.OWN_FAULT.code)
