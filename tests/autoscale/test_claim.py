"""Who gets the next name, and who is told to wait or to leave it alone."""

from dataclasses import replace
from typing import Any

import pytest
from werkzeug.wrappers import Response

from nodepkg.autoscale.claim import CreateNext, TakeKept, generation, next_name
from nodepkg.autoscale.journal import Phase, Record, kept_sizes, read
from nodepkg.autoscale.view import Sizes
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.errors import AwsError, NotYetError, RefusedError
from nodepkg.nodes.schema import Autoscale
from nodepkg.sandbox.calls import Call
from tests.autoscale.losses import Losses
from tests.autoscale.rollouts import GROUP, HOOK, NEW, OLD, begun, quick
from tests.clients.test_odd_answers import without
from tests.faults.layers import Onward, Turns, layer
from tests.fleets import REGION, Rig

TARGETS = frozenset({"arn:t/1", "arn:t/2"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("web-v001", "web-v002"),
        ("web-v099", "web-v100"),
        ("web-v999", "web-v1000"),
        ("web-v7", "web-v008"),
        ("web-v2-v003", "web-v2-v004"),
        ("blue", "web-v001"),
        ("web-v", "web-v001"),
    ],
)
def test_the_next_name_is_the_old_ones_number_and_one(old: str, new: str) -> None:
    assert next_name(old, "web") == new
    assert generation(new) == int(new.rpartition("v")[2])


def claim(rig: Rig, run: str = "run-1", *, old: str = OLD) -> CreateNext:
    made = begun(rig, 1)
    record = Record(run, Phase.CLAIM, old, TARGETS, frozenset({"AZRebalance"}), TARGETS, image=made.image)
    return CreateNext(REGION, NEW, made, Autoscale(), record, (HOOK,), run)


def again(change: CreateNext, run: str, **record: Any) -> CreateNext:
    return replace(change, token=run, record=replace(change.record, run=run, **record))


def test_the_new_group_is_empty_serves_nowhere_and_carries_the_record() -> None:
    with quick() as rig:
        change = claim(rig)
        assert hash(change) != hash(replace(change, token="other"))
        change.run(rig.account)
        found = AutoScaling(rig.account, REGION).group(NEW)
        assert found
        assert (found.min, found.max, found.desired, found.target_groups) == (0, 0, 0, ())
        assert read(found.tags) == replace(change.record, version=2)
        assert found.health_check_type == "ELB"
        propagated = {tag["Key"] for tag in rig.world().now_there.groups[NEW].tags.values() if tag["PropagateAtLaunch"]}
        assert propagated == {"group"}


@pytest.mark.parametrize("action", ["CreateAutoScalingGroup", "CreateLaunchTemplateVersion"])
def test_after_a_lost_reply_there_is_one_group_and_one_version(action: str) -> None:
    losses = Losses()
    with quick(losses) as rig:
        change = claim(rig)
        losses.actions.add(action)
        for _ in range(2):
            change.run(rig.account)
        assert not losses.actions
        assert [asg.name for asg in AutoScaling(rig.account, REGION).groups()] == [OLD, NEW]
        assert [one.number for one in LaunchTemplates(rig.account, REGION).versions(GROUP)] == [1, 2]


def test_another_rollout_of_the_same_group_goes_on_with_what_it_recorded() -> None:
    with quick() as rig:
        change = claim(rig)
        change.run(rig.account)
        again(change, "run-2", image="ami-2").run(rig.account)
        found = AutoScaling(rig.account, REGION).group(NEW)
        assert found
        assert found.tags["nodepkg:run"] == "run-1"


def test_a_group_of_somebody_else_is_refused_by_name() -> None:
    with quick() as rig:
        change = claim(rig)
        change.run(rig.account)
        with pytest.raises(RefusedError, match=f"{NEW} exists already in us-east-1"):
            again(change, "run-2", old="bee-group-v000").run(rig.account)
        AutoScaling(rig.account, REGION).create_or_update_tags(NEW, {"nodepkg:phase": "serving"})
        with pytest.raises(RefusedError, match=NEW):
            again(change, "run-2").run(rig.account)


def test_while_aws_deletes_a_group_its_name_is_waited_for() -> None:
    with quick() as rig:
        change = claim(rig)
        change.run(rig.account)
        AutoScaling(rig.account, REGION).delete_group(NEW)
        with pytest.raises(NotYetError, match="deleting"):
            again(change, "run-2").run(rig.account)
        rig.wait(30)
        again(change, "run-2").run(rig.account)


def test_a_group_that_cannot_be_seen_yet_is_waited_for() -> None:
    with quick(without("DescribeAutoScalingGroups", "AutoScalingGroups")) as rig:
        change = claim(rig)
        change.run(rig.account)
        with pytest.raises(NotYetError, match="does not show it yet"):
            change.run(rig.account)


UNSEEN = (
    "You must use a valid fully-formed launch template. The specified launch template version 2 for template "
    "lt-0123456789abcdef0 does not exist."
)
GOING = f"You cannot create an AutoScalingGroup by the name {NEW}: it is pending delete"


@pytest.mark.parametrize(("words", "told"), [(UNSEEN, "does not exist"), (GOING, "does not show it yet")])
def test_what_auto_scaling_will_do_later_is_waited_for(words: str, told: str) -> None:
    late = Turns("CreateAutoScalingGroup", 1)

    def says(call: Call, onward: Onward) -> Response:
        ours = call.parameters.get("AutoScalingGroupName") == NEW
        return call.error("ValidationError", words, 400) if ours and late.take(call) else onward()

    with quick(layer(says)) as rig:
        change = claim(rig)
        with pytest.raises(NotYetError, match=told):
            change.run(rig.account)
        change.run(rig.account)
        assert AutoScaling(rig.account, REGION).group(NEW)


def kept(rig: Rig) -> tuple[AutoScaling, TakeKept]:
    change = claim(rig)
    change.run(rig.account)
    scaling = AutoScaling(rig.account, REGION)
    scaling.create_or_update_tags(
        NEW, {"nodepkg:phase": "kept", "nodepkg:deadline": "1.000", **kept_sizes(Sizes(1, 4, 2))}
    )
    record = Record("run-2", Phase.CLAIM, OLD, frozenset({"arn:t/3"}), version=2, from_kept=True)
    return scaling, TakeKept(REGION, NEW, record)


def test_a_kept_group_gets_the_record_and_nothing_of_an_earlier_one() -> None:
    with quick() as rig:
        scaling, change = kept(rig)
        for _ in range(2):
            change.run(rig.account)
            found = scaling.group(NEW)
            assert found
            assert read(found.tags) == change.record
            assert found.tags["nodepkg:kept-desired"] == "2"


def test_a_group_that_is_kept_no_more_is_refused() -> None:
    with quick() as rig:
        scaling, change = kept(rig)
        scaling.create_or_update_tags(NEW, {"nodepkg:phase": "serving"})
        with pytest.raises(RefusedError, match="kept no more"):
            change.run(rig.account)
        scaling.delete_group(NEW)
        rig.wait(30)
        with pytest.raises(NotYetError):
            change.run(rig.account)


def test_what_cannot_be_created_says_why() -> None:
    with quick() as rig:
        change = claim(rig)
        wrong = replace(change, launch=replace(change.launch, placement=replace(change.launch.placement, subnets=())))
        with pytest.raises(AwsError, match="create bee-group-v002"):
            wrong.run(rig.account)
