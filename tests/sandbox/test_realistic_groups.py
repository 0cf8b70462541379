"""Groups whose nodes come and go in time: launch, sizes, scale-in, deletion."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from nodepkg.sandbox.realistic import VirtualClock
from nodepkg.sandbox.realistic.errors import AwsRefusalError
from tests.fleets import STOCK_IMAGE, Rig, fleet


def lifecycles(rig: Rig, name: str = "bee-v001") -> list[str]:
    (group,) = rig.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return [node["LifecycleState"] for node in group["Instances"]]


def described(rig: Rig, name: str = "bee-v001") -> dict[str, Any]:
    (group,) = rig.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return dict(group)


def refused(call: Any, **arguments: Any) -> str:
    with pytest.raises((ClientError, AwsRefusalError)) as caught:
        call(**arguments)
    if isinstance(caught.value, AwsRefusalError):
        return caught.value.code
    return str(caught.value.response["Error"]["Code"])


def test_nodes_are_pending_before_they_are_in_service() -> None:
    with fleet(pending=30) as rig:
        rig.group("bee-v001", 2)
        assert lifecycles(rig) == ["Pending", "Pending"]
        rig.clock.sleep(29)
        assert lifecycles(rig) == ["Pending", "Pending"]
        rig.clock.sleep(1)
        assert lifecycles(rig) == ["InService", "InService"]
        assert {node.zone for node in rig.world().nodes("bee-v001")} == {"us-east-1a", "us-east-1b"}


def test_nodes_are_instances_of_ec2_with_the_tags_that_are_propagated() -> None:
    with fleet() as rig:
        tags = [
            {"Key": "group", "Value": "bee", "PropagateAtLaunch": True},
            {"Key": "nodepkg:phase", "Value": "serving", "PropagateAtLaunch": False},
        ]
        rig.group("bee-v001", 1, Tags=tags)
        states = []
        for _ in range(2):
            (reservation,) = rig.client("ec2").describe_instances()["Reservations"]
            (instance,) = reservation["Instances"]
            states.append(instance["State"]["Name"])
            rig.clock.sleep(30)
        assert states == ["pending", "running"]
        told = {
            tag["Key"]: tag["Value"] for tag in instance["Tags"] if not tag["Key"].startswith("aws:ec2launchtemplate")
        }
        assert told == {"group": "bee", "aws:autoscaling:groupName": "bee-v001"}
        assert instance["ImageId"] == STOCK_IMAGE
        assert instance["LaunchTime"].timestamp() == pytest.approx(rig.clock.now() - 60, abs=1)


def test_a_node_that_goes_drains_then_terminates_then_is_gone() -> None:
    with fleet(drain=60, termination=30) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 1, target_groups=[web])
        rig.wait(100)
        (node,) = rig.world().nodes("bee-v001")
        update = rig.client("autoscaling").update_auto_scaling_group
        update(AutoScalingGroupName="bee-v001", MinSize=0, MaxSize=0, DesiredCapacity=0)
        seen = []
        for seconds in (0, 59, 1, 29, 1):
            rig.wait(seconds)
            seen.append((lifecycles(rig), rig.world().target_states(web), instance_state(rig, node.id)))
        assert seen == [
            (["Terminating"], {node.id: "draining"}, "running"),
            (["Terminating"], {node.id: "draining"}, "running"),
            (["Terminating"], {}, "shutting-down"),
            (["Terminating"], {}, "shutting-down"),
            ([], {}, "terminated"),
        ]


def instance_state(rig: Rig, instance: str) -> str:
    (reservation,) = rig.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
    return str(reservation["Instances"][0]["State"]["Name"])


def sizes(rig: Rig) -> tuple[int, int, int]:
    group = described(rig)
    return group["MinSize"], group["DesiredCapacity"], group["MaxSize"]


def test_new_bounds_move_the_desired_number_and_a_number_outside_of_them_is_refused() -> None:
    with fleet() as rig:
        rig.group("bee-v001", 2, least=1, most=4)
        update = rig.client("autoscaling").update_auto_scaling_group
        update(AutoScalingGroupName="bee-v001", MinSize=3)
        assert sizes(rig) == (3, 3, 4)
        update(AutoScalingGroupName="bee-v001", MinSize=0, MaxSize=1)
        assert sizes(rig) == (0, 1, 1)
        assert refused(update, AutoScalingGroupName="bee-v001", DesiredCapacity=2) == "ValidationError"
        assert refused(update, AutoScalingGroupName="bee-v001", MinSize=2) == "ValidationError"
        set_desired = rig.client("autoscaling").set_desired_capacity
        assert refused(set_desired, AutoScalingGroupName="bee-v001", DesiredCapacity=2) == "ValidationError"
        assert sizes(rig) == (0, 1, 1)
        set_desired(AutoScalingGroupName="bee-v001", DesiredCapacity=0)
        assert sizes(rig) == (0, 0, 1)
        assert refused(rig.group, name="ant", desired=5, most=4) == "ValidationError"


def test_protected_nodes_are_spared() -> None:
    with fleet() as rig:
        rig.group("bee-v001", 2)
        rig.wait(100)
        kept, _ = rig.world().nodes("bee-v001")
        scaling = rig.client("autoscaling")
        scaling.set_instance_protection(
            AutoScalingGroupName="bee-v001", InstanceIds=[kept.id], ProtectedFromScaleIn=True
        )
        scaling.update_auto_scaling_group(AutoScalingGroupName="bee-v001", MaxSize=0)
        rig.wait(300)
        (left,) = described(rig)["Instances"]
        assert (left["InstanceId"], left["LifecycleState"], left["ProtectedFromScaleIn"]) == (
            kept.id,
            "InService",
            True,
        )


def test_a_group_with_nodes_is_not_deleted_and_an_empty_one_keeps_its_name_for_a_while() -> None:
    with fleet(delete=20) as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001", 1)
        rig.wait(100)
        delete = scaling.delete_auto_scaling_group
        assert refused(delete, AutoScalingGroupName="bee-v001") == "ResourceInUse"
        scaling.update_auto_scaling_group(AutoScalingGroupName="bee-v001", MaxSize=0)
        assert refused(delete, AutoScalingGroupName="bee-v001") == "ScalingActivityInProgress"
        rig.wait(300)
        delete(AutoScalingGroupName="bee-v001")
        assert described(rig)["Status"] == "Delete in progress"
        assert refused(rig.group, name="bee-v001") == "AlreadyExists"
        rig.wait(20)
        assert scaling.describe_auto_scaling_groups()["AutoScalingGroups"] == []
        rig.group("bee-v001")


def test_deletion_by_force_ends_the_nodes_first() -> None:
    with fleet() as rig:
        rig.group("bee-v001", 2)
        rig.wait(100)
        scaling = rig.client("autoscaling")
        scaling.delete_auto_scaling_group(AutoScalingGroupName="bee-v001", ForceDelete=True)
        assert lifecycles(rig) == ["Terminating", "Terminating"]
        rig.wait(200)
        assert scaling.describe_auto_scaling_groups()["AutoScalingGroups"] == []


def test_the_name_of_a_group_is_given_once() -> None:
    with fleet() as rig:
        rig.group("bee-v001")
        assert refused(rig.group, name="bee-v001") == "AlreadyExists"


def test_the_date_of_replies_and_what_the_account_takes_for_now_are_the_rigs() -> None:
    with fleet(clock=VirtualClock(1_000_000_000)) as rig:
        rig.clock.sleep(3600)
        reply = rig.client("autoscaling").describe_auto_scaling_groups()
        assert reply["ResponseMetadata"]["HTTPHeaders"]["date"] == "Sun, 09 Sep 2001 02:46:40 GMT"


def test_what_is_not_there_is_told() -> None:
    with fleet() as rig:
        scaling = rig.client("autoscaling")
        assert refused(scaling.update_auto_scaling_group, AutoScalingGroupName="bee", MinSize=1) == "ValidationError"
        assert refused(rig.group, name="bee", image="ami-0000000000000dead") == "ValidationError"
        with pytest.raises(AwsRefusalError, match="does not exist"):
            rig.group("bee", image="ami-0000000000000dead")
