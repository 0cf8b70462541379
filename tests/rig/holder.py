"""Process 1 of the rig of hosts.py: holds one mount namespace for each host, and the sshds that lead to them.

Run as a module with one argument, a JSON object; end of file on standard input ends it, and all that runs in it, and a
byte there starts those sshds again that were killed. It needs the standard library only, and no file of the machine
once it has moved into its own root.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.rig import setgroups

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000
RDONLY, REMOUNT, BIND, REC, PRIVATE = 1, 32, 4096, 16384, 1 << 18  # sys/mount.h
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """A system call of the C library; OSError where it fails."""
    if getattr(LIBC, name)(*arguments) != 0:
        told = ", ".join(repr(one) for one in arguments)
        raise OSError(ctypes.get_errno(), f"{name}({told}): {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, flags: int) -> None:
    call("mount", source.encode(), target.encode(), None, ctypes.c_ulong(flags), None)


def leave_the_machine(*, privileged: bool) -> None:
    """Into namespaces of its own. Does not come back in the process that was started, but in its child."""
    uid, gid = os.geteuid(), os.getegid()
    if not privileged:
        setgroups.refuse_nothing()
    call("unshare", NEWNS | NEWUTS | NEWIPC | NEWPID | (0 if privileged else NEWUSER))
    if not privileged:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path("/proc/self", name).write_text(text)
    mount("none", "/", REC | PRIVATE)
    child = os.fork()
    if child:
        os.close(0)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def hold(address: str, folders: list[str], base: int) -> None:
    """The mount namespace /run/ns/ADDRESS, in which `folders` are the host's, and all else is read-only."""
    call("unshare", NEWNS)
    for folder in folders:
        mount(f"/hosts/{address}/{folder}", f"/{folder}", BIND)
    mount(f"/hosts/{address}/boot_id", "/proc/sys/kernel/random/boot_id", BIND)
    mount("/nothing", "/hosts", BIND)
    for shared in ("/usr/local", "/"):
        mount("none", shared, BIND | REMOUNT | RDONLY)
    held = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    call("setns", base, NEWNS)
    mount(f"/proc/self/fd/{held}", f"/run/ns/{address}", BIND)
    os.close(held)


def keep(program: str, configs: list[str]) -> None:
    """An sshd for each of these files, until the end of standard input."""
    sshds: dict[int, str] = {}
    killed = list(configs)

    def reap(*_: object) -> None:
        """Orphans come to process 1; without an sshd it is of no use."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if config := sshds.pop(pid, None):
                if not os.WIFSIGNALED(status):
                    os._exit(1)
                killed.append(config)

    while True:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while killed:
            # sshd starts itself again for each connection, so it wants absolute paths.
            line = [program, "-D", "-e", "-f", config := killed.pop()]
            sshds[subprocess.Popen(line, stdin=subprocess.DEVNULL).pid] = config
        signal.signal(signal.SIGCHLD, reap)
        reap()
        if not os.read(0, 1):
            return


def main() -> None:
    told = json.loads(sys.argv[1])
    # The kernel binds a mount namespace into an older one only, and newer kernels count ages on each CPU.
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    leave_the_machine(privileged=told["privileged"])
    subprocess.run(told["mounts"], stdin=subprocess.DEVNULL, check=True)
    os.chdir("/")
    base = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    for address in told["hosts"]:
        hold(address, told["folders"], base)
    os.sched_setaffinity(0, cpus)
    keep(told["sshd"], told["configs"])


if __name__ == "__main__":
    main()
