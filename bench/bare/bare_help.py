"""Typer with as many empty commands as `package` has: in its default form, and with plain help."""

import typer
from bare_count import COMMANDS  # written by run.py


def make(**options):
    app = typer.Typer(**options)
    for number in range(COMMANDS):
        app.command(f"command-{number}")(nothing)
    return app


def nothing() -> None:
    """Do nothing."""


def main():
    make()()


def plain():
    make(rich_markup_mode=None)()
