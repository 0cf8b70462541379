"""The table, row by row: what has to be observed before a row's one action, and how it is undone."""

from dataclasses import replace
from typing import Any

import pytest

from nodepkg.autoscale.journal import Phase, Record, Sizes
from nodepkg.autoscale.rollout import Act, Done, Refuse, Step, Wait, decide
from nodepkg.autoscale.steps import (
    AttachTargets,
    DeleteAsg,
    DetachTargets,
    Enter,
    Grow,
    RecordSizes,
    RememberKept,
    Resize,
    ResumeProcesses,
    Serve,
    SuspendProcesses,
)
from nodepkg.autoscale.view import Asg, Goal, Node, Seen, Terms, View, lacks, remember

NOW, WINDOW = 1_000_000.0, 10.0
WEB = frozenset({"arn:web"})
TERMS = Terms(min=1, max=3, ready_timeout=900, bake_time=60, timeout=120, unhealthy_after=60, window=WINDOW)
RECORD = Record(
    "run", Phase.CLAIM, "bee-v001", WEB, frozenset(), WEB, 7, "ami-7", own=Sizes(1, 3, 2), deadline=NOW + 900
)
ALL = frozenset({"ScheduledActions", "AZRebalance", "AlarmNotification", "ReplaceUnhealthy"})
CLAIM = AttachTargets("r", "the claim", WEB)


def nodes(name: str, count: int, *, state: str = "healthy", **more: Any) -> tuple[Node, ...]:
    targets = (("arn:web", state),) if state else ()
    return tuple(Node(f"{name}-{number}", targets=targets, **more) for number in range(count))


OLD = Asg("bee-v001", 2, 3, 2, {}, ALL, WEB, nodes("old", 2))
NEW = Asg("bee-v002", 2, 4, 2, {}, frozenset({"ScheduledActions"}), WEB, nodes("new", 2))


def view(
    old: Asg | None = OLD,
    new: Asg | None = NEW,
    record: Record | None = RECORD,
    *,
    goal: Goal = Goal.UPDATE,
    **more: Any,
) -> View:
    noted = replace(new, tags=record.tags()) if new and record else new
    return View(goal, more.pop("terms", TERMS), old, noted, **more)


def step(seen: View, *, held: float = 3600, now: float = NOW) -> Step:
    """What is decided if everything has been as it is for so long."""
    memory: Seen = remember({}, seen, now - held)
    return decide(replace(seen, seen=memory), now, region="r")


def change(told: Step) -> object:
    assert isinstance(told, Act), told
    return told.change


def waits(told: Step, state: str) -> Wait:
    assert isinstance(told, Wait), told
    assert told.state == state
    return told


def phase(which: Phase, **more: Any) -> Record:
    return replace(RECORD, phase=which, since=NOW - 3600, **more)


def rolls_back(told: Step) -> str:
    entered = change(told)
    assert isinstance(entered, Enter), told
    assert (entered.asg, entered.phase) == ("bee-v002", Phase.ROLLBACK)
    return entered.reason


def test_claim_begins_once_no_new_group_was_seen_twice() -> None:
    assert waits(step(view(new=None, claim=CLAIM), held=0), "claim").until == NOW + WINDOW
    assert change(step(view(new=None, claim=CLAIM))) is CLAIM


def test_nothing_happens_where_nothing_differs() -> None:
    assert step(view(new=None)) == Done()


def test_what_nobody_uses_is_put_in_order_where_nothing_differs() -> None:
    assert change(step(view(new=None, housekeeping=(CLAIM,)))) is CLAIM


def test_a_new_group_must_not_be_woken_by_its_schedules() -> None:
    told = step(view(new=replace(NEW, suspended=frozenset())))
    assert change(told) == SuspendProcesses("r", "bee-v002", frozenset({"ScheduledActions"}))


def test_pin_suspends_before_it_records_and_records_before_it_pins() -> None:
    free, unknown = replace(OLD, min=1, suspended=frozenset()), replace(RECORD, own=None)
    told = step(view(free, record=unknown))
    assert change(told) == SuspendProcesses("r", "bee-v001", frozenset({"ScheduledActions", "AZRebalance"}))
    still = replace(free, suspended=frozenset({"ScheduledActions", "AZRebalance"}))
    waits(step(view(still, record=unknown), held=WINDOW - 1), "pin")
    assert change(step(view(still, record=unknown))) == RecordSizes("r", "bee-v002", "bee-v001", Sizes(1, 3, 2))
    assert change(step(view(still))) == Resize("r", "bee-v001", 2, 3)


def test_two_observations_of_sizes_have_to_be_equal() -> None:
    first = view(replace(OLD, min=1), record=replace(RECORD, own=None))
    second = view(replace(OLD, min=2), record=replace(RECORD, own=None))
    memory = remember(remember({}, first, NOW - 20), second, NOW - 1)
    waits(decide(replace(second, seen=memory), NOW, region="r"), "pin")


def test_sizes_are_recorded_once() -> None:
    grown = replace(OLD, min=2, desired=3, nodes=nodes("old", 3))
    assert not isinstance(step(view(grown)), Act) or not isinstance(change(step(view(grown))), RecordSizes)


def test_what_the_user_had_suspended_is_left_alone() -> None:
    users = replace(RECORD, old_suspended=frozenset({"AZRebalance"}), own=None)
    told = step(view(replace(OLD, suspended=frozenset({"AZRebalance"})), record=users))
    assert change(told) == SuspendProcesses("r", "bee-v001", frozenset({"ScheduledActions"}))


@pytest.mark.parametrize(("desired", "least", "size"), [(2, 1, 2), (2, 3, 3), (3, 1, 3)])
def test_new_nodes_are_as_many_as_old_ones_and_no_fewer_than_node_min(desired: int, least: int, size: int) -> None:
    empty = replace(NEW, min=0, max=0, desired=0, nodes=(), targets=frozenset())
    grown = change(step(view(replace(OLD, desired=desired), empty, terms=replace(TERMS, min=least))))
    assert isinstance(grown, Grow)
    assert (grown.size, grown.deadline) == (size, NOW + 900)
    assert grown.max > size


@pytest.mark.parametrize(
    "lacking", [{"lifecycle": "Pending"}, {"healthy": False}, {"checks": False}, {"answers": False}]
)
def test_target_groups_are_attached_to_ready_nodes_only(lacking: dict[str, Any]) -> None:
    fresh = replace(NEW, targets=frozenset(), nodes=nodes("new", 2, state=""))
    assert change(step(view(new=fresh))) == AttachTargets("r", "bee-v002", WEB)
    waits(step(view(new=replace(fresh, nodes=(fresh.nodes[0], replace(fresh.nodes[1], **lacking))))), "grow")
    waits(step(view(new=replace(fresh, nodes=fresh.nodes[:1]))), "grow")
    waits(step(view(new=replace(fresh, nodes=nodes("new", 3, state="")))), "grow")


@pytest.mark.parametrize("state", ["initial", "unhealthy", "unused", "draining", ""])
def test_bake_begins_when_all_are_healthy_in_every_target_group(state: str) -> None:
    waits(step(view(new=replace(NEW, nodes=(*nodes("new", 1), *nodes("other", 1, state=state))))), "attach")


def test_readiness_is_looked_at_before_the_deadline() -> None:
    late = replace(RECORD, deadline=NOW - 5)
    assert waits(step(view(record=late), held=0), "bake")
    reason = rolls_back(step(view(new=replace(NEW, nodes=nodes("new", 2, checks=False)), record=late)))
    assert "0 of 2 nodes ready" in reason


def test_a_node_that_is_replaced_starts_the_bake_time_anew() -> None:
    before, after = view(), view(new=replace(NEW, nodes=(*nodes("new", 1), *nodes("other", 1))))
    memory = remember(remember({}, before, NOW - 3600), after, NOW - 30)
    told = waits(decide(replace(after, seen=memory), NOW, region="r"), "bake")
    assert told.until == NOW + 30


def test_match_stops_the_alarms_of_old_and_then_looks_at_its_size_again() -> None:
    scaling = replace(OLD, suspended=ALL - {"AlarmNotification"})
    assert change(step(view(scaling))) == SuspendProcesses("r", "bee-v001", frozenset({"AlarmNotification"}))
    before, after = view(scaling), view()
    memory = remember(remember({}, before, NOW - 3600), after, NOW - WINDOW + 1)
    waits(decide(replace(after, seen=memory), NOW, region="r"), "match")
    grown = change(step(view(replace(OLD, desired=3, nodes=nodes("old", 3)))))
    assert isinstance(grown, Grow)
    assert grown.size == 3


def test_cut_is_recorded_before_old_loses_its_target_groups() -> None:
    entered = change(step(view()))
    assert isinstance(entered, Enter)
    assert entered.phase is Phase.CUT
    assert change(step(view(record=phase(Phase.CUT)))) == DetachTargets("r", "bee-v001", WEB)


def test_nothing_is_cut_on_the_word_of_a_tag() -> None:
    sick = replace(NEW, nodes=nodes("new", 2, checks=False))
    told = step(view(new=sick, record=phase(Phase.CUT)), held=0)
    assert not isinstance(told, Act) or not isinstance(told.change, DetachTargets)
    half = replace(OLD, targets=frozenset({"arn:web"}))
    two = replace(phase(Phase.CUT), old_targets=frozenset({"arn:web", "arn:api"}))
    waits(step(view(half, sick, record=two), held=WINDOW - 1), "cut")


def test_a_target_group_that_old_was_attached_to_meanwhile_is_not_taken_away() -> None:
    more = replace(OLD, targets=frozenset({"arn:web", "arn:new"}))
    assert "arn:new" in rolls_back(step(view(more)))


def test_hold_suspends_copies_drains_and_waits_in_this_order() -> None:
    cut = replace(
        OLD, targets=frozenset(), nodes=nodes("old", 2, state="draining"), suspended=ALL - {"ReplaceUnhealthy"}
    )
    entered = change(step(view(cut, record=phase(Phase.CUT))))
    assert isinstance(entered, Enter)
    assert entered.phase is Phase.HOLD
    held = phase(Phase.HOLD)
    told = step(view(cut, record=held, carry=(CLAIM,)))
    assert change(told) == SuspendProcesses("r", "bee-v001", frozenset({"ReplaceUnhealthy"}))
    cut = replace(cut, suspended=ALL)
    assert change(step(view(cut, record=held, carry=(CLAIM,)))) is CLAIM
    assert waits(step(view(cut, record=held)), "hold").until is None
    assert waits(step(view(cut, record=replace(held, since=NOW - 119))), "hold").until == NOW + 1
    drained = replace(cut, nodes=nodes("old", 2, state=""))
    recent = replace(held, since=NOW - 119)
    assert waits(step(view(drained, record=recent)), "hold").until == NOW + 1
    assert change(step(view(drained, record=held))) == Resize("r", "bee-v001", 0, 0, 0)


def test_a_new_group_that_is_sick_in_hold_is_rolled_back_after_a_while() -> None:
    cut, held = replace(OLD, targets=frozenset(), nodes=nodes("old", 2, state="")), phase(Phase.HOLD)
    sick = replace(NEW, nodes=(*nodes("new", 1), *nodes("bad", 1, state="unhealthy")))
    waits(step(view(cut, sick, held), held=60), "retire")
    assert "sick" in rolls_back(step(view(cut, sick, held), held=61))


def test_a_new_group_whose_further_nodes_never_start_is_rolled_back() -> None:
    cut, held = replace(OLD, targets=frozenset(), nodes=nodes("old", 2, state="")), phase(Phase.HOLD)
    more = replace(NEW, desired=3, nodes=(*nodes("new", 2), *nodes("more", 1, state="", lifecycle="Pending")))
    waits(step(view(cut, more, held), held=900), "retire")
    assert "2 of 3 nodes ready" in rolls_back(step(view(cut, more, held), held=901))


def test_old_gives_up_its_nodes_when_new_was_seen_whole_twice_and_alarms_point_to_it() -> None:
    bare, held = replace(OLD, targets=frozenset(), nodes=nodes("old", 2, state="")), phase(Phase.HOLD)
    waits(step(view(bare, record=held), held=WINDOW - 1), "retire")
    assert change(step(view(bare, record=held, alarms=(CLAIM,)))) is CLAIM


def test_a_kept_group_remembers_its_own_sizes_before_it_is_emptied() -> None:
    bare, held = replace(OLD, targets=frozenset(), nodes=nodes("old", 2, state="")), phase(Phase.HOLD)
    keeping = replace(TERMS, keep_old=1)
    told = change(step(view(bare, record=held, terms=keeping)))
    assert told == RememberKept("r", "bee-v001", Sizes(1, 3, 2), frozenset())
    kept = {"nodepkg:kept-min": "1", "nodepkg:kept-max": "3", "nodepkg:kept-desired": "2"}
    assert change(step(view(replace(bare, tags=kept), record=held, terms=keeping))) == Resize("r", "bee-v001", 0, 0, 0)
    empty = replace(bare, min=0, max=0, desired=0, nodes=(), tags=kept)
    entered = change(step(view(empty, record=held, terms=keeping)))
    assert isinstance(entered, Enter)
    assert (entered.asg, entered.phase) == ("bee-v001", Phase.KEPT)


EMPTIED = replace(OLD, min=0, max=0, desired=0, targets=frozenset(), nodes=())


@pytest.mark.parametrize("recorded", [Phase.CLAIM, Phase.CUT, Phase.HOLD, Phase.ROLLBACK])
def test_old_at_size_0_is_retired_whatever_the_tags_say(recorded: Phase) -> None:
    assert change(step(view(EMPTIED, record=phase(recorded)))) == DeleteAsg("r", "bee-v001")
    going = replace(EMPTIED, nodes=nodes("old", 1, state="", lifecycle="Terminating"))
    waits(step(view(going, record=phase(recorded))), "retire")
    waits(step(view(replace(EMPTIED, deleting=True), record=phase(recorded))), "retire")


def test_a_rollback_that_comes_too_late_is_refused() -> None:
    assert isinstance(step(view(EMPTIED, record=phase(Phase.HOLD), goal=Goal.ROLLBACK)), Refuse)


def test_done_follows_its_order() -> None:
    waits(step(view(None, record=phase(Phase.HOLD)), held=WINDOW - 1), "retire")
    entered = change(step(view(None, record=phase(Phase.HOLD))))
    assert isinstance(entered, Enter)
    assert entered.phase is Phase.DONE
    done, order = phase(Phase.DONE), []
    new = replace(NEW, tags={"nodepkg:old": "bee-v001", "nodepkg:run": "run"})
    order.append(change(step(view(None, new, done, housekeeping=(CLAIM,)))))
    new = replace(new, min=1, max=3)
    order.append(change(step(view(None, new, done, housekeeping=(CLAIM,)))))
    new = replace(new, suspended=frozenset())
    order.append(change(step(view(None, new, done, housekeeping=(CLAIM,)))))
    last = change(step(view(None, new, done)))
    assert order == [
        Resize("r", "bee-v002", 1, 3),
        ResumeProcesses("r", "bee-v002", frozenset({"ScheduledActions"})),
        CLAIM,
    ]
    assert isinstance(last, Serve)
    assert "nodepkg:old" in last.keys
    assert "nodepkg:run" not in last.keys
    assert step(view(replace(NEW), None, None, aim="bee-v002")) == Done()


def test_max_is_what_is_desired_where_that_is_more() -> None:
    big = replace(NEW, min=2, max=9, desired=5, nodes=nodes("new", 5))
    assert change(step(view(None, big, phase(Phase.DONE)))) == Resize("r", "bee-v002", 1, 5)


def test_a_rollback_is_recorded_before_anything_is_undone() -> None:
    assert rolls_back(step(view(goal=Goal.ROLLBACK))) == "asked for"


BACK = phase(Phase.ROLLBACK)


def test_a_rollback_gives_old_everything_back_before_it_takes_anything_from_new() -> None:
    bare = replace(OLD, targets=frozenset(), nodes=nodes("old", 2, state=""))
    assert change(step(view(bare, record=BACK))) == ResumeProcesses("r", "bee-v001", frozenset({"ReplaceUnhealthy"}))
    bare = replace(bare, suspended=ALL - {"ReplaceUnhealthy"})
    assert change(step(view(bare, record=BACK))) == AttachTargets("r", "bee-v001", WEB)
    back = replace(bare, targets=WEB)
    waits(step(view(back, record=BACK)), "rollback")
    back = replace(back, nodes=nodes("old", 2))
    waits(step(view(back, record=BACK, alarms=(CLAIM,)), held=WINDOW - 1), "rollback")
    assert change(step(view(back, record=BACK, alarms=(CLAIM,)))) is CLAIM
    assert change(step(view(back, record=BACK))) == ResumeProcesses("r", "bee-v001", frozenset({"AlarmNotification"}))


UNALARMED = replace(OLD, suspended=frozenset({"ScheduledActions", "AZRebalance"}))


def test_a_rollback_drains_and_empties_new_and_deletes_it_last_of_all() -> None:
    assert change(step(view(UNALARMED, record=BACK))) == DetachTargets("r", "bee-v002", WEB)
    new = replace(NEW, targets=frozenset(), nodes=nodes("new", 2, state="draining"))
    waits(step(view(UNALARMED, new, BACK)), "rollback")
    new = replace(new, nodes=nodes("new", 2, state=""))
    assert change(step(view(UNALARMED, new, BACK))) == Resize("r", "bee-v002", 0, 0, 0)
    new = replace(new, min=0, max=0, desired=0)
    waits(step(view(UNALARMED, new, BACK)), "rollback")
    new = replace(new, nodes=())
    assert change(step(view(UNALARMED, new, BACK))) == Resize("r", "bee-v001", 1, 3)
    own = replace(UNALARMED, min=1)
    told = change(step(view(own, new, BACK)))
    assert told == ResumeProcesses("r", "bee-v001", frozenset({"ScheduledActions", "AZRebalance"}))
    free = replace(own, suspended=frozenset())
    assert change(step(view(free, new, BACK))) == DeleteAsg("r", "bee-v002")
    waits(step(view(free, replace(new, deleting=True), BACK)), "rollback")
    assert step(view(free, None, aim="bee-v002")) == Done(rolled_back=True)


def test_own_sizes_come_back_only_while_no_schedule_can_have_changed_them() -> None:
    scheduled = replace(OLD, min=2, max=5, suspended=frozenset())
    empty = replace(NEW, min=0, max=0, desired=0, nodes=(), targets=frozenset())
    assert change(step(view(scheduled, empty, BACK))) == DeleteAsg("r", "bee-v002")


def test_a_health_url_does_not_judge_the_nodes_of_the_old_generation() -> None:
    silent = replace(UNALARMED, nodes=nodes("old", 2, answers=False))
    assert change(step(view(silent, record=BACK))) == DetachTargets("r", "bee-v002", WEB)


def test_a_group_that_was_brought_back_is_kept_again_by_a_rollback() -> None:
    empty = replace(NEW, min=0, max=0, desired=0, nodes=(), targets=frozenset())
    back = replace(BACK, from_kept=True)
    entered = change(step(view(replace(OLD, min=1, suspended=frozenset()), empty, back)))
    assert isinstance(entered, Enter)
    assert (entered.asg, entered.phase) == ("bee-v002", Phase.KEPT)


def test_a_group_that_was_brought_back_deletes_what_it_replaces() -> None:
    keeping, held = replace(TERMS, keep_old=2), replace(phase(Phase.HOLD), from_kept=True)
    bare = replace(OLD, targets=frozenset(), nodes=nodes("old", 2, state=""))
    assert change(step(view(bare, record=held, terms=keeping))) == Resize("r", "bee-v001", 0, 0, 0)
    assert change(step(view(EMPTIED, record=held, terms=keeping))) == DeleteAsg("r", "bee-v001")


@pytest.mark.parametrize(
    "recorded", [None, replace(RECORD, own=None), replace(RECORD, deadline=None), BACK, phase(Phase.DONE)]
)
def test_a_record_is_read_from_its_own_tags(recorded: Record | None) -> None:
    tags = recorded.tags() if recorded else {"nodepkg:phase": "serving"}
    assert Asg("bee-v002", 0, 0, 0, tags).record == recorded
    assert all(len(value) <= 256 for value in tags.values())


def test_damaged_tags_are_no_record() -> None:
    for key in ("nodepkg:phase", "nodepkg:old-min", "nodepkg:deadline", "nodepkg:since"):
        assert Asg("bee-v002", 0, 0, 0, RECORD.tags() | {key: "?"}).record is None


@pytest.mark.parametrize(("state", "told"), [("initial", "initial in web"), ("", "not in web")])
def test_of_a_node_that_does_not_serve_its_state_in_the_target_group_is_told(state: str, told: str) -> None:
    arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"
    node = Node("i-1", targets=((arn, state),) if state else ())
    assert lacks(replace(NEW, nodes=(node,)), frozenset({arn})) == f"0 of 2 nodes ready; i-1: {told}"
