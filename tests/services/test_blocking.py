"""The registry in a real etcd, for those who have no event loop."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nodepkg.clients.etcd.client import Etcd
from nodepkg.errors import ToolError, UnreachableError
from nodepkg.images.interrupts import Interrupts
from nodepkg.services import registry
from nodepkg.services.blocking import EtcdRegistries, Picture
from nodepkg.services.entries import Keys, Leaving, written
from nodepkg.services.terms import Location, Offer
from tests.rig.etcd import Member
from tests.rig.sshd import free_port
from tests.services.nodes import PREFIX, node

KEYS = Keys(PREFIX)
BY = "autoscale:update bee"
ALL = EtcdRegistries({})


def using(member: Member, use: Callable[[Etcd], Awaitable[object]]) -> None:
    async def run() -> None:
        async with Etcd([member.endpoint], timeout=30.0) as etcd:
            await use(etcd)

    asyncio.run(run())


def at(member: Member) -> Location:
    return Location((member.endpoint,), PREFIX)


def picture(member: Member, *instances: str) -> Picture:
    found = ALL.look({at(member): {"bee": instances}})[at(member)]
    assert isinstance(found, Picture)
    return found


def announced(member: Member, *instances: str) -> None:
    """They run agents, and announce api."""

    async def use(etcd: Etcd) -> None:
        for one in instances:
            lease = (await etcd.grant(60)).id
            await etcd.put(KEYS.node("bee", one), written(node(one).node(["api"])), lease)
            await registry.announce(etcd, KEYS, node(one), [Offer("api", 8080, None)], lease)

    using(member, use)


def acknowledged(member: Member, consumer: str, revision: int) -> None:
    using(member, lambda etcd: etcd.put(KEYS.consumer("api", consumer), str(revision)))


def revision(member: Member) -> int:
    """That of the last change."""
    return int(member.call("kv/range", key="AA==")["header"]["revision"])


def test_a_look_shows_who_announces_what_and_whose_agents_run(member: Member) -> None:
    announced(member, "i-1", "i-2")
    found = picture(member, "i-1")
    assert found.announced == {"i-1": {"api"}, "i-2": {"api"}}
    assert found.agents == {"i-1": ("api",), "i-2": ("api",)}
    assert (found.leaving, found.waiting) == ({}, {})


def test_whoever_uses_what_leaves_is_waited_for_until_it_has_acknowledged(member: Member) -> None:
    announced(member, "i-1", "i-2", "i-3")
    acknowledged(member, "i-9", 1)
    ALL.say_leaving(at(member), [Leaving(one, BY, "") for one in ("i-1", "i-2")])
    found = picture(member, "i-1", "i-2")
    assert set(found.leaving) == {"i-1", "i-2"}
    assert found.waiting == {"bee": {"api": ["i-9"]}}
    assert picture(member, "i-3").waiting == {}
    acknowledged(member, "i-9", revision(member))
    assert picture(member, "i-1", "i-2").waiting == {"bee": {}}


def test_only_who_has_said_it_takes_it_back(member: Member) -> None:
    ALL.say_leaving(at(member), [Leaving("i-1", BY, ""), Leaving("i-2", "agent", "")])
    ALL.unsay_leaving(at(member), ["i-1", "i-2", "i-3"], BY)
    assert set(picture(member).leaving) == {"i-2"}


def test_a_registry_that_cannot_be_asked_is_told_beside_those_that_can(member: Member, tmp_path: Path) -> None:
    nobody = Location((f"http://127.0.0.1:{free_port('127.0.0.1')}",), PREFIX)
    unreadable = Location((member.endpoint,), PREFIX, user="me", password_file=str(tmp_path / "missing"))
    found = ALL.look({nobody: {}, unreadable: {}, at(member): {}})
    assert isinstance(found[nobody], UnreachableError)
    assert "missing (services.password_file) cannot be read" in str(found[unreadable])
    assert isinstance(found[at(member)], Picture)


def test_what_cannot_be_said_is_an_error_of_a_tool_whatever_is_wrong(member: Member, tmp_path: Path) -> None:
    unreadable = Location((member.endpoint,), PREFIX, user="me", password_file=str(tmp_path / "missing"))
    with pytest.raises(ToolError, match="cannot be read"):
        ALL.say_leaving(unreadable, [Leaving("i-1", BY, "")])
    nobody = Location((f"http://127.0.0.1:{free_port('127.0.0.1')}",), PREFIX)
    with pytest.raises(ToolError):
        ALL.unsay_leaving(nobody, ["i-1"], BY)


def test_ctrl_c_ends_a_look_at_an_etcd_that_hangs_and_nothing_else_is_told(
    member: Member, capfd: pytest.CaptureFixture[str]
) -> None:
    interrupts = Interrupts()
    member.stop()
    try:
        with interrupts.counted(), interrupts.at_once():
            timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                timer.start()
                ALL.look({at(member): {}})
            timer.join()
    finally:
        member.go_on()
    gc.collect()
    assert (interrupts.count, capfd.readouterr().err) == (1, "")
