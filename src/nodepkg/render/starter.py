"""The files of a new project: what config:init writes."""

from collections.abc import Iterator
from importlib.resources import files as package_files
from importlib.resources.abc import Traversable

from nodepkg.render.files import Artifact

# Their own names would mean something to git and to what builds the package, where they lie here.
NAMES = {"gitignore": ".gitignore"}
LAST = "nodes.json"


def starter() -> list[Artifact]:
    """A small project that works; nodes.json is the last, so that a folder that has one has them all."""
    package = package_files("nodepkg")
    texts = {path: file.read_text("utf-8") for path, file in shipped_files(package / "starter")}
    texts["nodes.schema.json"] = (package / "nodes.schema.json").read_text("utf-8")
    return [Artifact("", path, texts[path]) for path in sorted(texts, key=lambda path: (path == LAST, path))]


def shipped_files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """Every file below a folder of the package, by its path in a project."""
    for file in folder.iterdir():
        path = prefix + NAMES.get(file.name, file.name)
        if file.is_dir():
            yield from shipped_files(file, f"{path}/")
        else:
            yield path, file
