"""The digests of files, remembered: a file that looks as it did when it was read is not read again.

As git's index does it: by size, times and inode. A file that was changed right before it was read is not remembered,
since a change in the same tick of the file system's clock would leave it looking the same.
"""

import hashlib
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

Seen = tuple[str, str]  # how the file looks; SHA-256 in hex
_NEVER: Seen = "", ""
_FIRST = 65  # bytes of the first line


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
            path: seen if (seen := known.get(path, _NEVER))[0] == look else _hashed(place)
            for path, (place, look) in files.items()
        }
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
                known = self._known
                kept = {
                    path: seen for path, seen in self._seen.items() if seen == known.get(path) or is_old(seen[0], began)
                }
                if kept == self._known:
                    return
                file.write(_dump(kept))
            temporary.replace(self.file)
        finally:
            temporary.unlink(missing_ok=True)


def is_old(look: str, began: int) -> bool:
    """Whether any change after `began` gives the file other times than these."""
    _, changed, touched, _ = map(int, look.split())
    tick = FINE_TICK if touched % 1_000_000_000 else COARSE_TICK
    return max(changed, touched) + tick < began


def _hashed(path: str) -> Seen:
    """As the file looks after it was read: what changed meanwhile is then too young to be remembered."""
    content, look = read(path)
    return look, hashlib.sha256(content).hexdigest()


def _dump(known: Mapping[str, Seen]) -> bytes:
    """Three lines for each file (no path has a line end), which take a third of the time of JSON."""
    lines = "\n".join([text for path, seen in known.items() for text in (path, *seen)])
    content = lines.encode("utf-8", errors="surrogateescape")
    return hashlib.sha256(content).hexdigest().encode("ascii") + b"\n" + content


def _load(file: Path) -> dict[str, Seen]:
    """{} also for what is damaged: its first line is the digest of the rest."""
    try:
        content = memoryview(file.read_bytes())
    except OSError:
        return {}
    first, *lines = str(content, "utf-8", "surrogateescape").split("\n")
    if hashlib.sha256(content[_FIRST:]).hexdigest() != first or len(lines) % 3:
        return {}
    return dict(zip(lines[::3], zip(lines[1::3], lines[2::3], strict=True), strict=True))
