"""How service:cookbook is carried out and shown."""

from pathlib import Path
from typing import TYPE_CHECKING

from nodepkg.cli.layout import count
from nodepkg.cli.options import Call
from nodepkg.errors import RefusedError

if TYPE_CHECKING:
    from nodepkg.render.cookbook import Cookbook

_WOULD = {"missing": "would create", "stale": "would update", "fresh": "unchanged"}


def write_cookbook(call: Call, folder: Path, made: "Cookbook", *, check: bool) -> None:
    """Writes it and removes leftovers; with `check` raises RefusedError if it is not what is there."""
    from nodepkg.render import cookbook, files

    writes = not (check or call.dry_run)
    if writes:
        done = [(file.path, str(outcome)) for file, outcome in files.write(folder, made.files)]
        cookbook.remove(folder, made.leftovers)
        gone = "removed"
    else:
        states = [(file.path, str(files.state(folder, file))) for file in made.files]
        done = states if check else [(path, _WOULD[state]) for path, state in states]
        gone = "leftover" if check else "would remove"
    done += [(path, gone) for path in made.leftovers]
    shown = [(path, word) for path, word in done if word != "fresh" or call.out.verbose]
    lines = [f"{word:<9} {folder / path}" for path, word in shown] or [f"{count(len(done), 'file')} are fresh"]
    document = [{"path": path, "state": word} for path, word in done]
    call.out.result({"cookbooks": str(folder), "files": document}, lines)
    due = sum(word != "fresh" for _, word in done) if check else 0
    if due:
        raise RefusedError(
            f"{due} of {len(done)} files of {folder / cookbook.NAME} are not what this nodepkg writes",
            hint="package service:cookbook, with the options of this call",
        )
