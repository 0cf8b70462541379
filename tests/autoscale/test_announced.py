"""Rollouts with a registry in a real etcd, on the rig: what its nodes' agents do there is done before each look."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nodepkg.autoscale.listing import document, step_of
from nodepkg.autoscale.outlook import Wanted, standings
from nodepkg.autoscale.prospect import look_ahead
from nodepkg.autoscale.registered import Membership
from nodepkg.autoscale.task import Standing
from nodepkg.autoscale.update import steps
from nodepkg.clients.etcd.client import Etcd
from nodepkg.errors import ExitCode, NodepkgError
from nodepkg.services.blocking import EtcdRegistries, Picture
from nodepkg.services.entries import Keys, Leaving, written
from nodepkg.services.terms import Location
from tests.autoscale.operators import SETTINGS, WINDOW, Operator, Scene, require_restored, require_updated, scene
from tests.autoscale.rollouts import GROUP, NEW, OLD, no_web
from tests.autoscale.test_run import group
from tests.autoscale.test_runner import Told
from tests.fleets import REGION, Killed
from tests.rig.etcd import Member, etcd
from tests.services.nodes import PREFIX, node, provider

KEYS = Keys(PREFIX)
Asked = Mapping[str, Collection[str]]
TIMEOUT = float(str(SETTINGS["timeout"]))


@dataclass
class Agents:
    """Those of all nodes in service, and one of another group, which uses them and, if not `deaf`, acknowledges."""

    here: Scene
    member: Member
    deaf: bool = False
    etcd: EtcdRegistries = field(default_factory=lambda: EtcdRegistries({}))

    @property
    def membership(self) -> Membership:
        return Membership(Location((self.member.endpoint,), PREFIX), ("api",), ttl=30)

    def look(
        self, asked: Mapping[Location, Mapping[str, Collection[str]]]
    ) -> Mapping[Location, Picture | NodepkgError]:
        if self.member.process:
            self._announce()
        return self.etcd.look(asked)

    def say_leaving(self, location: Location, leaving: Sequence[Leaving]) -> None:
        self.etcd.say_leaving(location, leaving)

    def unsay_leaving(self, location: Location, instances: Collection[str], by: str) -> None:
        self.etcd.unsay_leaving(location, instances, by)

    def _announce(self) -> None:
        world = self.here.rig.world()
        self.here.rig.realistic.catch_up()
        up = {one.id for name in (OLD, NEW) for one in world.nodes(name) if one.lifecycle == "InService"}

        async def announce() -> None:
            async with Etcd([self.member.endpoint], timeout=30.0) as asked:
                there = {item.key.rpartition("/")[2] for item in (await asked.range(f"{PREFIX}/nodes/")).items}
                for one in up - there:
                    await asked.put(KEYS.node("bee", one), written(node(one).node(["api"])))
                    await asked.put(KEYS.provider("api", one), written(provider(one)))
                for one in there - up:
                    await asked.delete(KEYS.node("bee", one))
                    await asked.delete(KEYS.provider("api", one))
                heard = 1 if self.deaf else (await asked.range(PREFIX)).revision
                await asked.put(KEYS.consumer("api", "i-user"), str(heard))

        asyncio.run(announce())

    @property
    def leaving(self) -> set[str]:
        found = self.etcd.look({self.membership.location: {}})[self.membership.location]
        assert isinstance(found, Picture)
        return set(found.leaving)

    def operator(self, run: str = "run-1", **more: Any) -> Operator:
        return Operator(self.here, run, membership=self.membership, registries=self, poll=5, **more)


@contextmanager
def agents(folder: Path, **more: Any) -> Iterator[Agents]:
    with etcd(folder) as [member], scene() as here:
        yield Agents(here, member, **more)


NOT_HEARD = "i-user has not acknowledged yet"


class Timed(Told):
    """For how long hold lasted, by the rig's clock; `then` is done when it is first told that i-user has not heard."""

    def __init__(self, here: Scene, then: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.here, self.then, self.done, self.moments = here, then, False, list[float]()

    def stands(self, standing: Standing) -> None:
        super().stands(standing)
        if standing.state == "hold" or self.states[-2:-1] == [(standing.group, "hold")]:
            self.moments.append(self.here.rig.clock.now())
        if standing.why == NOT_HEARD and not self.done:
            self.done = True
            self.then()

    @property
    def seconds(self) -> float:
        return self.moments[-1] - self.moments[0]


def status(found: Agents) -> tuple[str, str]:
    """The row that autoscale:status shows, and what it says of it."""
    rig, settings = found.here.rig, group(autoscale=SETTINGS)
    wanted = Wanted({GROUP: REGION}, {GROUP: settings}, memberships={GROUP: found.membership})
    (one,) = standings(rig.account, wanted, window=WINDOW, registries=found.etcd)
    step, _ = step_of(one, {}, rig.clock.now())
    shown = document(one, step, rig.clock.now())["rollout"]
    return shown["state"], shown["why"]


def plan(found: Agents) -> list[str]:
    (prospect,) = look_ahead(found.here.rig.account, [found.operator().wish().task(WINDOW)], no_web)
    assert prospect.seen
    assert prospect.seen.view.claim
    return steps(prospect.seen.view, prospect.seen.view.claim)


def test_the_plan_tells_what_the_registry_is_told(tmp_path: Path) -> None:
    with agents(tmp_path) as found:
        lines = plan(found)
        assert f"announce in the registry that the nodes of {OLD} will leave" in lines
        (grow,) = (line for line in lines if line.startswith("grow"))
        assert grow == f"grow {NEW} to 2 nodes, and wait until they are ready, and have announced their services, " + (
            "at most 120 s"
        )
        (copy,) = (line for line in lines if line.startswith("copy"))
        assert copy.endswith("and wait 20 s, or until all have acknowledged that")


def test_a_rollout_ends_its_wait_when_all_have_acknowledged_and_leaves_nothing_over(tmp_path: Path) -> None:
    with agents(tmp_path) as found:
        told = Timed(found.here)
        assert found.operator(told=told).update().result == "updated"
        assert told.seconds < TIMEOUT
        found.here.rig.wait(60)
        require_updated(found.here)
        assert found.leaving == set()


def test_who_does_not_acknowledge_is_waited_for(tmp_path: Path) -> None:
    with agents(tmp_path, deaf=True) as found:
        rows: list[tuple[str, str]] = []
        told = Timed(found.here, lambda: rows.append(status(found)))
        assert found.operator(told=told).update().result == "updated"
        assert rows == [("hold", NOT_HEARD)]
        assert told.seconds > TIMEOUT - 5
        assert NOT_HEARD in {one.why for one in told.standings}
        assert found.leaving == set()


def test_etcd_killed_in_hold_costs_the_whole_timeout_and_the_next_command_tidies_up(tmp_path: Path) -> None:
    with agents(tmp_path, deaf=True) as found:
        said: list[set[str]] = []

        def kill_once_said() -> None:
            said.append(found.leaving)
            found.member.kill()

        told = Timed(found.here, kill_once_said)
        assert found.operator(told=told).update().result == "updated"
        assert told.seconds > TIMEOUT - 5
        assert len(said[0]) == 2
        assert any("the registry of services cannot be asked" in note for note in told.notes)
        found.member.restart()
        assert found.leaving == said[0]
        assert found.operator("run-2").update().result == "changed"
        assert found.leaving == set()
        require_updated(found.here)


def test_no_rollout_begins_without_the_registry(tmp_path: Path) -> None:
    with agents(tmp_path) as found:
        found.member.kill()
        result = found.operator().update()
        assert result.result == "failed"
        assert result.error
        assert result.error.exit_code is ExitCode.TOOL
        require_restored(found.here)


def test_a_rollback_from_hold_takes_back_what_was_said(tmp_path: Path) -> None:
    with agents(tmp_path, deaf=True) as found:

        def end() -> None:
            assert len(found.leaving) == 2
            raise Killed

        with pytest.raises(Killed):
            found.operator(told=Timed(found.here, end)).update()
        assert found.operator("run-2").rollback().result == "rolled back"
        found.here.rig.wait(60)
        require_restored(found.here)
        assert found.leaving == set()
