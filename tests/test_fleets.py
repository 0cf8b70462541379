"""The rig itself: time that nobody waits for, kill points, nodes that answer, counts of who serves."""

import http.client
import time
from typing import Any

import pytest

from nodepkg.clients.aws.account import aws_errors
from nodepkg.errors import AwsError
from nodepkg.sandbox.realistic import RealClock, VirtualClock
from nodepkg.sandbox.throttling import Limit, Throttling
from tests.faults import lose_replies, throttle
from tests.fleets import MORNING, REGION, STOCK_IMAGE, Killed, Rig, fleet


def asked(rig: Rig, address: str, timeout: float = 5) -> int:
    connection = http.client.HTTPConnection(address, rig.answers.port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


def addresses(rig: Rig) -> list[tuple[str, str, str]]:
    told = rig.client("ec2").describe_instances()["Reservations"]
    nodes = [node for reservation in told for node in reservation["Instances"]]
    return [(node["InstanceId"], node["PrivateIpAddress"], node["PublicIpAddress"]) for node in nodes]


def test_running_nodes_answer_as_they_are_told() -> None:
    with fleet(pending=30) as rig:
        image = rig.world().image()
        rig.group("bee-v001", 2, image=image)
        (one, private, public), (_, other, _) = addresses(rig)
        with pytest.raises(ConnectionRefusedError):
            asked(rig, private)
        rig.wait(30)
        assert [asked(rig, private), asked(rig, public), asked(rig, other)] == [200, 200, 200]
        rig.answers.statuses[image] = 500
        rig.answers.statuses[one] = 204
        assert [asked(rig, private), asked(rig, other)] == [204, 500]
        rig.answers.statuses[one] = None
        with pytest.raises(TimeoutError):
            asked(rig, private, timeout=0.05)
        assert rig.answers.requests[0] == (one, "/health")
        rig.world().kill(one)
        with pytest.raises(ConnectionRefusedError):
            asked(rig, private)


def test_the_account_waits_on_the_rigs_clock() -> None:
    with fleet(throttle("DescribeAutoScalingGroups", 5)) as rig:
        began, virtual = time.monotonic(), rig.clock.now()
        rig.client("autoscaling").describe_auto_scaling_groups()
        assert rig.account.sent == ["DescribeAutoScalingGroups"] * 6
        assert rig.clock.now() > virtual
        ec2 = rig.client("ec2")
        rig.client("ec2").describe_regions()
        virtual = rig.clock.now()
        for _ in range(120):
            ec2.describe_launch_templates()
        assert rig.clock.now() - virtual >= 1
        assert time.monotonic() - began < 20


def test_request_limits_count_in_the_rigs_time() -> None:
    clock = VirtualClock()
    throttling = Throttling(clock=clock.now, services={"autoscaling": Limit(20, 5)})
    with fleet(throttling, clock=clock) as rig:
        for _ in range(30):
            rig.client("autoscaling").describe_auto_scaling_groups()
        assert throttling.refused["DescribeAutoScalingGroups"] > 0
        before = throttling.refused["DescribeAutoScalingGroups"]
        clock.advance(60)
        rig.client("autoscaling").describe_auto_scaling_groups()
        assert throttling.refused["DescribeAutoScalingGroups"] == before


@pytest.mark.parametrize(("when", "there"), [("before", 0), ("after", 1)])
def test_the_program_is_stopped_at_its_nth_request(when: str, there: int) -> None:
    with fleet() as rig:
        rig.group("bee-v001", 1)
        rig.account.stop_at(2, when)
        change = rig.client("autoscaling").set_desired_capacity
        with pytest.raises(Killed):
            for wanted in (2, 3, 4):
                change(AutoScalingGroupName="bee-v001", DesiredCapacity=wanted)
        rig.account.stop_never()
        assert len(rig.world().nodes("bee-v001")) == 2 + there


def test_a_lost_reply_is_followed_by_a_second_try() -> None:
    with fleet(lose_replies("CreateAutoScalingGroup")) as rig:
        template = {"LaunchTemplateName": rig.world().template(STOCK_IMAGE)}
        sizes = {"MinSize": 0, "MaxSize": 0, "AvailabilityZones": ["us-east-1a"]}
        with pytest.raises(AwsError) as caught, aws_errors("create"):
            rig.client("autoscaling").create_auto_scaling_group(
                AutoScalingGroupName="bee-v001", LaunchTemplate=template, **sizes
            )
        assert caught.value.code == "AlreadyExists"
        assert rig.world().group("bee-v001") is not None


def test_who_serves_is_counted_over_time() -> None:
    with fleet(pending=30, healthy=20, drain=60) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 2, target_groups=[web])
        rig.wait(100)
        began = rig.clock.now()
        rig.group("bee-v002", 1, target_groups=[web])
        rig.wait(100)
        assert (rig.world().serving("bee"), rig.world().low_water("bee", began)) == (3, 2)
        update: dict[str, Any] = {"AutoScalingGroupName": "bee-v001", "MinSize": 0, "MaxSize": 0}
        rig.client("autoscaling").update_auto_scaling_group(**update)
        rig.wait(10)
        assert (rig.world().serving("bee"), rig.world().low_water("bee", began)) == (1, 1)
        later = rig.clock.now()
        rig.client("autoscaling").set_desired_capacity(AutoScalingGroupName="bee-v002", DesiredCapacity=2)
        rig.wait(100)
        assert [count.serving for count in rig.world().history("bee")] == [0, 2, 3, 1, 2]
        assert rig.world().low_water("bee", later) == 1


def test_a_rig_may_run_on_the_real_clock() -> None:
    with fleet(clock=RealClock(), pending=0.05) as rig:
        rig.group("bee-v001")
        before = [node.lifecycle for node in rig.world().nodes("bee-v001")]
        rig.wait(0.06)
        assert (before, [node.lifecycle for node in rig.world().nodes("bee-v001")]) == (["Pending"], ["InService"])


def test_two_operators_have_an_account_each() -> None:
    with fleet() as rig:
        other = rig.operator()
        rig.account.stop_at(1, "before")
        other.client("autoscaling", REGION).describe_auto_scaling_groups()
        with pytest.raises(Killed):
            rig.client("autoscaling").describe_auto_scaling_groups()
        assert (other.sent, other.now()) == (["DescribeAutoScalingGroups"], rig.clock.now())


def test_a_rig_begins_at_the_same_moment_whenever_a_test_runs() -> None:
    with fleet() as rig:
        assert rig.clock.now() == MORNING


def test_two_rigs_tell_the_same_story() -> None:
    def story() -> list[Any]:
        with fleet(clock=VirtualClock(1_000_000_000)) as rig:
            rig.world().short("us-east-1a")
            rig.group("bee-v001", 2)
            rig.wait(1000)
            told = rig.client("autoscaling").describe_scaling_activities()["Activities"]
            return [(one["ActivityId"], one["StatusCode"], one["StartTime"], one["EndTime"]) for one in told]

    assert story() == story()
