"""The transport `ssm` against the sandbox's Run Command, on the virtual clock.

NODEPKG_SWEEP=all counts the calls of 10,000 nodes, too.
"""

import math
import os
from pathlib import Path

import pytest

from nodepkg.errors import NodepkgError
from tests.faults import refuse
from tests.fleet.ssm_fleets import BUCKET, GROUP, begun, drained, ends, output, results, ssm_fleet

# Nodes, and the most calls that they may cost.
SIZES = [(1_000, 180), (2_000, 260), *([(10_000, 900)] if os.environ.get("NODEPKG_SWEEP") == "all" else [])]


def test_one_command_by_tag_converges_a_whole_group(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(25)
        fleet.nodes(3, "ant")
        transport = fleet.transport(at_once=10)
        transport.start(fleet.jobs(nodes))
        events = drained(transport)
        assert results(events) == dict.fromkeys(nodes, "succeeded")
        assert sorted(begun(events)) == nodes
        (command,) = fleet.commands()
        assert command.given["Targets"] == [
            {"Key": "tag:group", "Values": [GROUP]},
            {"Key": "tag:nodepkg:managed", "Values": ["true"]},
        ]
        assert (command.given["MaxConcurrency"], command.given["MaxErrors"]) == ("10", "0")
        assert set(command.invocations) == set(nodes)


def test_the_bundle_is_sent_once_and_is_private(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(2)
        for _ in range(2):
            transport = fleet.transport()
            transport.start(fleet.jobs(nodes))
            drained(transport)
        s3 = fleet.rig.client("s3")
        (stored,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert stored["Key"] == f"nodepkg/bundles/{GROUP}/{'d' * 64}.tar.gz"
        assert s3.get_object(Bucket=BUCKET, Key=stored["Key"])["Body"].read() == b"bundle of bee"
        (grant,) = s3.get_object_acl(Bucket=BUCKET, Key=stored["Key"])["Grants"]
        assert grant["Permission"] == "FULL_CONTROL"
        assert fleet.rig.account.sent.count("PutObject") == 1


def test_failures_stop_the_command_and_are_told_with_their_output(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(10)
        fleet.agents(nodes[2:4], code=3, output="x" * 5000 + "\nno such recipe\n")
        transport = fleet.transport(at_once=2, max_errors=1)
        transport.start(fleet.jobs(nodes))
        events = drained(transport)
        assert (
            results(events)
            == {
                **dict.fromkeys(nodes[:2], "succeeded"),
                **dict.fromkeys(nodes[2:4], "failed"),
                nodes[4]: "succeeded",  # it had its place after the first failure, which alone is not too many
                **dict.fromkeys(nodes[5:], "not started"),
            }
        )
        assert (ends(events)[nodes[2]].code, ends(events)[nodes[2]].why) == (3, "exit code 3")
        assert output(events, nodes[2]).endswith(b"no such recipe\n")
        assert not set(begun(events)) & set(nodes[5:])


def test_offline_and_unknown_nodes_are_unreachable_and_hold_nobody(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(12)
        fleet.agents(nodes[:2], ping="ConnectionLost")
        fleet.agents(nodes[2:3], ping="")
        started = fleet.rig.clock.now()
        transport = fleet.transport(at_once=2)
        transport.start(fleet.jobs(nodes))
        events = drained(transport)
        assert results(events) == {
            **dict.fromkeys(nodes[:3], "unreachable"),
            **dict.fromkeys(nodes[3:], "succeeded"),
        }
        assert ends(events)[nodes[0]].why == "its agent is not online: Systems Manager says ConnectionLost"
        assert fleet.rig.clock.now() - started < 300
        assert {fleet.commands()[0].invocations[name].status for name in nodes[:2]} == {"Cancelled"}


def test_a_node_that_hangs_is_unknown_after_its_time_and_gives_its_place_back(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(5)
        fleet.agents(nodes[:1], seconds=math.inf)
        transport = fleet.transport(at_once=1)
        transport.start(fleet.jobs(nodes, timeout=600))
        started = fleet.rig.clock.now()
        events = drained(transport)
        assert results(events) == {nodes[0]: "unknown", **dict.fromkeys(nodes[1:], "succeeded")}
        assert fleet.rig.clock.now() - started < 900


def test_what_takes_too_long_is_timed_out(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(2)
        fleet.agents(nodes[:1], seconds=5000)
        transport = fleet.transport(max_errors=None)
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == {nodes[0]: "timed out", nodes[1]: "succeeded"}


def test_chosen_instances_are_named_fifty_a_command(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(130)
        chosen = nodes[:120]
        fleet.agents(nodes[5:7], ping="")
        fleet.agents(nodes[7:8], ping="ConnectionLost")
        transport = fleet.transport(whole=False, at_once=60)
        transport.start(fleet.jobs(chosen))
        events = drained(transport)
        gone = dict.fromkeys(nodes[5:8], "unreachable")
        assert results(events) == {**dict.fromkeys(chosen, "succeeded"), **gone}
        sent = [command.given for command in fleet.commands()]
        assert [len(given["InstanceIds"]) for given in sent] == [50, 50, 17]
        assert [given["MaxConcurrency"] for given in sent] == ["50", "10", "17"]


def test_an_instance_that_takes_no_commands_is_found_among_those_that_do(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path, refuse("DescribeInstanceInformation", "AccessDeniedException")) as fleet:
        nodes = fleet.nodes(6)
        fleet.agents(nodes[3:4], ping="")
        transport = fleet.transport(whole=False)
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == {**dict.fromkeys(nodes, "succeeded"), nodes[3]: "unreachable"}
        assert "which nodes are online is not known" in fleet.notes[0]


def test_the_limit_of_errors_holds_over_all_commands(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(150)
        fleet.agents([nodes[3], nodes[60]], code=1)
        ends = {}
        for most in (2, 1, 0):
            transport = fleet.transport(whole=False, at_once=10, max_errors=most)
            transport.start(fleet.jobs(nodes))
            told = results(drained(transport))
            ends[most] = [told[nodes[number]] for number in (3, 60, 149)]
        assert ends == {
            2: ["failed", "failed", "succeeded"],
            1: ["failed", "failed", "not started"],
            0: ["failed", "not started", "not started"],
        }


@pytest.mark.parametrize(("size", "most"), SIZES)
def test_many_nodes_cost_calls_by_pages(tmp_path: Path, size: int, most: int) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(size)
        fleet.agents(nodes[:: size // 10], code=1)
        fleet.agents(nodes[1 :: size // 5], ping="ConnectionLost")
        fleet.agents(nodes[2 :: size // 2], seconds=math.inf)
        transport = fleet.transport(at_once=size // 20, max_errors=None)
        transport.start(fleet.jobs(nodes))
        told = results(drained(transport))
        assert [list(told.values()).count(word) for word in ("succeeded", "failed", "unreachable", "unknown")] == [
            size - 17,
            10,
            5,
            2,
        ]
        counts = fleet.rig.account.sent
        assert counts.count("SendCommand") == 1
        # A page of nodes for each 50, and of invocations three times as many, 10 outputs, and one look every 15 s.
        assert len(counts) < most


def test_nothing_that_was_refused_with_others_is_begun_later(tmp_path: Path) -> None:
    """Two groups at once; the bundle of the second one is not taken."""
    with ssm_fleet(tmp_path) as here:
        one, two = here.nodes(1), here.nodes(1, "wasp")
        here.agents([*one, *two])
        transport = here.transport(buckets={GROUP: BUCKET, "wasp": "no-such-bucket"}, whole=False)
        with pytest.raises(NodepkgError):
            transport.start([*here.jobs(one), *here.jobs(two, "wasp")])
        drained(transport)
        assert here.commands() == []


def test_where_nothing_is_under_way_time_passes_all_the_same(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as here:
        before = here.rig.clock.now()
        assert here.transport().events(0.5) == []
        assert here.rig.clock.now() == before + 0.5
