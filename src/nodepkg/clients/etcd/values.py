"""What etcd is told, and what it answers: plain values in etcd's own words."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files, read anew for each connection. Without `ca` the system's authorities count."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A key and its value. `lease` is 0 without one."""

    key: str
    value: str
    create_revision: int
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """What was there at one revision, in the order of keys. Watch from `revision + 1`."""

    revision: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """`now` is None for a key that is gone, `before` for a new one, or where etcd has forgotten it."""

    key: str
    now: Item | None
    before: Item | None


@dataclass(frozen=True, slots=True)
class Changes:
    """All that one revision changed of what is watched. Resume from `revision + 1`."""

    revision: int
    changes: tuple[Change, ...]

    @property
    def puts(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.now)

    @property
    def deletes(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if not change.now)


@dataclass(frozen=True, slots=True)
class Lease:
    """`ttl` in seconds is etcd's, which may be longer than what was asked for."""

    id: int
    ttl: int


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction; `target` is etcd's field, `result` one of `=`, `!=`, `>`, `<`."""

    key: str
    target: str
    operand: int | str
    result: str = "="


def absent(key: str) -> Compare:
    """There is no such key."""
    return Compare(key, "create_revision", 0)


def present(key: str) -> Compare:
    return Compare(key, "create_revision", 0, "!=")


def unchanged(key: str, mod_revision: int) -> Compare:
    """Nobody has changed it since."""
    return Compare(key, "mod_revision", mod_revision)


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: str
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Get:
    """One key, or with `prefix` all that begin with it."""

    key: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """One key, or with `prefix` all that begin with it."""

    key: str
    prefix: bool = False


Operation = Put | Get | Delete


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a transaction. `items`: for each operation that was carried out what it read, or deleted.

    `again`: an earlier try got no answer, and may have been carried out as well.
    """

    succeeded: bool
    revision: int
    items: tuple[tuple[Item, ...], ...]
    again: bool = False


def end_of(prefix: str) -> bytes:
    """The first key behind all that begin with `prefix`; etcd's `\\0` (all there are) for an empty one."""
    encoded = prefix.encode()
    return encoded[:-1] + bytes([encoded[-1] + 1]) if encoded else b"\0"  # UTF-8 has no byte 0xff


def several(prefix: str | tuple[str, ...]) -> tuple[str, ...]:
    """One prefix, or several, as str.startswith takes them."""
    return (prefix,) if isinstance(prefix, str) else prefix
