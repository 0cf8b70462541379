"""Artefacts: the files that are derived from nodes.json, compared with what is on disk, and written."""

import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from nodepkg.errors import RefusedError


@dataclass(frozen=True)
class Artifact:
    """A file to be: its path relative to the folder of nodes.json, and its whole text."""

    group: str
    path: str
    text: str

    @property
    def content(self) -> bytes:
        return self.text.encode("utf-8")


@dataclass(frozen=True)
class Blob:
    """A file to be that is no text: its path relative to a folder, and its bytes."""

    path: str
    content: bytes


Written = TypeVar("Written", bound=Artifact | Blob)


class State(StrEnum):
    """What is on disk in the place of an artefact."""

    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"


class Outcome(StrEnum):
    """What writing an artefact did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    KEPT = "kept"


_OUTCOMES = {State.MISSING: Outcome.CREATED, State.STALE: Outcome.UPDATED, State.FRESH: Outcome.UNCHANGED}


def current(root: Path, artifact: Artifact) -> str | None:
    """The text that is on disk, or None; bytes that are no UTF-8 are replaced, so they never compare equal."""
    try:
        return (root / artifact.path).read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(root / artifact.path, error) from error


def _unreadable(path: Path | str, error: OSError) -> RefusedError:
    return RefusedError(f"{path}: cannot be read: {error.strerror}")


def state(root: Path, artifact: Artifact | Blob) -> State:
    wanted = artifact.content
    path = os.path.join(root, artifact.path)  # noqa: PTH118 - with pathlib, ten thousands of files take twice as long
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return State.MISSING
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        return State.FRESH if os.read(file, len(wanted) + 1) == wanted else State.STALE
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(file)


def write(root: Path, artifacts: Iterable[Written]) -> list[tuple[Written, Outcome]]:
    """Writes what differs, each file whole or not at all; raises RefusedError naming the first that could not be."""
    done: list[tuple[Written, Outcome]] = []
    for artifact in artifacts:
        outcome = _OUTCOMES[state(root, artifact)]
        if outcome is not Outcome.UNCHANGED:
            try:
                _replace(root / artifact.path, artifact.content)
            except OSError as error:
                written = sum(before is not Outcome.UNCHANGED for _, before in done)
                told = f"{root / artifact.path}: cannot be written: {error.strerror}"
                raise RefusedError(
                    f"{told} ({written} files were written before it)", hint="mend it and run the command again"
                ) from error
        done.append((artifact, outcome))
    return done


def create(root: Path, artifacts: Iterable[Artifact]) -> list[tuple[Artifact, Outcome]]:
    """Writes those in whose place nothing is, each file whole or not at all; whatever is there is kept as it is.

    Raises RefusedError naming the first that could not be written.
    """
    done: list[tuple[Artifact, Outcome]] = []
    for artifact in artifacts:
        try:
            made = is_missing(root, artifact) and add(root / artifact.path, artifact.content)
        except OSError as error:
            raise RefusedError(
                f"{root / artifact.path}: cannot be written: {error.strerror}",
                hint="mend it and run the command again: it goes on where this one stopped",
            ) from error
        done.append((artifact, Outcome.CREATED if made else Outcome.KEPT))
    return done


def is_missing(root: Path, artifact: Artifact) -> bool:
    """Whether nothing is in the artefact's place, not even a broken link."""
    return not os.path.lexists(root / artifact.path)


def add(path: Path, content: bytes, link: Callable[[Path, Path], None] = os.link) -> bool:
    """Writes a new file; False if something is there, also if it came this moment: it is never overwritten.

    `link` gives a file a second name. Where a file system has none, a crash may leave half a file.
    """
    temporary = _temporary(path)
    try:
        _create(temporary, content)
        return _linked(temporary, path, link) or _added(path, content)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _linked(temporary: Path, path: Path, link: Callable[[Path, Path], None]) -> bool:
    try:
        link(temporary, path)
    except OSError:  # something is there, or there are no links here: writing it tells which
        return False
    return True


def _added(path: Path, content: bytes) -> bool:
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
    except BaseException:
        path.unlink()
        raise
    return True


def _replace(path: Path, content: bytes) -> None:
    """Through a temporary file beside it, so that a reader, or a crash, never meets half a file."""
    temporary = _temporary(path)
    try:
        _create(temporary, content)
        os.replace(temporary, path)  # noqa: PTH105 - as atomic as os.replace documents it
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _create(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
