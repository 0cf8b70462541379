"""Artefacts: the files that are derived from nodes.json, compared with what is on disk, and written."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nodepkg.errors import RefusedError


@dataclass(frozen=True)
class Artifact:
    """A file to be: its path relative to the folder of nodes.json, and its whole text."""

    group: str
    path: str
    text: str


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


def state(root: Path, artifact: Artifact) -> State:
    wanted = artifact.text.encode("utf-8")
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


def write(root: Path, artifacts: Iterable[Artifact]) -> list[tuple[Artifact, Outcome]]:
    """Writes what differs, each file whole or not at all; raises RefusedError naming the first that could not be."""
    done: list[tuple[Artifact, Outcome]] = []
    for artifact in artifacts:
        outcome = _OUTCOMES[state(root, artifact)]
        if outcome is not Outcome.UNCHANGED:
            try:
                _replace(root / artifact.path, artifact.text.encode("utf-8"))
            except OSError as error:
                written = sum(before is not Outcome.UNCHANGED for _, before in done)
                told = f"{root / artifact.path}: cannot be written: {error.strerror}"
                raise RefusedError(
                    f"{told} ({written} files were written before it)", hint="mend it and run the command again"
                ) from error
        done.append((artifact, outcome))
    return done


def _replace(path: Path, content: bytes) -> None:
    """Through a temporary file beside it, so that a reader, or a crash, never meets half a file."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        _create(temporary, content)
        os.replace(temporary, path)  # noqa: PTH105 - as atomic as os.replace documents it
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _create(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
