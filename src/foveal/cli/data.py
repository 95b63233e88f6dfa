"""`foveal data`: the commands about data sets; each verb is a file of its own beside this one."""

from __future__ import annotations

import typer

from foveal.cli.answers import add_verb
from foveal.cli.data_check import CheckCommand, check
from foveal.cli.data_convert import convert
from foveal.cli.data_show import show
from foveal.cli.data_tile import tile
from foveal.cli.data_untile import untile

data_app = typer.Typer(
    name="data",
    help="Check data sets and look at them before anything else, convert them, and cut large "
    "images into tiles.",
    no_args_is_help=True,
)

add_verb(data_app, check, cls=CheckCommand)
add_verb(data_app, show)
add_verb(data_app, convert)
add_verb(data_app, tile)
add_verb(data_app, untile)
