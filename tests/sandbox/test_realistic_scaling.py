"""What makes a group larger or smaller, and what stands in its way: capacity, processes, schedules, policies."""

from datetime import UTC, datetime
from typing import Any

import pytest

from nodepkg.sandbox.realistic import VirtualClock
from nodepkg.sandbox.realistic.schedules import next_time
from tests.fleets import Rig, fleet
from tests.sandbox.test_realistic_groups import described, lifecycles, refused, sizes

ZONES = ("us-east-1a", "us-east-1b")


def activities(rig: Rig) -> list[dict[str, Any]]:
    asked = rig.client("autoscaling").describe_scaling_activities(AutoScalingGroupName="bee-v001")
    return list(asked["Activities"])


def test_a_zone_without_capacity_is_passed_over_and_an_activity_says_so() -> None:
    with fleet() as rig:
        rig.world().short("us-east-1a")
        rig.group("bee-v001", 2, zones=ZONES)
        assert {node.zone for node in rig.world().nodes("bee-v001")} == {"us-east-1b"}
        (failed,) = [one for one in activities(rig) if one["StatusCode"] == "Failed"][:1]
        assert "sufficient m1.large capacity" in failed["StatusMessage"]
        assert "us-east-1a" in failed["StatusMessage"]


def test_without_capacity_anywhere_the_group_tries_again_later() -> None:
    with fleet(retry=60) as rig:
        rig.world().short(*ZONES)
        rig.group("bee-v001", 1, zones=ZONES)
        assert lifecycles(rig) == []
        assert [one["StatusCode"] for one in activities(rig)] == ["Failed", "Failed"]
        rig.wait(59)
        rig.world().short()
        tag = {"ResourceId": "bee-v001", "ResourceType": "auto-scaling-group", "Key": "a", "PropagateAtLaunch": False}
        rig.client("autoscaling").create_or_update_tags(Tags=[tag])
        assert lifecycles(rig) == []
        rig.wait(1)
        assert lifecycles(rig) == ["Pending"]


def test_a_quota_holds_back_what_is_over_it() -> None:
    with fleet() as rig:
        rig.world().quota(1)
        rig.group("bee-v001", 3)
        assert lifecycles(rig) == ["Pending"]
        assert "vCPU limit" in next(one["StatusMessage"] for one in activities(rig) if one["StatusCode"] == "Failed")
        rig.world().quota(None)
        rig.wait(60)
        assert len(lifecycles(rig)) == 3


def test_an_image_or_a_template_version_that_has_gone_is_a_failed_launch() -> None:
    with fleet() as rig:
        image, ec2 = rig.world().image(), rig.client("ec2")
        rig.group("bee-v001", 0, image=image)
        ec2.deregister_image(ImageId=image)
        rig.client("autoscaling").set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=1)
        assert f"The image id '[{image}]' does not exist" in activities(rig)[0]["StatusMessage"]
        template = f"template-{image}"
        ec2.create_launch_template_version(
            LaunchTemplateName=template, SourceVersion="1", LaunchTemplateData={"ImageId": image}
        )
        ec2.modify_launch_template(LaunchTemplateName=template, DefaultVersion="2")
        ec2.delete_launch_template_versions(LaunchTemplateName=template, Versions=["1"])
        rig.wait(60)
        assert "launch template version" in activities(rig)[0]["StatusMessage"]


def test_activities_tell_cause_and_times_and_come_in_pages() -> None:
    with fleet(pending=30) as rig:
        rig.group("bee-v001", 2)
        (first, second) = activities(rig)
        assert [first["StatusCode"], second["StatusCode"]] == ["InProgress", "InProgress"]
        assert "increasing the capacity from 0 to 2" in first["Cause"]
        rig.wait(30)
        ask = rig.client("autoscaling").describe_scaling_activities
        page = ask(MaxRecords=1)
        rest = ask(NextToken=page["NextToken"])["Activities"]
        assert [one["ActivityId"] for one in (*page["Activities"], *rest)] == [
            first["ActivityId"],
            second["ActivityId"],
        ]
        ended = page["Activities"][0]
        assert (ended["StatusCode"], ended["Progress"]) == ("Successful", 100)
        assert (ended["EndTime"] - ended["StartTime"]).total_seconds() == pytest.approx(30)
        rig.client("autoscaling").set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=1)
        assert [one["StatusCode"] for one in activities(rig)] == ["InProgress", "Successful", "Successful"]
        assert refused(ask, AutoScalingGroupName="ant") == "ValidationError"


def test_suspended_processes_hold_back_what_they_do_and_resuming_all_lets_go() -> None:
    with fleet() as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001", 1)
        rig.wait(100)
        scaling.suspend_processes(AutoScalingGroupName="bee-v001", ScalingProcesses=["Launch", "Terminate"])
        scaling.set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=2)
        rig.wait(600)
        assert lifecycles(rig) == ["InService"]
        scaling.set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=0)
        rig.wait(600)
        assert lifecycles(rig) == ["InService"]
        told = described(rig)["SuspendedProcesses"]
        assert [one["ProcessName"] for one in told] == ["Launch", "Terminate"]
        assert all("User suspended" in one["SuspensionReason"] for one in told)
        scaling.resume_processes(AutoScalingGroupName="bee-v001")
        assert (described(rig)["SuspendedProcesses"], lifecycles(rig)) == ([], ["Terminating"])
        scaling.suspend_processes(AutoScalingGroupName="bee-v001")
        assert len(described(rig)["SuspendedProcesses"]) == 9
        suspend = scaling.suspend_processes
        assert refused(suspend, AutoScalingGroupName="bee-v001", ScalingProcesses=["Lunch"]) == "ValidationError"


def test_a_scheduled_action_is_carried_out_once_when_it_is_due() -> None:
    with fleet(clock=VirtualClock(1_000_000_000)) as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001", 1, least=1, most=2)
        put = scaling.put_scheduled_update_group_action
        about = {"AutoScalingGroupName": "bee-v001", "ScheduledActionName": "grow"}
        put(**about, StartTime=datetime.fromtimestamp(1_000_003_600, UTC), MinSize=3, MaxSize=5)
        (told,) = scaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"]
        assert (told["MinSize"], told["MaxSize"], told["StartTime"].timestamp()) == (3, 5, 1_000_003_600)
        rig.clock.sleep(3599)
        assert sizes(rig) == (1, 1, 2)
        rig.clock.sleep(1)
        assert sizes(rig) == (3, 3, 5)
        assert scaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"] == []
        past = datetime.fromtimestamp(999_999_999, UTC)
        assert refused(put, **about, StartTime=past, MinSize=1) == "ValidationError"
        assert refused(put, **about, Recurrence="every day", MinSize=1) == "ValidationError"


def test_a_scheduled_action_recurs_and_is_lost_while_suspended() -> None:
    with fleet(clock=VirtualClock(1_000_000_000)) as rig:  # 01:46:40
        scaling = rig.client("autoscaling")
        rig.group("bee-v001", 1)
        about = {"AutoScalingGroupName": "bee-v001"}
        action = {"ScheduledActionName": "night", "Recurrence": "0 2 * * *", "DesiredCapacity": 3}
        failed = scaling.batch_put_scheduled_update_group_action(
            **about, ScheduledUpdateGroupActions=[action, {"ScheduledActionName": "bad", "Recurrence": "0 2 * * *"}]
        )["FailedScheduledUpdateGroupActions"]
        assert [one["ScheduledActionName"] for one in failed] == ["bad"]
        scaling.suspend_processes(**about, ScalingProcesses=["ScheduledActions"])
        rig.wait(3600)
        scaling.resume_processes(**about, ScalingProcesses=["ScheduledActions"])
        rig.wait(3600)
        assert described(rig)["DesiredCapacity"] == 1
        rig.wait(86400)
        assert described(rig)["DesiredCapacity"] == 3
        scaling.delete_scheduled_action(**about, ScheduledActionName="night")
        scaling.set_desired_capacity(**about, DesiredCapacity=1)
        rig.wait(86400)
        assert described(rig)["DesiredCapacity"] == 1


@pytest.mark.parametrize(
    ("recurrence", "expected"),
    [
        ("0 2 * * *", "2001-09-09T02:00"),
        ("*/20 * * * *", "2001-09-09T02:00"),
        ("30 9-17 * * mon-fri", "2001-09-10T09:30"),
        ("0 0 1 1 *", "2002-01-01T00:00"),
        ("0 0 1 * sun", "2001-09-16T00:00"),
        ("0 0 29 feb *", "2004-02-29T00:00"),
        ("5,10 3/6 * * 7", "2001-09-09T03:05"),
    ],
)
def test_recurrence_is_as_cron_has_it(recurrence: str, expected: str) -> None:
    found = next_time(recurrence, 1_000_000_000)  # Sunday, 2001-09-09 01:46:40
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%dT%H:%M") == expected


POLICIES: list[dict[str, Any]] = [
    {
        "PolicyName": "cpu",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingConfiguration": {
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
            "TargetValue": 50.0,
            "DisableScaleIn": True,
        },
        "EstimatedInstanceWarmup": 120,
        "Enabled": False,
    },
    {
        "PolicyName": "queue",
        "PolicyType": "StepScaling",
        "AdjustmentType": "PercentChangeInCapacity",
        "MinAdjustmentMagnitude": 2,
        "MetricAggregationType": "Maximum",
        "StepAdjustments": [
            {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 15.5, "ScalingAdjustment": 10},
            {"MetricIntervalLowerBound": 15.5, "ScalingAdjustment": 20},
        ],
        "EstimatedInstanceWarmup": 60,
    },
    {
        "PolicyName": "simple",
        "PolicyType": "SimpleScaling",
        "AdjustmentType": "ChangeInCapacity",
        "ScalingAdjustment": -1,
        "Cooldown": 90,
    },
]


@pytest.mark.parametrize("policy", POLICIES, ids=[policy["PolicyName"] for policy in POLICIES])
def test_a_policy_is_told_back_as_it_was_given(policy: dict[str, Any]) -> None:
    with fleet() as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001")
        arn = scaling.put_scaling_policy(AutoScalingGroupName="bee-v001", **policy)["PolicyARN"]
        (told,) = scaling.describe_policies(AutoScalingGroupName="bee-v001")["ScalingPolicies"]
        assert {key: told[key] for key in policy} == policy
        assert (told["PolicyARN"], told["Enabled"]) == (arn, policy.get("Enabled", True))
        rig.group("bee-v002")
        other = scaling.put_scaling_policy(AutoScalingGroupName="bee-v002", **policy)["PolicyARN"]
        assert other != arn
        assert len(scaling.describe_policies(PolicyNames=[policy["PolicyName"]])["ScalingPolicies"]) == 2
        scaling.delete_policy(AutoScalingGroupName="bee-v001", PolicyName=policy["PolicyName"])
        (left,) = scaling.describe_policies()["ScalingPolicies"]
        assert left["PolicyARN"] == other


def alarm_that_invokes(watch: Any, policy: str) -> None:
    watch.put_metric_alarm(
        AlarmName="long queue",
        MetricName="Length",
        Namespace="Queue",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=5.0,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[policy],
    )


def test_a_policy_names_the_alarms_that_invoke_it() -> None:
    with fleet() as rig:
        scaling, watch = rig.client("autoscaling"), rig.client("cloudwatch")
        rig.group("bee-v001")
        arn = scaling.put_scaling_policy(AutoScalingGroupName="bee-v001", **POLICIES[1])["PolicyARN"]
        alarm_that_invokes(watch, arn)
        (told,) = scaling.describe_policies()["ScalingPolicies"]
        assert [alarm["AlarmName"] for alarm in told["Alarms"]] == ["long queue"]
        scaling.delete_policy(PolicyName=arn)
        (alarm,) = watch.describe_alarms()["MetricAlarms"]
        assert alarm["AlarmActions"] == []


def test_an_alarm_scales_within_the_bounds_and_not_while_suspended() -> None:
    with fleet() as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001", 1, least=1, most=2)
        assert rig.world().scale("bee-v001", 5)
        assert sizes(rig) == (1, 2, 2)
        scaling.suspend_processes(AutoScalingGroupName="bee-v001", ScalingProcesses=["AlarmNotification"])
        assert not rig.world().scale("bee-v001", -1)
        assert sizes(rig) == (1, 2, 2)
        scaling.put_scaling_policy(AutoScalingGroupName="bee-v001", **POLICIES[2])
        scaling.execute_policy(AutoScalingGroupName="bee-v001", PolicyName="simple")
        assert sizes(rig) == (1, 1, 2)


def test_a_new_template_version_is_for_new_nodes_only() -> None:
    with fleet() as rig:
        old, new = rig.world().image("bee", "old"), rig.world().image("bee", "new")
        rig.group("bee-v001", 1, image=old)
        template = f"template-{old}"
        rig.client("ec2").create_launch_template_version(
            LaunchTemplateName=template, SourceVersion="1", LaunchTemplateData={"ImageId": new}
        )
        scaling = rig.client("autoscaling")
        update = scaling.update_auto_scaling_group
        chosen = {"LaunchTemplateName": template, "Version": "2"}
        update(AutoScalingGroupName="bee-v001", LaunchTemplate=chosen, DesiredCapacity=2)
        group = described(rig)
        assert group["LaunchTemplate"]["Version"] == "2"
        assert [node["LaunchTemplate"]["Version"] for node in group["Instances"]] == ["1", "2"]
        missing = {"LaunchTemplateName": template, "Version": "9"}
        assert refused(update, AutoScalingGroupName="bee-v001", LaunchTemplate=missing) == "ValidationError"
        assert described(rig)["LaunchTemplate"]["Version"] == "2"


def test_nodes_come_from_a_launch_configuration_or_from_mixed_instances_too() -> None:
    with fleet() as rig:
        scaling, image = rig.client("autoscaling"), rig.world().image()
        scaling.create_launch_configuration(LaunchConfigurationName="old", ImageId=image, InstanceType="m1.large")
        sizes = {"MinSize": 1, "MaxSize": 1, "AvailabilityZones": ["us-east-1a"]}
        scaling.create_auto_scaling_group(AutoScalingGroupName="bee-v001", LaunchConfigurationName="old", **sizes)
        (node,) = described(rig)["Instances"]
        assert (node["LaunchConfigurationName"], node.get("LaunchTemplate")) == ("old", None)
        template = rig.world().template(image)
        mixed = {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateName": template, "Version": "$Latest"},
                "Overrides": [{"InstanceType": "m5.large"}],
            }
        }
        scaling.create_auto_scaling_group(AutoScalingGroupName="ant-v001", MixedInstancesPolicy=mixed, **sizes)
        (node,) = described(rig, "ant-v001")["Instances"]
        assert (node["InstanceType"], node["LaunchTemplate"]["Version"]) == ("m5.large", "1")
        told = described(rig, "ant-v001")["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"]
        assert told["LaunchTemplateId"].startswith("lt-")


def test_zones_are_balanced_by_one_node_more_before_one_goes() -> None:
    with fleet(pending=30) as rig:
        rig.world().short("us-east-1b")
        rig.group("bee-v001", 2, most=2, zones=ZONES)
        rig.wait(100)
        rig.world().short()
        assert rig.world().rebalance("bee-v001")
        assert sorted(lifecycles(rig)) == ["InService", "InService", "Pending"]
        rig.wait(30)
        assert sorted(lifecycles(rig)) == ["InService", "InService", "Terminating"]
        rig.wait(100)
        assert {node.zone for node in rig.world().nodes("bee-v001")} == set(ZONES)
        rig.client("autoscaling").suspend_processes(AutoScalingGroupName="bee-v001", ScalingProcesses=["AZRebalance"])
        assert not rig.world().rebalance("bee-v001")


def test_a_group_in_subnets_has_their_zones_and_its_nodes_are_in_them() -> None:
    with fleet() as rig:
        ec2, scaling = rig.client("ec2"), rig.client("autoscaling")
        found = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1c"]}])["Subnets"]
        (subnet,) = [one["SubnetId"] for one in found]
        rig.group("bee-v001", 1, zones=[], VPCZoneIdentifier=subnet)
        group = described(rig)
        assert (group["AvailabilityZones"], group["VPCZoneIdentifier"]) == (["us-east-1c"], subnet)
        (reservation,) = ec2.describe_instances()["Reservations"]
        assert reservation["Instances"][0]["SubnetId"] == subnet
        assert refused(rig.group, name="ant", zones=["us-east-1a"], VPCZoneIdentifier=subnet) == "ValidationError"
        assert refused(rig.group, name="ant", zones=[]) == "ValidationError"
        scaling.update_auto_scaling_group(AutoScalingGroupName="bee-v001", HealthCheckGracePeriod=90)
        assert described(rig)["HealthCheckGracePeriod"] == 90


def test_tracking_policies_name_the_alarms_that_aws_manages() -> None:
    with fleet() as rig:
        rig.group("bee-v001")
        made = rig.client("autoscaling").put_scaling_policy(AutoScalingGroupName="bee-v001", **POLICIES[0])
        names = [alarm["AlarmName"] for alarm in made["Alarms"]]
        assert [name.startswith("TargetTracking-bee-v001-Alarm") for name in names] == [True, True]


def test_a_group_that_is_asked_for_more_tries_at_once() -> None:
    with fleet(retry=60) as rig:
        rig.world().short(*ZONES)
        rig.group("bee-v001", 1, zones=ZONES)
        rig.world().short()
        rig.client("autoscaling").set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=2)
        assert lifecycles(rig) == ["Pending", "Pending"]


def test_an_image_that_is_not_available_is_a_failed_launch() -> None:
    with fleet() as rig:
        image = rig.world().image()
        rig.group("bee-v001", 0, image=image)
        rig.world().now_there.ec2.amis[image].state = "pending"
        rig.client("autoscaling").set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=1)
        assert "is not available" in activities(rig)[0]["StatusMessage"]


def test_policies_schedules_and_hooks_go_with_their_group() -> None:
    with fleet(delete=20) as rig:
        scaling, watch = rig.client("autoscaling"), rig.client("cloudwatch")
        about = {"AutoScalingGroupName": "bee-v001"}
        rig.group("bee-v001", 0)
        arn = scaling.put_scaling_policy(**about, **POLICIES[2])["PolicyARN"]
        scaling.put_scheduled_update_group_action(
            **about, ScheduledActionName="night", Recurrence="0 2 * * *", MinSize=1
        )
        alarm_that_invokes(watch, arn)
        scaling.delete_auto_scaling_group(**about)
        rig.wait(20)
        assert watch.describe_alarms()["MetricAlarms"][0]["AlarmActions"] == []
        rig.group("bee-v001", 0)
        rig.wait(86400)
        assert sizes(rig) == (0, 0, 4)
        assert scaling.describe_policies()["ScalingPolicies"] == []
        assert scaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"] == []


def test_new_nodes_are_protected_if_the_group_says_so() -> None:
    with fleet() as rig:
        rig.group("bee-v001", 1, NewInstancesProtectedFromScaleIn=True)
        assert described(rig)["Instances"][0]["ProtectedFromScaleIn"] is True


def test_scale_in_takes_the_zone_with_most_nodes_then_those_of_an_old_template_then_the_oldest() -> None:
    with fleet() as rig:
        rig.world().short("us-east-1b")
        rig.group("bee-v001", 2, zones=ZONES)
        rig.wait(100)
        rig.world().short("us-east-1a")
        scaling = rig.client("autoscaling")
        scaling.set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=3)
        rig.wait(100)
        scaling.set_desired_capacity(AutoScalingGroupName="bee-v001", DesiredCapacity=2)
        rig.wait(100)
        left = rig.world().nodes("bee-v001")
        assert [node.zone for node in left] == ["us-east-1a", "us-east-1b"]
        template = rig.world().template(rig.world().image())
        chosen = {"LaunchTemplateName": template, "Version": "1"}
        scaling.update_auto_scaling_group(
            AutoScalingGroupName="bee-v001", LaunchTemplate=chosen, DesiredCapacity=3, AvailabilityZones=ZONES
        )
        rig.wait(100)
        scaling.update_auto_scaling_group(AutoScalingGroupName="bee-v001", DesiredCapacity=1)
        rig.wait(100)
        (last,) = rig.world().nodes("bee-v001")
        assert last.template and last.template["LaunchTemplateName"] == template
