"""What a deploy asks of whatever carries bundles and commands to hosts: SSH (over_ssh.py), or SSM (over_ssm.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from nodepkg.fleet.host import Host


@dataclass(frozen=True)
class Parcel:
    """What every node of a group gets in one deploy.

    `archive` is the bundle, a tar.gz, `digest` its bundle digest; `path` is the folder of the bundle on a node, and
    `command` the shell command that converges there, which may take `timeout` seconds. `user` and `port` are for SSH
    (None: what ~/.ssh/config says, or 22), `strict` is whether unknown host keys are refused.
    """

    deploy: str
    group: str
    region: str
    digest: str
    archive: Path
    path: str
    command: str
    timeout: float
    user: str
    port: int | None = None
    strict: bool = False


@dataclass(frozen=True)
class Job:
    """One host's converge. `dna` is that of a one-off, in place of the bundle's; None: the bundle's."""

    host: Host
    parcel: Parcel
    dna: bytes | None = None


class Result(StrEnum):
    """How the converge of a host ended, as far as the transport knows."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"  # another host key than before, or another deploy has the node
    UNKNOWN = "unknown"  # it was begun, and is not known to have ended: it may still run
    NOT_STARTED = "not started"  # the transport's own limit of errors was reached before its turn


@dataclass(frozen=True)
class Began:
    """The converge runs on the node (or its record there is followed). `sent`: bytes of the bundle that went over."""

    instance: str
    sent: int = 0


@dataclass(frozen=True)
class Wrote:
    """Output of the converge: stdout and stderr as they came."""

    instance: str
    output: bytes


@dataclass(frozen=True)
class Contact:
    """The way to a node that may have begun is lost, and tried again until its time is over; or it is back."""

    instance: str
    lost: bool


@dataclass(frozen=True)
class Ended:
    """`code` is the command's exit code, None if it is not known; `why` says what is not a success, for people.

    `again` is whether nothing was run, since this deploy had succeeded there before.
    """

    instance: str
    result: Result
    code: int | None = None
    why: str = ""
    again: bool = False


Event = Began | Wrote | Contact | Ended


class Transport(Protocol):
    """Converges hosts, many at the same time. Each job that was started ends in exactly one Ended.

    A job runs on the node by the id of its deploy: where that succeeded it is not run again, where it runs it is
    followed, and whatever else runs there is not disturbed. So to start the same job once more is always safe.
    """

    def start(self, jobs: Sequence[Job], /) -> None:
        """Begins these jobs, and returns at once."""
        ...

    def events(self, seconds: float, /) -> Sequence[Event]:
        """What has happened since; waits up to so many seconds for the first."""
        ...

    def stop(self) -> None:
        """Nobody begins any more: jobs that have not begun end as NOT_STARTED. What runs goes on to its end."""
        ...

    def close(self) -> None:
        """Leaves what still runs: it goes on on the nodes."""
        ...
