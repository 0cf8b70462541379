"""A deploy at Systems Manager's pace: whole groups are handed over, and Ctrl-C stops the commands."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodepkg.cli.carriers import over_ssm
from nodepkg.fleet.course import Order, Terms
from nodepkg.fleet.deploy import Runner
from nodepkg.fleet.record import Plan, Record, documents
from nodepkg.fleet.targets import Targets
from nodepkg.images.interrupts import Interrupts
from nodepkg.pace import Pace, Share
from tests.fleet.deploys import Heard, groups
from tests.fleet.skies import Sky
from tests.fleet.ssm_fleets import BUCKET, Fleet, ssm_fleet

SSM = {"deploy": {"transport": "ssm", "bucket": BUCKET}}


class RigSky(Sky):
    """On the rig's clock."""

    rig: Any = None

    def now(self) -> float:
        return float(self.rig.clock.now())


def states(fleet: Fleet, folder: Path, nodes: list[str], presses: Callable[[float], int]) -> dict[str, str]:
    """What a deploy of a group records, two nodes at a time; `presses` of Ctrl-C there were by a moment."""
    now = fleet.rig.clock.now
    interrupts, began, jobs = Interrupts(now), now(), fleet.jobs(nodes)

    def sleep(seconds: float) -> None:
        fleet.rig.clock.sleep(seconds)
        if interrupts.count < presses(now() - began):
            interrupts.heard()

    order = Order(jobs, {"bee": Terms(Share(0))}, Pace(2, max_errors=0), handed_over=True)
    record = Record(folder, Plan("20260101T000000-000000", "", 0.0, (), tuple(job.host for job in jobs)))
    record.begin()
    sky = RigSky(dict.fromkeys(nodes, "bee"))
    sky.rig = fleet.rig
    transport = fleet.transport(at_once=2, sleep=sleep)
    Runner(sky, transport, order, record=record, watcher=Heard(), interrupts=interrupts).run()
    record.close()
    return {one["instance"]: one["state"] for one in documents(record.plan.hosts, record.entries(), record)}


def test_ctrl_c_begins_on_no_other_node_and_follows_those_that_run(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(9)
        fleet.agents(nodes, seconds=100)
        told = states(fleet, tmp_path, nodes, lambda seconds: int(seconds > 20))
        assert [told[name] for name in nodes] == ["succeeded"] * 2 + ["not started"] * 7
        began = [one for command in fleet.commands() for one in command.invocations.values() if one.began is not None]
        assert {one.instance for one in began} == set(nodes[:2])


def test_a_second_ctrl_c_leaves_those_that_run_and_says_which(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(9)
        fleet.agents(nodes, seconds=100)
        told = states(fleet, tmp_path, nodes, lambda seconds: 1 if 20 < seconds < 30 else 2 if seconds >= 30 else 0)
        assert [told[name] for name in nodes] == ["left running"] * 2 + ["not started"] * 7


@pytest.mark.parametrize(("tagged", "by_tag"), [(4, True), (5, False)])
def test_a_group_is_deployed_by_tag_unless_that_would_hit_others(tmp_path: Path, tagged: int, by_tag: bool) -> None:
    with ssm_fleet(tmp_path) as fleet:
        jobs = fleet.jobs(fleet.nodes(4))
        order = Order(jobs, {}, Pace(10, max_errors=0), handed_over=True)
        targets = Targets((), {"bee": 4}, {}, tagged={"bee": tagged})
        call: Any = SimpleNamespace(out=Heard(), poll=5.0)
        over_ssm(call, fleet.rig.account, list(groups(tmp_path, bee=SSM).values()), targets, order).start(jobs)
        (command,) = fleet.commands()
        assert ("Targets" in command.given, "InstanceIds" in command.given) == (by_tag, not by_tag)
