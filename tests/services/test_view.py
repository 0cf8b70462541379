"""What a node believes of the lists that it sees. Time is a number."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.etcd.values import Item, Listing
from nodepkg.services import entries
from nodepkg.services.collect import maps
from nodepkg.services.entries import Keys, Leaving, Provider, written
from nodepkg.services.state import StateFile, new
from nodepkg.services.view import Belief, Quiet, View
from tests.services.nodes import terms

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


def listing(revision: int, **values: str) -> Listing:
    return Listing(revision, tuple(Item(KEYS.provider("api", name), v, 1, 1) for name, v in values.items()))


def test_who_leaves_is_heard_whichever_watch_is_ahead() -> None:
    """Whoever withdraws waits until this revision is acknowledged, so it must not be missed."""
    view = View(KEYS)
    view.put(KEYS.leaving("1"), written(Leaving("1", "ann", "")), 8)
    assert view.heard == 0  # nobody whom this node uses
    view.put(KEYS.provider("api", "1"), written(provider("1")), 7)
    assert view.heard == 8
    view.delete(KEYS.leaving("1"), 9)
    view.put(KEYS.provider("api", "1"), written(provider("1", 81)), 10)
    assert view.heard == 8


def test_an_etcd_that_was_set_up_anew_counts_anew() -> None:
    """Else what is said there to leave would be acknowledged before anybody has heard it."""
    view = View(KEYS)
    view.take(listing(1000, one=written(provider("one"))))
    view.put(KEYS.provider("api", "two"), written(provider("two")), 1001)
    assert (view.heard, view.revision) == (1000, 1001)
    view.take(listing(5))
    assert (view.heard, view.revision, view.present("api")) == (5, 5, {})


@pytest.mark.parametrize(
    "change",
    [{"port": 0}, {"port": 65536}, {"port": True}, {"port": "80"}, {"address": None}, {"address": "half \ud800 of it"}],
)
def test_what_is_no_announcement_is_none(change: dict[str, Any]) -> None:
    whole = asdict(provider("1"))
    assert entries.provider(json.dumps(whole)) == provider("1")
    assert entries.provider(json.dumps({**whole, **change})) is None


@pytest.mark.parametrize("host", ["$(reboot)", "a\nb; rm -rf /", "\x1b[2J", "zürich\u202e", "x" * 500_000])
def test_a_host_is_data_whatever_it_says(host: str, tmp_path: Path) -> None:
    """It is remembered, and comes back, as it is."""
    file, found = StateFile(tmp_path), entries.provider(written(replace(provider("1"), address=host)))
    assert found
    attributes = maps(terms(requires=("api",)), {"api": {"1": found}}, {})
    file.write(replace(new(), attributes=attributes, good={"api": {"1": found}}))
    again = file.read()
    assert again.attributes == attributes == {"services": {"api": [{"host": host, "port": 80}]}, "available": {}}
    assert again.good["api"]["1"] == found
    assert file.path.stat().st_mode & 0o77 == 0


@pytest.mark.parametrize(
    "attributes", [[], "x", {"services": []}, {"available": "x"}, {"services": None}, {"services": {"api": 1}}]
)
def test_a_state_that_is_no_state_is_begun_anew(attributes: Any, tmp_path: Path) -> None:
    file = StateFile(tmp_path)
    file.write(new())
    document = json.loads(file.path.read_text())
    file.path.write_text(json.dumps({**document, "attributes": attributes}))
    assert file.read().attributes is None
    assert "is damaged, and begun anew" in file.damaged
