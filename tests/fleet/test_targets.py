"""Whom a deploy touches, and whom a command by tags would hit besides."""

from pathlib import Path

from nodepkg.fleet.targets import Narrowing, find
from tests.fleet.deploys import begun, groups
from tests.fleet.ssm_fleets import GROUP, drained, results, ssm_fleet
from tests.fleets import fleet


def test_members_that_auto_scaling_takes_or_keeps_are_left_out_though_their_tags_reach_them(tmp_path: Path) -> None:
    with fleet(direct=True) as rig:
        leaving, kept, stays = begun(rig, 3)
        for node in rig.world().nodes("bee-v001"):
            node.lifecycle = {leaving: "Terminating:Wait", kept: "Warmed:Running"}.get(node.id, node.lifecycle)
        targets = find(rig.account, list(groups(tmp_path, bee={}).values()), Narrowing())
    assert [one.instance for one in targets.hosts] == [stays]
    assert {one.instance: one.why for one in targets.left_out} == {leaving: "Terminating:Wait", kept: "Warmed:Running"}
    assert (targets.sizes, targets.tagged) == ({"bee": 1}, {"bee": 3})


def test_a_command_by_tag_is_sent_only_where_it_hits_nobody_else(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as rig:
        nodes = rig.nodes(4)
        transport = rig.transport()
        transport.start(rig.jobs(nodes[:3]))
        assert results(drained(transport)) == dict.fromkeys(nodes[:3], "succeeded")
        (command,) = rig.commands()
        assert command.given["InstanceIds"] == nodes[:3]
        transport.start(rig.jobs(nodes))
        drained(transport)
        assert rig.commands()[-1].given["Targets"][0] == {"Key": "tag:group", "Values": [GROUP]}


def test_a_zone_narrows_and_zones_take_turns(tmp_path: Path) -> None:
    with fleet(direct=True) as rig:
        begun(rig, 6, AvailabilityZones=["us-east-1a", "us-east-1b", "us-east-1c"])
        known = list(groups(tmp_path, bee={}).values())
        zones = [one.zone for one in find(rig.account, known, Narrowing()).hosts]
        assert zones == ["us-east-1a", "us-east-1b", "us-east-1c"] * 2
        narrowed = find(rig.account, known, Narrowing(zones=("us-east-1b",)))
        assert [one.zone for one in narrowed.hosts] == ["us-east-1b"] * 2
        assert narrowed.sizes == {"bee": 6}
