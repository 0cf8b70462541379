"""Who a process is, and whether it is gone: asked of real ones."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nodepkg.clients.processes import Process, is_gone, this_process, user_and_host

SAY_WHO = """
import sys
from nodepkg.clients.processes import this_process
who = this_process()
print("|".join([who.boot, who.namespace, str(who.pid), who.started]), flush=True)
sys.stdin.readline()
"""


@contextmanager
def child(*before: str, program: str = SAY_WHO) -> Iterator[tuple[subprocess.Popen[str], Process]]:
    """A process that says who it is, and lives until it is told otherwise."""
    command, pipe = [*before, sys.executable, "-c", program], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        try:
            boot, namespace, pid, started = process.stdout.readline().strip().split("|")
            yield process, Process(boot, namespace, int(pid), started)
        finally:
            process.kill()


def test_a_process_knows_who_it_is() -> None:
    here = this_process()
    assert here.pid == os.getpid()
    assert here.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert here.namespace.startswith("pid:[")
    assert int(here.started) > 0
    assert this_process() == here
    assert not is_gone(here)


def test_a_child_lives_until_it_is_killed() -> None:
    with child() as (process, who):
        assert who.pid == process.pid
        assert (who.boot, who.namespace) == (this_process().boot, this_process().namespace)
        assert not is_gone(who)
        process.kill()
        process.wait()
        assert is_gone(who)


def test_a_stopped_process_lives() -> None:
    with child() as (process, who):
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not is_gone(who)


def test_a_zombie_is_gone() -> None:
    with child() as (process, who):
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        assert is_gone(who)


# It says who it is in a second thread, after the first one has ended (the system call, and so the process goes on).
LEADERLESS = """
import ctypes, os, platform, sys, threading
from nodepkg.clients.processes import this_process
who = this_process()
def live_on():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        os.sched_yield()
    print("|".join([who.boot, who.namespace, str(who.pid), who.started]), flush=True)
    sys.stdin.readline()
threading.Thread(target=live_on).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""


def test_a_process_whose_first_thread_has_ended_lives_on_in_the_others() -> None:
    with child(program=LEADERLESS) as (process, who):
        assert Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        assert not is_gone(who)


def test_a_pid_that_another_process_has_now_is_gone() -> None:
    with child() as (_, who):
        assert is_gone(replace(who, started=str(int(who.started) - 1)))


def test_nothing_is_said_of_processes_that_cannot_be_asked_from_here() -> None:
    here = this_process()
    dead = replace(here, started="1")
    assert is_gone(dead)
    for unknown in (
        replace(dead, boot="another run of the system"),
        replace(dead, boot=""),
        replace(dead, namespace="pid:[1]"),
        replace(dead, started=""),
        replace(dead, pid=0),
        replace(dead, pid=-1),
    ):
        assert not is_gone(unknown)


@pytest.mark.parametrize("name", ["a) Z 1 (b", "two words", "(((", ")"])
def test_the_name_of_a_process_confuses_nobody(name: str) -> None:
    rename = f"import ctypes; ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0)"  # PR_SET_NAME
    with child(program=f"{rename}\n{SAY_WHO}") as (process, who):
        assert f"({name})" in Path(f"/proc/{process.pid}/stat").read_text()
        assert not is_gone(who)
        assert is_gone(replace(who, started="1"))


def test_a_process_that_proc_hides_lives(tmp_path: Path) -> None:
    """As with the mount option hidepid, for a process of somebody else."""
    hide = f'mount --bind "{tmp_path}" "/proc/$1" && shift && exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", hide, "-"]
    with child() as (process, who):
        program = (
            "from nodepkg.clients.processes import Process, is_gone\n"
            f"print(is_gone({who!r}), is_gone(Process({who.boot!r}, {who.namespace!r}, 2**22 + 1, '1')))"
        )
        command = [*alone, str(process.pid), sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "False True\n", done.stderr


IN_A_NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def test_with_the_proc_of_an_outer_namespace_nobody_is_known() -> None:
    """There pid 1 of /proc is another process than our own pid 1: whoever looked it up would take us for dead."""
    with child(*IN_A_NAMESPACE) as (_, who):
        assert (who.boot, who.namespace, who.pid, who.started) == ("", "", 1, "")
        assert not is_gone(who)


def test_from_another_namespace_nobody_of_here_is_gone() -> None:
    here = replace(this_process(), started="1")
    program = (
        "from nodepkg.clients.processes import Process, is_gone\n"
        f"print(is_gone({here!r}), is_gone(Process('', '', 77, '1')))"
    )
    done = subprocess.run([*IN_A_NAMESPACE, sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_user_and_host_are_told() -> None:
    user, host = user_and_host()
    assert user == subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert host == os.uname().nodename
