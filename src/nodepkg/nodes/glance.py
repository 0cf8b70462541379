"""The group names of a nodes.json at a glance, for shell completion: nothing is merged, and nothing is ever said."""

import json
import os
import stat
from functools import cache
from pathlib import Path
from typing import Any

from nodepkg.nodes.names import GENERATION, GROUP_NAME

# Bytes. A longer file is no nodes.json that anybody wrote, and to read it would keep the command line waiting.
LONGEST = 32 * 1024 * 1024


def group_names(path: Path) -> list[str]:
    """The legal group names of the file, in its order; none if it is broken in any way, too long, or no plain file."""
    try:
        document = _document(path)
    except (OSError, ValueError, RecursionError):
        return []
    return [name for name in document if GROUP_NAME.fullmatch(name) and not GENERATION.search(name)]


@cache  # to take 10,000 groups down again would take longer than what is wanted of them
def _document(path: Path) -> dict[str, Any]:
    document = json.loads(_read(path).decode("utf-8"))
    return document if isinstance(document, dict) else {}


def _read(path: Path) -> bytes:
    """The bytes of a plain file; of a pipe or a device, which could block, none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= LONGEST:
            return b""
        return file.read(status.st_size)
