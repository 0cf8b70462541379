"""Converges of this machine, as a deploy's script and its agent run them alike: their folder, lock and supervisor.

fleet/node.py says what lies in the folder. The supervisor is templates/deploy/supervise.sh; whoever starts it may die.
"""

import fcntl
import os
import signal
import subprocess
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from nodepkg.clients import processes

HOME = "/var/lib/nodepkg"
AGENT = "services"
"""The deploy id of what a node's agent runs; node.sh knows it, too."""

# As node.sh has it. dash takes descriptors of one digit only, and the lock has another one here, so it comes as the
# standard input.
_FRONT = """exec 9<&0 </dev/null
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 077
"""


@cache
def shipped(name: str) -> str:
    """A script of templates/deploy, without the comments: less to send, and to read on the node."""
    text = resources.files("nodepkg").joinpath("templates", "deploy", name).read_text(encoding="utf-8")
    return "".join(f"{line}\n" for line in text.splitlines() if not line.lstrip().startswith("#"))


def lock(path: Path) -> BinaryIO | None:
    """Takes the lock; None if somebody has it. It is free when all copies of the descriptor are closed.

    Raises OSError.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            return None
        raise
    return file


# Who is cancelled leaves its supervisor running; that is reaped when the next one is started.
_started: list[subprocess.Popen[bytes]] = []


class Supervisor:
    """A supervisor that was started from here, with a session of its own. It goes on if nobody looks after it."""

    def __init__(self, home: Path, token: str, command: str, *, boot: str, timeout: float, lock: BinaryIO) -> None:
        """`lock` is a copy of the supervisor's own from now on. Raises OSError."""
        told = [str(home), AGENT, token, boot, f"{timeout:.3f}", command]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _FRONT + shipped("supervise.sh"), "nodepkg", *told],
            stdin=lock,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _started[:] = [process for process in _started if process.poll() is None] + [self._process]

    @property
    def session(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """With what it ended, as subprocess says it; None while it runs."""
        return self._process.poll()


def kill_session(session: int) -> None:
    """Kills what runs in a session; daemons have sessions of their own."""
    for process in processes.in_session(session):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
