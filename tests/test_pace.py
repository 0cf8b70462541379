"""Who goes next, whatever depends on whatever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepkg.pace import Pace, Progress, Room, Share, floor, next_up, room_above, share, skipped


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, list[str]], frozenset[str], int, bool]:
    """What needs what (never in a circle), which of them fail, how many run at once, and fail_fast."""
    count = draw(st.integers(min_value=0, max_value=12))
    names = [f"g{number}" for number in range(count)]
    needs = {
        name: draw(st.lists(st.sampled_from([*names[:at], "elsewhere"]), max_size=3, unique=True))
        for at, name in enumerate(names)
    }
    shuffled = {name: needs[name] for name in draw(st.permutations(names))}
    failing = frozenset(draw(st.lists(st.sampled_from(names), unique=True)) if names else [])
    return shuffled, failing, draw(st.integers(min_value=1, max_value=5)), draw(st.booleans())


def needed(needs: dict[str, list[str]], name: str) -> set[str]:
    """All that a name needs, directly or not."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for need in needs.get(waiting.pop(), []):
            if need in needs and need not in found:
                found.add(need)
                waiting.append(need)
    return found


@given(worlds(), st.randoms())
def test_everything_ends_done_failed_or_skipped_in_the_right_order(
    world: tuple[dict[str, list[str]], frozenset[str], int, bool], random: object
) -> None:
    needs, failing, at_once, fail_fast = world
    pace = Pace(at_once, max_errors=0 if fail_fast else None)
    progress, begun_after_a_failure = Progress(), False
    while ready := next_up(needs, progress, pace) or progress.running:
        starts = [name for name in ready if name not in progress.running]
        assert len(progress.running) + len(starts) <= at_once
        assert all(needed(needs, name) <= progress.done for name in starts)
        begun_after_a_failure |= bool(starts and progress.failed)
        running = progress.running | set(starts)
        ends = random.choice(sorted(running))  # type: ignore[attr-defined]
        ended = {"failed" if ends in failing else "done": ends}
        progress = Progress(
            running - {ends},
            progress.done | {ended["done"]} if "done" in ended else progress.done,
            progress.failed | {ended["failed"]} if "failed" in ended else progress.failed,
        )
    left = skipped(needs, progress, pace)
    assert set(left) == set(needs) - progress.done - progress.failed
    assert all(because in progress.failed for because in left.values())
    if fail_fast:
        assert not begun_after_a_failure
    else:
        assert set(left) == {
            name for name in needs if needed(needs, name) & progress.failed and name not in progress.failed
        }
        assert progress.failed == failing - set(left)
        assert all(because in needed(needs, name) for name, because in left.items())


def test_they_start_in_their_order_as_places_come_free() -> None:
    needs = {"a": [], "b": ["a"], "c": [], "d": []}
    assert next_up(needs, Progress(), Pace(2)) == ["a", "c"]
    assert next_up(needs, Progress(running=frozenset({"a", "c"})), Pace(2)) == []
    assert next_up(needs, Progress(frozenset({"c"}), frozenset({"a"})), Pace(2)) == ["b"]


def flat(count: int) -> dict[str, list[str]]:
    return {f"h{number}": [] for number in range(count)}


def test_the_canary_goes_alone_and_the_rest_when_it_is_done() -> None:
    needs, pace = flat(5), Pace(3, canary=2, max_errors=4)
    assert next_up(needs, Progress(), pace) == ["h0", "h1"]
    assert next_up(needs, Progress(running=frozenset({"h0"}), done=frozenset({"h1"})), pace) == []
    assert next_up(needs, Progress(done=frozenset({"h0", "h1"})), pace) == ["h2", "h3", "h4"]


def test_a_canary_that_fails_stops_all_however_many_errors_are_allowed() -> None:
    needs, pace = flat(3), Pace(3, canary=1, max_errors=9)
    failed = Progress(failed=frozenset({"h0"}))
    assert next_up(needs, failed, pace) == []
    assert skipped(needs, failed, pace) == {"h1": "h0", "h2": "h0"}


def test_one_error_more_than_allowed_stops_all_that_has_not_begun() -> None:
    needs, pace = flat(5), Pace(2, max_errors=1)
    assert next_up(needs, Progress(failed=frozenset({"h0"})), pace) == ["h1", "h2"]
    assert next_up(needs, Progress(failed=frozenset({"h0", "h1"})), pace) == []


def test_waves_begin_when_nothing_runs() -> None:
    needs, pace = flat(5), Pace(2, waves=True)
    assert next_up(needs, Progress(running=frozenset({"h0"}), done=frozenset({"h1"})), pace) == []
    assert next_up(needs, Progress(done=frozenset({"h0", "h1"})), pace) == ["h2", "h3"]


def test_a_group_without_room_lets_those_of_others_pass() -> None:
    room = Room({"a": 1, "b": 0}, {"h0": "a", "h1": "a", "h2": "b", "h3": "c", "h4": "c"})
    assert next_up(flat(5), Progress(), Pace(9), room) == ["h0", "h3", "h4"]
    assert next_up(flat(5), Progress(), Pace(2), room) == ["h0", "h3"]


@given(st.integers(0, 100), st.integers(0, 2000))
def test_a_percentage_is_rounded_to_either_side_of_what_it_is(percent: int, total: int) -> None:
    exact = percent * total / 100
    assert Share(percent, percent=True).down(total) == int(exact + 1e-9)
    assert 0 <= Share(percent, percent=True).up(total) - exact < 1


@pytest.mark.parametrize("text", ["0", "3", "25%", "0%", "100%"])
def test_a_share_says_itself(text: str) -> None:
    assert str(share(text)) == text


@pytest.mark.parametrize("text", ["", "%", "-1", "101%", "1.5", "3 %", "٣", "10000000"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number"):
        share(text)


@given(st.integers(0, 100), st.integers(0, 500))
def test_the_floor_leaves_one_that_may_go(percent: int, total: int) -> None:
    least = floor(Share(percent, percent=True), total)
    assert 0 <= least <= max(total - 1, 0)
    assert least >= min(percent * total / 100, max(total - 1, 0))


def test_the_floor_bounds_those_that_drain_one_by_one_and_the_others_only_when_it_is_passed() -> None:
    assert room_above(9, 10, drains=True) == 1
    assert room_above(9, 8, drains=True) == 0
    assert room_above(9, 9, drains=False) is None
    assert room_above(9, 8, drains=False) == 0
