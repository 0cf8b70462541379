"""The commands of service: on the operator's machine and on a node, with a registry that is filled by hand."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from nodepkg.cli.services import log
from nodepkg.clients.etcd.client import Etcd
from nodepkg.services import registry
from nodepkg.services.entries import Keys, Leaving, written
from nodepkg.services.state import StateFile, new
from nodepkg.services.terms import Offer
from tests.cli.conftest import Run, run
from tests.projects import make_project
from tests.rig.agents import eventually
from tests.rig.etcd import Member
from tests.services.nodes import PREFIX, node, write

__all__ = ["run"]
KEYS = Keys(PREFIX)
API, WEB = Offer("api", 8080, None), Offer("web", None, None)


@pytest.fixture
def project(member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """nodes.json with this registry: bee provides api, www provides web and needs api."""
    base = {
        "source_ami": "ami-1",
        "services": {"cookbook": "svc", "etcd": [member.endpoint], "ports": {"api": 8080}},
    }
    make_project(
        tmp_path,
        {
            "__base__": base,
            "bee": {"run_list": ["recipe[svc::api]"]},
            "www": {"run_list": ["recipe[svc::web]"], "services": {"requires": ["api"]}},
        },
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def fill(member: Member, what: "Callable[[Etcd, int], object]") -> None:
    async def work() -> None:
        async with Etcd([member.endpoint], timeout=30) as etcd:
            await what(etcd, (await etcd.grant(600)).id)  # type: ignore[misc]

    asyncio.run(work())


def a_fleet(member: Member) -> None:
    """bee i-1 and i-2 announce api, www i-3 web; i-2 is leaving; the agents of i-1 and i-3 run."""

    async def work(etcd: Etcd, lease: int) -> None:
        for name in ("i-1", "i-2"):
            await registry.announce(etcd, KEYS, node(name), [API], lease)
        await registry.announce(etcd, KEYS, node("i-3", "www"), [WEB], lease)
        await registry.say_leaving(etcd, KEYS, Leaving("i-2", "ann", registry.now()))
        await etcd.put(KEYS.node("bee", "i-1"), written(node("i-1").node(["api", "old"])), lease)
        await etcd.put(KEYS.node("www", "i-3"), written(node("i-3", "www").node(["web"])), lease)

    fill(member, work)


def test_the_list_says_who_announces_what(project: Path, member: Member, run: Run) -> None:
    a_fleet(member)
    done = run("service:list")
    rows = [line.split() for line in done.out.splitlines()[1:]]
    assert [[*row[:5], row[6]] for row in rows] == [
        ["api", "i-1", "bee", "host-i-1:8080", "a", "serving"],
        ["api", "i-2", "bee", "host-i-2:8080", "a", "leaving"],
        ["web", "i-3", "www", "host-i-3", "a", "serving"],
    ]
    assert all(re.fullmatch(r"\d+[smh]", row[5]) for row in rows)
    found = json.loads(run("service:list", "web", "--json").out)
    assert [(one["service"], one["instance"], one["port"], one["state"]) for one in found] == [
        ("web", "i-3", None, "serving")
    ]


def test_what_nobody_announces_is_said(project: Path, member: Member, run: Run) -> None:
    done = run("service:list", "api")
    assert (done.code, done.err) == (0, "nobody announces api\n")


def test_a_registry_that_does_not_answer_is_named(project: Path, member: Member, run: Run) -> None:
    text = (project / "nodes.json").read_text()
    (project / "nodes.json").write_text(text.replace(member.endpoint, "http://127.0.0.1:9"))
    done = run("service:list")
    assert done.code == 6
    assert done.err == "error: etcd does not answer: http://127.0.0.1:9: connection refused\n"


def test_without_the_key_there_is_no_registry(project: Path, run: Run) -> None:
    make_project(project, {"bee": {"source_ami": "ami-1", "run_list": ["recipe[x]"]}})
    done = run("service:list")
    assert done.code == 3
    assert "no group has the key services" in done.err


def test_drift_is_what_run_list_node_and_registry_do_not_agree_on(project: Path, member: Member, run: Run) -> None:
    a_fleet(member)
    rows = [line.split(maxsplit=6) for line in run("service:drift").out.splitlines()[1:]]
    assert rows == [
        ["bee", "i-1", "old", "no", "yes", "no", "still on the node: package instance:deploy"],
        ["bee", "i-2", "api", "yes", "no", "yes", "not on the node yet: package instance:deploy"],
    ]
    assert run("service:drift", "www").err == "run lists, nodes and registry say the same\n"


def test_on_a_node_its_own_file_names_the_registry(project: Path, member: Member, run: Run) -> None:
    a_fleet(member)
    file = write(project / "services.json", endpoints=(member.endpoint,))
    assert "i-3" in run("service:list", "--services", str(file)).out
    assert "i-1" in run("service:drift", "--services", str(file)).out


def test_collect_prints_what_chef_is_given(project: Path, member: Member, run: Run) -> None:
    a_fleet(member)
    file = write(project / "services.json", endpoints=(member.endpoint,), provides=("web",), requires=("api",))
    here = ["--services", str(file), "--instance", "i-9", "--address", "10.0.0.9", "--home", str(project / "home")]
    document = json.loads(run("service:collect", *here).out)
    assert document == {
        "nodepkg": {
            "services": {
                "api": [{"host": "host-i-1", "port": 8080}],
                "web": [{"host": "10.0.0.9", "port": 8080}, {"host": "host-i-3", "port": None}],
            },
            "available": {"web": True},
        }
    }
    assert not (project / "home").exists()


def test_announce_without_an_agent_lasts_for_the_ttl(project: Path, member: Member, run: Run) -> None:
    file = write(project / "services.json", endpoints=(member.endpoint,), provides=("api",), ttl=60)
    here = ["--services", str(file), "--instance", "i-9", "--address", "10.0.0.9", "--home", str(project / "home")]
    done = run("service:announce", *here)
    assert done.out == "announced api on 10.0.0.9 for 60 s, since no agent runs here that would renew it\n"
    assert "i-9" in run("service:list").out
    assert run("service:announce", *here).code == 0
    assert run("service:withdraw", *here).out == "withdrew api\n"
    assert "i-9" not in run("service:list").out


def test_withdraw_tells_what_was_not_announced_and_refuses_what_is_of_another_node(
    project: Path, member: Member, run: Run
) -> None:
    file = write(project / "services.json", endpoints=(member.endpoint,), provides=("api",), ttl=60)
    here = ["--services", str(file), "--instance", "i-9", "--address", "10.0.0.9", "--home", str(project / "home")]
    assert run("service:withdraw", *here).out == "was not announced: api\n"
    assert json.loads(run("service:withdraw", *here, "--json").out)["services"] == []
    assert run("service:announce", *here).code == 0
    elsewhere = [*here[:-1], str(project / "elsewhere")]
    for command in ("service:withdraw", "service:announce"):
        done = run(command, *elsewhere)
        assert (done.code, done.out) == (4, "")
        assert "another node that calls itself i-9 (10.0.0.9)" in done.err
        assert "--home" in done.err
    assert "serving" in run("service:list").out


def test_announce_leaves_what_is_not_well_to_the_agent(
    project: Path, member: Member, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodepkg.cli.services.AGENT_SECONDS", 0.0)
    home = project / "home"
    state = new()
    StateFile(home).write(state)
    file = write(project / "services.json", endpoints=(member.endpoint,), provides=("api", "web"))
    its = node("i-9")

    async def an_agent(etcd: Etcd, lease: int) -> None:
        me = replace(its, agent=state.agent)
        await etcd.put(KEYS.node("bee", "i-9"), written(me.node(["api", "web"])), lease)
        await registry.announce(etcd, KEYS, me, [API], lease)

    fill(member, an_agent)
    here = ["--services", str(file), "--instance", "i-9", "--address", "host-i-9", "--home", str(home)]
    done = run("service:announce", *here)
    assert done.out == "announced api on host-i-9 for as long as the agent runs\n"
    assert "web: this node's agent does not announce it" in done.err


def test_a_log_that_is_full_ends_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        log("started", instance="i-1")
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


def test_a_host_that_is_no_step_of_a_key_is_refused(project: Path, member: Member, run: Run) -> None:
    file = write(project / "services.json", endpoints=(member.endpoint,), provides=("api",))
    done = run("service:announce", "--services", str(file), "--instance", "a/b", "--address", "x")
    assert done.code == 3
    assert "is no id of an instance" in done.err


def test_watch_tells_each_change_as_it_comes(project: Path, member: Member) -> None:
    out = project / "out"
    with out.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "nodepkg", "service:watch"], stdout=file, stderr=file)
    try:
        fill(member, lambda etcd, lease: _until_told(etcd, lease, out))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
    told = [line.split(" ", 1)[1] for line in out.read_text().splitlines() if " api i-1 " in line or "leaving" in line]
    assert "api i-1 announced host-i-1:8080 of bee" in told
    assert told[-2:] == ["i-1 leaving (by ann)", "api i-1 gone"]


async def _until_told(etcd: Etcd, lease: int, out: Path) -> None:
    while "announced" not in out.read_text():
        await registry.announce(etcd, KEYS, node("i-1"), [API], lease)
        await asyncio.sleep(0.1)
        await registry.retract(etcd, KEYS, node("i-1"), ["api"])
    await registry.announce(etcd, KEYS, node("i-1"), [API], lease)
    await registry.withdraw(etcd, KEYS, node("i-1"), Leaving("i-1", "ann", ""), ["api"], seconds=1)
    await asyncio.to_thread(eventually, lambda: out.read_text().rstrip().endswith("gone"), out.read_text)


def test_without_the_extra_it_is_said_what_to_install(project: Path, tmp_path: Path) -> None:
    (tmp_path / "grpclib.py").write_text("raise ModuleNotFoundError('grpclib')")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "nodepkg", "service:list"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 6
    assert "pip install 'nodepkg[agent]'" in done.stderr
