"""One command that defines one pydantic model and imports deepmerge."""

import typer

app = typer.Typer()


@app.command()
def one(group: str) -> None:
    import deepmerge  # noqa: F401
    from pydantic import BaseModel

    class Model(BaseModel):
        name: str
        size: int = 1

    typer.echo(Model(name=group))


def main():
    app()
