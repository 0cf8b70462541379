"""autoscale:resize: what its options mean together, and on the rig."""

import pytest

from nodepkg.autoscale.journal import Sizes
from nodepkg.autoscale.resize import ResizeGroup, Wish, plan_resize, set_back
from nodepkg.errors import RefusedError, UsageError
from nodepkg.nodes.schema import Autoscale
from tests.autoscale.operated import ASG, GROUP, WINDOW, asg, begun, carry_out, running, sizes
from tests.autoscale.test_stop import stopping
from tests.faults import lose_replies
from tests.fleets import REGION, Rig, fleet

NOW = Sizes(1, 4, 2)


def resizing(rig: Rig, **wish: int) -> ResizeGroup:
    return plan_resize(running(rig), REGION, GROUP, Wish(**wish), WINDOW)


@pytest.mark.parametrize(
    ("wish", "sizes"),
    [
        (Wish(), Sizes(1, 4, 2)),
        (Wish(desired=3), Sizes(1, 4, 3)),
        (Wish(min=2, max=2), Sizes(2, 2, 2)),
        (Wish(0, 0, 0), Sizes(0, 0, 0)),
    ],
)
def test_what_is_left_out_stays(wish: Wish, sizes: Sizes) -> None:
    assert wish.of(NOW) == sizes


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (Wish(min=5), "--min 5 is more than the group's max (4)"),
        (Wish(max=1), "the group's desired (2) is more than --max 1"),
        (Wish(min=3), "--min 3 is more than the group's desired (2)"),
        (Wish(desired=5), "--desired 5 is more than the group's max (4)"),
        (Wish(min=3, max=2, desired=3), "--min 3 is more than --max 2"),
    ],
)
def test_a_contradiction_is_named(wish: Wish, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        wish.of(NOW)
    assert refused.value.message == told


def test_it_is_said_when_nodes_json_sets_the_sizes_back() -> None:
    settings = Autoscale(node_min=1, node_max=4)
    assert set_back(Sizes(1, 4, 2), settings) == ""
    assert set_back(Sizes(1, 6, 6), settings) == ""  # a rollout leaves the room that the nodes need
    assert set_back(Sizes(2, 4, 2), settings).startswith("nodes.json says 1 to 4 nodes: the next autoscale:update")
    assert set_back(Sizes(1, 5, 2), settings)
    assert set_back(Sizes(1, 5, 2), None) == ""


def test_a_group_grows_and_shrinks() -> None:
    with fleet() as rig:
        begun(rig)
        (report,) = carry_out(rig, [resizing(rig, desired=4, max=5)])
        assert (report["min"], report["max"], report["desired"]) == sizes(rig) == (1, 5, 4)
        smaller = resizing(rig, desired=1)
        assert smaller.shrinks
        with pytest.raises(RefusedError, match="meanwhile"):
            carry_out(rig, [smaller])
        assert sizes(rig) == (1, 5, 4)


def test_a_desired_size_that_its_policies_change_is_left_alone() -> None:
    with fleet() as rig:
        begun(rig)
        plan = resizing(rig, max=6)
        rig.client("autoscaling").set_desired_capacity(AutoScalingGroupName=ASG, DesiredCapacity=4)
        carry_out(rig, [plan])
        assert sizes(rig) == (1, 6, 4)


def test_a_stopped_group_has_no_size_but_that_which_it_remembers() -> None:
    with fleet() as rig:
        begun(rig)
        resize = resizing(rig, max=6)
        carry_out(rig, stopping(rig))
        with pytest.raises(RefusedError, match="bee is stopped"):
            resizing(rig, max=6)
        with pytest.raises(RefusedError, match="stopped meanwhile"):
            carry_out(rig, [resize])
        assert asg(rig).tags["nodepkg:kept-max"] == "4"


def test_a_lost_reply_is_no_failure() -> None:
    with fleet(lose_replies("UpdateAutoScalingGroup", 20)) as rig:
        begun(rig)
        told: list[str] = []
        carry_out(rig, [resizing(rig, desired=3)], told)
        assert sizes(rig) == (1, 4, 3)
