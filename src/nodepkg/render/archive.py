"""A bundle as a file: a tar.gz named by its digest, the same bytes wherever it is made.

What counts of a file is what the digest counts, its path and its bytes. So all entries have one time and owner, and a
file is executable if its first bytes are those of a program: the modes of a checkout differ from machine to machine.
"""

import hashlib
import os
import secrets
import tarfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from nodepkg.durable import private_folder
from nodepkg.errors import RefusedError
from nodepkg.render.bundle import FOLDERS, Bundle, Project, sha256
from nodepkg.render.digest import bundle_digest
from nodepkg.render.gzipped import gzipped
from nodepkg.render.tree import read

BUNDLES = Path(".nodepkg", "bundles")
SUFFIX = ".tar.gz"
KEPT = 20
_PROGRAMS = (b"#!", b"\x7fELF")
_DAY = 24 * 3600.0  # seconds: a deploy that uses an archive has begun with it, or has written down that it needs it


def archive(project: Project, bundle: Bundle, folder: Path, *, keep: Collection[str] = ()) -> Path:
    """The file with the bundle, made if it is not there, or not whole: `folder`/<bundle digest>.tar.gz.

    Older ones go, but for the newest, those of the last day, and those whose digests `keep` names. Raises RefusedError
    if a file has changed since its digest was taken, or the archive cannot be written.
    """
    digest = bundle_digest(bundle)
    path = folder / f"{digest}{SUFFIX}"
    try:
        private_folder(folder)
        if is_whole(path):
            os.utime(path)
        else:
            _make(path, bundle)
        _tidy(folder, {digest, *keep})
    except OSError as error:
        raise RefusedError(f"{error.filename or path}: cannot be written: {error.strerror}") from error
    project.memory.save()
    return path


def is_whole(path: Path) -> bool:
    """Whether the archive is the one that was written, as the sum beside it says."""
    try:
        return _sum_file(path).read_bytes() == _sum(path, path)
    except OSError:
        return False


def _sum_file(path: Path) -> Path:
    return path.with_name(path.name.replace(SUFFIX, ".sha256"))


def _sum(content: Path, path: Path) -> bytes:
    """What `sha256sum -c` reads of an archive."""
    with content.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n".encode("ascii")


def _make(path: Path, bundle: Bundle) -> None:
    """The sum is written last, so that after a crash between the two the archive counts as not whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with _created(temporary) as file:
            _pack(file, bundle)
        told = _sum(temporary, path)
        temporary.replace(path)
        with _created(temporary) as file:
            file.write(told)
        temporary.replace(_sum_file(path))
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _created(path: Path) -> Iterator[BinaryIO]:
    """A new file, for its owner only, that is on the disk at the end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(descriptor)


def _pack(file: BinaryIO, bundle: Bundle) -> None:
    with gzipped(file) as packed:
        for folder in _folders(bundle):
            packed.write(_header(f"{folder}/", 0, 0o755, tarfile.DIRTYPE))
        files: dict[str, str | bytes] = {**bundle.shared, **bundle.own}
        for path, content in sorted(files.items(), key=itemgetter(0)):
            data = content if isinstance(content, bytes) else _unchanged(content, bundle.shared_digests[path])
            mode = 0o755 if data.startswith(_PROGRAMS) else 0o644
            packed.write(_header(path, len(data), mode, tarfile.REGTYPE))
            packed.write(data)
            packed.write(bytes(-len(data) % tarfile.BLOCKSIZE))
        packed.write(bytes(2 * tarfile.BLOCKSIZE))


def _header(path: str, size: int, mode: int, kind: bytes) -> bytes:
    """What tarfile makes of it, in a fifth of the time for a path and a size that need no extension."""
    name = path.encode("utf-8", errors="surrogateescape")
    if len(name) > tarfile.LENGTH_NAME or size > _MOST:
        info = tarfile.TarInfo(path)
        info.size, info.mode, info.type = size, mode, kind
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    told = b"%011o" % size
    middle, end, total = _fields(mode, kind)
    total += sum(name) + sum(told)
    return b"".join((name.ljust(_NAME, b"\0"), middle, told, end[:13], b"%06o" % total, end[19:]))


_NAME, _SIZE, _AFTER_SIZE = tarfile.LENGTH_NAME, 124, 135
_MOST = 8 ** (_AFTER_SIZE - _SIZE) - 1


@cache
def _fields(mode: int, kind: bytes) -> tuple[bytes, bytes, int]:
    """What a header has between name and size, and after it, and what these bytes and a blank checksum add up to."""
    info = tarfile.TarInfo("-")
    info.mode, info.type = mode, kind
    made = info.tobuf(tarfile.GNU_FORMAT)
    middle, end = made[_NAME:_SIZE], made[_AFTER_SIZE:]
    return middle, end, sum(middle) + sum(end[:13]) + 8 * ord(" ") + sum(end[21:])


def _folders(bundle: Bundle) -> list[str]:
    """All that the files lie in, and the three in which Chef looks."""
    found = {*FOLDERS, "roles"}
    for path in (*bundle.shared, *bundle.own):
        above = path.rpartition("/")[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return sorted(found)


def _unchanged(file: str, digest: str) -> bytes:
    content = read(file)[0]
    if sha256(content) != digest:
        raise RefusedError(f"{file}: has changed while the bundle was made", hint="run the command again")
    return content


def _tidy(folder: Path, keep: Collection[str]) -> None:
    """Removes what is neither named nor among the newest, and what a killed process left half written."""
    found = {path: seen for path in folder.iterdir() if (seen := _modified(path)) is not None}
    archives = sorted((path for path in found if path.name.endswith(SUFFIX)), key=found.__getitem__, reverse=True)
    going = [path for path in archives[KEPT:] if path.name.removesuffix(SUFFIX) not in keep]
    going += [path for path in found if path.suffix == ".tmp"]  # of processes that were killed
    for path in going:
        if found[path] > time.time() - _DAY:
            continue
        for gone in (path, _sum_file(path)):
            gone.unlink(missing_ok=True)


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process tidies, or has just finished
        return None
