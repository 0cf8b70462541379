"""Host keys by instance id, as .nodepkg/known_hosts holds them: addresses are reused by later nodes, ids are not.

The format is OpenSSH's, so `ssh -o HostKeyAlias=<id> -o UserKnownHostsFile=.nodepkg/known_hosts` reads it, too. The
comment of a line is `group=<group> region=<region>`. A key is taken on first sight; `strict` asks for a voucher.
"""

import base64
import binascii
import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from nodepkg.clients.ssh.target import HostKey
from nodepkg.durable import private_folder
from nodepkg.errors import RefusedError

KNOWN_HOSTS = Path(".nodepkg", "known_hosts")


@dataclass(frozen=True)
class Known:
    """A line: the key of an instance. `by`: who vouches for it (known_hosts, console), "" for nobody."""

    instance: str
    key: HostKey
    group: str = ""
    region: str = ""
    by: str = ""

    def __str__(self) -> str:
        told = f"group={self.group} region={self.region}{f' by={self.by}' if self.by else ''}"
        return f"{self.instance} {self.key.algorithm} {self.key.data} {told}"


@dataclass
class KnownHosts:
    """The file at `path`; several processes may use it at the same time. Raises RefusedError if it cannot be used."""

    path: Path
    _known: dict[str, list[Known]] = field(default_factory=dict)
    _read: tuple[int, int, int] | None = None

    def of(self, instance: str) -> list[Known]:
        """What is known of an instance."""
        self._look()
        return list(self._known.get(instance, ()))

    def accept(self, known: Known) -> bool:
        """Remembers a key; whether it is that of the instance: on sight none is taken if another one is known."""
        with self._locked():
            self._look()
            there = self._known.get(known.instance, [])
            if any(one.key == known.key and (one.by or not known.by) for one in there):
                return True
            if there and not known.by:
                return False
            self._append(known)
            return True

    def forget(self, instances: Collection[str]) -> list[str]:
        """Drops the keys of these instances; gives those that had any."""
        if not self.path.exists():
            return []
        with self._locked():
            self._look()
            gone = sorted(set(instances) & set(self._known))
            if gone:
                self._write([one for name, lines in self._known.items() if name not in gone for one in lines])
            return gone

    def drop_gone(
        self, group: str, region: str, living: Collection[str], exist: Callable[[Sequence[str]], Collection[str]]
    ) -> list[str]:
        """Drops the keys of instances of the group that are gone; `living` are those that a list of it has shown.

        What the list did not show is asked for by id, once: `exist` gives which of them EC2 still knows. Keys that ssh
        itself has added tell no group: that is written beside them as long as their instances live.
        """
        self._look()
        self._place(living, group, region)
        missing = [
            name
            for name, lines in self._known.items()
            if name not in living and any((one.group, one.region) == (group, region) for one in lines)
        ]
        if not missing:
            return []
        return self.forget(set(missing) - set(exist(sorted(missing))))

    def _place(self, living: Collection[str], group: str, region: str) -> None:
        if not any(not one.group for name in living for one in self._known.get(name, ())):
            return
        with self._locked():
            self._look()
            lines = [one for many in self._known.values() for one in many]
            mine = set(living)
            self._write(
                [
                    replace(one, group=group, region=region) if one.instance in mine and not one.group else one
                    for one in lines
                ]
            )
        self._look()

    def _look(self) -> None:
        """Reads the file again if it was changed."""
        try:
            now = self.path.stat()
            if (stamp := (now.st_ino, now.st_size, now.st_mtime_ns)) != self._read:
                self._known = _parse(self.path.read_text(encoding="utf-8", errors="replace"))
                self._read = stamp
        except FileNotFoundError:
            self._known, self._read = {}, None
        except OSError as error:
            raise self._unusable(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Its own file is replaced, so another one is locked."""
        try:
            private_folder(self.path.parent)
            file = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            os.close(file)

    def _append(self, known: Known) -> None:
        """One line, without writing all others anew: a fleet's first deploy adds them one by one."""
        with self.path.open("a+b") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            torn = file.read(1) not in (b"", b"\n")
            file.write(f"{chr(10) if torn else ''}{known}\n".encode())
            file.flush()
            now = os.fstat(file.fileno())
        self._known.setdefault(known.instance, []).append(known)
        self._read = (now.st_ino, now.st_size, now.st_mtime_ns)

    def _write(self, lines: Sequence[Known]) -> None:
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        new.replace(self.path)

    def _unusable(self, error: OSError) -> RefusedError:
        return RefusedError(f"{self.path}: cannot be used: {error.strerror}")


def fingerprint(key: HostKey) -> str:
    """As ssh and cloud-init show it: `SHA256:…`."""
    digest = hashlib.sha256(base64.b64decode(key.data)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def shows(console: str, key: HostKey) -> bool:
    """Whether an instance's console output shows the key, or its fingerprint, in the blocks that cloud-init prints."""
    keys = {word for line in _block(console, "KEYS") for word in line.split()}
    fingerprints = {word for line in _block(console, "FINGERPRINTS") for word in line.split()}
    return key.data in keys or fingerprint(key) in fingerprints


def _block(console: str, what: str) -> Iterator[str]:
    """The lines between its marks; each may have a prefix (`ec2: `, `[   12.3] cloud-init[1]: `)."""
    inside = False
    for line in console.splitlines():
        if f"-----BEGIN SSH HOST KEY {what}-----" in line:
            inside = True
        elif "-----END SSH HOST KEY" in line:
            inside = False
        elif inside:
            yield line


def _parse(text: str) -> dict[str, list[Known]]:
    """A line that is none, such as the torn last one of a crash, counts for nothing."""
    known: dict[str, list[Known]] = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) >= 3 and not line.startswith(("#", "@")) and _is_key(words[2]):
            told = dict(word.split("=", 1) for word in words[3:] if "=" in word)
            one = Known(
                words[0], HostKey(words[1], words[2]), *(told.get(name, "") for name in ("group", "region", "by"))
            )
            known.setdefault(one.instance, []).append(one)
    return known


def _is_key(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return False
