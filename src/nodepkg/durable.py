"""Files and folders of our own: private, and whole whatever happens."""

import os
import stat
from contextlib import suppress
from pathlib import Path


def private_folder(folder: Path) -> None:
    """Makes a folder of our own in the project: for its owner only (0700), and ignored by git without anybody's doing.

    Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def write_through(path: Path, content: bytes, *, like: os.stat_result | None = None) -> None:
    """Replaces a private file as a whole, and is on the disk when this returns. Raises OSError.

    `like`: what the file was, if it is to keep its mode and the time of its last change.
    """
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if like:
            os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))
        os.fsync(descriptor)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot do that to a folder
            os.fsync(folder)
    finally:
        os.close(folder)
