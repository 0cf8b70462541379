"""The log of one build, for people: .nodepkg/logs/GROUP-BUILD.log, a line for each message, with its time."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from nodepkg.clients.packer_output import Line
from nodepkg.durable import private_folder

LOGS = Path(".nodepkg", "logs")


class BuildLog:
    """Open for as long as the build takes. Only its owner can read it: a provisioner may print anything."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @staticmethod
    def path(group: str, build: str) -> Path:
        """Relative to the project."""
        return LOGS / f"{group}-{build}.log"

    @classmethod
    @contextmanager
    def open(cls, root: Path, group: str, build: str) -> "Iterator[BuildLog]":
        """Raises OSError if it cannot be made."""
        private_folder(root / LOGS)
        descriptor = os.open(root / cls.path(group, build), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield cls(file)

    def write(self, line: Line) -> None:
        """Every line of the message. Raises OSError."""
        at = datetime.fromtimestamp(time.time() if line.at is None else line.at, UTC)
        for part in line.whole.splitlines():
            if part.strip():
                self._file.write(f"{at:%Y-%m-%dT%H:%M:%SZ} {part}\n")
        self._file.flush()
