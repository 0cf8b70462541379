"""The digests of files, remembered: a file that looks as it did when it was read is not read again.

As git's index does it: by size, times and inode. A file that was changed right before it was read is not remembered,
since a change in the same tick of the file system's clock would leave it looking the same.
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from nodepkg.durable import private_folder
from nodepkg.render.tree import File, read

CACHE = Path(".nodepkg", "cache")
# How far apart two changes may be and still have the same time: a tick of the kernel, and 2 s on FAT and its like.
FINE_TICK, COARSE_TICK = 50_000_000, 2_000_000_000

Seen = tuple[int, int, int, int, str]  # size, mtime and ctime (ns), inode; SHA-256 in hex


class Memory:
    """What is remembered of a project's files; `root` is the project's folder.

    Nothing is written but by `save`, and what is damaged counts as nothing. `clock` gives nanoseconds.
    """

    def __init__(self, root: Path, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.file = root / CACHE / "digests"
        self._clock = clock
        self._known = _load(self.file)
        self._seen: dict[str, Seen] = {}
        self._began = 0

    def digests(self, files: Mapping[str, File]) -> dict[str, str]:
        """SHA-256 of each file, in hex. Raises RefusedError naming the first that cannot be read."""
        self._began = self._clock()
        known = self._known
        self._seen = {
            path: seen if (seen := known.get(path)) and seen[:4] == _look(file.stat) else _hashed(file.path)
            for path, file in files.items()
        }
        return {path: seen[4] for path, seen in self._seen.items()}

    def save(self) -> None:
        """Writes down what `digests` found, for the next process; where that cannot be done, nothing is remembered."""
        if self._seen and self._seen != self._known:
            with suppress(OSError):
                self._write()

    def _write(self) -> None:
        private_folder(self.file.parent)
        temporary = self.file.with_name(f".digests.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                # The clock that counts is that of the file system, which may be another machine's.
                began = os.fstat(file.fileno()).st_mtime_ns - (self._clock() - self._began)
                known = self._known
                kept = {
                    path: seen for path, seen in self._seen.items() if seen == known.get(path) or is_old(seen, began)
                }
                if kept == self._known:
                    return
                file.write(_dump(kept))
            temporary.replace(self.file)
        finally:
            temporary.unlink(missing_ok=True)


def is_old(seen: Seen, began: int) -> bool:
    """Whether any change after `began` gives the file other times than these."""
    _, changed, touched, _, _ = seen
    tick = FINE_TICK if touched % 1_000_000_000 else COARSE_TICK
    return max(changed, touched) + tick < began


def _look(seen: os.stat_result) -> tuple[int, int, int, int]:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino


def _hashed(path: str) -> Seen:
    """As the file looks after it was read: what changed meanwhile is then too young to be remembered."""
    content, seen = read(path)
    return (*_look(seen), hashlib.sha256(content).hexdigest())


def _dump(known: Mapping[str, Seen]) -> bytes:
    content = json.dumps(known).encode("ascii")
    return hashlib.sha256(content).hexdigest().encode("ascii") + b"\n" + content


def _load(file: Path) -> dict[str, Seen]:
    """{} also for what is damaged: its first line is the digest of the rest."""
    try:
        first, _, content = file.read_bytes().partition(b"\n")
    except OSError:
        return {}
    if hashlib.sha256(content).hexdigest().encode("ascii") != first:
        return {}
    return {path: tuple(seen) for path, seen in json.loads(content).items()}
