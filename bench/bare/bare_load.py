"""Reading a file with json.load: by a one-command Typer app, and by Python alone."""

import json
import sys
from pathlib import Path


def main():
    import typer

    app = typer.Typer()

    @app.command()
    def load(path: Path) -> None:
        with path.open(encoding="utf-8") as file:
            typer.echo(len(json.load(file)))

    app()


def plain():
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        print(len(json.load(file)))
