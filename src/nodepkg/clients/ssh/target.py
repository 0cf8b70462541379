"""Whom to reach over SSH, and the host keys that are seen there: plain values."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncssh


@dataclass(frozen=True)
class HostKey:
    """`algorithm` as in a known_hosts line (ssh-ed25519), `data` in base64."""

    algorithm: str
    data: str


@dataclass(frozen=True)
class Target:
    """Whom to reach: as on a command line of ssh, `user` "" and `port` None are what the configuration says.

    `prefer` are the algorithms of host keys that are to be asked for first; `trusted` says whether a key is taken. With
    `authorities` a certificate of one of them is asked for instead.
    """

    address: str
    user: str
    port: int | None
    prefer: Sequence[str]
    trusted: Callable[[HostKey], bool]
    authorities: Sequence[HostKey] = ()


@dataclass(frozen=True)
class Patience:
    """Seconds: to connect and log in, and between two signs of life, `missed` of which may be missing.

    `agent`: until the user's agent has said which keys it has.
    """

    connect: float = 20.0
    alive: float = 15.0
    missed: int = 3
    agent: float = 10.0


def host_key(key: "asyncssh.SSHKey") -> HostKey:
    """As plain values."""
    return HostKey(key.get_algorithm(), base64.b64encode(key.public_data).decode())


def is_loopback(address: str) -> bool:
    """Whether it is an address, not a name, of this machine itself."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
