"""Nodes behind target groups: who is awaited, who leaves first, and what a deploy that was cut off leaves behind."""

from pathlib import Path
from typing import Any

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.fleet.course import Terms
from nodepkg.fleet.transport import Result
from nodepkg.pace import Pace, Share
from tests.fleet.deploys import begun, deployed, groups
from tests.fleet.hosts import Behaviour
from tests.fleets import REGION, Rig, fleet

DRAINS = {"deploy": {"drain": True}}


def behind(rig: Rig, desired: int, **more: Any) -> tuple[list[str], str]:
    """Nodes behind a target group, and its ARN."""
    arn = rig.world().target_group("web")
    return begun(rig, desired, target_groups=[arn], **more), arn


def tags_of(rig: Rig, instance: str) -> dict[str, str]:
    told = rig.client("ec2").describe_tags(Filters=[{"Name": "resource-id", "Values": [instance]}])["Tags"]
    return {tag["Key"]: tag["Value"] for tag in told}


def left_over(rig: Rig, nodes: list[str]) -> list[str]:
    return [key for node in nodes for key in tags_of(rig, node) if key.startswith("nodepkg:drain")]


def test_a_node_that_is_sick_after_its_converge_keeps_its_place(tmp_path: Path) -> None:
    with fleet(direct=True) as rig:
        nodes, _ = behind(rig, 3)
        sick: list[str] = []

        def watches(what: str, name: str) -> None:
            if what == "succeeded" and not sick:
                sick.append(name)
                rig.world().sick(name)

        done = deployed(rig, tmp_path, groups(tmp_path, bee={}), Pace(1, max_errors=0), watches=watches, patience=600.0)
        assert done.states()[sick[0]] == "failed"
        assert "not healthy within 600 s: unhealthy in web" in done.runner.courses[sick[0]].why
        assert done.transport.started() == sick
        assert sorted(done.states().values()) == ["failed", "not started", "not started"]
        assert nodes


def test_with_drain_a_node_converges_out_of_its_target_groups_and_comes_back(tmp_path: Path) -> None:
    with fleet(direct=True, drain=60) as rig:
        nodes, arn = behind(rig, 4)
        while_running: list[str] = []
        fewest = [4]

        def watches(what: str, name: str) -> None:
            states = rig.world().target_states(arn)
            fewest.append(sum(state == "healthy" for state in states.values()))
            if what == "start":
                while_running.append(states.get(name, "out"))

        known = groups(tmp_path, bee={"deploy": {"drain": True, "min_healthy": "50%"}})
        terms = {"bee": Terms(Share(50, percent=True), drains=True)}
        done = deployed(rig, tmp_path, known, Pace(4, max_errors=0), terms=terms, watches=watches)
        assert done.states() == dict.fromkeys(nodes, "succeeded")
        assert while_running == ["out"] * 4
        assert min(fewest) >= 2
        assert done.transport.most == 2
        assert set(rig.world().target_states(arn).values()) == {"healthy"}
        assert left_over(rig, nodes) == []


def test_a_node_comes_back_also_when_its_converge_failed(tmp_path: Path) -> None:
    with fleet(direct=True) as rig:
        nodes, arn = behind(rig, 3)
        known = groups(tmp_path, bee=DRAINS)
        done = deployed(rig, tmp_path, known, behaves=lambda name, n: Behaviour(5, Result.FAILED, 1))
        rig.wait(120)
        assert sorted(done.states().values()) == ["failed", "not started", "not started"]
        assert rig.world().target_states(arn) == dict.fromkeys(nodes, "healthy")
        assert left_over(rig, nodes) == []


def test_an_elb_group_replaces_nobody_who_has_left_its_target_groups(tmp_path: Path) -> None:
    with fleet(direct=True) as rig:
        nodes, _ = behind(rig, 3, HealthCheckType="ELB", HealthCheckGracePeriod=0)
        suspended: list[frozenset[str]] = []

        def watches(what: str, name: str) -> None:
            found = AutoScaling(rig.account, REGION).group("bee-v001")
            assert found
            suspended.append(found.suspended)

        done = deployed(rig, tmp_path, groups(tmp_path, bee=DRAINS), watches=watches)
        rig.wait(600)
        after = AutoScaling(rig.account, REGION).group("bee-v001")
        assert after
        assert set(done.states().values()) == {"succeeded"}
        assert all("ReplaceUnhealthy" in one for one in suspended)
        assert after.suspended == frozenset()
        assert "nodepkg:drains" not in after.tags
        assert sorted(member.id for member in after.members) == nodes
