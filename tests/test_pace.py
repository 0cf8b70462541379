"""Who goes next, whatever depends on whatever."""

from hypothesis import given
from hypothesis import strategies as st

from nodepkg.pace import Progress, next_up, skipped


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
    progress, begun_after_a_failure = Progress(), False
    while ready := next_up(needs, progress, at_once=at_once, fail_fast=fail_fast) or progress.running:
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
    left = skipped(needs, progress, fail_fast=fail_fast)
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
    assert next_up(needs, Progress(), at_once=2) == ["a", "c"]
    assert next_up(needs, Progress(running=frozenset({"a", "c"})), at_once=2) == []
    assert next_up(needs, Progress(frozenset({"c"}), frozenset({"a"})), at_once=2) == ["b"]
