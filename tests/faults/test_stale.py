"""Old replies: of groups, nodes, targets, templates and parameters; writes are never old."""

from itertools import cycle
from typing import Any

import pytest

from tests.faults import stale
from tests.fleets import STOCK_IMAGE, Rig, fleet


def groups(rig: Rig) -> list[dict[str, Any]]:
    return list(rig.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"])


def test_a_new_group_is_invisible_for_some_seconds() -> None:
    with fleet(stale(5), remembers=10) as rig:
        rig.group("bee-v001")
        rig.clock.sleep(4)
        assert groups(rig) == []
        rig.clock.sleep(1)
        assert [group["AutoScalingGroupName"] for group in groups(rig)] == ["bee-v001"]


def test_a_change_is_seen_later_and_meanwhile_all_is_as_it_was() -> None:
    with fleet(stale(5), remembers=10, pending=30) as rig:
        rig.group("bee-v001", 1)
        rig.wait(100)
        scaling = rig.client("autoscaling")
        scaling.set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=2)
        seen = []
        for seconds in (4, 1, 29, 1):
            rig.clock.sleep(seconds)
            (group,) = groups(rig)
            seen.append((group["DesiredCapacity"], [node["LifecycleState"] for node in group["Instances"]]))
        assert seen == [
            (1, ["InService"]),
            (2, ["InService", "Pending"]),
            (2, ["InService", "Pending"]),
            (2, ["InService", "InService"]),
        ]


def test_what_happens_by_itself_is_seen_as_late() -> None:
    with fleet(stale(5), remembers=10, pending=30, healthy=20) as rig:
        web = rig.world().target_group("web")
        rig.group("bee-v001", 1, target_groups=[web])
        rig.clock.sleep(54)
        asked = rig.client("elbv2").describe_target_health(TargetGroupArn=web)["TargetHealthDescriptions"]
        assert [one["TargetHealth"]["State"] for one in asked] == ["initial"]
        rig.clock.sleep(1)
        asked = rig.client("elbv2").describe_target_health(TargetGroupArn=web)["TargetHealthDescriptions"]
        assert [one["TargetHealth"]["State"] for one in asked] == ["healthy"]


@pytest.mark.parametrize("what", ["templates", "instances", "images", "parameters"])
def test_what_moto_has_is_old_too(what: str) -> None:
    with fleet(stale(5, "Describe*", "Get*"), remembers=10) as rig:
        ec2, ssm = rig.client("ec2"), rig.client("ssm")
        ssm.put_parameter(Name="/a/old", Value="1", Type="String")
        rig.clock.sleep(60)
        data = {"ImageId": STOCK_IMAGE, "InstanceType": "m1.large"}
        ec2.create_launch_template(LaunchTemplateName="bee", LaunchTemplateData=data)
        (ran,) = ec2.run_instances(ImageId=STOCK_IMAGE, InstanceType="m1.large", MinCount=1, MaxCount=1)["Instances"]
        ec2.create_image(InstanceId=ran["InstanceId"], Name="new")
        ssm.put_parameter(Name="/a/new", Value="1", Type="String")

        def count() -> int:
            return {
                "templates": lambda: len(ec2.describe_launch_templates()["LaunchTemplates"]),
                "instances": lambda: len(ec2.describe_instances()["Reservations"]),
                "images": lambda: len(ec2.describe_images(Owners=["self"])["Images"]),
                "parameters": lambda: len(ssm.get_parameters_by_path(Path="/a")["Parameters"]) - 1,
            }[what]()

        assert count() == 0
        rig.clock.sleep(5)
        assert count() == 1


def test_a_name_that_cannot_be_seen_yet_is_taken_all_the_same() -> None:
    with fleet(stale(5), remembers=10) as rig:
        rig.group("bee-v001")
        with pytest.raises(Exception, match="already exists"):
            rig.group("bee-v001")


def test_how_old_a_reply_is_may_be_chosen_for_each_call() -> None:
    ages = cycle([9.0, 0.0])
    with fleet(stale(lambda _: next(ages), "DescribeAutoScalingGroups"), remembers=10) as rig:
        rig.group("bee-v001")
        rig.clock.sleep(1)
        assert [len(groups(rig)) for _ in range(4)] == [0, 1, 0, 1]
