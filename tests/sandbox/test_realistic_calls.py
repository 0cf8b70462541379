"""What is told back as it was given: tags, notifications, warm pools, refreshes; and requests with a token."""

from typing import Any

from tests.fleets import STOCK_IMAGE, fleet
from tests.sandbox.test_realistic_groups import described, refused


def tag(group: str, key: str, value: str) -> dict[str, Any]:
    about = {"ResourceId": group, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    return about | {"Key": key, "Value": value}


def test_tags_are_written_filtered_and_removed() -> None:
    with fleet() as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001")
        rig.group("bee-v002")
        scaling.create_or_update_tags(Tags=[tag("bee-v001", "phase", "serving"), tag("bee-v002", "phase", "cut")])
        scaling.create_or_update_tags(Tags=[tag("bee-v002", "phase", "hold")])

        def found(**arguments: Any) -> list[str]:
            told = scaling.describe_auto_scaling_groups(**arguments)["AutoScalingGroups"]
            return [one["AutoScalingGroupName"] for one in told]

        assert found(Filters=[{"Name": "tag:phase", "Values": ["serving", "cut"]}]) == ["bee-v001"]
        both = [{"Name": "tag:group", "Values": ["bee"]}, {"Name": "tag-key", "Values": ["phase"]}]
        assert found(Filters=both) == ["bee-v001", "bee-v002"]
        assert found(Filters=both, AutoScalingGroupNames=["bee-v002", "ant"]) == ["bee-v002"]
        filters = [{"Name": "auto-scaling-group", "Values": ["bee-v002"]}, {"Name": "key", "Values": ["phase"]}]
        assert [one["Value"] for one in scaling.describe_tags(Filters=filters)["Tags"]] == ["hold"]
        scaling.delete_tags(Tags=[{"ResourceId": "bee-v002", "ResourceType": "auto-scaling-group", "Key": "phase"}])
        assert found(Filters=[{"Name": "tag-key", "Values": ["phase"]}]) == ["bee-v001"]
        assert found(Filters=[{"Name": "tag:phase", "Values": ["serving"]}]) == ["bee-v001"]


def test_tags_have_limits_and_what_is_over_them_changes_nothing() -> None:
    with fleet() as rig:
        put = rig.client("autoscaling").create_or_update_tags
        rig.group("bee-v001")
        assert refused(put, Tags=[tag("bee-v001", "a", "1"), tag("bee-v001", "b", "x" * 257)]) == "ValidationError"
        assert refused(put, Tags=[tag("bee-v001", f"t{number}", "") for number in range(50)]) == "LimitExceeded"
        assert refused(put, Tags=[tag("bee-v001", "aws:x", "")]) == "ValidationError"
        assert refused(put, Tags=[tag("ant", "x", "")]) == "ValidationError"
        assert [one["Key"] for one in described(rig)["Tags"]] == ["group"]
        put(Tags=[tag("bee-v001", f"t{number}", "x" * 256) for number in range(49)])


def test_groups_come_in_pages() -> None:
    with fleet() as rig:
        for number in range(3):
            rig.group(f"bee-v00{number}", 0)
        ask = rig.client("autoscaling").describe_auto_scaling_groups
        page = ask(MaxRecords=2)
        rest = ask(MaxRecords=2, NextToken=page["NextToken"])
        assert [len(page["AutoScalingGroups"]), len(rest["AutoScalingGroups"])] == [2, 1]
        assert "NextToken" not in rest
        assert refused(ask, NextToken="nonsense") == "InvalidNextToken"


def test_notifications_are_told_back_by_topic() -> None:
    with fleet() as rig:
        scaling, topic = rig.client("autoscaling"), "arn:aws:sns:us-east-1:123456789012:ops"
        rig.group("bee-v001")
        about = {"AutoScalingGroupName": "bee-v001", "TopicARN": topic}
        launched, ended = "autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_TERMINATE"
        scaling.put_notification_configuration(**about, NotificationTypes=["autoscaling:TEST_NOTIFICATION"])
        scaling.put_notification_configuration(**about, NotificationTypes=[launched, ended])
        ask = scaling.describe_notification_configurations
        told = ask(AutoScalingGroupNames=["bee-v001"])["NotificationConfigurations"]
        assert told == [{**about, "NotificationType": launched}, {**about, "NotificationType": ended}]
        scaling.delete_notification_configuration(**about)
        assert ask()["NotificationConfigurations"] == []


def test_a_hook_is_changed_in_part_and_deleted() -> None:
    with fleet() as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001")
        about = {"AutoScalingGroupName": "bee-v001", "LifecycleHookName": "warm"}
        transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
        assert refused(scaling.put_lifecycle_hook, **about) == "ValidationError"
        scaling.put_lifecycle_hook(**about, LifecycleTransition=transition, NotificationMetadata="x")
        scaling.put_lifecycle_hook(**about, HeartbeatTimeout=60)
        (told,) = scaling.describe_lifecycle_hooks(AutoScalingGroupName="bee-v001")["LifecycleHooks"]
        assert (told["LifecycleTransition"], told["NotificationMetadata"]) == (transition, "x")
        assert (told["HeartbeatTimeout"], told["DefaultResult"]) == (60, "ABANDON")
        scaling.delete_lifecycle_hook(**about)
        assert scaling.describe_lifecycle_hooks(AutoScalingGroupName="bee-v001")["LifecycleHooks"] == []


def test_a_warm_pool_is_told_with_the_group() -> None:
    with fleet() as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001")
        scaling.put_warm_pool(AutoScalingGroupName="bee-v001", MaxGroupPreparedCapacity=4)
        expected = {"MaxGroupPreparedCapacity": 4, "MinSize": 0, "PoolState": "Stopped"}
        assert described(rig)["WarmPoolConfiguration"] == expected
        scaling.delete_warm_pool(AutoScalingGroupName="bee-v001")
        assert "WarmPoolConfiguration" not in described(rig)


def test_one_instance_refresh_at_a_time() -> None:
    with fleet() as rig:
        scaling, about = rig.client("autoscaling"), {"AutoScalingGroupName": "bee-v001"}
        rig.group("bee-v001")
        scaling.start_instance_refresh(**about, Preferences={"MinHealthyPercentage": 90})
        assert refused(scaling.start_instance_refresh, **about) == "InstanceRefreshInProgress"
        scaling.cancel_instance_refresh(**about)
        assert refused(scaling.cancel_instance_refresh, **about) == "ActiveInstanceRefreshNotFound"
        scaling.start_instance_refresh(**about)
        told = scaling.describe_instance_refreshes(**about)["InstanceRefreshes"]
        assert [one["Status"] for one in told] == ["InProgress", "Cancelled"]
        assert told[1]["Preferences"]["MinHealthyPercentage"] == 90


def test_nodes_are_found_by_their_ids() -> None:
    with fleet() as rig:
        rig.group("bee-v001", 2)
        node = rig.world().nodes("bee-v001")[0].id
        ask = rig.client("autoscaling").describe_auto_scaling_instances
        (told,) = ask(InstanceIds=[node])["AutoScalingInstances"]
        assert (told["AutoScalingGroupName"], told["LifecycleState"]) == ("bee-v001", "Pending")
        assert len(ask()["AutoScalingInstances"]) == 2


def test_a_node_is_ended_or_detached_with_or_without_a_successor() -> None:
    with fleet() as rig:
        scaling = rig.client("autoscaling")
        rig.group("bee-v001", 2, least=1)
        rig.wait(100)
        first, second = [node.id for node in rig.world().nodes("bee-v001")]
        end = scaling.terminate_instance_in_auto_scaling_group
        end(InstanceId=first, ShouldDecrementDesiredCapacity=True)
        assert refused(end, InstanceId=second, ShouldDecrementDesiredCapacity=True) == "ValidationError"
        about = {"AutoScalingGroupName": "bee-v001", "InstanceIds": [second]}
        scaling.detach_instances(**about, ShouldDecrementDesiredCapacity=False)
        rig.wait(200)
        (left,) = rig.world().nodes("bee-v001")
        assert left.id not in (first, second)
        (told,) = rig.client("ec2").describe_instances(InstanceIds=[second])["Reservations"]
        assert told["Instances"][0]["State"]["Name"] == "running"


def test_a_request_with_the_same_token_is_carried_out_once() -> None:
    with fleet() as rig:
        ec2 = rig.client("ec2")
        launch = {"ImageId": STOCK_IMAGE, "InstanceType": "m1.large", "MinCount": 1, "MaxCount": 1}
        ran = [ec2.run_instances(**launch, ClientToken="x")["Instances"][0]["InstanceId"] for _ in range(2)]
        assert ran[0] == ran[1]
        more = launch | {"MaxCount": 2}
        assert refused(ec2.run_instances, **more, ClientToken="x") == "IdempotentParameterMismatch"
        template = {"LaunchTemplateName": "bee", "LaunchTemplateData": {"ImageId": STOCK_IMAGE}}
        made = [ec2.create_launch_template(**template, ClientToken="y")["LaunchTemplate"] for _ in range(2)]
        assert made[0] == made[1]
        again = [
            ec2.create_launch_template_version(**template, ClientToken="z")["LaunchTemplateVersion"]["VersionNumber"]
            for _ in range(2)
        ]
        assert again == [2, 2]
        assert refused(ec2.create_launch_template, **template, ClientToken="w") == (
            "InvalidLaunchTemplateName.AlreadyExistsException"
        )
