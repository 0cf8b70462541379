"""What is written down of each build before it is needed: .nodepkg/builds/, one record and two locks a build.

`<build>.json` is the record, `<build>.out` Packer's output, `<build>.lock` belongs to our own process. The last two are
locked (flock) for as long as somebody holds them open, so whether a build lives is asked of the system, which cannot be
wrong about a process that was killed.
"""

import fcntl
import json
import os
import re
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from nodepkg.clients.packer_output import Outcome, Tail
from nodepkg.durable import private_folder, write_through
from nodepkg.errors import RefusedError

BUILDS = Path(".nodepkg", "builds")
_BUILD_ID = re.compile(r"[0-9a-f]{16}")
# No build of ours is older; ids were random once, and then say any time between 1970 and 2106.
_FIRST = datetime(2025, 1, 1, tzinfo=UTC)
_SUFFIXES = (".json", ".out", ".lock", ".tmp")


def new_build_id(now: float, random: bytes) -> str:
    """16 hex digits: the Unix time `now` in seconds, and four random bytes."""
    return f"{int(now):08x}{random[:4].hex():0>8}"


def is_build_id(text: str) -> bool:
    return bool(_BUILD_ID.fullmatch(text))


def started_at(build: str) -> datetime | None:
    """When a build began, as its id says; None for what is no id, or one of before ids told the time."""
    if not is_build_id(build):
        return None
    started = datetime.fromtimestamp(int(build[:8], 16), UTC)
    return started if started >= _FIRST else None


@dataclass(frozen=True)
class Record:
    """What is known of a build. `started` is in Unix seconds; `log` a path, relative to the project.

    `account` is the id of the AWS account in which it builds, "" if that is not known.

    `key_pair` and `security_groups` are those that Packer makes for it; `source` is the image it is built on,
    `image_name` and `image` the one that it makes, as soon as Packer has named them.
    """

    build: str
    group: str
    region: str
    template: str
    digest: str
    commit: str
    started: float
    log: str
    account: str = ""
    key_pair: str | None = None
    security_groups: tuple[str, ...] = ()
    source: str | None = None
    image_name: str | None = None
    image: str | None = None


class Entry:
    """A build that this process runs.

    `output` is for Packer's stdout and stderr: its lock goes over to Packer with the descriptor, and lasts until both
    have closed it.
    """

    def __init__(self, folder: Path, record: Record) -> None:
        self.record = record
        self._folder = folder
        with ExitStack() as opened:
            self.output = opened.enter_context(_locked_new_file(folder / f"{record.build}.out"))
            opened.enter_context(_locked_new_file(folder / f"{record.build}.lock"))
            self.note()  # last: whoever reads it finds both locks taken
            self._opened = opened.pop_all()

    def note(self, **changes: Any) -> None:
        """Changes the record, and has it on the disk before this returns.

        Raises RefusedError if it cannot be written; `record` is changed all the same.
        """
        self.record = replace(self.record, **changes)
        path = self._folder / f"{self.record.build}.json"
        try:
            write_through(path, json.dumps(asdict(self.record), indent=4).encode())
        except OSError as error:
            raise _unwritable(path, error) from error

    def close(self) -> None:
        """Lets go of both locks: from now on the build lives only as long as Packer does."""
        self._opened.close()


class Journal:
    """The builds that were started from this project. `warn` is told, once, of a record that cannot be read."""

    def __init__(self, root: Path, *, warn: Callable[[str], None] | None = None) -> None:
        self.folder = root / BUILDS
        self._told: set[str] = set()
        self._warn_user = warn or (lambda _: None)

    def begin(self, record: Record) -> Entry:
        """Opens the record of a new build; raises RefusedError if it cannot be written."""
        try:
            private_folder(self.folder)
            return Entry(self.folder, record)
        except OSError as error:
            raise _unwritable(Path(error.filename or self.folder), error) from error

    def records(self) -> list[Record]:
        """All that can be read, oldest first; of one that is damaged `warn` is told.

        Those of builds that have ended hold what Packer's output names, also if our process was killed before it could
        write it down.
        """
        try:
            paths = sorted(path for path in self.folder.iterdir() if path.suffix == ".json" and is_build_id(path.stem))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._warn(f"{self.folder}: cannot be read: {error.strerror}")
            return []
        return [self._completed(record) for path in paths if (record := self._read(path))]

    def knows(self, build: str) -> bool:
        """Whether the build was started from this project, also if its record is damaged."""
        return is_build_id(build) and any((self.folder / f"{build}{suffix}").exists() for suffix in _SUFFIXES)

    def lives(self, build: str) -> bool:
        """Whether our process or Packer runs; where the system does not tell, it does."""
        return self._held(build, ".lock") or self._held(build, ".out")

    def packs(self, build: str) -> bool:
        """Whether Packer, or anything that it has started, has the output open (or we have)."""
        return self._held(build, ".out")

    def last_word(self, build: str) -> float:
        """When its Packer last said anything, in Unix seconds; 0 if it has not, or that is not known."""
        try:
            told = (self.folder / f"{build}.out").stat()
        except OSError:
            return 0.0
        return told.st_mtime if told.st_size else 0.0

    def orphaned(self, build: str) -> bool:
        """Whether Packer runs, and the process that started it does not: it is winding down, or is going to."""
        return not self._held(build, ".lock") and self.packs(build)

    def forget(self, build: str) -> None:
        """Removes what is written of a build. What cannot be removed stays, and harms nobody."""
        if is_build_id(build):
            for suffix in _SUFFIXES:
                with suppress(OSError):
                    (self.folder / f"{build}{suffix}").unlink()

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._warn_user(text)

    def _completed(self, record: Record) -> Record:
        if self.lives(record.build):
            return record
        outcome = Outcome()
        with suppress(OSError), closing(Tail(self.folder / f"{record.build}.out")) as output:
            for line in output.read(ended=True):
                outcome.hear(line)
        return replace(
            record,
            key_pair=record.key_pair or outcome.key_pair,
            security_groups=record.security_groups or outcome.security_groups,
            source=record.source or outcome.source,
            image_name=record.image_name or outcome.image_name,
            image=record.image or outcome.image,
        )

    def _read(self, path: Path) -> Record | None:
        try:
            record = _record(json.loads(path.read_bytes()))
            if record.build != path.stem:
                raise ValueError(f"is of build {record.build}")
        except FileNotFoundError:  # somebody has just forgotten it
            return None
        except (OSError, ValueError, RecursionError) as error:
            self._warn(f"{path}: cannot be read, and does not count: {error}")
            return None
        return record

    def _held(self, build: str, suffix: str) -> bool:
        """Whether anybody has the file locked. Two who ask at once do not meet each other's locks."""
        if not is_build_id(build):
            return False
        try:
            # Reading is enough for a shared lock, on a read-only file system, and over NFS, too.
            descriptor = os.open(self.folder / f"{build}{suffix}", os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False


def _record(document: Any) -> Record:
    """Raises ValueError for what is no record; what a newer nodepkg wrote besides is left out."""
    if not isinstance(document, dict):
        raise ValueError("is no JSON object")
    known = {field.name: document[field.name] for field in fields(Record) if field.name in document}
    for name, value in known.items():
        if not _fits(name, value):
            raise ValueError(f"{name} is {value!r}")
    try:
        return Record(**{**known, "security_groups": tuple(known.get("security_groups", ()))})
    except TypeError as error:
        raise ValueError(f"is incomplete: {error}") from error


def _fits(name: str, value: Any) -> bool:
    match name:
        case "started":
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**33
        case "security_groups":
            return isinstance(value, list) and all(isinstance(group, str) for group in value)
        case "key_pair" | "source" | "image_name" | "image":
            return value is None or isinstance(value, str)
    return isinstance(value, str)


def _locked_new_file(path: Path) -> BinaryIO:
    """A new file, private and locked by whoever has it open."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return os.fdopen(descriptor, "ab", buffering=0)


def _unwritable(path: Path, error: OSError) -> RefusedError:
    return RefusedError(
        f"{path}: cannot be written: {error.strerror}",
        hint="what a build leaves behind could not be found again without it",
    )
