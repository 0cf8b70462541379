"""Whom to reach over SSH, and the host keys that are seen there: plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True)
class HostKey:
    """`algorithm` as in a known_hosts line (ssh-ed25519), `data` in base64."""

    algorithm: str
    data: str


@dataclass(frozen=True)
class Target:
    """Whom to reach: as on a command line of ssh, `user` "" and `port` None are what the configuration says.

    `prefer` are the algorithms of host keys that are to be asked for first; `trusted` says whether a key is taken.
    """

    address: str
    user: str
    port: int | None
    prefer: Sequence[str]
    trusted: Callable[[HostKey], bool]


@dataclass(frozen=True)
class Patience:
    """Seconds: to connect and log in, and between two signs of life, `missed` of which may be missing."""

    connect: float = 20.0
    alive: float = 15.0
    missed: int = 3


def is_loopback(address: str) -> bool:
    """Whether it is an address, not a name, of this machine itself."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
