"""Who is who in an observation, what it holds and when, and how many calls many groups take."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from nodepkg.autoscale.journal import Phase, Record
from nodepkg.autoscale.observe import Observation, Subject, cast, observe
from nodepkg.autoscale.steps import Change, DeleteAsg
from nodepkg.autoscale.view import Goal, Registered, Terms
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup, NewGroup
from nodepkg.errors import RefusedError
from nodepkg.services.blocking import EtcdRegistries, Picture
from nodepkg.services.terms import Location
from tests.autoscale.registers import MEMBERSHIP
from tests.autoscale.rollouts import GROUP, NEW, OLD, begun, hung_on, no_web, quick
from tests.fleets import REGION, Rig

SERVING = {"nodepkg:managed": "true", "nodepkg:phase": "serving"}
SUBJECT = Subject("bee", REGION, Terms())


def asg(name: str, tags: Mapping[str, str], group: str = "bee") -> AutoScalingGroup:
    return AutoScalingGroup(name, {"group": group, **tags}, 1, 1, 1, (), None)


def rolling(old: str, phase: Phase = Phase.CLAIM) -> dict[str, str]:
    return {"nodepkg:managed": "true", **Record("run", phase, old).tags()}


def test_the_new_group_is_the_one_with_a_record_and_the_old_one_is_whom_it_names() -> None:
    found = cast(SUBJECT, [asg("bee-v002", {"nodepkg:managed": "true"}), asg("bee-v003", rolling("bee-v002"))])
    assert found.old
    assert found.new
    assert (found.old.name, found.new.name) == ("bee-v002", "bee-v003")
    gone = cast(SUBJECT, [asg("bee-v001", SERVING), asg("bee-v003", rolling("bee-v002"))])
    assert gone.old is None


def test_without_a_record_the_old_group_is_the_serving_one() -> None:
    found = cast(SUBJECT, [asg("bee-v001", {**SERVING, "nodepkg:phase": "kept"}), asg("bee-v002", SERVING)])
    assert found.old
    assert (found.old.name, found.new) == ("bee-v002", None)


def test_what_is_not_managed_or_another_groups_has_no_part_but_is_shown() -> None:
    foreign = asg("bee-v001", {"nodepkg:phase": "serving"})
    found = cast(SUBJECT, [foreign, asg("wasp-v001", SERVING, "wasp")])
    assert (found.old, found.new, found.kept, found.asgs) == (None, None, (), (foreign,))


def test_kept_generations_are_in_the_order_of_their_numbers() -> None:
    kept = {**SERVING, "nodepkg:phase": "kept"}
    found = cast(SUBJECT, [asg(name, kept) for name in ("bee-v10", "bee-v1000", "bee-v9")])
    assert [one.name for one in found.kept] == ["bee-v9", "bee-v10", "bee-v1000"]


def test_the_old_group_is_not_among_the_kept_ones_while_it_is_retired() -> None:
    kept = {**SERVING, "nodepkg:phase": "kept"}
    found = cast(SUBJECT, [asg("bee-v001", kept), asg("bee-v002", rolling("bee-v001", Phase.DONE))])
    assert found.old
    assert (found.old.name, found.kept) == ("bee-v001", ())


def looked(rig: Rig, subject: Subject) -> Observation:
    return observe(rig.account, [subject], web=no_web)[subject.group]


def test_what_a_claim_refuses_concerns_its_group_alone() -> None:
    def refusing(_: Observation) -> Change | None:
        raise RefusedError("no")

    def claiming(seen: Observation) -> Change | None:
        assert seen.view.old
        return DeleteAsg(REGION, seen.view.old.name)

    with quick() as rig:
        begun(rig, 1)
        seen = looked(rig, Subject(GROUP, REGION, Terms(), claim=refusing))
        assert (str(seen.error), seen.view.claim) == ("no", None)
        seen = looked(rig, Subject(GROUP, REGION, Terms(), claim=claiming))
        assert (seen.error, seen.view.claim) == (None, DeleteAsg(REGION, OLD))
        seen = looked(rig, Subject(GROUP, REGION, Terms(), claim=refusing, aim=NEW))
        assert (seen.error, seen.view.claim, seen.view.aim) == (None, None, NEW)


def test_versions_that_nobody_uses_are_put_in_order_where_nothing_else_is_wanted() -> None:
    with quick() as rig:
        begun(rig, 1)
        client = rig.client("ec2")
        leftover = {"LaunchTemplateData": {"ImageId": "ami-1"}, "VersionDescription": f"nodepkg {'0' * 32}"}
        client.create_launch_template_version(LaunchTemplateName=GROUP, **leftover)
        (change,) = looked(rig, Subject(GROUP, REGION, Terms(), Goal.UPDATE)).view.housekeeping
        assert str(change) == f"delete versions 2 of launch template {GROUP}"
        assert not change.shows_in(looked(rig, Subject(GROUP, REGION, Terms())).view)
        change.run(rig.account)
        seen = looked(rig, Subject(GROUP, REGION, Terms())).view
        assert seen.housekeeping == ()
        assert change.shows_in(seen)


def fleet_of(rig: Rig, groups: int, phase: Phase) -> list[Subject]:
    """So many groups in the middle of a rollout, each in target groups of its own kind: three for all."""
    scaling, arns = AutoScaling(rig.account, REGION), [rig.world().target_group(f"web{number}") for number in range(3)]
    made = begun(rig, 1)
    for number in range(groups):
        name, arn = f"g{number:03}", arns[number % 3]
        record = Record("run", phase, f"{name}-v001", frozenset({arn}), frozenset(), frozenset({arn}))
        for generation, tags in (("v001", SERVING), ("v002", {"nodepkg:managed": "true", **record.tags()})):
            new = NewGroup(
                f"{name}-{generation}", GROUP, 1, 0, 1, 1, {"group": name}, tags, subnets=made.placement.ids[:1]
            )
            scaling.create_group(new)
    rig.wait(60)
    rig.account.sent.clear()
    return [Subject(f"g{number:03}", REGION, Terms()) for number in range(groups)]


@pytest.mark.parametrize(
    ("groups", "phase", "calls"),
    [
        (1, Phase.CLAIM, {"DescribeAutoScalingGroups": 1, "DescribeInstanceStatus": 1, "DescribeTargetHealth": 1}),
        (10, Phase.CLAIM, {"DescribeAutoScalingGroups": 1, "DescribeInstanceStatus": 1, "DescribeTargetHealth": 3}),
        (100, Phase.CLAIM, {"DescribeAutoScalingGroups": 3, "DescribeInstanceStatus": 2, "DescribeTargetHealth": 3}),
        (
            100,
            Phase.HOLD,
            {
                "DescribeAutoScalingGroups": 3,
                "DescribeInstanceStatus": 2,
                "DescribeTargetHealth": 3,
                "DescribePolicies": 1,
                "DescribeScheduledActions": 1,
                "DescribeNotificationConfigurations": 4,
            },
        ),
        (
            1,
            Phase.ROLLBACK,
            {
                "DescribeAutoScalingGroups": 1,
                "DescribeInstanceStatus": 1,
                "DescribeTargetHealth": 1,
                "DescribePolicies": 2,
            },
        ),
    ],
)
def test_calls_grow_with_pages_and_target_groups_and_not_with_groups(
    groups: int, phase: Phase, calls: dict[str, int]
) -> None:
    with quick() as rig:
        subjects = fleet_of(rig, groups, phase)
        seen = observe(rig.account, subjects, web=no_web)
        assert Counter(rig.account.sent) == calls
        assert all(one.view.old and one.view.new and one.view.old.nodes for one in seen.values())
        assert len(seen) == groups


def test_an_old_group_that_has_lost_its_tag_is_there_still() -> None:
    with quick() as rig:
        begun(rig, 1)
        scaling, record = AutoScaling(rig.account, REGION), Record("run", Phase.CLAIM, OLD)
        own = {"nodepkg:managed": "true", **record.tags()}
        scaling.create_group(NewGroup(NEW, GROUP, 1, 0, 0, 0, {"group": GROUP}, own, ["us-east-1a"]))
        scaling.delete_tags(OLD, ["group", "nodepkg:managed"])
        seen = looked(rig, Subject(GROUP, REGION, Terms()))
        assert seen.view.old
        assert (seen.view.old.name, len(seen.view.old.nodes)) == (OLD, 1)
        assert [one.name for one in seen.asgs] == [NEW]


def test_alarms_are_read_where_a_policy_names_some() -> None:
    with quick() as rig:
        begun(rig, 1)
        hung_on(rig)
        record = Record("run", Phase.HOLD, OLD)
        scaling = AutoScaling(rig.account, REGION)
        new = NewGroup(
            NEW, GROUP, 1, 0, 0, 0, {"group": GROUP}, {"nodepkg:managed": "true", **record.tags()}, ["us-east-1a"]
        )
        scaling.create_group(new)
        rig.account.sent.clear()
        seen = looked(rig, Subject(GROUP, REGION, Terms())).view
        assert rig.account.sent.count("DescribeAlarms") == 1
        assert len(seen.carry) == 4
        assert seen.alarms == ()  # there is no policy yet that they could invoke
        for change in seen.carry:
            assert not change.shows_in(seen)
            change.run(rig.account)
        after = looked(rig, Subject(GROUP, REGION, Terms())).view
        assert (after.carry, [str(change) for change in after.alarms]) == (
            (),
            [f"point alarm busy from {OLD} to {NEW}"],
        )
        assert all(change.shows_in(after) for change in seen.carry)


def test_each_registry_is_asked_once_for_all_groups_and_none_for_those_without_services() -> None:
    asked: list[dict[Location, dict[str, list[str]]]] = []

    class Registries(EtcdRegistries):
        def look(self, asked_for: Any) -> Any:
            asked.append(asked_for)
            return {location: Picture() for location in asked_for}

    with quick() as rig:
        subjects = [Subject(name, REGION, Terms(), membership=MEMBERSHIP) for name in (GROUP, "wasp")]
        begun(rig, 1)
        seen = observe(rig.account, [*subjects, Subject("ant", REGION, Terms())], web=no_web, registries=Registries())
        assert asked == [{MEMBERSHIP.location: {GROUP: [], "wasp": []}}]
        assert seen[GROUP].view.registry == Registered(ttl=MEMBERSHIP.ttl)
        assert seen["ant"].view.registry is None
        observe(rig.account, [Subject("ant", REGION, Terms())], web=no_web, registries=Registries())
        assert len(asked) == 1
