"""The transport `ssm` when replies are lost, late or refused, when it is stopped, and after one that was killed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Response

from nodepkg.clients.aws.run_command import RunCommand
from nodepkg.errors import AwsError, ConfigError
from nodepkg.sandbox.calls import Call
from tests.faults import fail, lose_replies, refuse, short_pages, stale, throttle
from tests.faults.layers import Onward, layer
from tests.fleet.ssm_fleets import BUCKET, DEPLOY, GROUP, drained, ends, results, ssm_fleet
from tests.fleets import REGION, Killed

ACTIONS = (
    "SendCommand",
    "ListCommands",
    "ListCommandInvocations",
    "GetCommandInvocation",
    "DescribeInstanceInformation",
    "CancelCommand",
)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fault", [lose_replies, throttle, fail], ids=lambda one: one.__name__)
def test_no_fault_sends_it_twice_or_loses_a_result(action: str, fault: Any, tmp_path: Path) -> None:
    with ssm_fleet(tmp_path, fault(action, 2)) as fleet:
        nodes = fleet.nodes(8)
        fleet.agents(nodes[:1], code=1)
        fleet.agents(nodes[1:2], ping="ConnectionLost")
        transport = fleet.transport(max_errors=None, window=10)
        transport.start(fleet.jobs(nodes))
        told = results(drained(transport))
        assert told == {**dict.fromkeys(nodes, "succeeded"), nodes[0]: "failed", nodes[1]: "unreachable"}
        assert len(fleet.commands()) == 1


def test_a_lost_reply_is_no_second_command_though_the_first_is_not_seen_at_once(tmp_path: Path) -> None:
    layers = (stale(6, "ListCommands", "ListCommandInvocations"), lose_replies("SendCommand"))
    with ssm_fleet(tmp_path, *layers, remembers=30) as fleet:
        nodes = fleet.nodes(4)
        transport = fleet.transport(window=10)
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == dict.fromkeys(nodes, "succeeded")
        assert len(fleet.commands()) == 1


@pytest.mark.parametrize("seconds", [2, 9])
@pytest.mark.parametrize("whole", [True, False])
def test_old_replies_hide_no_result(seconds: float, whole: bool, tmp_path: Path) -> None:
    with ssm_fleet(tmp_path, stale(seconds, "List*"), remembers=30) as fleet:
        nodes = fleet.nodes(12)
        fleet.agents(nodes[3:4], code=7)
        transport = fleet.transport(window=10, whole=whole, max_errors=None)
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == {**dict.fromkeys(nodes, "succeeded"), nodes[3]: "failed"}


@pytest.mark.parametrize("whole", [True, False])
def test_counters_that_run_ahead_of_the_nodes_end_nothing(whole: bool, tmp_path: Path) -> None:
    """As moto has them: a command is a success as soon as it was sent."""

    def answer(call: Call, onward: Onward) -> Response:
        reply = onward()
        if call.action != "ListCommands":
            return reply
        document = json.loads(reply.get_data())
        for one in document["Commands"]:
            one |= {"Status": "Success", "StatusDetails": "Details placeholder", "CompletedCount": one["TargetCount"]}
        return Response(json.dumps(document), mimetype=reply.mimetype)

    with ssm_fleet(tmp_path, layer(answer)) as fleet:
        nodes = fleet.nodes(70)
        fleet.agents(nodes, seconds=100)
        fleet.agents(nodes[30:31], seconds=100, code=1)
        transport = fleet.transport(whole=whole, max_errors=None, at_once=25)
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == {**dict.fromkeys(nodes, "succeeded"), nodes[30]: "failed"}


def test_a_command_that_cannot_be_seen_is_followed_by_its_nodes(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path, refuse("ListCommands", "InvalidCommandId")) as fleet:
        nodes = fleet.nodes(3)
        transport = fleet.transport()
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == dict.fromkeys(nodes, "succeeded")
        assert fleet.rig.clock.now() < fleet.commands()[0].requested + 60


def test_pages_may_be_short(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path, short_pages(3)) as fleet:
        nodes = fleet.nodes(20)
        fleet.agents(nodes[15:16], ping="ConnectionLost")
        transport = fleet.transport()
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == {**dict.fromkeys(nodes, "succeeded"), nodes[15]: "unreachable"}


def test_no_way_to_aws_for_a_while_loses_nothing(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path, refuse("ListCommands", "SomethingElse", 40)) as fleet:
        nodes = fleet.nodes(3)
        transport = fleet.transport()
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == dict.fromkeys(nodes, "succeeded")


def test_who_cannot_look_any_more_knows_nothing_and_does_not_wait_for_ever(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path, refuse("ListCommand*", "AccessDeniedException")) as fleet:
        nodes = fleet.nodes(3)
        transport = fleet.transport()
        transport.start(fleet.jobs(nodes))
        events = drained(transport)
        assert results(events) == dict.fromkeys(nodes, "unknown")
        assert "AccessDenied" in ends(events)[nodes[0]].why


def test_expired_credentials_end_the_wait(tmp_path: Path) -> None:
    expired: list[bool] = []

    def answer(call: Call, onward: Onward) -> Response:
        return call.error("ExpiredTokenException", "it has expired", 400) if expired else onward()

    with ssm_fleet(tmp_path, layer(answer)) as fleet:
        nodes = fleet.nodes(3)
        transport = fleet.transport()
        transport.start(fleet.jobs(nodes))
        expired.append(True)
        events = drained(transport)
        assert results(events) == dict.fromkeys(nodes, "unknown")
        assert "does not take the credentials" in ends(events)[nodes[0]].why
        with pytest.raises(AwsError, match="does not take the credentials"):
            fleet.transport().start(fleet.jobs(nodes))


def test_a_refused_command_is_an_error_and_none_of_the_jobs_has_begun(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path, refuse("SendCommand", "AccessDeniedException")) as fleet:
        transport = fleet.transport()
        with pytest.raises(AwsError, match="AccessDenied"):
            transport.start(fleet.jobs(fleet.nodes(3)))
        assert drained(transport) == []


def test_without_a_bucket_nothing_is_sent(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(1)
        with pytest.raises(ConfigError, match=r"no deploy\.bucket"):
            fleet.transport(buckets={}).start(fleet.jobs(nodes))
        with pytest.raises(AwsError, match="there is no bucket nowhere") as caught:
            fleet.transport(buckets={GROUP: "nowhere"}).start(fleet.jobs(nodes))
        assert "deploy.bucket" in caught.value.hint
        assert fleet.commands() == []


def test_a_stop_lets_those_that_run_end_and_begins_on_no_other(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(9)
        fleet.agents(nodes, seconds=100)
        transport = fleet.transport(at_once=2)
        transport.start(fleet.jobs(nodes))
        events = list(transport.events(20))
        transport.stop()
        events += drained(transport)
        told = results(events)
        assert [told[name] for name in nodes] == ["succeeded"] * 2 + ["not started"] * 7
        first, second = fleet.commands()
        assert (first.status, second.given["InstanceIds"]) == ("Cancelled", nodes[:2])


@pytest.mark.parametrize("whole", [True, False])
def test_after_a_stop_failures_keep_nobody_from_being_followed(whole: bool, tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(70)
        fleet.agents(nodes[:60], seconds=100, code=1)
        transport = fleet.transport(at_once=60, max_errors=0, whole=whole)
        transport.start(fleet.jobs(nodes))
        events = list(transport.events(20))
        transport.stop()
        transport.stop()
        told = results([*events, *drained(transport)])
        assert [told[name] for name in nodes] == ["failed"] * 60 + ["not started"] * 10


def test_who_leaves_begins_on_no_other_node(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(9)
        fleet.agents(nodes, seconds=100)
        transport = fleet.transport(at_once=2)
        transport.start(fleet.jobs(nodes))
        transport.close()
        fleet.rig.wait(1000)
        (command,) = fleet.commands()
        assert sum(one.began is not None for one in command.invocations.values()) == 2


def test_a_killed_deploys_command_begins_on_no_further_node_once_there_is_a_new_one(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        nodes = fleet.nodes(9)
        fleet.agents(nodes, seconds=100)
        others = fleet.nodes(3, "ant")
        fleet.agents(others, seconds=5000)
        fleet.transport(at_once=1).start(fleet.jobs(nodes))
        fleet.transport(at_once=1, buckets={"ant": BUCKET}).start(fleet.jobs(others, "ant", timeout=9999))
        transport = fleet.transport(at_once=3)
        transport.start(fleet.jobs(nodes))
        assert results(drained(transport)) == dict.fromkeys(nodes, "succeeded")
        assert [command.status for command in fleet.commands()][:2] == ["Cancelled", "InProgress"]
        assert "an earlier deploy's command was under way" in fleet.notes[0]


def test_a_kill_at_any_call_leaves_nothing_that_a_retry_does_not_finish(tmp_path: Path) -> None:
    for number in range(1, 60):
        with ssm_fleet(tmp_path) as fleet:
            nodes = fleet.nodes(4)
            account, before = fleet.rig.account, "before" if number % 2 else "after"
            account.stop_at(1 + number // 2, before)
            transport = fleet.transport(at_once=1)
            try:
                transport.start(fleet.jobs(nodes))
                drained(transport)
                return
            except Killed:
                account.stop_never()
            retry = fleet.transport(at_once=1)
            retry.start(fleet.jobs(nodes))
            assert results(drained(retry)) == dict.fromkeys(nodes, "succeeded")
            running = [command for command in fleet.commands() if command.status == "InProgress"]
            assert running == []
    raise AssertionError("it never came to its end")


def test_nodes_started_meanwhile_are_noted_and_no_matter(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        known = fleet.nodes(3)
        transport = fleet.transport()
        fleet.nodes(2)
        transport.start(fleet.jobs(known))
        assert results(drained(transport)) == dict.fromkeys(known, "succeeded")
        assert fleet.notes == ["2 nodes beside those of this deploy got its command as well"]


def test_a_comment_tells_the_deploy_and_the_group(tmp_path: Path) -> None:
    with ssm_fleet(tmp_path) as fleet:
        transport = fleet.transport()
        transport.start(fleet.jobs(fleet.nodes(1)))
        (command,) = RunCommand(fleet.rig.account, REGION).commands(60)
        assert re.fullmatch(rf"nodepkg {DEPLOY} [0-9a-f]{{8}} {GROUP}", command.comment)
