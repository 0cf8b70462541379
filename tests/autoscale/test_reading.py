"""What is read out of the registry, and decided on it: plain values."""

from dataclasses import replace
from typing import Any

import pytest

from nodepkg.autoscale.journal import Phase, Record
from nodepkg.autoscale.registered import Membership, Reading, SayLeaving, UnsayLeaving, by, judged
from nodepkg.autoscale.steps import AttachTargets, DeleteAsg, Enter, Resize
from nodepkg.autoscale.view import Asg, Node, Registered, View
from nodepkg.errors import NodepkgError, UnreachableError
from nodepkg.services.blocking import EtcdRegistries, Picture
from nodepkg.services.entries import Leaving
from nodepkg.services.terms import Location
from tests.autoscale.test_rollout import NEW, NOW, OLD, RECORD, TERMS, WEB, change, phase, step, view, waits

MEMBERSHIP = Membership(Location(("http://127.0.0.1:2379",), "/nodepkg"), ("api", "web"))
LOST = UnreachableError("nobody answers")
NODE = Node("i-1")


def leaving(instance: str, who: str = by("bee"), since: str = "", services: tuple[str, ...] | None = None) -> Leaving:
    return Leaving(instance, who, since, services)


def picture(*instances: str, **more: Any) -> Picture:
    """These run their agents, and announce all that they are to."""
    services = MEMBERSHIP.provides
    return Picture({name: frozenset(services) for name in instances}, dict.fromkeys(instances, services), **more)


def seen(shown: Picture | NodepkgError, old: Asg | None = OLD, new: Asg | None = NEW) -> Registered:
    return Reading("bee", "r", MEMBERSHIP, EtcdRegistries({}), shown, NOW).of(old, new, RECORD if new else None)


def names(changes: tuple[Any, ...]) -> list[str]:
    return [name for one in changes for name in one.instances]


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (picture("i-1"), ""),
        (picture(), "api, web not announced"),
        (Picture({"i-1": frozenset({"web"})}), "api not announced"),
        (picture("i-1", leaving={"i-1": leaving("i-1", "agent", services=("api",))}), "api not announced"),
        (LOST, "it is not known what it has announced: nobody answers"),
    ],
)
def test_a_new_node_is_ready_with_all_its_services(shown: Picture | NodepkgError, why: str) -> None:
    (node,) = judged([NODE], MEMBERSHIP, shown, RECORD)
    assert (node.ready, node.why) == (not why, why)


def test_what_a_node_lacks_besides_is_told_first() -> None:
    (node,) = judged([replace(NODE, lifecycle="Pending", why="Pending")], MEMBERSHIP, picture(), RECORD)
    assert node.why == "Pending"


@pytest.mark.parametrize("entered", [Phase.CUT, Phase.HOLD, Phase.DONE])
def test_a_registry_that_is_lost_makes_nobody_sick_after_the_cut(entered: Phase) -> None:
    assert judged([NODE], MEMBERSHIP, LOST, phase(entered)) == (NODE,)


def test_a_generation_that_is_brought_back_announces_what_its_own_agents_say() -> None:
    kept = replace(RECORD, from_kept=True)
    old_ways = Picture({"i-1": frozenset({"api"})}, {"i-1": ("api",)})
    (node,) = judged([NODE], MEMBERSHIP, old_ways, kept)
    assert node.ready
    (node,) = judged([NODE], MEMBERSHIP, Picture(), kept)
    assert (node.ready, node.why) == (False, "its agent has not announced it")


def test_the_nodes_of_the_old_group_are_said_to_leave_but_those_that_go_already() -> None:
    going = replace(OLD.nodes[1], lifecycle="Terminating:Wait")
    assert names(seen(picture("old-0", "old-1")).say) == ["old-0", "old-1"]
    assert names(seen(picture("old-0"), replace(OLD, nodes=(OLD.nodes[0], going))).say) == ["old-0"]
    one = {"old-0": leaving("old-0", "agent")}
    assert names(seen(picture("old-0", "old-1", leaving=one)).say) == ["old-1"]
    part = {"old-0": leaving("old-0", "agent", services=("api",))}
    assert names(seen(picture("old-0", "old-1", leaving=part)).say) == ["old-0", "old-1"]


def test_taken_back_is_what_this_groups_rollouts_have_said_of_nodes_that_stay() -> None:
    said = {name: leaving(name) for name in ("old-0", "gone")} | {"old-1": leaving("old-1", "agent")}
    found = seen(picture("old-0", "old-1", leaving=said))
    assert (names(found.unsay), names(found.leftover), found.fading) == (["old-0"], ["gone"], 0)
    assert found.say == ()


def test_what_is_gone_leaves_the_registry_before_what_was_said_of_it() -> None:
    found = seen(picture("gone", leaving={"gone": leaving("gone")}), None)
    assert (found.leftover, found.fading) == ((), 1)


def test_without_a_rollout_nobody_who_serves_is_said_to_leave_by_one() -> None:
    found = seen(picture("old-0", "old-1", leaving={"old-0": leaving("old-0")}), OLD, None)
    assert (found.say, found.unsay, names(found.leftover), found.waits_for) == ((), (), ["old-0"], "")


@pytest.mark.parametrize(
    ("since", "told"),
    [
        ("1970-01-12T13:46:30+00:00", NOW - 10),
        ("2970-01-12T13:46:40+00:00", 0.0),
        ("1970-01-12T13:46:30.5+00:00", NOW - 9.5),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_the_moment_is_that_of_the_last_and_never_one_to_come(since: str, told: float) -> None:
    said = {"old-0": leaving("old-0", since="1970-01-12T00:00:00+00:00"), "old-1": leaving("old-1", since=since)}
    earlier = NOW - (13 * 60 + 46) * 60 - 40
    assert seen(picture("old-0", "old-1", leaving=said)).told == max(told, earlier)


def test_it_is_said_who_is_waited_for() -> None:
    both = {name: leaving(name) for name in ("old-0", "old-1")}
    deaf = {"bee": {"api": ["i-8", "i-9"], "web": ["i-9"]}, "wasp": {"api": ["i-7"]}}
    assert seen(picture("old-0", "old-1", leaving=both)).waits_for == ""
    assert seen(picture("old-0", "old-1", leaving=both, waiting=deaf)).waits_for == (
        "i-8, i-9 have not acknowledged yet"
    )
    assert seen(picture("old-0", leaving=both)).waits_for.startswith("the registry does not know old-1")
    one = {"old-0": leaving("old-0")}
    told = seen(picture("old-0", "old-1", leaving=one)).waits_for
    assert told == "that old-1 will leave is not announced yet"


# The table


SAY = SayLeaving("r", "bee-v001", EtcdRegistries({}), MEMBERSHIP.location, by("bee"), ("old-0",), NOW)
UNSAY = UnsayLeaving("r", "bee-v001", EtcdRegistries({}), MEMBERSHIP.location, by("bee"), ("old-0",))
DRAINED = replace(OLD, targets=frozenset(), nodes=tuple(replace(node, targets=()) for node in OLD.nodes))
JUST = replace(phase(Phase.HOLD), since=NOW - 10)


def in_hold(registry: Registered | None, record: Record = JUST, **more: Any) -> View:
    return view(DRAINED, record=record, registry=registry, **more)


def test_hold_says_it_and_waits_until_all_have_heard() -> None:
    assert change(step(in_hold(Registered(say=(SAY,))))) == SAY
    told = waits(step(in_hold(Registered(told=NOW - 5, waits_for="i-9 has not acknowledged yet"))), "hold")
    assert (told.why, told.until) == ("i-9 has not acknowledged yet", NOW - 5 + TERMS.timeout)
    assert change(step(in_hold(Registered(told=NOW - 5)))) == Resize("r", "bee-v001", 0, 0, 0)


def test_hold_ends_early_neither_for_those_who_want_it_whole_nor_while_anything_drains() -> None:
    whole = replace(TERMS, wait_full=True)
    assert waits(step(in_hold(Registered(told=NOW - 5), terms=whole)), "hold").until == NOW - 5 + TERMS.timeout
    draining = replace(OLD, targets=frozenset(), nodes=(replace(OLD.nodes[0], targets=(("arn:web", "draining"),)),))
    assert "draining" in waits(step(view(draining, record=JUST, registry=Registered())), "hold").why


def test_hold_lasts_as_ever_without_the_registry() -> None:
    for registry in (None, Registered(lost="nobody answers")):
        assert waits(step(in_hold(registry)), "hold").until == JUST.since + TERMS.timeout
        over = replace(JUST, since=NOW - TERMS.timeout)
        assert change(step(in_hold(registry, over))) == Resize("r", "bee-v001", 0, 0, 0)


def test_a_deadline_that_passes_while_the_registry_is_lost_for_a_moment_is_no_failure() -> None:
    late = replace(RECORD, deadline=NOW - 1)
    unjudged = replace(NEW, nodes=tuple(replace(node, announced=False) for node in NEW.nodes))
    lost = view(new=unjudged, record=late, registry=Registered(lost="nobody answers"))
    waits(step(lost, held=-0.1), "grow")
    waits(step(lost, held=TERMS.unhealthy_after), "grow")
    assert isinstance(change(step(lost, held=TERMS.unhealthy_after + 1)), Enter)
    assert isinstance(change(step(view(new=unjudged, record=late, registry=Registered()), held=1)), Enter)


def test_a_rollback_takes_back_what_was_said_before_anything_is_taken_from_the_new_group() -> None:
    back, joined = phase(Phase.ROLLBACK), replace(OLD, suspended=OLD.suspended - {"ReplaceUnhealthy"})
    assert change(step(view(joined, record=back, registry=Registered(unsay=(UNSAY,))))) == UNSAY
    apart = replace(joined, targets=frozenset())
    first = change(step(view(apart, record=back, registry=Registered(unsay=(UNSAY,)))))
    assert first == AttachTargets("r", "bee-v001", WEB)


def test_a_rollback_waits_for_a_lost_registry_but_not_for_ever() -> None:
    back, joined = phase(Phase.ROLLBACK), replace(OLD, suspended=OLD.suspended - {"ReplaceUnhealthy"})
    lost = view(joined, record=back, registry=Registered(lost="nobody answers"))
    told = waits(step(lost, held=10), "rollback")
    assert told.until == NOW - 10 + TERMS.timeout
    assert step(lost, held=TERMS.timeout) == step(view(joined, record=back), held=TERMS.timeout)


def test_a_rollout_is_done_when_the_old_nodes_have_vanished_from_the_registry_or_should_have() -> None:
    done = replace(phase(Phase.DONE), since=NOW - 10)
    new = replace(NEW, min=1, max=3, suspended=frozenset())
    gone = view(None, new, done, registry=Registered(fading=1, ttl=30))
    assert waits(step(gone), "done").until == NOW - 10 + 60
    late = view(None, new, replace(done, since=NOW - 60), registry=Registered(fading=1, ttl=30))
    assert "serving" in str(change(step(late)))
    tidied = view(None, new, done, registry=Registered(fading=1), housekeeping=(DeleteAsg("r", "bee-v000"),))
    assert change(step(tidied)) == DeleteAsg("r", "bee-v000")
