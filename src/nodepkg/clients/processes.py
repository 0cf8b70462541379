"""Who a process is, on a machine that may have started anew since, and whether it still lives."""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# Their numbers are those of /proc/PID/stat (proc(5)), counted from the one behind the name, which is the third.
_STATE, _SESSION, _STARTED = 3 - 3, 6 - 3, 22 - 3
_DEAD = ("Z", "X", "x")


@dataclass(frozen=True)
class Process:
    """What tells a process from all others.

    `boot` is the id of this run of the system, "" where the system does not tell who its processes are (it has no
    /proc, or only that of another pid namespace). `namespace` names the namespaces in which `pid` and `started`, in
    clock ticks since the boot, are valid.
    """

    boot: str
    namespace: str
    pid: int
    started: str


def this_process() -> Process:
    """Who we are."""
    pid = os.getpid()
    try:
        # Where /proc is that of an outer namespace, ours has a number there, too, and ours comes after it.
        numbers = re.search(r"^NSpid:(.*)$", (_PROC / "self/status").read_text(), re.MULTILINE)
        if not numbers or numbers[1].split() != [str(pid)]:
            return Process("", "", pid, "")
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        # What is told of a process's start depends on the time namespace of who asks; old kernels have none.
        spaces = [str((_PROC / "self/ns/pid").readlink())]
        with suppress(FileNotFoundError):
            spaces.append(str((_PROC / "self/ns/time").readlink()))
        return Process(boot, " ".join(spaces), pid, _stat(pid)[_STARTED])
    except OSError:
        return Process("", "", pid, "")


def is_gone(process: Process) -> bool:
    """Whether it certainly does nothing any more. What cannot be asked from here is not gone.

    A pid may have been given to another process since, which started later. A zombie is gone, since it only waits to
    be asked how it ended, but not while threads of it still run.
    """
    here = this_process()
    if not here.boot or not process.started or process.pid <= 0:
        return False
    if (process.boot, process.namespace) != (here.boot, here.namespace):
        return False
    try:
        stat = _stat(process.pid)
        if stat[_STARTED] != process.started:
            return True
        return stat[_STATE] in _DEAD and len(list((_PROC / str(process.pid) / "task").iterdir())) <= 1
    except (FileNotFoundError, ProcessLookupError):
        return not _exists(process.pid)  # /proc may hide the processes of others (hidepid)
    except OSError:
        return False


def session_of(pid: int) -> int | None:
    """The session that a process belongs to; None if it is not there."""
    try:
        return int(_stat(pid)[_SESSION])
    except (OSError, ValueError, IndexError):
        return None


def in_session(session: int) -> list[int]:
    """The processes of a session. Raises OSError where there is no /proc."""
    return [
        int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit() and session_of(int(entry.name)) == session
    ]


def seconds_since_boot() -> float:
    """A clock that no change of the time touches, and that goes on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def started_at(process: Process) -> float:
    """When it started, by that clock."""
    return int(process.started) / os.sysconf("SC_CLK_TCK")


def user_and_host() -> tuple[str, str]:
    """Who runs us, and the name of the machine."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name, os.uname().nodename
    except KeyError:
        return str(os.getuid()), os.uname().nodename


def _stat(pid: int) -> list[str]:
    """The fields from the third on: the second is the name, which may hold anything, parentheses too."""
    return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
