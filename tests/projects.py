"""Project folders for tests: made from values, or a copy of the example."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ConfigError
from nodepkg.nodes.load import Nodes, load

EXAMPLE = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
SOURCE_FOLDERS = ("cookbooks", "data_bags", "templates")


def make_project(folder: Path, document: Any, files: dict[str, str] | None = None) -> Nodes:
    """A folder with this nodes.json (a document, or its text) and these files (path -> text), loaded."""
    for name, text in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document, indent=4)
    (folder / "nodes.json").write_text(text, encoding="utf-8")
    return load(folder / "nodes.json")


def copy_example(folder: Path) -> Nodes:
    """The example of the repository without its artefacts, loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(EXAMPLE / "nodes.json", folder)
    for part in SOURCE_FOLDERS:
        shutil.copytree(EXAMPLE / part, folder / part)
    return load(folder / "nodes.json")


def complaint(error: pytest.ExceptionInfo[ConfigError]) -> str:
    """Message and hint of an error, as one text."""
    return f"{error.value.message}\n{error.value.hint}"
