"""Which nodes.json a call means. A module of its own: shell completion has no time for more."""

import os
from collections.abc import Mapping
from pathlib import Path

from nodepkg.errors import ConfigError


def find(start: Path, environ: Mapping[str, str], given: Path | None = None) -> Path:
    """The nodes.json to use: `given`, else NODEPKG_NODES, else the one in `start` or its nearest parent."""
    named = given or (Path(environ["NODEPKG_NODES"]) if environ.get("NODEPKG_NODES") else None)
    if named:
        return named
    for folder in (start, *start.parents):
        found = folder / "nodes.json"
        if os.path.lexists(found):
            return Path(os.path.relpath(found, start))
    raise ConfigError(
        f"no nodes.json in {start} or any folder above it",
        hint="name one with --nodes PATH or NODEPKG_NODES, or begin a project: package config:init",
    )
