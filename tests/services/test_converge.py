"""Converges of the agent, as processes of this machine: never two at a time, and whatever becomes of who began them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.processes import seconds_since_boot
from nodepkg.errors import ToolError
from nodepkg.fleet import node
from nodepkg.services.converge import Converge, Ended, Result
from nodepkg.services.dna import Dna

LONG = 60.0
PLAIN = Dna("nodepkg", "svc", {"services": {"db": []}, "available": {"api": True}})
WITHOUT_WORKER = replace(PLAIN, maps={"services": {}, "available": {"worker": False, "api": True}})


@dataclass
class Machine:
    """A node: the folders of its converges and of its bundle."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def converge(self, command: str, timeout: float = LONG, **others: Any) -> Converge:
        return Converge(self.home, str(self.bundle), command, timeout, **{"retry": 0.02, **others})

    def dna(self) -> dict[str, Any]:
        found = json.loads((self.bundle / "dna.json").read_text())
        assert isinstance(found, dict)
        return found

    def gate(self, name: str = "gate") -> str:
        """A command that says that it runs, and goes on when somebody opens the gate."""
        os.mkfifo(self.folder / name)
        return f"echo runs >>{self.folder}/ran; read go <{self.folder}/{name}"

    def open(self, name: str = "gate") -> None:
        (self.folder / name).write_text("go\n")

    def wrap(self, program: str, text: str) -> None:
        """Puts a script in place of a program."""
        (self.folder / "wrappers" / program).write_text(f"#!/bin/sh\nPATH=${{PATH#*:}}\n{text}\n")
        (self.folder / "wrappers" / program).chmod(0o755)

    def leader(self) -> int:
        return int((self.home / "deploys" / "services" / "record").read_text().split()[3])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    for folder in ("bundle", "wrappers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bundle" / "dna.json").write_text('{"id": "bee", "run_list": ["role[bee]"]}')
    monkeypatch.setenv("PATH", f"{tmp_path}/wrappers:{os.environ['PATH']}")
    yield Machine(tmp_path)


def run(made: Awaitable[None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LONG):
            await made

    asyncio.run(limited())


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def _exists(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > 0


def _is_dead(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    ("command", "result", "code"), [("true", Result.SUCCEEDED, 0), ("echo oops >&2; exit 7", Result.FAILED, 7)]
)
def test_a_converge_is_run_and_recorded(machine: Machine, command: str, result: Result, code: int) -> None:
    async def test() -> None:
        converge = machine.converge(f"pwd; umask; {command}")
        assert converge.last() is None
        running = await converge.start("one", PLAIN)
        assert await running.result() == converge.last() == Ended(result, code, "one")
        assert running.log.read_text() == "/\n0022\n" + ("oops\n" if code else "")
        assert (running.log.stat().st_mode & 0o777, machine.home.stat().st_mode & 0o777) == (0o600, 0o700)

    run(test())


def test_two_starts_at_once_do_not_overlap(machine: Machine) -> None:
    async def one(token: str) -> None:
        assert (await (await converge.start(token, PLAIN)).result()).result == Result.SUCCEEDED

    async def test() -> None:
        await asyncio.gather(*(one(f"token{number}") for number in range(4)))

    seen = machine.folder / "seen"
    converge = machine.converge(f"echo begins >>{seen}; sleep 0.05; echo ends >>{seen}")
    run(test())
    assert seen.read_text().split() == ["begins", "ends"] * 4


def test_dna_says_what_is_deleted_during_the_converge_only(machine: Machine) -> None:
    async def test() -> None:
        keeps = machine.converge(f"cat {machine.bundle}/dna.json; exit 1")
        running = await keeps.start("one", WITHOUT_WORKER)
        assert (await running.result()).result == Result.FAILED
        during = json.loads(running.log.read_text())
        assert during["run_list"] == ["role[bee]", "recipe[svc::delete-worker]"]
        assert during["nodepkg"] == WITHOUT_WORKER.maps

    run(test())
    after = {"services": {}, "available": {"api": True}}
    assert machine.dna() == {"id": "bee", "run_list": ["role[bee]"], "nodepkg": after}


# As chef-solo in local mode does: what it kept and the dna become what it keeps, of lists all that is in either.
KEEP = """
import json, pathlib, sys
bundle = pathlib.Path(sys.argv[1])
dna, file = json.loads((bundle / "dna.json").read_text()), bundle / "nodes" / "vm.json"
node = json.loads(file.read_text()) if file.exists() else {"normal": {"secret": "made once"}}
kept = node["normal"].get("nodepkg", {})
there = node["normal"]["nodepkg"] = {"services": kept.get("services", {}), "available": kept.get("available", {})}
for name, listed in dna["nodepkg"]["services"].items():
    there["services"][name] = [*there["services"].get(name, []), *listed]
there["available"].update(dna["nodepkg"]["available"])
file.parent.mkdir(exist_ok=True)
file.write_text(json.dumps(node))
"""


def test_what_chef_keeps_of_a_node_has_neither_what_is_gone_nor_what_was_deleted(machine: Machine) -> None:
    async def test() -> None:
        converge = machine.converge(f"{sys.executable} -c '{KEEP}' {machine.bundle}")
        for number, listed in enumerate([["one", "two"], ["two"]]):
            maps = {"services": {"db": listed}, "available": {"api": True, "worker": False}}
            ended = await (await converge.start(f"token{number}", replace(PLAIN, maps=maps))).result()
            assert (ended.result, ended.problem) == (Result.SUCCEEDED, "")

    run(test())
    kept = json.loads((machine.bundle / "nodes" / "vm.json").read_text())
    after = {"services": {"db": ["two"]}, "available": {"api": True}}
    assert kept == {"normal": {"secret": "made once", "nodepkg": after}}


AGENT = """
import asyncio, sys
from pathlib import Path
from nodepkg.services.converge import Converge
from nodepkg.services.dna import Dna

async def main(home, path, command):
    dna = Dna("nodepkg", "svc", {"services": {}, "available": {"worker": False}})
    running = await Converge(Path(home), path, command, 60).start("one", dna)
    await running.result()

asyncio.run(main(*sys.argv[1:]))
"""


def test_an_agent_that_is_killed_leaves_its_converge_to_the_next(machine: Machine) -> None:
    async def test() -> None:
        converge = machine.converge("echo second")
        line = [sys.executable, "-c", AGENT, str(machine.home), str(machine.bundle), machine.gate()]
        with subprocess.Popen(line, start_new_session=True) as agent:
            await _until(_exists(machine.folder / "ran"))
            os.killpg(agent.pid, signal.SIGKILL)
        assert converge.last() is None
        assert machine.dna()["run_list"] == ["role[bee]", "recipe[svc::delete-worker]"]
        idle = asyncio.ensure_future(converge.idle())
        second = asyncio.ensure_future(converge.start("two", PLAIN))
        await asyncio.sleep(0.1)
        assert not idle.done()
        assert not second.done()
        machine.open()
        assert await (await second).result() == Ended(Result.SUCCEEDED, 0, "two")
        await idle

    run(test())
    assert (machine.folder / "ran").read_text() == "runs\n"
    assert machine.dna()["run_list"] == ["role[bee]"]


def test_whoever_settles_the_converge_of_a_killed_agent_has_nothing_to_delete_any_more(machine: Machine) -> None:
    async def test() -> None:
        running = await machine.converge(machine.gate()).start("one", WITHOUT_WORKER)
        waiting = asyncio.ensure_future(running.result())
        await asyncio.sleep(0)  # it has begun to wait, and lets go when it is cancelled
        await _until(_exists(machine.folder / "ran"))
        waiting.cancel()
        await asyncio.wait([waiting])
        settling = asyncio.ensure_future(machine.converge("true").settle(PLAIN))
        await asyncio.sleep(0.1)
        assert (settling.done(), len(machine.dna()["run_list"])) == (False, 2)
        machine.open()
        assert await settling == ""
        assert machine.dna()["run_list"] == ["role[bee]"]
        (machine.bundle / "dna.json").unlink()
        assert "dna.json is not there" in await machine.converge("true").settle(PLAIN)

    run(test())


def test_the_result_of_a_killed_agent_is_in_the_record(machine: Machine) -> None:
    async def test() -> None:
        running = await machine.converge(machine.gate() + "; exit 3").start("one", PLAIN)
        waiting = asyncio.ensure_future(running.result())
        await asyncio.sleep(0)  # it has begun to wait, and lets go when it is cancelled
        await _until(_exists(machine.folder / "ran"))
        waiting.cancel()
        await asyncio.wait([waiting])
        machine.open()
        await machine.converge("true").idle()
        assert machine.converge("true").last() == Ended(Result.FAILED, 3, "one")

    run(test())


def _ignores_sigterm(machine: Machine) -> str:
    """A command that ends by SIGKILL only, and so does its child."""
    (machine.folder / "stubborn").write_text(
        f"trap '' TERM; echo $$ >>{machine.folder}/pids; while :; do sleep 0.1; done"
    )
    return f"sh {machine.folder}/stubborn & exec sh {machine.folder}/stubborn"


def _stubborn(machine: Machine) -> list[int]:
    return [int(line) for line in (machine.folder / "pids").read_text().split()]


def test_a_command_past_its_time_is_killed_with_its_children(machine: Machine) -> None:
    async def test() -> None:
        machine.wrap("timeout", 'shift 2; exec timeout -k 0.3 "$@"')
        converge = machine.converge(_ignores_sigterm(machine), timeout=1.5)
        ended = await (await converge.start("one", PLAIN)).result()
        assert ended == converge.last() == Ended(Result.TIMED_OUT, 137, "one")
        assert [_is_dead(one) for one in _stubborn(machine)] == [True, True]

    run(test())


def test_what_the_supervisor_does_not_end_the_agent_kills(machine: Machine) -> None:
    """Its clock is one that jumps, so that the test need not wait; the time of day has no part in it."""

    async def test() -> None:
        machine.wrap("timeout", 'shift 3; exec "$@"')
        late = 0.0
        converge = machine.converge(_ignores_sigterm(machine), clock=lambda: seconds_since_boot() + late)
        running = await converge.start("one", PLAIN)
        waiting = asyncio.ensure_future(running.result())
        await asyncio.sleep(0)  # it has begun to wait, and lets go when it is cancelled
        await _until(lambda: _exists(machine.folder / "pids")() and len(_stubborn(machine)) == 2)
        late = LONG + 39 - 30
        await asyncio.sleep(0.1)
        assert not waiting.done()
        late = LONG + 40
        assert await waiting == converge.last() == Ended(Result.TIMED_OUT, 137, "one")
        assert [_is_dead(one) for one in _stubborn(machine)] == [True, True]

    run(test())


def test_what_a_killed_agent_left_is_killed_past_its_time_by_the_next(machine: Machine) -> None:
    async def test() -> None:
        machine.wrap("timeout", 'shift 3; exec "$@"')
        converge = machine.converge(_ignores_sigterm(machine))
        waiting = asyncio.ensure_future((await converge.start("one", PLAIN)).result())
        await asyncio.sleep(0)  # it has begun to wait, and lets go when it is cancelled
        await _until(lambda: _exists(machine.folder / "pids")() and len(_stubborn(machine)) == 2)
        waiting.cancel()
        await asyncio.wait([waiting])
        await replace(converge, clock=lambda: seconds_since_boot() + LONG + 40).idle()
        assert converge.last() == Ended(Result.LOST, None, "one")
        assert [_is_dead(one) for one in _stubborn(machine)] == [True, True]

    run(test())


@pytest.mark.parametrize("gone", [False, True])
def test_a_command_whose_supervisor_is_killed_still_runs_alone(machine: Machine, gone: bool) -> None:
    """`gone`: the agent that had begun it does not hold the lock any more."""

    async def test() -> None:
        running = await machine.converge(machine.gate()).start("one", PLAIN)
        waiting = asyncio.ensure_future(running.result())
        await asyncio.sleep(0)  # it has begun to wait, and lets go when it is cancelled
        await _until(_exists(machine.folder / "ran"))
        os.kill(os.getsid(machine.leader()), signal.SIGKILL)
        if gone:
            waiting.cancel()
            await asyncio.wait([waiting])
        idle = asyncio.ensure_future(machine.converge("true").idle())
        await asyncio.sleep(0.2)
        assert (waiting.done(), idle.done()) == (gone, False)
        machine.open()
        await idle
        assert machine.converge("true").last() == Ended(Result.LOST, None, "one")
        assert gone or await waiting == Ended(Result.LOST, None, "one")

    run(test())


def _deploy(machine: Machine, command: str) -> subprocess.Popen[bytes]:
    """A deploy's session, whose bundle lies there already."""
    (machine.bundle / "solo.rb").write_text("")
    machine.home.mkdir(exist_ok=True)
    (machine.home / "bundle").write_text("digest .\n")
    text = node.script(node.Run("d1", "deploy", "digest", str(machine.bundle), command, LONG, home=str(machine.home)))
    return subprocess.Popen(
        ["sh", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_deploy_that_has_the_node_is_waited_for(machine: Machine) -> None:
    async def test() -> None:
        deploy = _deploy(machine, machine.gate())
        await _until(_exists(machine.folder / "ran"))
        second = asyncio.ensure_future(machine.converge("true").start("two", PLAIN))
        await asyncio.sleep(0.1)
        assert not second.done()
        assert "nodepkg" not in machine.dna()
        machine.open()
        assert (await (await second).result()).result == Result.SUCCEEDED
        assert b"ended succeeded" in deploy.communicate()[1]

    run(test())


def test_a_deploy_waits_for_the_agent_and_takes_its_bundle_for_unchanged(machine: Machine) -> None:
    async def test() -> None:
        running = await machine.converge(machine.gate()).start("one", WITHOUT_WORKER)
        await _until(_exists(machine.folder / "ran"))
        deploy = _deploy(machine, f"cat {machine.bundle}/dna.json")
        assert deploy.stderr
        assert b"waits" in deploy.stderr.readline()
        machine.open()
        await running.result()
        out, errors = await asyncio.to_thread(deploy.communicate)
        assert b"send" not in errors
        assert json.loads(out.partition(b"\n")[2]) == machine.dna()

    run(test())


def test_a_command_has_the_signals_of_any_other_and_not_the_lock(machine: Machine) -> None:
    async def test() -> None:
        running = await machine.converge("grep -h SigIgn /proc/self/status; ls -l /proc/self/fd").start("one", PLAIN)
        await running.result()
        ignored, *descriptors = running.log.read_text().splitlines()
        # 32 and 33 are the C library's own, which posix_spawn has ignored (make starts the tests with it).
        assert int(ignored.split()[1], 16) & ~(0b11 << 31) == 0
        assert not any(line.endswith("/lock") for line in descriptors)

    run(test())


def test_a_daemon_that_stays_does_not_keep_the_next_one_out(machine: Machine) -> None:
    async def test() -> None:
        running = await machine.converge("sleep 1000 & echo $!").start("one", PLAIN)
        await running.result()
        daemon = int(running.log.read_text())
        try:
            await machine.converge("true").idle()
            assert not _is_dead(daemon)
        finally:
            os.kill(daemon, signal.SIGKILL)

    run(test())


def test_a_broken_dna_begins_nothing_and_lets_others_go_on(machine: Machine) -> None:
    async def test() -> None:
        (machine.bundle / "dna.json").write_text("{")
        with pytest.raises(ToolError, match="damaged"):
            await machine.converge("true").start("one", PLAIN)
        await machine.converge("true").idle()
        assert machine.converge("true").last() is None

    run(test())


def test_a_full_disk_is_told(machine: Machine) -> None:
    machine.home.mkdir()
    full = f"mount -t tmpfs -o size=64k none {machine.home}; head -c 100000 /dev/zero >{machine.home}/filled"
    line = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{full}; exec "$@"', "sh", sys.executable]
    told = subprocess.run(
        [*line, "-c", AGENT, machine.home, machine.bundle, "true"], capture_output=True, text=True, check=False
    )
    assert "ToolError: the converge one could not be begun" in told.stderr
    assert machine.dna()["run_list"] == ["role[bee]"]


def test_of_the_logs_the_last_ten_are_kept(machine: Machine) -> None:
    async def test() -> None:
        folder = machine.converge("true").folder
        folder.mkdir(parents=True)
        for number in range(15):
            (folder / f"old{number:02}.log").write_text("")
            os.utime(folder / f"old{number:02}.log", (number, number))
        await (await machine.converge("true").start("new", PLAIN)).result()
        assert sorted(one.name for one in folder.glob("*.log")) == [
            "new.log",
            *(f"old{n:02}.log" for n in range(6, 15)),
        ]

    run(test())


def test_after_a_reboot_what_ran_is_lost_and_another_begins(machine: Machine) -> None:
    async def test() -> None:
        converge = machine.converge("true")
        converge.folder.mkdir(parents=True)
        (machine.home / "lock").write_text(f"services one running another-boot {os.getpid()} 1 .\n")
        (converge.folder / "record").write_text(f"running one another-boot {os.getpid()} 1 .\nsucceeded one 0")
        await converge.idle()
        assert converge.last() == Ended(Result.LOST, None, "one")
        assert (await (await converge.start("two", PLAIN)).result()).result == Result.SUCCEEDED

    run(test())
