"""Whose turn it is: from plain values, every case that counts."""

from itertools import product

import pytest

from nodepkg.services.turn import CONVERGING, FAILED, Canary, Holder, Picture, Turn, Who, picture, turn

ME, OTHER = Who("i-1", "agent-a"), Who("i-2", "agent-b")
CLONE = Who("i-3", ME.agent)


def canary(who: Who, state: str = CONVERGING, revision: int = 7) -> Canary:
    return Canary(who.instance, who.agent, revision, state)


@pytest.mark.parametrize(
    ("seen", "revision", "expected"),
    [
        pytest.param(Picture({}, None, 7), 7, Turn(0, canary=False), id="proven"),
        pytest.param(Picture({}, None, 7), 8, Turn(0, canary=True), id="nobody has shown it yet"),
        pytest.param(Picture({}), 1, Turn(0, canary=True), id="the first change ever"),
        pytest.param(Picture({0: OTHER}, None, 7), 7, None, id="all slots are taken"),
        pytest.param(Picture({0: OTHER}, None, 7), 8, None, id="a canary needs a slot, too"),
        pytest.param(Picture({}, canary(OTHER, FAILED), 6), 7, None, id="it failed on another node"),
        pytest.param(Picture({}, canary(OTHER, FAILED), 6), 8, None, id="and a newer change may be as bad"),
        pytest.param(Picture({}, canary(OTHER, FAILED, 9), 7), 7, Turn(0, canary=False), id="what is older is proven"),
        pytest.param(Picture({}, canary(ME, FAILED), 6), 7, Turn(0, canary=True), id="who failed tries again"),
        pytest.param(Picture({}, canary(ME, FAILED), 9), 7, Turn(0, canary=True), id="and takes its key away"),
        pytest.param(Picture({}, canary(ME), 6), 8, Turn(0, canary=True), id="its own earlier try"),
        pytest.param(Picture({}, canary(CLONE, FAILED), 6), 7, None, id="a node with the same agent is another"),
        pytest.param(Picture({}, canary(OTHER), 6), 7, Turn(0, canary=True), id="a canary that has lost its slot"),
    ],
)
def test_who_may_go_on(seen: Picture, revision: int, expected: Turn | None) -> None:
    assert turn(seen, ME, revision, 1) == expected


def test_while_a_canary_converges_the_others_wait_though_slots_are_free() -> None:
    seen = Picture({1: OTHER}, canary(OTHER), 6)
    assert turn(seen, ME, 7, 5) is None
    assert turn(seen, ME, 6, 5) is not None


def test_the_slots_that_may_be_taken_never_make_more_than_may_converge() -> None:
    for taken in product([False, True], repeat=6):
        held = {number: OTHER for number, is_taken in enumerate(taken) if is_taken}
        for at_once in range(1, 7):
            room = set()
            for number in range(40):
                if mine := turn(Picture(held, None, 7), Who(f"i-{number}", "a"), 7, at_once):
                    room.add(mine.slot)
            assert not room & set(held)
            assert len(held) + len(room) <= max(at_once, len(held))
            if not any(taken[at_once:]):  # so many might converge before, too
                assert room == set(range(at_once)) - set(held)


def test_what_stands_in_etcd_is_read_as_it_was_written() -> None:
    known = canary(OTHER, FAILED)
    values = {"slot/3": Holder("i-1", "agent-a", "2026-01-01T00:00:00+00:00").written(), "canary": known.written()}
    assert picture({**values, "proven": "12"}) == Picture({3: ME}, known, 12)


@pytest.mark.parametrize("value", ["", "x", "[]", "null", '{"agent":1}', "[" * 100_000, '{"agent":"a","revision":"9"}'])
def test_what_cannot_be_read_keeps_its_slot_and_holds_nobody_back(value: str) -> None:
    held = {"slot/0": value}
    assert set(picture({**held, "slot/x": value, "slot/²": value}).holders) == {0}
    seen = picture({**held, "canary": value, "proven": f"-{value}"})
    assert (seen.canary, seen.proven) == (None, 0)
    assert turn(seen, ME, 1, 1) is None
    assert turn(seen, ME, 1, 2) == Turn(1, canary=True)


def test_a_canary_of_no_known_state_or_with_a_number_that_is_none_counts_for_nothing() -> None:
    for made in (canary(OTHER, "asleep"), Canary("i", "a", True), Canary("i", "a", 1.5)):  # type: ignore[arg-type]
        assert picture({"canary": made.written()}).canary is None
