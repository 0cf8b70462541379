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

from nodepkg.errors import RefusedError
from nodepkg.render.files import private_folder
from nodepkg.render.tree import File

CACHE = Path(".nodepkg", "cache")
# How far apart two changes may be and still have the same time: a tick of the kernel, and 2 s on FAT and its like.
FINE_TICK, COARSE_TICK = 50_000_000, 2_000_000_000

Look = list[int]  # size, mtime and ctime (ns), inode


class Memory:
    """What is remembered of a project's files; `root` is the project's folder.

    Nothing is written but by `save`, and what is damaged counts as nothing. `clock` gives nanoseconds.
    """

    def __init__(self, root: Path, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.file = root / CACHE / "digests"
        self._clock = clock
        self._known = _load(self.file)
        self._seen: dict[str, tuple[Look, str]] = {}
        self._began = 0

    def digests(self, files: Mapping[str, File]) -> dict[str, str]:
        """SHA-256 of each file, in hex. Raises RefusedError naming the first that cannot be read."""
        self._began, self._seen = self._clock(), {}
        for path, file in files.items():
            known = self._known.get(path)
            self._seen[path] = known if known and known[0] == _look(file.stat) else _hashed(file.path)
        return {path: digest for path, (_, digest) in self._seen.items()}

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
                kept = {
                    path: seen
                    for path, seen in self._seen.items()
                    if seen == self._known.get(path) or _is_old(seen[0], began)
                }
                if kept == self._known:
                    return
                file.write(_dump(kept))
            temporary.replace(self.file)
        finally:
            temporary.unlink(missing_ok=True)


def _is_old(look: Look, began: int) -> bool:
    """Whether any change after `began` gives the file other times than these."""
    _, changed, touched, _ = look
    tick = FINE_TICK if touched % 1_000_000_000 else COARSE_TICK
    return max(changed, touched) + tick < began


def _look(seen: os.stat_result) -> Look:
    return [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]


def _hashed(path: str) -> tuple[Look, str]:
    """As the file looks after it was read: what changed meanwhile is then too young to be remembered."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            digest = hashlib.sha256()
            while piece := os.read(descriptor, 1 << 20):
                digest.update(piece)
            return _look(os.fstat(descriptor)), digest.hexdigest()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error


def _dump(known: Mapping[str, tuple[Look, str]]) -> bytes:
    content = json.dumps({path: [*look, digest] for path, (look, digest) in known.items()}).encode("ascii")
    return hashlib.sha256(content).hexdigest().encode("ascii") + b"\n" + content


def _load(file: Path) -> dict[str, tuple[Look, str]]:
    """{} also for what is damaged: its first line is the digest of the rest."""
    try:
        first, _, content = file.read_bytes().partition(b"\n")
    except OSError:
        return {}
    if hashlib.sha256(content).hexdigest().encode("ascii") != first:
        return {}
    return {path: (look, digest) for path, (*look, digest) in json.loads(content).items()}
