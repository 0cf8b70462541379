"""What hangs on Auto Scaling groups, and groups by the values of a tag: to the last page, in as few calls as can be."""

import pytest

from nodepkg.clients.aws.autoscaling import FILTER_VALUES, AutoScaling
from nodepkg.clients.aws.scaling import ONE_BY_ONE, Extras, Scaling
from nodepkg.clients.aws.templates import LaunchTemplates
from tests.faults import Recorder, short_pages
from tests.fleets import REGION, Rig, fleet

NAMES = [f"g{number}" for number in range(7)]


def groups(rig: Rig) -> None:
    """Each with a policy, a schedule and a topic named as itself; and one without the tag that is asked for."""
    client = rig.client("autoscaling")
    for name in NAMES:
        rig.group(name, 0, tag=name)
        client.put_scaling_policy(
            AutoScalingGroupName=name,
            PolicyName=name,
            AdjustmentType="ChangeInCapacity",
            ScalingAdjustment=-1,
            Cooldown=0,
        )
        client.put_scheduled_update_group_action(
            AutoScalingGroupName=name, ScheduledActionName=name, Recurrence="0 3 * * *", DesiredCapacity=0
        )
        client.put_notification_configuration(
            AutoScalingGroupName=name, TopicARN=f"arn:{name}", NotificationTypes=["autoscaling:TEST_NOTIFICATION"]
        )
    rig.group("untagged", 0, Tags=[])


@pytest.mark.parametrize("asked", [1, FILTER_VALUES, FILTER_VALUES + 1])
def test_groups_are_found_by_a_tags_values_and_no_filter_has_more_of_them_than_aws_takes(asked: int) -> None:
    recorder = Recorder()
    with fleet(short_pages(2), recorder) as rig:
        groups(rig)
        found = AutoScaling(rig.account, REGION).groups_tagged("group", NAMES[:asked])
        assert [one.name for one in found] == NAMES[:asked]
        for call in recorder.of("DescribeAutoScalingGroups"):
            values = [key for key in call.parameters if key.startswith("Filters.member.1.Values")]
            assert len(values) <= FILTER_VALUES
        assert AutoScaling(rig.account, REGION).groups_tagged("group", []) == []


@pytest.mark.parametrize("asked", [1, ONE_BY_ONE, ONE_BY_ONE + 1])
def test_what_hangs_on_groups_is_read_to_its_last_page(asked: int) -> None:
    with fleet(short_pages(1)) as rig:
        groups(rig)
        found = Scaling(rig.account, REGION).extras([*NAMES[:asked], "nobody"])
        assert found.pop("nobody") == Extras("nobody")
        assert list(found) == NAMES[:asked]
        for name, extras in found.items():
            (policy,), (action,) = extras.policies, extras.schedules
            assert policy.arguments == {
                "PolicyName": name,
                "PolicyType": "SimpleScaling",
                "AdjustmentType": "ChangeInCapacity",
                "ScalingAdjustment": -1,
                "Cooldown": 0,
                "Enabled": True,
            }
            assert action.start == action.arguments["StartTime"]  # when it is due next
            assert {key: value for key, value in action.arguments.items() if key != "StartTime"} == {
                "ScheduledActionName": name,
                "Recurrence": "0 3 * * *",
                "DesiredCapacity": 0,
            }
            assert extras.notifications == {(f"arn:{name}", "autoscaling:TEST_NOTIFICATION")}


def test_an_instance_refresh_runs_until_it_is_over() -> None:
    with fleet() as rig:
        rig.group("bee-v001", 1)
        scaling = Scaling(rig.account, REGION)
        assert scaling.running_refreshes("bee-v001") == []
        begun = rig.client("autoscaling").start_instance_refresh(AutoScalingGroupName="bee-v001")
        assert scaling.running_refreshes("bee-v001") == [begun["InstanceRefreshId"]]
        rig.client("autoscaling").cancel_instance_refresh(AutoScalingGroupName="bee-v001")
        rig.wait(3600)
        assert scaling.running_refreshes("bee-v001") == []


def test_launch_templates_are_described_by_name_with_their_default_and_latest_versions() -> None:
    with fleet() as rig:
        client, templates = rig.client("ec2"), LaunchTemplates(rig.account, REGION)
        data = {"ImageId": "ami-1", "InstanceType": "m1.large"}
        client.create_launch_template(LaunchTemplateName="one", LaunchTemplateData=data)
        client.create_launch_template_version(LaunchTemplateName="one", LaunchTemplateData=data)
        found = templates.named(["one", *(f"other{number}" for number in range(300))])
        assert [(one.name, one.default, one.latest) for one in found.values()] == [("one", 1, 2)]
        templates.set_default_version("one", 2)
        assert templates.named(["one"])["one"].default == 2
        assert [one.data for one in templates.versions("one")] == [data, data]
