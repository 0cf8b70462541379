"""Nodes that are sick, and what their groups make of it; lifecycle hooks."""

from typing import Any

import pytest

from tests.fleets import Rig, fleet
from tests.sandbox.test_realistic_groups import described, lifecycles, refused


def checks(rig: Rig) -> dict[str, str]:
    told = rig.client("ec2").describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    return {one["InstanceId"]: one["InstanceStatus"]["Status"] for one in told}


def ids(rig: Rig, name: str = "bee-v001") -> list[str]:
    return [node.id for node in rig.world().nodes(name)]


def test_status_checks_come_to_a_result_after_a_while() -> None:
    with fleet(pending=30, checks=60) as rig:
        rig.group("bee-v001", 1)
        seen: list[str] = []
        for seconds in (0, 30, 59, 1):
            rig.clock.sleep(seconds)
            seen += checks(rig).values()
        assert seen == ["not-applicable", "initializing", "initializing", "ok"]


def test_status_is_asked_by_id_and_of_running_instances_by_default() -> None:
    with fleet() as rig:
        rig.group("bee-v001", 2)
        ask = rig.client("ec2").describe_instance_status
        assert ask()["InstanceStatuses"] == []
        rig.wait(30)
        one, other = ids(rig)
        assert [found["InstanceId"] for found in ask(InstanceIds=[other, one])["InstanceStatuses"]] == [other, one]
        filters = [{"Name": "instance-status.status", "Values": ["ok"]}]
        assert ask(Filters=filters)["InstanceStatuses"] == []
        assert refused(ask, InstanceIds=[one, "i-0000000000000dead"]) == "InvalidInstanceID.NotFound"


def test_a_node_whose_status_checks_fail_is_replaced_once_its_grace_is_over() -> None:
    with fleet(pending=30, checks=60, notice=15, termination=30) as rig:
        image = rig.world().image()
        rig.group("bee-v001", 1, image=image, HealthCheckGracePeriod=300)
        rig.world().sick(image, "impaired")
        rig.wait(100)
        (sick,) = ids(rig)
        assert checks(rig) == {sick: "impaired"}
        rig.wait(229)
        assert (ids(rig), described(rig)["Instances"][0]["HealthStatus"]) == ([sick], "Healthy")
        rig.wait(1)
        assert lifecycles(rig) == ["Terminating", "Pending"]
        rig.wait(30)
        assert sick not in ids(rig)


@pytest.mark.parametrize(("kind", "replaced"), [("ELB", True), ("EC2", False)])
def test_a_node_whose_targets_fail_is_replaced_if_the_group_asks_its_load_balancers(kind: str, replaced: bool) -> None:
    with fleet() as rig:
        web, image = rig.world().target_group("web"), rig.world().image()
        rig.group("bee-v001", 1, image=image, target_groups=[web], HealthCheckType=kind)
        rig.world().sick(image, "unhealthy")
        rig.wait(60)
        (sick,) = ids(rig)
        assert rig.world().target_states(web) == {sick: "unhealthy"}
        rig.wait(600)
        assert (sick not in ids(rig)) is replaced


def test_a_node_that_ends_before_it_runs_is_a_failed_launch_that_is_tried_again() -> None:
    with fleet(pending=30, retry=60) as rig:
        image = rig.world().image()
        rig.world().sick(image, "failing")
        rig.group("bee-v001", 1, image=image)
        rig.wait(30)
        assert ids(rig) == []
        (activity,) = rig.client("autoscaling").describe_scaling_activities()["Activities"]
        assert (activity["StatusCode"], activity["Progress"]) == ("Failed", 100)
        assert "Client.InternalError" in activity["StatusMessage"]
        rig.world().well(image)
        rig.wait(60)
        assert lifecycles(rig) == ["Pending"]
        rig.wait(30)
        assert lifecycles(rig) == ["InService"]


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_node_that_dies_is_replaced_even_within_its_grace(how: str) -> None:
    with fleet(notice=15) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 2, target_groups=[web], HealthCheckGracePeriod=3600)
        rig.wait(100)
        dead, left = ids(rig)
        if how == "kill":
            rig.world().kill(dead)
        else:
            rig.client("ec2").terminate_instances(InstanceIds=[dead])
        assert rig.world().serving("bee") == 1
        assert rig.world().target_states(web) == {dead: "unused", left: "healthy"}
        rig.wait(15)
        assert sorted(lifecycles(rig)) == ["InService", "Pending", "Terminating"]
        rig.wait(100)
        assert (lifecycles(rig), rig.world().serving("bee")) == (["InService", "InService"], 2)
        assert dead not in ids(rig)


@pytest.mark.parametrize(
    ("process", "health"), [("ReplaceUnhealthy", "Unhealthy"), ("HealthCheck", "Healthy"), ("Terminate", "Unhealthy")]
)
def test_a_dead_node_stays_while_a_process_is_suspended(process: str, health: str) -> None:
    with fleet() as rig:
        rig.group("bee-v001", 1)
        rig.wait(100)
        (dead,) = ids(rig)
        scaling = rig.client("autoscaling")
        scaling.suspend_processes(AutoScalingGroupName="bee-v001", ScalingProcesses=[process])
        rig.world().kill(dead)
        rig.wait(3600)
        (node,) = described(rig)["Instances"]
        assert (node["InstanceId"], node["LifecycleState"], node["HealthStatus"]) == (dead, "InService", health)
        scaling.resume_processes(AutoScalingGroupName="bee-v001", ScalingProcesses=[process])
        rig.wait(200)
        assert (lifecycles(rig), dead in ids(rig)) == (["InService"], False)


def test_health_that_a_user_sets_respects_the_grace_unless_told_otherwise() -> None:
    with fleet() as rig:
        rig.group("bee-v001", 1, HealthCheckGracePeriod=3600)
        rig.wait(100)
        (node,) = ids(rig)
        set_health = rig.client("autoscaling").set_instance_health
        set_health(InstanceId=node, HealthStatus="Unhealthy")
        assert lifecycles(rig) == ["InService"]
        set_health(InstanceId=node, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
        assert lifecycles(rig) == ["Terminating", "Pending"]


HOOK: dict[str, Any] = {
    "LifecycleHookName": "warm",
    "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
    "HeartbeatTimeout": 600,
    "DefaultResult": "CONTINUE",
}


def test_a_hook_that_is_given_with_the_group_holds_its_first_node() -> None:
    with fleet(pending=30) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 1, target_groups=[web], LifecycleHookSpecificationList=[HOOK])
        scaling = rig.client("autoscaling")
        (hook,) = scaling.describe_lifecycle_hooks(AutoScalingGroupName="bee-v001")["LifecycleHooks"]
        assert hook == {**HOOK, "AutoScalingGroupName": "bee-v001", "GlobalTimeout": 60000}
        rig.wait(100)
        assert (lifecycles(rig), rig.world().target_states(web)) == (["Pending:Wait"], {})
        (node,) = ids(rig)
        about = {"AutoScalingGroupName": "bee-v001", "LifecycleHookName": "warm", "InstanceId": node}
        scaling.complete_lifecycle_action(**about, LifecycleActionResult="CONTINUE")
        assert (lifecycles(rig), rig.world().target_states(web)) == (["InService"], {node: "initial"})
        assert refused(scaling.complete_lifecycle_action, **about, LifecycleActionResult="CONTINUE") == (
            "ValidationError"
        )


@pytest.mark.parametrize(("result", "then"), [("CONTINUE", ["InService"]), ("ABANDON", ["Terminating", "Pending"])])
def test_a_hook_that_nobody_completes_ends_with_its_default(result: str, then: list[str]) -> None:
    with fleet(pending=30) as rig:
        rig.group("bee-v001", 1, LifecycleHookSpecificationList=[{**HOOK, "DefaultResult": result}])
        rig.wait(30 + 599)
        assert lifecycles(rig) == ["Pending:Wait"]
        rig.wait(1)
        assert lifecycles(rig) == then


def test_a_heartbeat_prolongs_the_wait() -> None:
    with fleet(pending=30) as rig:
        rig.group("bee-v001", 1, LifecycleHookSpecificationList=[HOOK])
        rig.wait(500)
        (node,) = ids(rig)
        about = {"AutoScalingGroupName": "bee-v001", "LifecycleHookName": "warm", "InstanceId": node}
        rig.client("autoscaling").record_lifecycle_action_heartbeat(**about)
        rig.wait(599)
        assert lifecycles(rig) == ["Pending:Wait"]
        rig.wait(1)
        assert lifecycles(rig) == ["InService"]


def test_a_hook_holds_a_node_that_goes_after_it_has_drained() -> None:
    with fleet(drain=60, termination=30) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 1, target_groups=[web])
        scaling = rig.client("autoscaling")
        scaling.put_lifecycle_hook(
            AutoScalingGroupName="bee-v001",
            LifecycleHookName="drain",
            LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
        )
        rig.wait(100)
        scaling.set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=0)
        seen = []
        for seconds in (0, 60, 3599, 1, 30):
            rig.wait(seconds)
            seen.append(lifecycles(rig))
        assert seen == [["Terminating"], ["Terminating:Wait"], ["Terminating:Wait"], ["Terminating:Proceed"], []]


def test_one_instance_falls_sick_and_another_does_not() -> None:
    with fleet(notice=15) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 2, target_groups=[web], HealthCheckType="ELB")
        rig.wait(100)
        sick, fine = ids(rig)
        rig.world().sick(sick)
        assert rig.world().target_states(web) == {sick: "unhealthy", fine: "healthy"}
        assert rig.world().serving("bee") == 1
        rig.world().well(sick)
        assert rig.world().serving("bee") == 2
        rig.wait(100)
        assert ids(rig) == [sick, fine]
        rig.world().sick(fine, "impaired")
        assert checks(rig) == {sick: "ok", fine: "impaired"}
        rig.wait(15)
        assert [node["LifecycleState"] for node in described(rig)["Instances"]] == [
            "InService",
            "Terminating",
            "Pending",
        ]


def test_a_node_that_dies_before_it_serves_is_replaced() -> None:
    with fleet(pending=30) as rig:
        rig.group("bee-v001", 1)
        (dead,) = ids(rig)
        rig.world().kill(dead)
        assert lifecycles(rig) == ["Terminating", "Pending"]
        rig.wait(100)
        assert (lifecycles(rig), dead in ids(rig)) == (["InService"], False)


def test_two_hooks_hold_a_node_until_both_let_go() -> None:
    with fleet(pending=30) as rig:
        rig.group("bee-v001", 1, LifecycleHookSpecificationList=[HOOK, {**HOOK, "LifecycleHookName": "seed"}])
        rig.wait(30)
        (node,) = ids(rig)
        complete, seen = rig.client("autoscaling").complete_lifecycle_action, []
        for name in ("warm", "seed"):
            about = {"AutoScalingGroupName": "bee-v001", "LifecycleHookName": name, "InstanceId": node}
            complete(**about, LifecycleActionResult="CONTINUE")
            seen.append(lifecycles(rig))
        assert seen == [["Pending:Wait"], ["InService"]]


def test_a_hook_that_is_deleted_lets_go() -> None:
    with fleet(pending=30) as rig:
        rig.group("bee-v001", 1, LifecycleHookSpecificationList=[HOOK])
        rig.wait(30)
        rig.client("autoscaling").delete_lifecycle_hook(AutoScalingGroupName="bee-v001", LifecycleHookName="warm")
        assert lifecycles(rig) == ["InService"]
