"""What is written down of a deploy: .nodepkg/deploys/<id>/, so that whoever comes after a crash can go on with it.

`deploy.json` is written before the first start: who gets what. `states.jsonl` has a line for each change of a host's
state, each added with one write; a line that a crash has torn does not count. `<instance>.log` is a host's output.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from nodepkg.durable import private_folder, write_through
from nodepkg.errors import RefusedError, UsageError
from nodepkg.fleet.host import Host

DEPLOYS = Path(".nodepkg", "deploys")
_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{6}")
_INSTANCE = re.compile(r"i-[0-9a-z]+")
_TAIL_BYTES = 16 * 1024
Value = TypeVar("Value")


def new_deploy_id(now: float, random: bytes) -> str:
    """Of the time (UTC) and three random bytes: ids sort by time."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}-{random[:3].hex():0>6}"


def is_deploy_id(text: str) -> bool:
    return bool(_ID.fullmatch(text))


@dataclass(frozen=True)
class Part:
    """What the hosts of one group get; see transport.Parcel."""

    group: str
    region: str
    digest: str
    path: str
    command: str
    user: str
    port: int | None = None
    strict: bool = False


@dataclass(frozen=True)
class Plan:
    """A deploy as it was begun: `command` is its command line, `started` in seconds since the epoch, by AWS's clock."""

    id: str
    command: str
    started: float
    parts: tuple[Part, ...]
    hosts: tuple[Host, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A state that a host came to; `over`: its last one. `code` and `seconds` are those of its converge, if known."""

    instance: str
    state: str
    at: float
    code: int | None = None
    seconds: float | None = None
    why: str = ""
    over: bool = False


RETRIED = b"\n--- retried ---\n"


class Record:
    """The folder of one deploy."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.plan = plan
        self.folder = root / DEPLOYS / plan.id
        self._root = root
        self._states: int | None = None
        self._earlier: set[str] = set()

    def begin(self) -> None:
        """Writes down the plan; raises RefusedError if that cannot be."""
        try:
            private_folder(self._root / DEPLOYS)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            write_through(self.folder / "deploy.json", json.dumps(asdict(self.plan), indent=4).encode())
            self._open()
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def resume(self) -> None:
        """Goes on writing; raises RefusedError if that cannot be."""
        self._earlier = {path.stem for path in self.folder.glob("*.log")}
        try:
            self._open()
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def note(self, entry: Entry) -> None:
        """Adds a line; raises RefusedError if that cannot be."""
        line = json.dumps({key: value for key, value in vars(entry).items() if not _says_nothing(value)})
        try:
            if self._states is not None:
                _write_all(self._states, f"{line}\n".encode())
        except OSError as error:
            raise _unwritable(self.folder / "states.jsonl", error) from error

    def entries(self) -> dict[str, Entry]:
        """The last state of each host."""
        found: dict[str, Entry] = {}
        try:
            lines = (self.folder / "states.jsonl").read_bytes().split(b"\n")
        except FileNotFoundError:
            return found
        except OSError as error:
            raise _unreadable(self.folder / "states.jsonl", error) from error
        for line in lines:
            with suppress(ValueError, TypeError, RecursionError):
                entry = _value(Entry, json.loads(line))
                found[entry.instance] = entry
        return found

    def log(self, instance: str) -> Path:
        return self.folder / f"{instance}.log"

    def shown_log(self, instance: str) -> str:
        """Its path as a user would type it."""
        return os.path.relpath(self.log(instance))

    def wrote(self, instance: str, output: bytes) -> None:
        """Adds to a host's log. Opened anew each time: hundreds may write. Raises OSError.

        A retry marks where it begins: of a converge that it follows the node gives all output once more.
        """
        if instance in self._earlier:
            self._earlier.remove(instance)
            output = RETRIED + output
        descriptor = os.open(self.log(instance), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, output)
        finally:
            os.close(descriptor)

    def last_lines(self, instance: str, most: int) -> list[str]:
        """The last lines of a host's log, without empty ones at the end; [] if there is none."""
        try:
            with self.log(instance).open("rb") as file:
                file.seek(0, os.SEEK_END)
                start = max(file.tell() - _TAIL_BYTES, 0)
                file.seek(start)
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return []
        lines = text.rstrip().splitlines()
        return (lines[1:] if start and len(lines) > 1 else lines)[-most:]

    def close(self) -> None:
        if self._states is not None:
            os.close(self._states)
            self._states = None

    def _open(self) -> None:
        path = self.folder / "states.jsonl"
        self._states = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._states).st_size
        if size and os.pread(self._states, 1, size - 1) != b"\n":  # the end of a line that was torn
            _write_all(self._states, b"\n")


def find(root: Path, deploy: str | None) -> Record:
    """The record of this deploy, or of the newest one; raises UsageError if there is none."""
    wanted = deploy or newest(root)
    if wanted is None:
        raise UsageError("no deploy was started from here", hint="package instance:deploy")
    path = root / DEPLOYS / wanted / "deploy.json"
    if not is_deploy_id(wanted) or not path.parent.is_dir():
        known = newest(root)
        raise UsageError(f"no deploy {wanted} was started from here", hint=f"the newest is {known}" if known else "")
    try:
        return Record(root, _plan(json.loads(path.read_bytes()), wanted))
    except FileNotFoundError as error:
        raise RefusedError(f"{path} is missing: the deploy was ended before it began") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RefusedError(f"{path}: cannot be read: {error}", hint="start a new deploy") from error


def newest(root: Path) -> str | None:
    """The id of the last deploy that was begun."""
    try:
        found = [path.parent.name for path in (root / DEPLOYS).glob("*/deploy.json")]
    except OSError:
        return None
    return max(filter(is_deploy_id, found), default=None)


def _plan(document: Any, deploy: str) -> Plan:
    """Raises ValueError for what is no plan of this deploy."""
    lists = document if isinstance(document, dict) else {}
    parts = tuple(_value(Part, one) for one in lists.get("parts") or ())
    hosts = tuple(_value(Host, one) for one in lists.get("hosts") or ())
    plan = _value(Plan, {**lists, "parts": parts, "hosts": hosts})
    if plan.id != deploy:
        raise ValueError(f"it is that of {plan.id}")
    if not all(_INSTANCE.fullmatch(one.instance) for one in hosts):
        raise ValueError("has a host that is no instance")
    if not hosts or not {one.group for one in hosts} <= {one.group for one in parts}:
        raise ValueError("its hosts and groups do not fit together")
    return plan


def _value(kind: type[Value], document: Any) -> Value:
    """Raises ValueError for what is none; what a newer nodepkg wrote besides is left out."""
    if not isinstance(document, dict):
        raise ValueError("is no JSON object")
    kinds = _KINDS[kind]
    known = {name: value for name, value in document.items() if name in kinds}
    for name, value in known.items():
        if not isinstance(value, kinds[name]):
            raise ValueError(f"its {name} is {value!r}")
    try:
        return kind(**known)
    except TypeError as error:
        raise ValueError("a part of it is missing") from error


def _kinds(kind: type[Any]) -> dict[str, tuple[type[Any], ...]]:
    """What the fields of a dataclass may be."""
    hints = get_type_hints(kind)
    found = {
        name: get_args(hint) if isinstance(hint, UnionType) else (get_origin(hint) or hint,)
        for name, hint in hints.items()
    }
    return {name: (*kinds, int) if float in kinds else kinds for name, kinds in found.items()}


_KINDS: Mapping[type[Any], Mapping[str, tuple[type[Any], ...]]] = {
    kind: _kinds(kind) for kind in (Host, Part, Plan, Entry)
}


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value == ""


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _unwritable(path: Path, error: OSError) -> RefusedError:
    return RefusedError(
        f"{path}: cannot be written: {error.strerror}", hint="a deploy that is cut off could not be gone on with"
    )


def _unreadable(path: Path, error: OSError) -> RefusedError:
    return RefusedError(f"{path}: cannot be read: {error.strerror}")


def documents(hosts: Sequence[Host], entries: Mapping[str, Entry], record: Record) -> list[dict[str, Any]]:
    """Each host as --json tells it."""
    return [_document(one, entries.get(one.instance), record) for one in hosts]


def _state(entry: Entry | None) -> str:
    """Of a host of which nothing more was written down, since that process was killed, it is not known how it ended."""
    if entry is None:
        return "not started"
    return entry.state if entry.over else "unknown"


def _document(one: Host, entry: Entry | None, record: Record) -> dict[str, Any]:
    log = record.log(one.instance)
    return {
        "instance": one.instance,
        "group": one.group,
        "name": one.name or None,
        "zone": one.zone,
        "address": one.address or None,
        "state": _state(entry),
        "exit_code": entry.code if entry else None,
        "seconds": None if entry is None or entry.seconds is None else round(entry.seconds, 1),
        "why": (entry.why or None) if entry else None,
        "log": record.shown_log(one.instance) if log.exists() else None,
    }
