"""autoscale:stop and autoscale:start on the rig."""

import os
import signal

import pytest

from nodepkg.autoscale.stop import StartGroup, StopGroup, plan_start, plan_stop
from nodepkg.errors import AwsError, RefusedError
from nodepkg.lease.claim import claim, holders
from nodepkg.nodes.group import Group
from tests.autoscale.operated import (
    ASG,
    GROUP,
    KEY,
    WINDOW,
    Told,
    asg,
    begun,
    carry_out,
    carry_out_and_die,
    running,
    site,
    sizes,
)
from tests.autoscale.test_run import group as group_of
from tests.faults import lose_replies, stale
from tests.fleets import STOCK_IMAGE, Killed, Rig, fleet

READS = ("Describe", "Get")


def bee(**autoscale: object) -> Group:
    made = group_of(autoscale={"node_max": 4, **autoscale})
    return Group(GROUP, made.layers, made.merged, made.settings)


def stopping(rig: Rig, *, wait: bool = True) -> list[StopGroup | StartGroup]:
    return list(plan_stop(running(rig), [KEY], window=WINDOW, wait=wait).actions)


def starting(rig: Rig, *, wait: bool = True, **autoscale: object) -> list[StopGroup | StartGroup]:
    return list(plan_start(running(rig), [bee(**autoscale)], window=WINDOW, wait=wait).actions)


def suspend(rig: Rig, *processes: str) -> None:
    rig.client("autoscaling").suspend_processes(AutoScalingGroupName=ASG, ScalingProcesses=list(processes))


def remembers(rig: Rig) -> dict[str, str]:
    return {key: value for key, value in asg(rig).tags.items() if "kept" in key or "own" in key}


def test_a_group_has_its_sizes_and_processes_again() -> None:
    with fleet() as rig:
        begun(rig, 3, least=2)
        suspend(rig, "AZRebalance")
        before = asg(rig)
        (report,) = carry_out(rig, stopping(rig))
        assert (sizes(rig), report["nodes"], rig.world().nodes(ASG)) == ((0, 0, 0), 0, [])
        assert asg(rig).tags["nodepkg:phase"] == "serving"
        assert asg(rig).suspended == {"AZRebalance", "ScheduledActions"}
        carry_out(rig, starting(rig))
        after = asg(rig)
        assert (after.tags, after.suspended, sizes(rig)) == (before.tags, before.suspended, (2, 4, 3))
        assert rig.world().serving(GROUP) == 3


def test_schedules_that_were_suspended_before_stay_so() -> None:
    with fleet() as rig:
        begun(rig)
        suspend(rig, "ScheduledActions")
        carry_out(rig, stopping(rig))
        carry_out(rig, starting(rig))
        assert asg(rig).suspended == {"ScheduledActions"}
        assert remembers(rig) == {}


def test_what_is_done_already_is_said_and_not_done() -> None:
    with fleet() as rig:
        begun(rig)
        plan = plan_start(running(rig), [bee()], window=WINDOW, wait=True)
        assert (plan.actions, plan.notes) == ((), (f"bee runs already: {ASG} has 1 to 4 nodes, 2 desired",))
        carry_out(rig, stopping(rig))
        remembered = remembers(rig)
        again = plan_stop(running(rig), [KEY], window=WINDOW, wait=True)
        assert (again.actions, again.notes) == ((), ("bee is stopped already",))
        assert remembers(rig) == remembered


def test_without_waiting_it_ends_when_the_sizes_are_set() -> None:
    with fleet() as rig:
        begun(rig)
        carry_out(rig, stopping(rig, wait=False))
        assert len(rig.world().nodes(ASG)) == 2
        carry_out(rig, starting(rig, wait=False))
        assert sizes(rig) == (1, 4, 2)
        assert remembers(rig) == {}


def test_nodes_that_do_not_come_are_told_with_the_reason_of_aws() -> None:
    with fleet() as rig:
        begun(rig)
        carry_out(rig, stopping(rig))
        rig.world().short("us-east-1a", "us-east-1b")
        told: list[str] = []
        with pytest.raises(AwsError, match=r"not ready in time: 0 of 2 nodes ready.*capacity"):
            carry_out(rig, starting(rig, ready_timeout=120), told)
        assert any("capacity" in line for line in told)
        rig.world().short()
        assert starting(rig) == []  # nothing is remembered any more: it runs, and AWS tries on
        rig.wait(600)
        assert rig.world().serving(GROUP) == 2


def test_all_groups_go_on_when_one_fails() -> None:
    with fleet() as rig:
        begun(rig)
        begun(rig, name="wasp-v001", tag="wasp", image=rig.world().image("wasp"))
        both = plan_stop(running(rig), [KEY, (KEY[0], "wasp")], window=WINDOW, wait=True).actions
        carry_out(rig, both)
        for node_image in (STOCK_IMAGE,):
            rig.world().sick(node_image, "impaired")
        groups = [bee(ready_timeout=200), Group("wasp", (), bee().merged, bee().settings)]
        plan = plan_start(running(rig), groups, window=WINDOW, wait=True)
        with pytest.raises(AwsError, match="bee was not ready in time"):
            carry_out(rig, plan.actions)
        assert rig.world().serving("wasp") == 2


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"nodepkg:phase": "cut", "nodepkg:run": "r", "nodepkg:old": "bee-v000"}, "a rollout to bee-v001 is under way"),
        ({"nodepkg:managed": "no"}, "is not nodepkg's"),
        ({"group": "other"}, "does not run"),
    ],
)
def test_what_may_not_be_stopped_is_refused(tags: dict[str, str], why: str) -> None:
    with fleet() as rig:
        begun(rig, tags=tags)
        with pytest.raises(RefusedError, match=why):
            stopping(rig)
        with pytest.raises(RefusedError, match=why):
            starting(rig)


def test_nodes_that_aws_would_leave_are_named() -> None:
    with fleet() as rig:
        begun(rig)
        (first, _) = rig.world().nodes(ASG)
        rig.client("autoscaling").set_instance_protection(
            AutoScalingGroupName=ASG, InstanceIds=[first.id], ProtectedFromScaleIn=True
        )
        with pytest.raises(RefusedError, match=first.id):
            stopping(rig)


def test_what_could_not_start_a_node_is_not_started() -> None:
    with fleet() as rig:
        begun(rig)
        carry_out(rig, stopping(rig))
        suspend(rig, "Launch")
        with pytest.raises(RefusedError, match=f"Launch is suspended on {ASG}"):
            starting(rig)


def test_a_rollout_that_begins_meanwhile_is_not_disturbed() -> None:
    with fleet() as rig:
        begun(rig)
        plan = stopping(rig)
        begun(rig, 0, name="bee-v002", phase="claim", least=0, tags={"nodepkg:run": "r", "nodepkg:old": ASG})
        with pytest.raises(RefusedError, match="a rollout to bee-v002 is under way"):
            carry_out(rig, plan)
        assert sizes(rig) == (1, 4, 2)
        assert remembers(rig) == {}


def test_lost_replies_change_nothing() -> None:
    lost = ("CreateOrUpdateTags", "SuspendProcesses", "ResumeProcesses", "UpdateAutoScalingGroup", "DeleteTags")
    with fleet(*(lose_replies(action) for action in lost)) as rig:
        begun(rig)
        carry_out(rig, stopping(rig))
        carry_out(rig, starting(rig))
        assert (sizes(rig), asg(rig).suspended) == ((1, 4, 2), frozenset())
        assert remembers(rig) == {}


def test_a_paused_owner_changes_nothing_after_a_take_over() -> None:
    with fleet() as rig:
        begun(rig)
        before = asg(rig)

        def succeeded() -> None:
            rig.wait(30 * 60)
            claim(rig.account, *KEY, command="autoscale:update bee", run="other", take_over=True, window=WINDOW)

        paused = site(rig, Told([], succeeded))
        for operation in stopping(rig):
            operation.run(paused)
        with pytest.raises(RefusedError, match=r"lease .* is lost"):
            paused.pursue()
        assert (asg(rig), paused.reports) == (before, [])


def test_who_comes_second_is_refused_before_anything_is_changed() -> None:
    with fleet() as rig:
        begun(rig)
        begun(rig, name="wasp-v001", tag="wasp", image=rig.world().image("wasp"))
        both = plan_stop(running(rig), [KEY, (KEY[0], "wasp")], window=WINDOW, wait=True).actions
        lease = claim(rig.account, KEY[0], "wasp", command="autoscale:update wasp", run="other", window=WINDOW)
        told: list[str] = []
        with pytest.raises(RefusedError, match="wasp is held by"):
            carry_out(rig, both, told)
        assert "bee: skipped: nothing was done, since wasp failed" in told
        assert (sizes(rig), sizes(rig, "wasp-v001")) == ((1, 4, 2), (1, 4, 2))
        assert list(holders(rig.account, KEY[0], [GROUP, "wasp"])) == ["wasp"]
        lease.release()


def test_ctrl_c_gives_the_groups_back() -> None:
    with fleet() as rig:
        begun(rig)
        here = site(rig, Told([], lambda: os.kill(os.getpid(), signal.SIGINT)))
        for operation in stopping(rig):
            operation.run(here)
        with pytest.raises(KeyboardInterrupt):
            here.pursue()
        assert (sizes(rig), holders(rig.account, KEY[0], [GROUP])) == ((1, 4, 2), {})


def test_a_reason_from_before_the_stop_is_not_told_of_the_start() -> None:
    with fleet() as rig:
        rig.world().short("us-east-1a", "us-east-1b")
        begun(rig)
        rig.world().short()
        rig.wait(600)
        carry_out(rig, stopping(rig))
        told: list[str] = []
        carry_out(rig, starting(rig), told)
        assert rig.world().serving(GROUP) == 2
        assert not [line for line in told if "capacity" in line]


def test_what_is_seen_late_is_not_done_twice() -> None:
    """AWS shows for some seconds what was before."""
    with fleet(stale(8, "DescribeAutoScalingGroups"), remembers=10) as rig:
        begun(rig, 3, least=2)
        before = rig.account.sent.count("UpdateAutoScalingGroup")
        carry_out(rig, stopping(rig))
        rig.wait(60)
        carry_out(rig, starting(rig))
        rig.wait(60)
        assert (sizes(rig), asg(rig).suspended) == ((2, 4, 3), frozenset())
        assert remembers(rig) == {}
        assert rig.account.sent.count("UpdateAutoScalingGroup") == before + 2


def changes_of(command: str) -> list[int]:
    """Which of its requests change something: nobody can tell a process that was killed between two of them from
    one that was killed right after the first."""
    with fleet() as rig:
        begun(rig)
        if command == "start":
            carry_out(rig, stopping(rig))
        plan = stopping(rig) if command == "stop" else starting(rig)
        before = len(rig.account.sent)
        carry_out_and_die(rig, plan)
        return [number for number, call in enumerate(rig.account.sent[before:], 1) if not call.startswith(READS)]


@pytest.mark.parametrize("command", ["stop", "start"])
@pytest.mark.parametrize("again", ["stop", "start"])
def test_killed_at_any_point_it_is_run_again_or_undone(command: str, again: str) -> None:
    moments = changes_of(command)
    assert len(moments) >= 5
    for number, when in [(moments[0], "before"), *((one, "after") for one in moments)]:
        with fleet() as rig:
            begun(rig, 3, least=2)
            if command == "start":
                carry_out(rig, stopping(rig))
            plan = stopping(rig) if command == "stop" else starting(rig)
            rig.account.stop_at(number, when)
            with pytest.raises(Killed):
                carry_out_and_die(rig, plan)
            rig.account.stop_never()
            rig.wait(30 * 60)
            carry_out_and_die(rig, stopping(rig) if again == "stop" else starting(rig), take_over=True)
            if again == "stop":
                assert sizes(rig) == (0, 0, 0)
                rig.wait(30 * 60)
                carry_out_and_die(rig, starting(rig), take_over=True)
            found = asg(rig)
            assert (sizes(rig), found.suspended) == ((2, 4, 3), frozenset()), (number, when)
            assert remembers(rig) == {}
