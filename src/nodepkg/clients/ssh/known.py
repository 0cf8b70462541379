"""What the user's known_hosts say of a host: keys, those who may certify its key, and keys that are revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodepkg.clients.ssh.configuration import Configuration
from nodepkg.clients.ssh.target import HostKey, Target, host_key
from nodepkg.errors import RefusedError


@dataclass(frozen=True)
class Said:
    """Of one host; `authorities` are those of @cert-authority lines."""

    keys: Sequence[HostKey] = ()
    authorities: Sequence[HostKey] = ()
    revoked: Sequence[HostKey] = ()


class UsersKnownHosts:
    """The files that the configuration names, each set of them read once: many hosts have mostly the same."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._read: dict[tuple[str, ...], Any] = {}

    def of(self, target: Target) -> Said:
        """Raises RefusedError if a file cannot be read."""
        files, host, port = self._configuration.known_hosts(target)
        key = tuple(files)
        known = self._read[key] if key in self._read else self._read.setdefault(key, _read(files))
        keys, authorities, revoked, *_ = known.match(host, "", port if port != 22 else None)
        return Said(*([host_key(one) for one in part] for part in (keys, authorities, revoked)))


def _read(files: Sequence[str]) -> Any:
    """A line that is none is passed over, as ssh does."""
    from asyncssh.known_hosts import SSHKnownHosts

    known = SSHKnownHosts()
    for file in files:
        try:
            text = Path(file).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RefusedError(f"{file}: cannot be read: {error.strerror}") from error
        for line in text.splitlines():
            try:
                known.load(line)
            except ValueError:
                continue
    return known
