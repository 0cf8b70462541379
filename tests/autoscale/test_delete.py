"""autoscale:delete on the rig."""

import pytest

from nodepkg.autoscale.delete import DeleteGroup, doomed
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.errors import AwsError, RefusedError
from nodepkg.lease.claim import holders
from tests.autoscale.operated import ASG, GROUP, WINDOW, begun, carry_out, carry_out_and_die
from tests.autoscale.test_stop import READS
from tests.faults import lose_replies, refuse
from tests.fleets import REGION, STOCK_IMAGE, Killed, Rig, fleet

KEPT = {"nodepkg:kept-min": "1", "nodepkg:kept-max": "4", "nodepkg:kept-desired": "2"}


def template(rig: Rig, *, managed: bool = True) -> None:
    """The group's own launch template, as autoscale:run makes it."""
    tags = [{"Key": "nodepkg:managed", "Value": "true"}] if managed else []
    rig.client("ec2").create_launch_template(
        LaunchTemplateName=GROUP,
        LaunchTemplateData={"ImageId": STOCK_IMAGE, "InstanceType": "m1.large"},
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": [*tags, {"Key": "x", "Value": "y"}]}],
    )


def with_everything(rig: Rig) -> str:
    """A group in a target group, with a kept generation and a launch template; the target group's ARN."""
    template(rig)
    web = rig.world().target_group("web")
    begun(rig, 0, least=0, most=0, phase="kept", tags=KEPT)
    begun(rig, 2, name="bee-v002", target_groups=[web])
    return web


def deleting(rig: Rig) -> list[DeleteGroup]:
    return doomed(rig.account, REGION, GROUP).plan(REGION, GROUP, WINDOW)


def left(rig: Rig) -> tuple[list[str], dict[str, str] | None]:
    asgs = [asg.name for asg in AutoScaling(rig.account, REGION).groups()]
    return asgs, LaunchTemplates(rig.account, REGION).tags(GROUP)


def test_all_generations_and_the_launch_template_go() -> None:
    with fleet() as rig:
        web = with_everything(rig)
        told: list[str] = []
        (report,) = carry_out(rig, deleting(rig), told)
        assert (report["asgs"], report["template"]) == ([ASG, "bee-v002"], GROUP)
        assert left(rig) == ([], None)
        assert rig.world().target_states(web) == {}
        assert deleting(rig) == []
        steps = [line.removeprefix("bee: ") for line in told if "bee-v002" in line]
        assert [step.partition(" ")[0] for step in steps if not step.startswith("delete: ")] == [
            "suspend",
            "detach",
            "set",
            "delete",
        ]
        assert steps.index("delete: 2 nodes of bee-v002 draining") < steps.index("set bee-v002 to 0 nodes")


def test_what_is_not_nodepkgs_stays_and_is_said() -> None:
    with fleet() as rig:
        template(rig, managed=False)
        begun(rig, tags={"nodepkg:managed": "no"})
        begun(rig, name="bee-v002")
        found = doomed(rig.account, REGION, GROUP)
        assert found.staying == (
            "bee-v001 stays: it has no tag nodepkg:managed=true",
            "launch template bee stays: it has no tag nodepkg:managed=true",
        )
        carry_out(rig, found.plan(REGION, GROUP, WINDOW))
        asgs, tags = left(rig)
        assert (asgs, tags) == ([ASG], {"x": "y"})


def test_a_launch_template_that_another_group_uses_stays() -> None:
    with fleet() as rig:
        template(rig)
        begun(rig)
        rig.client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName="alien",
            MinSize=0,
            MaxSize=0,
            AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateName": GROUP, "Version": "1"},
        )
        found = doomed(rig.account, REGION, GROUP)
        assert found.staying == ("launch template bee stays: it is used by alien",)
        carry_out(rig, found.plan(REGION, GROUP, WINDOW))
        assert left(rig)[0] == ["alien"]
        assert left(rig)[1]


def test_a_launch_template_that_has_come_into_use_meanwhile_stays() -> None:
    with fleet() as rig:
        template(rig)
        plan = deleting(rig)
        rig.client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName="alien",
            MinSize=0,
            MaxSize=0,
            AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateName": GROUP, "Version": "1"},
        )
        (report,) = carry_out(rig, plan)
        assert (report["template"], report["kept"]) == (None, "launch template bee stays: it is used by alien")


def test_a_generation_that_nobody_was_shown_does_not_go() -> None:
    with fleet() as rig:
        begun(rig)
        plan = deleting(rig)
        begun(rig, name="bee-v002")
        with pytest.raises(RefusedError, match=r"several of its|bee-v002 came into being"):
            carry_out(rig, plan)
        assert left(rig)[0] == [ASG, "bee-v002"]
        assert rig.world().serving(GROUP) == 4


def test_a_rollout_that_is_under_way_refuses_it() -> None:
    with fleet() as rig:
        begun(rig)
        begun(rig, 0, name="bee-v002", least=0, phase="hold", tags={"nodepkg:run": "r", "nodepkg:old": ASG})
        with pytest.raises(RefusedError, match="a rollout to bee-v002 is under way"):
            deleting(rig)


def test_lost_replies_leave_nothing_behind() -> None:
    lost = ("SuspendProcesses", "DetachLoadBalancerTargetGroups", "UpdateAutoScalingGroup", "Delete*")
    with fleet(*(lose_replies(action) for action in lost)) as rig:
        with_everything(rig)
        carry_out(rig, deleting(rig))
        assert left(rig) == ([], None)


def test_what_aws_refuses_ends_it_and_is_no_rollout_to_go_on_with() -> None:
    with fleet(refuse("SuspendProcesses", "ValidationError")) as rig:
        begun(rig)
        with pytest.raises(AwsError, match="bee: stopped in delete") as error:
            carry_out(rig, deleting(rig))
        assert "autoscale:update" not in error.value.hint
        assert holders(rig.account, REGION, [GROUP]) == {}
        assert rig.world().serving(GROUP) == 2


def test_killed_at_any_point_it_goes_on_when_it_is_run_again() -> None:
    with fleet() as rig:
        with_everything(rig)
        plan, before = deleting(rig), len(rig.account.sent)
        carry_out_and_die(rig, plan)
        calls = enumerate(rig.account.sent[before:], 1)
        moments = [number for number, call in calls if not call.startswith(READS)]
    assert len(moments) >= 8
    for number in moments:
        with fleet() as rig:
            web = with_everything(rig)
            plan = deleting(rig)
            rig.account.stop_at(number, "after")
            with pytest.raises(Killed):
                carry_out_and_die(rig, plan)
            rig.account.stop_never()
            rig.wait(30 * 60)
            carry_out_and_die(rig, deleting(rig), take_over=True)
            assert left(rig) == ([], None), number
            assert rig.world().target_states(web) == {}
