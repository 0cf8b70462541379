"""The folders that go to a node whole, as they lie on disk, and which of their files never go: secrets."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from nodepkg.errors import RefusedError

# What Chef (/etc/chef/encrypted_data_bag_secret), Test Kitchen and knife-solo call the key of encrypted data bags.
SECRET_NAMES = frozenset({"encrypted_data_bag_secret", "encrypted_data_bag_secret_key", "data_bag_key"})
SECRET_SETTERS = ("solo.rb", "knife.rb", ".chef/knife.rb", ".chef/config.rb")
_SECRET_SETTING = re.compile(
    r"""^[^#\n]*\b(?:encrypted_data_bag_secret|secret_file)\b(?!["'](?!\])|/)(?:["']?\])?[ \t(=,:]*(.*)$""",
    re.MULTILINE,
)
_LITERAL = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")


File = tuple[str, str]  # a regular file: the path that leads to it, and how it looks (see `look`)


def files_below(root: Path, folder: str) -> dict[str, File]:
    """Every file: path relative to `root` -> file, through symbolic links as Packer's upload follows them.

    Raises RefusedError for what cannot go to a node: broken links and loops, pipes and devices, control characters in
    names, and what cannot be read.
    """
    found: dict[str, File] = {}
    top = os.path.join(root, folder)  # noqa: PTH118 - with pathlib, 5,000 files take four times as long
    if Path(top).is_symlink():
        _refuse_loop(top)
    waiting = [(top, folder)]
    while waiting:  # the deepest first: links into each other end at the system's limit, and not after all ways to it
        place, at = waiting.pop()
        for entry in _entries(place):
            name = entry.name
            if not (name.isascii() and name.isprintable()):
                name = _in_every_locale(name)
                _refuse_control_characters(place, name)
            if _is_folder(entry):
                if entry.is_symlink():
                    _refuse_loop(entry.path)
                waiting.append((entry.path, f"{at}/{name}"))
            else:
                found[f"{at}/{name}"] = entry.path, _regular(entry)
    return found


def look(seen: os.stat_result) -> str:
    """Size, mtime and ctime (ns) and inode: as a text, since of 5,000 files the rest takes time to keep."""
    return f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino}"


def read(path: str) -> tuple[bytes, str]:
    """The content of a file, and how it looks afterwards. Raises RefusedError if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            pieces = []
            while piece := os.read(descriptor, 1 << 16):
                pieces.append(piece)
            return b"".join(pieces), look(os.fstat(descriptor))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error


def secrets_of(root: Path, paths: Iterable[str]) -> list[str]:
    """Those of the paths that are the key of encrypted data bags: by their name, or since the project's solo.rb or
    knife.rb says so.
    """
    said = [text for name in SECRET_SETTERS for text in _secrets_named(root / name)]
    return [path for path in paths if path[path.rfind("/") + 1 :] in SECRET_NAMES or (said and _is_said(path, said))]


def _is_said(path: str, said: list[str]) -> bool:
    return any(text.endswith(f"/{path}") for text in said)


def _secrets_named(configuration: Path) -> list[str]:
    """The paths that a configuration of Chef gives to encrypted_data_bag_secret, each from a slash on: as far as they
    are written as texts, for what Ruby makes of it only Ruby knows.
    """
    try:
        text = configuration.read_bytes().decode("utf-8", errors="surrogateescape")
    except OSError:
        return []
    found = []
    for value in _SECRET_SETTING.findall(text):
        parts = [one or other for one, other in _LITERAL.findall(value)]
        if parts:
            found.append(os.path.normpath("/" + "/".join(parts)))
    return found


def _entries(place: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return list(entries)
    except OSError as error:
        raise RefusedError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _regular(entry: os.DirEntry[str]) -> str:
    """How a regular file looks."""
    try:
        seen = entry.stat()
    except OSError as error:
        if not entry.is_symlink():
            raise RefusedError(f"{entry.path}: cannot be read: {error.strerror}") from error
        raise RefusedError(f"{entry.path}: is a broken symbolic link, and cannot go to a node") from error
    if not stat.S_ISREG(seen.st_mode):
        raise RefusedError(f"{entry.path}: is no regular file, and cannot go to a node")
    return look(seen)


def _in_every_locale(name: str) -> str:
    return os.fsencode(name).decode("utf-8", errors="surrogateescape")


def _refuse_control_characters(place: str, name: str) -> None:
    if not name.isprintable() and not all(char.isprintable() or "\udc80" <= char <= "\udcff" for char in name):
        raise RefusedError(f"{place}: the name {name!r} holds a control character, and cannot go to a node")


def _refuse_loop(link: str) -> None:
    if Path(link).parent.resolve().is_relative_to(Path(link).resolve()):
        raise RefusedError(f"{link}: a symbolic link that leads back to a folder above it")
