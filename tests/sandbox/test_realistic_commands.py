"""Run Command in time: targets, concurrency, errors, time-outs, pages, and which nodes are reached."""

import math
from pathlib import Path
from typing import Any

import pytest

from nodepkg.sandbox.realistic import commands
from tests.fleet.ssm_fleets import Fleet, ssm_fleet
from tests.fleets import STOCK_IMAGE
from tests.sandbox.test_realistic_groups import refused

RUN: dict[str, Any] = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}


def sent(fleet: Fleet, **more: Any) -> str:
    return str(fleet.rig.client("ssm").send_command(**{**RUN, **more})["Command"]["CommandId"])


def told(fleet: Fleet, command: str) -> dict[str, Any]:
    (found,) = fleet.rig.client("ssm").list_commands(CommandId=command)["Commands"]
    return dict(found)


def statuses(fleet: Fleet, command: str, **more: Any) -> dict[str, str]:
    ask = fleet.rig.client("ssm").get_paginator("list_command_invocations").paginate(CommandId=command, **more)
    return {one["InstanceId"]: one["StatusDetails"] for page in ask for one in page["CommandInvocations"]}


def by_tag(**tags: str) -> list[dict[str, Any]]:
    return [{"Key": f"tag:{key}", "Values": [value]} for key, value in tags.items()]


def test_targets_are_those_that_have_every_tag(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        bees, _ = fleet.nodes(3), fleet.nodes(3, "ant")
        new = fleet.nodes(1, role="new")
        assert sorted(statuses(fleet, sent(fleet, Targets=by_tag(group="bee")))) == sorted([*bees, *new])
        assert list(statuses(fleet, sent(fleet, Targets=by_tag(group="bee", role="new")))) == new
        nobody = told(fleet, sent(fleet, Targets=by_tag(group="cow")))
        assert (nobody["StatusDetails"], nobody["TargetCount"]) == ("NoInstancesInTag", 0)


def test_so_many_run_at_a_time_and_counters_tell_how_far_it_is(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(5)
        fleet.agents(nodes, seconds=10)
        command = sent(fleet, Targets=by_tag(group="bee"), MaxConcurrency="2")
        counts = []
        for _ in range(4):
            now = told(fleet, command)
            counts.append((now["CompletedCount"], len(statuses(fleet, command)), now["StatusDetails"]))
            fleet.rig.wait(10)
        assert counts == [(0, 2, "InProgress"), (2, 4, "InProgress"), (4, 5, "InProgress"), (5, 5, "Success")]


@pytest.mark.parametrize(("most", "ran"), [("0", 1), ("1", 2), ("40%", 3)])
def test_after_so_many_errors_no_further_node_gets_it(most: str, ran: int, tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(5)
        fleet.agents(nodes, code=1)
        command = sent(fleet, InstanceIds=nodes, MaxConcurrency="1", MaxErrors=most)
        fleet.rig.wait(100)
        assert list(statuses(fleet, command).values()) == ["Failed"] * ran + ["Terminated"] * (5 - ran)
        assert (told(fleet, command)["Status"], told(fleet, command)["ErrorCount"]) == ("Failed", ran)


def test_time_outs_are_those_of_the_script_and_of_delivery(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(4)
        fleet.agents(nodes[:1], seconds=200)
        fleet.agents(nodes[1:2], seconds=math.inf)
        fleet.agents(nodes[2:3], ping="ConnectionLost")
        limits = {"commands": ["true"], "executionTimeout": ["100"]}
        command = sent(fleet, Targets=by_tag(group="bee"), Parameters=limits, TimeoutSeconds=60)
        fleet.rig.wait(101)
        assert list(statuses(fleet, command).values()) == ["ExecutionTimedOut", "InProgress", "Delayed", "Success"]
        fleet.rig.wait(60)
        assert list(statuses(fleet, command).values())[1:3] == ["DeliveryTimedOut"] * 2
        assert told(fleet, command)["CompletedCount"] == 4


def test_a_node_that_comes_back_gets_what_waits_for_it(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        (node,) = fleet.nodes(1)
        fleet.agents([node], ping="ConnectionLost")
        command = sent(fleet, Targets=by_tag(group="bee"))
        fleet.rig.wait(100)
        with fleet.rig.realistic.lock:
            commands.arrive(fleet.world, node)
        fleet.rig.wait(100)
        assert statuses(fleet, command) == {node: "Success"}


def test_lists_have_pages_filters_and_details(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(120)
        fleet.agents(nodes[7:8], code=3, output="o" * 30000, errors="e")
        command = sent(fleet, Targets=by_tag(group="bee"), MaxConcurrency="100%", MaxErrors="100%")
        fleet.rig.wait(100)
        ssm = fleet.rig.client("ssm")
        pages = list(ssm.get_paginator("list_command_invocations").paginate(CommandId=command))
        assert [len(page["CommandInvocations"]) for page in pages] == [50, 50, 20]
        assert list(statuses(fleet, command)) == nodes
        failed = [{"key": "Status", "value": "Failed"}]
        (one,) = ssm.list_command_invocations(CommandId=command, Details=True, Filters=failed)["CommandInvocations"]
        assert (one["CommandPlugins"][0]["ResponseCode"], len(one["CommandPlugins"][0]["Output"])) == (3, 2500)
        whole = ssm.get_command_invocation(CommandId=command, InstanceId=nodes[7])
        assert (len(whole["StandardOutputContent"]), whole["StandardErrorContent"]) == (24000, "e")
        assert refused(ssm.get_command_invocation, CommandId=command, InstanceId="i-" + "f" * 17) == (
            "InvocationDoesNotExist"
        )


def test_what_is_cancelled_begins_on_no_further_node(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(3)
        command = sent(fleet, InstanceIds=nodes, MaxConcurrency="1")
        fleet.rig.client("ssm").cancel_command(CommandId=command, InstanceIds=nodes[:1])
        fleet.rig.wait(1)
        assert statuses(fleet, command) == {nodes[0]: "Cancelled", nodes[1]: "InProgress"}
        fleet.rig.client("ssm").cancel_command(CommandId=command)
        assert set(statuses(fleet, command).values()) == {"Cancelled"}
        assert told(fleet, command)["Status"] == "Cancelled"


def test_nodes_are_told_with_their_ping(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(60)
        fleet.agents(nodes[:1], ping="ConnectionLost")
        fleet.agents(nodes[1:2], ping="")
        filters = [{"Key": "tag:group", "Values": ["bee"]}]
        ask = fleet.rig.client("ssm").get_paginator("describe_instance_information").paginate(Filters=filters)
        pages = [page["InstanceInformationList"] for page in ask]
        assert [len(page) for page in pages] == [50, 9]
        assert [one["PingStatus"] for one in pages[0][:2]] == ["ConnectionLost", "Online"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "ValidationException"),
        ({"InstanceIds": [f"i-{n:017x}" for n in range(51)]}, "ValidationException"),
        ({"InstanceIds": ["i-" + "f" * 17]}, "InvalidInstanceId"),
        ({"DocumentName": "AWS-Else"}, "InvalidDocument"),
        ({"Comment": "x" * 101}, "ValidationException"),
        ({"MaxConcurrency": "0"}, "ValidationException"),
        ({"MaxErrors": "101%"}, "ValidationException"),
        ({"TimeoutSeconds": 2592001}, "ValidationException"),
        ({"Parameters": {"commands": ["echo {{ x }}"]}}, "InvalidParameters"),
        ({"Parameters": {"commands": ["x" * 70000]}}, "MaxDocumentSizeExceeded"),
        ({"Parameters": {"commands": ["x"], "shell": ["sh"]}}, "InvalidParameters"),
    ],
)
def test_what_aws_refuses_is_refused(given: dict[str, Any], code: str, tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        assert refused(fleet.rig.client("ssm").send_command, **{**RUN, **given}) == code


def test_instances_of_the_sandbox_take_commands_too(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "group", "Value": "bee"}]}]
        run = fleet.rig.client("ec2").run_instances
        (made,) = run(ImageId=STOCK_IMAGE, InstanceType="m1.large", MinCount=1, MaxCount=1, TagSpecifications=tags)[
            "Instances"
        ]
        command = sent(fleet, Targets=by_tag(group="bee"))
        fleet.rig.wait(100)
        assert statuses(fleet, command) == {made["InstanceId"]: "Success"}
