"""The loop of a deploy against a model of hosts and groups: what must hold whatever they do."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodepkg.errors import AwsError
from nodepkg.fleet.course import NO_FAILURE, NOT_STARTED, Terms
from nodepkg.fleet.transport import Result
from nodepkg.images.interrupts import Interrupts
from nodepkg.lease.claim import LostLeaseError
from nodepkg.pace import Pace, Share, floor
from tests.fleet.hosts import Behaviour
from tests.fleet.skies import Sky, run

ENDS = [Result.SUCCEEDED] * 6 + [Result.FAILED, Result.TIMED_OUT, Result.UNREACHABLE, Result.REFUSED, Result.UNKNOWN]


@dataclass
class Watch:
    """Looks at a sky at each of its moments: how few nodes of a group served, as far as that was the deploy's doing."""

    sky: Sky
    terms: dict[str, Terms]
    fewest: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def __call__(self) -> None:
        for group, terms in self.terms.items():
            here = [name for name, of in self.sky.hosts.items() if of == group]
            serving = self.sky.serving(group)
            if serving < floor(terms.least, len(here)):
                self.broken.append(f"{self.sky.time}: {serving} of {len(here)} of {group} serve")


def sky_of(sizes: list[int], *, behind: bool) -> Sky:
    names = [(f"i-{g}{n:02}", f"g{g}") for g, size in enumerate(sizes) for n in range(size)]
    return Sky(dict(names), behind)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    at_once=st.integers(1, 8),
    canary=st.integers(0, 3),
    max_errors=st.integers(0, 3),
    pause=st.sampled_from([0.0, 0.0, 45.0]),
    drains=st.booleans(),
    behind=st.booleans(),
    least=st.sampled_from([0, 50, 90, 100]),
    data=st.data(),
)
def test_whatever_hosts_do_a_deploy_keeps_its_pace_and_ends(  # noqa: PLR0917
    sizes: list[int],
    at_once: int,
    canary: int,
    max_errors: int,
    pause: float,
    drains: bool,
    behind: bool,
    least: int,
    data: st.DataObject,
) -> None:
    sky = sky_of(sizes, behind=behind)
    names = list(sky.hosts)
    ends = {name: data.draw(st.sampled_from(ENDS)) for name in names}
    takes = {name: data.draw(st.sampled_from([0.0, 1.0, 30.0, 200.0])) for name in names}
    terms = {group: Terms(Share(least, percent=True), drains) for group in set(sky.hosts.values())}
    watch = Watch(sky, terms)
    sky.watches = watch
    pace = Pace(at_once, canary, max_errors, waves=pause > 0)

    with tempfile.TemporaryDirectory() as folder:
        runner, hosts = run(
            sky,
            Path(folder),
            pace,
            terms,
            behaves=lambda name, n: Behaviour(takes[name], ends[name], 0 if ends[name] is Result.SUCCEEDED else 1),
            pause=pause,
        )
    states = {name: one.state for name, one in runner.courses.items()}
    failed = [name for name in names if states[name] not in NO_FAILURE]
    assert watch.broken == []
    assert hosts.most <= at_once
    assert len(hosts.started()) == len(set(hosts.started()))
    assert hosts.closed and not hosts.running
    assert all(states[name] == str(ends[name]) for name in hosts.started())
    assert all(states[name] == NOT_STARTED for name in names if name not in hosts.started())
    too_many = len(failed) > max_errors or any(ends[name] is not Result.SUCCEEDED for name in names[:canary])
    assert too_many or set(hosts.started()) == set(names)
    done = {what_name: moment for moment, what, what_name in hosts.log if what != "start"}
    for moment, what, name in hosts.log:
        if what == "start" and name not in names[:canary]:
            assert all(done.get(first, float("inf")) <= moment for first in names[:canary])
        if what == "start":
            before = [one for one in failed if one in done and done[one] < moment]
            assert len(before) <= max_errors
            assert not [one for one in before if one in names[:canary]]
    if behind:
        assert all(sky.target(name) != "" for name in names)


@pytest.mark.parametrize("drains", [False, True])
def test_a_group_below_its_floor_starts_nobody_and_ends_in_time(tmp_path: Path, drains: bool) -> None:
    sky = sky_of([4], behind=True)
    sky.sick = {"i-000", "i-001"}
    terms = {"g0": Terms(Share(90, percent=True), drains)}
    runner, hosts = run(sky, tmp_path, Pace(4, max_errors=0), terms, patience=300.0)
    assert hosts.started() == []
    assert runner.stuck.startswith(
        "g0: nobody else was started: 2 of 4 nodes healthy, the floor is 3; i-000: unhealthy in"
    )
    assert 300 <= sky.time <= 320


@pytest.mark.parametrize("behind", [False, True])
def test_on_a_healthy_fleet_the_floor_narrows_only_those_that_leave_target_groups(tmp_path: Path, behind: bool) -> None:
    terms = {"g0": Terms(Share(90, percent=True))}
    _, hosts = run(sky_of([20], behind=behind), tmp_path / "1", Pace(20, max_errors=0), terms)
    assert hosts.most == 20
    drained = {"g0": Terms(Share(90, percent=True), drains=True)}
    _, hosts = run(sky_of([20], behind=behind), tmp_path / "2", Pace(20, max_errors=0), drained)
    assert hosts.most == (2 if behind else 20)


def test_a_group_of_one_has_no_floor(tmp_path: Path) -> None:
    sky = sky_of([1], behind=True)
    _, hosts = run(sky, tmp_path, Pace(10, max_errors=0), {"g0": Terms(Share(100, percent=True), drains=True)})
    assert hosts.started() == ["i-000"]


def test_a_group_below_its_floor_does_not_keep_others_waiting(tmp_path: Path) -> None:
    sky = sky_of([4, 3], behind=True)
    sky.sick = {"i-000", "i-001"}
    runner, hosts = run(sky, tmp_path, Pace(2, max_errors=0), patience=300.0)
    assert hosts.started() == ["i-100", "i-101", "i-102"]
    assert runner.stuck


def test_a_canary_of_a_group_below_its_floor_lets_nobody_else_go_first(tmp_path: Path) -> None:
    sky = sky_of([4, 3], behind=True)
    sky.sick = {"i-000", "i-001"}
    _, hosts = run(sky, tmp_path, Pace(2, canary=1, max_errors=0), patience=300.0)
    assert hosts.started() == []


def test_with_drain_a_sick_node_may_go_where_a_healthy_one_may_not(tmp_path: Path) -> None:
    sky = sky_of([4], behind=True)
    sky.sick = {"i-002"}

    def watches(what: str, name: str) -> None:
        if what == "succeeded":
            sky.sick.discard(name)

    terms = {"g0": Terms(Share(90, percent=True), drains=True)}
    runner, hosts = run(sky, tmp_path, Pace(4, max_errors=0), terms, watches=watches)
    assert hosts.started()[0] == "i-002"
    assert {one.state for one in runner.courses.values()} == {"succeeded"}


@pytest.mark.parametrize("result", [Result.FAILED, Result.UNKNOWN, Result.UNREACHABLE])
@pytest.mark.parametrize("window", [0.0, 10.0])
def test_a_host_that_fails_since_its_instance_ended_is_gone(tmp_path: Path, result: Result, window: float) -> None:
    sky = sky_of([4], behind=False)

    def watches(what: str, name: str) -> None:
        if what == str(result):
            sky.gone.add(name)

    runner, hosts = run(
        sky,
        tmp_path,
        Pace(1, canary=1, max_errors=0),
        behaves=lambda name, n: Behaviour(5, result, 1) if name == "i-000" else Behaviour(),
        watches=watches,
        window=window,
    )
    states = {name: one.state for name, one in runner.courses.items()}
    assert states == {"i-000": "gone", "i-001": "succeeded", "i-002": "succeeded", "i-003": "succeeded"}
    starts = [moment for moment, what, _ in hosts.log if what == "start"]
    assert starts[2] - starts[1] >= 30  # the next one is the canary


@pytest.mark.parametrize("ends", [True, False])
def test_a_host_that_is_lost_sight_of_keeps_its_place_only_as_long_as_its_instance_lives(
    tmp_path: Path, ends: bool
) -> None:
    sky = sky_of([3], behind=False)
    sky.watches = lambda: sky.gone.add("i-000") if ends and sky.time >= 20 else None
    runner, hosts = run(
        sky,
        tmp_path,
        Pace(1, max_errors=0),
        behaves=lambda name, n: Behaviour(7200, lost=30) if name == "i-000" else Behaviour(),
    )
    states = {name: one.state for name, one in runner.courses.items()}
    assert states == {"i-000": "gone" if ends else "succeeded", "i-001": "succeeded", "i-002": "succeeded"}
    assert (sky.time < 600) is ends
    assert hosts.most == (2 if ends else 1), "its converge is not heard of any more, and counts for nothing"


def test_a_host_that_ended_before_its_turn_is_gone(tmp_path: Path) -> None:
    sky = sky_of([3], behind=False)
    sky.gone = {"i-001"}
    runner, hosts = run(sky, tmp_path, Pace(1, max_errors=0))
    assert hosts.started() == ["i-000", "i-002"]
    assert runner.courses["i-001"].state == "gone"


def test_between_waves_there_is_a_pause(tmp_path: Path) -> None:
    sky = sky_of([5], behind=False)
    _, hosts = run(
        sky,
        tmp_path,
        Pace(2, max_errors=0, waves=True),
        behaves=lambda name, n: Behaviour(10 if name == "i-000" else 30),
        pause=100.0,
    )
    starts = [moment for moment, what, _ in hosts.log if what == "start"]
    assert starts == pytest.approx([0, 0, 130, 130, 260], abs=2)


@pytest.mark.parametrize("drains", [False, True])
def test_ctrl_c_starts_no_more_and_waits_for_those_that_run(tmp_path: Path, drains: bool) -> None:
    sky = sky_of([4], behind=True)
    interrupts = Interrupts(sky.now)

    def watches(what: str, name: str) -> None:
        if what == "start":
            interrupts.heard()

    terms = {"g0": Terms(Share(0), drains)}
    runner, hosts = run(sky, tmp_path, Pace(2, max_errors=0), terms, watches=watches, interrupts=interrupts)
    states = [one.state for one in runner.courses.values()]
    assert sorted(states) == ["not started", "not started", "succeeded", "succeeded"]
    assert len(hosts.started()) == 2
    assert hosts.stops == 1
    assert all(sky.target(name) == "healthy" for name in sky.hosts)


def test_ctrl_c_twice_leaves_those_that_run_and_says_which(tmp_path: Path) -> None:
    sky = sky_of([4], behind=False)
    interrupts = Interrupts(sky.now)
    sky.watches = lambda: interrupts.heard() if sky.time > 10 and interrupts.count < 2 else None
    runner, hosts = run(
        sky,
        tmp_path,
        Pace(2, max_errors=0),
        behaves=lambda name, n: Behaviour(600 if name == "i-001" else 5),
        interrupts=interrupts,
    )
    states = {name: one.state for name, one in runner.courses.items()}
    assert states["i-001"] == "left running"
    assert states["i-000"] == "succeeded"
    assert sky.time < 30
    assert hosts.closed


def test_a_lost_lease_starts_nobody_else_and_lets_the_running_finish(tmp_path: Path) -> None:
    sky = sky_of([4], behind=True)

    def fails(what: str) -> None:
        if sky.time > 10:
            raise LostLeaseError("bee: the lease is lost")

    sky.fails = fails
    runner, hosts = run(sky, tmp_path, Pace(2, max_errors=0))
    assert isinstance(runner.error, LostLeaseError)
    assert hosts.stops == 1
    assert len(hosts.started()) == 2
    assert sorted(one.state for one in runner.courses.values()) == ["not started", "not started", *["succeeded"] * 2]


def test_a_lease_that_is_lost_while_nodes_leave_their_target_groups_converges_none_of_them(tmp_path: Path) -> None:
    sky = sky_of([4], behind=True)

    def fails(what: str) -> None:
        if sky.time > 10:
            raise LostLeaseError("bee: the lease is lost")

    sky.fails = fails
    runner, hosts = run(sky, tmp_path, Pace(2, max_errors=0), {"g0": Terms(Share(0), drains=True)})
    assert hosts.started() == []
    assert {one.state for one in runner.courses.values()} == {"not started"}


@pytest.mark.parametrize("what", ["look", "Leave", "Return", "Forget", "beat"])
def test_what_aws_does_not_answer_is_tried_again(tmp_path: Path, what: str) -> None:
    sky, left = sky_of([3], behind=True), [3]

    def fails(asked: str) -> None:
        if asked == what and left[0]:
            left[0] -= 1
            raise AwsError("no answer", code="RequestLimitExceeded")

    sky.fails = fails
    runner, _ = run(sky, tmp_path, Pace(2, max_errors=0), {"g0": Terms(Share(50, percent=True), drains=True)})
    assert left == [0]
    assert {one.state for one in runner.courses.values()} == {"succeeded"}
    assert all(sky.target(name) == "healthy" for name in sky.hosts)


def test_where_aws_cannot_be_looked_at_nobody_starts_and_it_ends(tmp_path: Path) -> None:
    sky = sky_of([3], behind=True)

    def fails(asked: str) -> None:
        if asked == "look" and sky.time > 10:
            raise AwsError("no answer")

    sky.fails = fails
    runner, hosts = run(sky, tmp_path, Pace(1, max_errors=0))
    assert len(hosts.started()) == 1
    assert isinstance(runner.error, AwsError)
    assert sky.time < 300
