"""What a node believes of the lists that it sees. Time is a number."""

import random

from nodepkg.services.entries import Keys, Leaving, Provider, written
from nodepkg.services.view import Belief, Quiet, View

KEYS = Keys("/nodepkg")
DOUBT = 60.0


def provider(name: str, port: int | None = 80) -> Provider:
    return Provider(name, "bee", f"10.0.0.{name}", port, "a", "", "", "agent")


def these(names: str) -> dict[str, Provider]:
    return {name: provider(name) for name in names}


def belief(names: str = "", *, least: int = 1) -> Belief:
    made = Belief(least, DOUBT)
    made.look(these(names), (), 0)
    return made


def used(made: Belief, names: str, now: float, *, leavers: str = "") -> str:
    made.look(these(names), leavers, now)
    return "".join(sorted(made.used))


def test_what_comes_is_believed_at_once() -> None:
    made = belief()
    assert used(made, "1", 0) == "1"
    assert used(made, "123", 1) == "123"
    assert made.due is None


def test_one_of_many_that_vanishes_is_believed_at_once() -> None:
    made = belief("123")
    assert used(made, "12", 1) == "12"
    assert not made.doubted


def test_half_is_believed_and_less_than_half_is_doubted() -> None:
    made = belief("1234")
    assert used(made, "12", 1) == "12"
    assert used(belief("12345"), "12", 1) == "12345"


def test_an_empty_list_is_doubted_until_it_is_stable() -> None:
    made = belief("1")
    assert used(made, "", 10) == "1"
    assert made.doubted
    assert made.due == 10 + DOUBT
    assert used(made, "", 69.9) == "1"
    assert used(made, "", 70) == ""
    assert not made.doubted
    assert made.due is None


def test_many_that_vanish_one_after_the_other_are_doubted_as_if_at_once() -> None:
    made = belief("123")
    assert used(made, "12", 0) == "12"
    assert used(made, "1", 10) == "123"
    assert used(made, "", 20) == "123"
    assert used(made, "", 79) == "123"
    assert used(made, "", 80) == ""


def test_what_is_stable_without_one_is_the_new_measure() -> None:
    made = belief("1234")
    assert used(made, "12", 0) == "12"
    assert used(made, "12", DOUBT) == "12"
    assert used(made, "1", DOUBT + 1) == "1"


def test_who_says_that_it_leaves_is_believed_even_if_nobody_is_left() -> None:
    made = belief("123")
    assert used(made, "123", 1, leavers="123") == ""
    assert used(made, "", 2, leavers="123") == ""
    assert used(made, "", 3) == ""
    assert not made.doubted


def test_leavers_do_not_count_where_others_vanish() -> None:
    made = belief("1234")
    assert used(made, "1234", 1, leavers="12") == "34"
    assert used(made, "3", 2, leavers="12") == "3"


def test_a_flapping_provider_ends_no_doubt_and_changes_nothing_that_is_used() -> None:
    made = belief("1")
    seen = {used(made, "1" if now % 2 else "", float(now)) for now in range(1, 500)}
    assert seen == {"1"}


def test_fewer_than_the_least_are_doubted() -> None:
    made = belief("1234", least=3)
    assert used(made, "123", 1) == "123"
    assert used(made, "12", 2) == "1234"


def test_a_new_one_counts_while_the_others_are_doubted() -> None:
    made = belief("123")
    assert used(made, "4", 1) == "1234"
    assert used(made, "4", 1 + DOUBT) == "4"


def test_who_comes_back_with_another_port_counts_with_it() -> None:
    made = belief("1")
    made.look({"1": provider("1", 81)}, (), 1)
    assert [one.port for one in made.used.values()] == [81]


def test_what_was_good_before_a_restart_is_the_measure_after_it() -> None:
    made = Belief(1, DOUBT, these("1234"))
    assert used(made, "1", 0) == "1234"


def test_nothing_that_was_used_ever_drops_below_half_without_word_or_time() -> None:
    """Whatever happens within one `doubt`, what is used stays at half of what was good at its beginning, or more."""
    dice = random.Random(7)
    for _ in range(300):
        everybody = "123456789"[: dice.randint(1, 9)]
        made = belief(everybody)
        present = set(everybody)
        for now in range(1, 60):
            present ^= {dice.choice(everybody)}
            shown = used(made, "".join(present), float(now))
            assert present <= set(shown) <= set(everybody)
            assert 2 * len(shown) >= len(everybody)


def test_a_view_takes_keys_in_and_out() -> None:
    view = View(KEYS)
    view.put("/nodepkg/services/api/i-1", written(provider("i-1")), 5)
    view.put("/nodepkg/leaving/i-1", written(Leaving("i-1", "ann", "")), 7)
    view.put("/nodepkg/leaving/i-9", written(Leaving("i-9", "ann", "")), 8)
    assert list(view.present("api")) == ["i-1"]
    assert view.leavers("api") == {"i-1", "i-9"}
    assert (view.heard, view.revision) == (7, 8)
    view.delete("/nodepkg/services/api/i-1", 9)
    view.delete("/nodepkg/leaving/i-1", 10)
    assert not view.present("api")
    assert (set(view.leavers("api")), view.revision) == ({"i-9"}, 10)


def test_who_leaves_with_some_services_stays_with_the_others() -> None:
    view = View(KEYS)
    view.put("/nodepkg/leaving/i-1", written(Leaving("i-1", "agent", "", ("api",))), 1)
    assert view.leavers("api") == {"i-1"}
    assert not view.leavers("web")


def test_what_cannot_be_read_is_no_provider_and_leaves_all_the_same() -> None:
    view = View(KEYS)
    for number, value in enumerate(["", "{", "[1]", '{"instance": 7}', '"x"', written(provider("1"))[:-5]]):
        view.put("/nodepkg/services/api/i-1", value, number)
        assert dict(view.present("api")) == {}
    view.put("/nodepkg/leaving/i-1", "garbage", 9)
    assert view.leavers("api") == {"i-1"}


def test_a_burst_is_quiet_once_and_does_not_last_for_ever() -> None:
    quiet = Quiet(2, 30)
    assert quiet.due is None
    quiet.changed(10)
    quiet.changed(11)
    assert quiet.due == 13
    for now in range(12, 60):
        quiet.changed(now)
    assert quiet.due == 40
    quiet.settled()
    assert quiet.due is None
