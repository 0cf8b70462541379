"""Targets: initial, healthy, draining; attaching and detaching; processes that concern them."""

import pytest

from tests.fleets import Rig, fleet
from tests.sandbox.test_realistic_groups import described, refused
from tests.sandbox.test_realistic_health import ids


def states(rig: Rig, arn: str) -> list[tuple[str, str]]:
    told = rig.client("elbv2").describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return [(one["TargetHealth"]["State"], one["TargetHealth"].get("Reason", "")) for one in told]


def attachments(rig: Rig) -> list[str]:
    scaling = rig.client("autoscaling")
    told = scaling.describe_load_balancer_target_groups(AutoScalingGroupName="bee-v001")["LoadBalancerTargetGroups"]
    sources = scaling.describe_traffic_sources(AutoScalingGroupName="bee-v001")["TrafficSources"]
    assert [one["State"] for one in told] == [one["State"] for one in sources]
    return [one["State"] for one in told]


def test_a_target_is_initial_then_healthy() -> None:
    with fleet(pending=30, healthy=20) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 1, target_groups=[web])
        seen = []
        for seconds in (29, 1, 19, 1):
            rig.clock.sleep(seconds)
            seen.append((states(rig, web), attachments(rig), rig.world().serving("bee")))
        assert seen == [
            ([], ["Added"], 0),
            ([("initial", "Elb.RegistrationInProgress")], ["Added"], 0),
            ([("initial", "Elb.RegistrationInProgress")], ["Added"], 0),
            ([("healthy", "")], ["InService"], 1),
        ]


def test_what_is_attached_later_gets_all_nodes_in_service() -> None:
    with fleet() as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 2)
        rig.wait(100)
        scaling = rig.client("autoscaling")
        scaling.attach_load_balancer_target_groups(AutoScalingGroupName="bee-v001", TargetGroupARNs=[web])
        assert (states(rig, web), attachments(rig)) == ([("initial", "Elb.RegistrationInProgress")] * 2, ["Adding"])
        assert described(rig)["TargetGroupARNs"] == [web]
        rig.wait(20)
        assert (states(rig, web), attachments(rig)) == ([("healthy", "")] * 2, ["InService"])


def test_what_is_detached_is_no_longer_told_and_drains() -> None:
    with fleet(drain=60) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 2, target_groups=[web])
        rig.wait(100)
        scaling = rig.client("autoscaling")
        scaling.detach_load_balancer_target_groups(AutoScalingGroupName="bee-v001", TargetGroupARNs=[web])
        assert described(rig)["TargetGroupARNs"] == []
        draining = [("draining", "Target.DeregistrationInProgress")] * 2
        assert (states(rig, web), attachments(rig)) == (draining, ["Removing"])
        rig.wait(59)
        assert states(rig, web) == draining
        rig.wait(1)
        assert (states(rig, web), attachments(rig)) == ([], [])
        assert [node.lifecycle for node in rig.world().nodes("bee-v001")] == ["InService"] * 2
        detach = scaling.detach_load_balancer_target_groups
        assert refused(detach, AutoScalingGroupName="bee-v001", TargetGroupARNs=[web]) == "ValidationError"


def test_what_drains_and_is_attached_again_starts_anew() -> None:
    with fleet(drain=60, healthy=20) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 1, target_groups=[web])
        rig.wait(100)
        scaling = rig.client("autoscaling")
        about = {"AutoScalingGroupName": "bee-v001", "TrafficSources": [{"Identifier": web}]}
        scaling.detach_traffic_sources(**about)
        rig.wait(30)
        scaling.attach_traffic_sources(**about)
        assert (states(rig, web), attachments(rig)) == ([("initial", "Elb.RegistrationInProgress")], ["Adding"])
        rig.wait(60)
        assert (states(rig, web), attachments(rig)) == ([("healthy", "")], ["InService"])


def test_nodes_of_a_group_whose_adding_is_suspended_are_never_registered() -> None:
    with fleet() as rig:
        web = rig.world().target_group("web")
        scaling = rig.client("autoscaling")
        rig.group("bee-v001", 1, target_groups=[web])
        scaling.suspend_processes(AutoScalingGroupName="bee-v001", ScalingProcesses=["AddToLoadBalancer"])
        rig.wait(100)
        scaling.resume_processes(AutoScalingGroupName="bee-v001", ScalingProcesses=["AddToLoadBalancer"])
        rig.wait(100)
        assert states(rig, web) == []
        scaling.set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=2)
        rig.wait(100)
        assert list(rig.world().target_states(web)) == ids(rig)[1:]


def test_targets_are_registered_and_deregistered_by_hand() -> None:
    with fleet(healthy=20, drain=60) as rig:
        web, elb = rig.world().target_group("web"), rig.client("elbv2")
        rig.group("bee-v001", 1)
        assert refused(elb.register_targets, TargetGroupArn=web, Targets=[{"Id": ids(rig)[0]}]) == "InvalidTarget"
        rig.wait(30)
        (node,) = ids(rig)
        elb.register_targets(TargetGroupArn=web, Targets=[{"Id": node, "Port": 8080}])
        rig.wait(20)
        asked = elb.describe_target_health(TargetGroupArn=web, Targets=[{"Id": node}])["TargetHealthDescriptions"]
        assert (asked[0]["Target"], asked[0]["TargetHealth"]["State"]) == ({"Id": node, "Port": 8080}, "healthy")
        elb.register_targets(TargetGroupArn=web, Targets=[{"Id": node}])
        assert rig.world().target_states(web) == {node: "healthy"}
        elb.deregister_targets(TargetGroupArn=web, Targets=[{"Id": node}])
        rig.wait(60)
        asked = elb.describe_target_health(TargetGroupArn=web, Targets=[{"Id": node}])["TargetHealthDescriptions"]
        assert asked[0]["TargetHealth"]["Reason"] == "Target.NotRegistered"
        unknown = web.replace("web", "bew")
        assert refused(elb.describe_target_health, TargetGroupArn=unknown) == "TargetGroupNotFound"
        assert refused(rig.group, name="ant", target_groups=[unknown]) == "TargetGroupNotFound"


def test_targets_of_a_group_that_no_load_balancer_uses_are_unused() -> None:
    with fleet() as rig:
        web = rig.world().target_group("web")
        rig.world().unused(web)
        rig.group("bee-v001", 1, target_groups=[web])
        rig.wait(100)
        assert (states(rig, web), attachments(rig)) == ([("unused", "Target.NotInUse")], ["Added"])
        scaling = rig.client("autoscaling")
        scaling.detach_load_balancer_target_groups(AutoScalingGroupName="bee-v001", TargetGroupARNs=[web])
        assert states(rig, web) == []


def test_a_stopped_instance_is_an_unused_target() -> None:
    with fleet() as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 1, target_groups=[web])
        rig.wait(100)
        rig.client("autoscaling").suspend_processes(AutoScalingGroupName="bee-v001")
        rig.client("ec2").stop_instances(InstanceIds=ids(rig))
        assert states(rig, web) == [("unused", "Target.InvalidState")]


@pytest.mark.parametrize("decrement", [True, False])
def test_a_node_in_standby_leaves_its_targets_and_comes_back(decrement: bool) -> None:
    with fleet(pending=30, drain=60, healthy=20) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 2, target_groups=[web])
        rig.wait(100)
        first, _ = ids(rig)
        scaling = rig.client("autoscaling")
        about = {"AutoScalingGroupName": "bee-v001", "InstanceIds": [first]}
        scaling.enter_standby(**about, ShouldDecrementDesiredCapacity=decrement)
        group = described(rig)
        assert group["DesiredCapacity"] == (1 if decrement else 2)
        assert [node["LifecycleState"] for node in group["Instances"]] == ["Standby", "InService"] + (
            [] if decrement else ["Pending"]
        )
        assert rig.world().target_states(web)[first] == "draining"
        assert refused(scaling.enter_standby, **about, ShouldDecrementDesiredCapacity=True) == "ValidationError"
        rig.wait(60)
        scaling.exit_standby(**about)
        rig.wait(20)
        assert described(rig)["DesiredCapacity"] == (2 if decrement else 3)
        assert rig.world().target_states(web)[first] == "healthy"


def test_what_is_attached_while_adding_is_suspended_gets_no_nodes() -> None:
    with fleet() as rig:
        web, scaling = rig.world().target_group("web"), rig.client("autoscaling")
        rig.group("bee-v001", 1)
        rig.wait(100)
        scaling.suspend_processes(AutoScalingGroupName="bee-v001", ScalingProcesses=["AddToLoadBalancer"])
        scaling.attach_load_balancer_target_groups(AutoScalingGroupName="bee-v001", TargetGroupARNs=[web])
        rig.wait(100)
        assert states(rig, web) == []
        assert described(rig)["TargetGroupARNs"] == [web]
