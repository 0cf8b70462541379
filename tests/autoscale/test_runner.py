"""The loop of rollouts, on an AWS in memory and in virtual time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from nodepkg.autoscale.course import LOOKS_A_POLL
from nodepkg.autoscale.observe import Observation, Subject
from nodepkg.autoscale.runner import Runner
from nodepkg.autoscale.steps import (
    AttachTargets,
    Change,
    DeleteAsg,
    DetachTargets,
    Enter,
    Grow,
    RecordSizes,
    Resize,
    SuspendProcesses,
)
from nodepkg.autoscale.task import Order, Result, Standing, Task
from nodepkg.errors import AwsError, CredentialsError, ExitCode, NotYetError
from nodepkg.images.interrupts import Interrupts
from tests.autoscale.skies import TARGET, TERMS, Create, Fleet, Killed, Process, Sky, undo, update


@dataclass
class Told:
    """A watcher that remembers."""

    states: list[tuple[str, str]] = field(default_factory=list)
    ends: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    at_once: int = 0

    def began(self, group: str) -> None:
        self.running.add(group)
        self.at_once = max(self.at_once, len(self.running))

    def stands(self, standing: Standing) -> None:
        self.standings.append(standing)
        if (standing.group, standing.state) not in self.states[-1:]:
            self.states.append((standing.group, standing.state))

    def did(self, group: str, change: str) -> None:
        pass

    def ended(self, group: str, result: str, told: str) -> None:
        self.running.discard(group)
        self.ends.append((group, result))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warning(self, text: str) -> None:
        self.notes.append(text)

    def tick(self, waiting: int) -> None:
        pass


def run(
    process: Process, *tasks: Task, told: Told | None = None, interrupts: Interrupts | None = None, **order: object
) -> dict[str, Result]:
    runner = Runner(process, Order(tasks, **order), told or Told(), interrupts or Interrupts())  # type: ignore[arg-type]
    runner.run()
    return runner.results


def only(sky: Sky, group: str = "bee") -> Fleet:
    (fleet,) = sky.fleets[group].values()
    return fleet


@pytest.mark.parametrize("balanced", [True, False])
def test_an_update_replaces_the_group_and_never_has_fewer_nodes(balanced: bool) -> None:
    sky, told = Sky(), Told()
    sky.serve("bee", balanced=balanced)
    targets = (TARGET,) if balanced else ()
    result = run(Process(sky), update(targets=targets), told=told)["bee"]
    assert (result.result, result.asg, result.error) == ("updated", "bee-v002", None)
    new = only(sky)
    assert (new.name, new.min, new.max, new.desired, new.suspended) == ("bee-v002", 1, 4, 2, set())
    assert new.tags["nodepkg:phase"] == "serving"
    assert sky.leastserving["bee"] == 2
    assert sky.holders == {}
    rows = [state for _, state in told.states]
    attach = ["attach"] if balanced else []
    assert rows == ["claim", "pin", "grow", *attach, "bake", "match", "cut", "hold", "retire", "done"]


def test_a_rollout_loses_less_than_two_poll_intervals() -> None:
    sky = Sky(call=0.0)
    sky.serve("bee")
    result = run(Process(sky), update(), poll=5)["bee"]
    aws = sky.pending + sky.health + sky.termination + sky.deletion
    windows = 2 + 1 + 1 + 1  # settle and no N; sizes of O; O at rest; O gone. That N carries was seen while it baked
    waits = TERMS.bake_time + TERMS.timeout + windows * TERMS.window
    assert result.seconds
    assert result.seconds - aws - waits < 10


def test_where_time_alone_is_waited_for_it_looks_once_a_poll_interval() -> None:
    sky = Sky(call=0.0)
    sky.serve("bee")
    process = Process(sky)
    run(process, update(), poll=5)
    aws = sky.pending + sky.health + sky.termination + sky.deletion
    waits = TERMS.bake_time + TERMS.timeout + 5 * TERMS.window
    # One after each change, and at each end of what is waited for.
    assert len(process.looks) <= waits / 5 + aws / (5 / LOOKS_A_POLL) + len(process.changes) + 12


def test_nothing_to_do_changes_nothing() -> None:
    sky = Sky()
    sky.serve("bee")
    process = Process(sky)
    result = run(process, replace(update(), claim=lambda _: None))["bee"]
    assert (result.result, process.changes) == ("up to date", [])


def test_a_change_in_place_is_made_once() -> None:
    sky = Sky()
    sky.serve("bee")
    process = Process(sky)

    def sizes(view: object) -> Change | None:
        fleet = only(sky)
        return Resize("us-east-1", fleet.name, 2, 6) if fleet.max != 6 else None

    result = run(process, replace(update(), claim=sizes))["bee"]
    assert result.result == "changed"
    assert process.changes == [("bee", "set bee-v001 to 2 to 6 nodes")]


def test_nodes_that_never_start_are_undone_with_the_reason() -> None:
    sky, told = Sky(broken={"bee"}), Told()
    old = sky.serve("bee")
    result = run(Process(sky, unable=["no capacity in us-east-1a"]), update(), told=told)["bee"]
    assert result.result == "rolled back"
    assert result.error
    assert result.error.exit_code is ExitCode.AWS
    assert "was not ready in time: 0 of 2 nodes ready" in result.error.message
    assert "no capacity in us-east-1a" in result.error.message
    assert only(sky) is old
    assert (old.min, old.max, old.suspended, old.targets) == (1, 4, set(), {TARGET})
    assert told.notes.count("bee: no capacity in us-east-1a") == 1
    assert sky.leastserving["bee"] == 2


def test_groups_run_so_many_at_a_time_and_share_their_looks() -> None:
    sky, told = Sky(call=0.0), Told()
    names = [f"bee-{number:02}" for number in range(7)]
    for name in names:
        sky.serve(name)
    process = Process(sky)
    results = run(process, *map(update, names), told=told, at_once=5)
    assert {result.result for result in results.values()} == {"updated"}
    assert told.at_once == 5
    alone_sky = Sky(call=0.0)
    alone_sky.serve("bee")
    alone = Process(alone_sky)
    run(alone, update())
    assert len(process.looks) < 3 * len(alone.looks)  # for seven groups, in two turns


def test_one_group_that_fails_stops_no_other() -> None:
    sky, told = Sky(broken={"wasp"}), Told()
    for name in ("wasp", "bee", "ant"):
        sky.serve(name)
    results = run(Process(sky), *map(update, ("wasp", "bee", "ant")), told=told, at_once=1)
    assert [result.result for result in results.values()] == ["rolled back", "updated", "updated"]


def test_fail_fast_begins_nothing_more() -> None:
    sky = Sky(broken={"wasp"})
    for name in ("wasp", "bee"):
        sky.serve(name)
    results = run(Process(sky), update("wasp"), update("bee"), at_once=1, fail_fast=True)
    assert results["bee"].result == "skipped"
    assert "wasp failed" in results["bee"].why
    assert only(sky, "bee").name == "bee-v001"


def test_a_group_that_somebody_else_has_is_refused() -> None:
    sky = Sky()
    sky.serve("bee")
    sky.holders["bee"] = 0
    process = Process(sky)
    result = run(process, update())["bee"]
    assert (result.result, process.looks) == ("refused", [])
    assert result.error
    assert result.error.exit_code is ExitCode.REFUSED


def test_a_lost_lease_changes_nothing_more() -> None:
    sky = Sky()
    sky.serve("bee")

    def taken(change: Change) -> None:
        if isinstance(change, AttachTargets):
            sky.holders["bee"] = 0

    process = Process(sky, after=taken)
    result = run(process, update())["bee"]
    assert result.result == "refused"
    assert process.changes[-1][1].startswith("attach web to bee-v002")
    assert sky.holders == {"bee": 0}


def killed_at(number: int, *, committed: bool, task: Task, sky: Sky) -> bool:
    """Whether the process was killed right before, or after, its change of this number: it may have made fewer."""
    left = number

    def kill(change: Change) -> BaseException | None:
        nonlocal left
        left -= 1
        return Killed() if left == -1 else None

    process = Process(sky, after=kill) if committed else Process(sky, before=kill)
    try:
        run(process, task)
    except Killed:
        sky.holders.clear()
        return True
    return False


@pytest.mark.parametrize("committed", [False, True])
def test_an_update_that_is_killed_at_any_change_is_finished_by_the_next(committed: bool) -> None:
    number = 0
    while True:
        sky = Sky()
        sky.serve("bee")
        if not killed_at(number, committed=committed, task=update(), sky=sky):
            break
        assert run(Process(sky), update(run="run-2"))["bee"].result in ("updated", "up to date")
        fleet = only(sky)
        assert (fleet.name, fleet.min, fleet.max, fleet.desired) == ("bee-v002", 1, 4, 2)
        assert (fleet.suspended, sky.leastserving.get("bee", 2)) == (set(), 2)
        number += 1
    assert number > 15


@pytest.mark.parametrize("committed", [False, True])
def test_an_update_that_is_killed_at_any_change_is_undone_by_a_rollback(committed: bool) -> None:
    number = 0
    results = []
    while True:
        sky = Sky()
        sky.serve("bee")
        if not killed_at(number, committed=committed, task=update(), sky=sky):
            break
        old = sky.fleets["bee"].get("bee-v001")
        given_up = old is None or old.desired == 0
        result = run(Process(sky), undo())["bee"]
        results.append(result.result)
        if given_up:
            assert result.result in ("refused", "up to date")
            run(Process(sky), update(run="run-3"))
        fleet = only(sky)
        assert (fleet.min, fleet.max, fleet.desired, fleet.targets) == (1, 4, 2, {TARGET})
        assert fleet.name == ("bee-v002" if given_up else "bee-v001")
        assert (fleet.suspended, sky.leastserving.get("bee", 2)) == (set(), 2)
        number += 1
    assert number > 15
    assert {"rolled back", "refused"} <= set(results)


@pytest.mark.parametrize("committed", [False, True])
def test_a_rollback_that_is_killed_at_any_change_is_finished_by_whatever_comes_next(committed: bool) -> None:
    number = 0
    while True:
        sky = Sky()
        sky.serve("bee")
        cut = number_of(DetachTargets)
        assert killed_at(cut, committed=True, task=update(), sky=sky)
        if not killed_at(number, committed=committed, task=undo(), sky=sky):
            break
        left = sky.fleets["bee"].values()
        recorded = any("nodepkg:reason" in fleet.tags and fleet.deleted is None for fleet in left)
        result = run(Process(sky), update(run="run-3"))["bee"]
        if recorded:
            assert result.result == "rolled back"
            assert result.error
            assert result.error.exit_code is ExitCode.AWS
        fleet = only(sky)
        assert (fleet.min, fleet.max, fleet.desired, fleet.targets) == (1, 4, 2, {TARGET})
        assert (fleet.suspended, sky.leastserving.get("bee", 2)) == (set(), 2)
        number += 1
    assert number > 6


def number_of(kind: type) -> int:
    """Which change of an update is the first of this kind."""
    seen = list[type]()

    def note(change: Change) -> None:
        seen.append(type(change))

    sky = Sky()
    sky.serve("bee")
    run(Process(sky, before=note), update())
    return seen.index(kind)


@pytest.mark.parametrize("committed", [False, True])
def test_a_lost_reply_of_any_change_is_waited_for(committed: bool) -> None:
    lost = set[str]()

    def lose(change: Change) -> BaseException | None:
        if str(change).partition(" on ")[0] in lost:
            return None
        lost.add(str(change).partition(" on ")[0])
        return AwsError("the connection was closed")

    sky = Sky()
    sky.serve("bee")
    process = Process(sky, after=lose) if committed else Process(sky, before=lose)
    assert run(process, update())["bee"].result == "updated"
    assert only(sky).name == "bee-v002"
    assert len(lost) > 8
    assert sky.leastserving["bee"] == 2


def test_views_that_lack_our_own_changes_decide_nothing() -> None:
    """What is shown is 8 s old, in every other look."""
    looks = iter(range(10**9))
    sky = Sky(lag=lambda _: 8.0 * (next(looks) % 2))
    sky.serve("bee")
    process = Process(sky)
    assert run(process, update())["bee"].result == "updated"
    assert len(process.changes) == len(set(process.changes))
    assert sky.leastserving["bee"] == 2


def test_replies_that_stay_lost_end_it_with_the_commands() -> None:
    sky = Sky()
    sky.serve("bee")
    process = Process(sky, before=lambda change: AwsError("HTTP 503", code="503") if isinstance(change, Grow) else None)
    result = run(process, update())["bee"]
    assert result.result == "failed"
    assert result.error
    assert result.error.exit_code is ExitCode.AWS
    assert "package autoscale:update bee" in result.error.hint
    assert "package autoscale:rollback bee" in result.error.hint
    assert sky.holders == {}


def no(code: str = "AccessDenied") -> AwsError:
    return AwsError(f"{code}: no", code=code)


@pytest.mark.parametrize("kind", [RecordSizes, Grow, AttachTargets, DetachTargets, SuspendProcesses])
def test_what_aws_refuses_before_the_old_group_is_given_up_is_undone(kind: type) -> None:
    sky = Sky()
    old = sky.serve("bee")
    refused = 0

    def refuse(change: Change) -> BaseException | None:
        nonlocal refused
        refused += isinstance(change, kind)
        return no() if isinstance(change, kind) and refused == 1 else None

    result = run(Process(sky, before=refuse), update())["bee"]
    assert result.result == "rolled back"
    assert result.error
    assert "AccessDenied" in result.error.message
    assert only(sky) is old
    assert (old.min, old.max, old.suspended, old.targets) == (1, 4, set(), {TARGET})


def test_what_aws_refuses_at_the_very_beginning_leaves_nothing() -> None:
    sky = Sky()
    old = sky.serve("bee")
    result = run(Process(sky, before=lambda change: no() if isinstance(change, Create) else None), update())["bee"]
    assert result.result == "failed"
    assert result.error
    assert "AccessDenied" in result.error.message
    assert only(sky) is old


def test_an_undoing_that_aws_refuses_stops_with_the_commands() -> None:
    sky = Sky()
    sky.serve("bee")

    def refuse(change: Change) -> BaseException | None:
        return no("ValidationError") if isinstance(change, AttachTargets | Enter) else None

    result = run(Process(sky, before=refuse), update())["bee"]
    assert result.result == "failed"
    assert result.error
    assert "ValidationError" in result.error.message
    assert "package autoscale:rollback bee" in result.error.hint


def test_what_aws_refuses_after_the_old_group_is_given_up_can_only_be_gone_on_with() -> None:
    sky = Sky()
    sky.serve("bee")
    result = run(Process(sky, before=lambda change: no() if isinstance(change, DeleteAsg) else None), update())["bee"]
    assert result.result == "failed"
    assert result.error
    assert "package autoscale:update bee" in result.error.hint
    assert "rollback" not in result.error.hint


def test_a_group_that_still_has_activities_is_asked_again() -> None:
    sky, asked = Sky(), iter(range(10))
    sky.serve("bee")

    def not_yet(change: Change) -> BaseException | None:
        return NotYetError("ScalingActivityInProgress") if isinstance(change, DeleteAsg) and next(asked) < 3 else None

    assert run(Process(sky, before=not_yet), update())["bee"].result == "updated"
    for_ever = Process(Sky(), before=lambda change: NotYetError("still") if isinstance(change, DeleteAsg) else None)
    for_ever.sky.serve("bee")
    assert run(for_ever, update())["bee"].result == "failed"


def test_credentials_that_expire_stop_it_with_the_commands() -> None:
    sky = Sky()
    sky.serve("bee")
    expired = CredentialsError("ExpiredToken", code="ExpiredToken")
    result = run(Process(sky, before=lambda change: expired if isinstance(change, Grow) else None), update())["bee"]
    assert result.result == "failed"
    assert result.error
    assert "package autoscale:update bee" in result.error.hint
    assert "grow" in result.error.message


def test_looks_that_fail_for_a_while_change_nothing_and_those_that_go_on_end_it() -> None:
    def fails(first: int, last: int) -> Callable[[int], None]:
        def on_look(number: int) -> None:
            if first <= number <= last:
                raise AwsError("HTTP 500", code="500")

        return on_look

    sky = Sky()
    sky.serve("bee")
    assert run(Process(sky, on_look=fails(20, 27)), update())["bee"].result == "updated"
    sky = Sky()
    sky.serve("bee")
    result = run(Process(sky, on_look=fails(20, 10**9)), update())["bee"]
    assert result.result == "failed"
    assert result.error
    assert "package autoscale:update bee" in result.error.hint


def test_a_group_that_cannot_be_looked_at_does_not_blind_the_others() -> None:
    sky = Sky()
    for name in ("bee", "wasp"):
        sky.serve(name)

    class Strange(Process):
        def observe(self, subjects: Sequence[Subject]) -> Mapping[str, Observation]:
            if any(one.group == "wasp" for one in subjects):
                raise no("TargetGroupNotFound")
            return super().observe(subjects)

    results = run(Strange(sky), update("wasp"), update("bee"))
    assert (results["wasp"].result, results["bee"].result) == ("failed", "updated")


def test_a_heartbeat_is_written_while_nothing_happens_and_says_the_state() -> None:
    sky = Sky()
    sky.serve("bee")
    process = Process(sky)
    run(process, update(), poll=300)
    states = [state for state in process.claims[0].states if state]
    assert {"claim", "pin", "grow", "attach", "bake", "hold", "retire"} <= set(states)
    assert len(states) > 300


def test_after_a_pause_nothing_is_changed_before_a_heartbeat_and_another_look() -> None:
    sky, told = Sky(), Told()
    sky.serve("bee")

    class Paused(Process):
        paused = False

        def observe(self, subjects: Sequence[Subject]) -> Mapping[str, Observation]:
            seen = super().observe(subjects)
            records = [one.view.record for one in seen.values()]
            if not self.paused and any(record and record.phase == "cut" for record in records):
                self.paused = True
                self.sky.now += 90
            return seen

    process = Paused(sky)
    assert run(process, update(), told=told)["bee"].result == "updated"
    assert process.paused


def test_suspended_processes_of_the_user_are_told_and_stay() -> None:
    sky, told = Sky(), Told()
    sky.serve("bee", suspended={"AZRebalance"})
    assert run(Process(sky), update(), told=told)["bee"].result == "updated"
    assert len([note for note in told.notes if "AZRebalance" in note]) == 1
    assert only(sky).suspended == set()


@pytest.mark.parametrize("undoes", [False, True])
def test_scheduled_actions_that_were_due_meanwhile_are_told(undoes: bool) -> None:
    sky, told = Sky(broken={"bee"} if undoes else set()), Told()
    sky.serve("bee")
    run(Process(sky, due={"morning": sky.now + 100, "night": sky.now + 40_000}), update(), told=told)
    lost = [note for note in told.notes if "scheduled action" in note]
    assert lost == ["bee: the scheduled action morning was due while it was suspended: it is lost"]


def test_a_max_above_that_of_nodes_json_is_told() -> None:
    sky, told = Sky(), Told()
    sky.serve("bee", nodes=3)
    terms = replace(TERMS, max=2)
    assert run(Process(sky), update(terms=terms), told=told)["bee"].result == "updated"
    assert only(sky).max == 3
    assert [note for note in told.notes if "node_max" in note] == [
        "bee: max is 3, larger than node_max (2), since 3 nodes are desired"
    ]


def test_one_rollback_to_a_kept_group_and_no_other_rollout_is_carried_out() -> None:
    sky = Sky()
    sky.serve("bee")
    assert killed_at(5, committed=True, task=update(), sky=sky)
    result = run(Process(sky), update(run="run-2", refuse_others=True))["bee"]
    assert result.result == "refused"
    assert result.error
    assert "bee-v002" in result.error.message


def test_after_a_rollout_of_somebody_else_it_is_said_what_is_still_wanted() -> None:
    sky, told = Sky(), Told()
    sky.serve("bee")
    assert killed_at(5, committed=True, task=update(), sky=sky)
    newer = replace(
        update(run="run-2"), afterwards=lambda seen: [f"{seen.view.old and seen.view.old.name} has an old image"]
    )
    assert run(Process(sky), newer, told=told)["bee"].result == "updated"
    assert told.notes == ["bee: bee-v002 has an old image"]


def test_ctrl_c_at_any_change_finishes_it_and_changes_nothing_more() -> None:
    number = 0
    while True:
        sky, times = Sky(), iter(range(0, 10**9, 10))
        sky.serve("bee")
        interrupts = Interrupts(clock=lambda times=times: next(times))  # type: ignore[misc]
        left = number

        def press(change: Change, interrupts: Interrupts = interrupts) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                interrupts.heard()

        process = Process(sky, before=press)
        result = run(process, update(), interrupts=interrupts)["bee"]
        if result.result != "interrupted":
            break
        assert len(process.changes) == number + 1
        assert sky.holders == {}
        assert result.why.startswith("interrupted in ")
        assert run(Process(sky), update(run="run-2"))["bee"].result in ("updated", "up to date")
        assert sky.leastserving["bee"] == 2
        number += 1
    assert number > 15


def test_ctrl_c_while_it_waits_or_looks_ends_it_at_once() -> None:
    for number in range(1, 60, 7):
        sky = Sky()
        for name in ("bee", "wasp"):
            sky.serve(name)
        times = iter(range(0, 10**9, 10))
        interrupts = Interrupts(clock=lambda times=times: next(times))  # type: ignore[misc]

        def press(look: int, interrupts: Interrupts = interrupts, number: int = number) -> None:
            if look == number:
                interrupts.heard()

        process = Process(sky, on_look=press)
        results = run(process, update("bee"), update("wasp"), interrupts=interrupts, at_once=1)
        assert [result.result for result in results.values()] == ["interrupted", "skipped"]
        assert len(process.looks) == number
        assert sky.holders == {}


def test_a_second_ctrl_c_ends_a_change_that_hangs_and_leaves_the_lease() -> None:
    sky, times = Sky(), iter(range(0, 10**9, 10))
    sky.serve("bee")
    interrupts = Interrupts(clock=lambda: next(times))

    def press(change: Change) -> None:
        if isinstance(change, Grow):
            interrupts.heard()
            interrupts.heard()

    process = Process(sky, before=press)
    assert run(process, update(), interrupts=interrupts)["bee"].result == "interrupted"
    assert "grow" not in " ".join(change for _, change in process.changes)
    assert list(sky.holders) == ["bee"]
