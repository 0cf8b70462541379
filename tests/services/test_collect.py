"""The two maps that chef-solo is given."""

from dataclasses import replace

from nodepkg.services.collect import attributes, maps, wanted
from nodepkg.services.terms import Offer, Where
from tests.services.nodes import provider, terms

TERMS = replace(
    terms(provides=("api",), requires=("db", "queue", "api")), external={"db": (Where("db.internal", 5432),)}
)


def test_the_lists_are_of_what_is_required_and_provided_and_have_this_node() -> None:
    used = {"queue": {"i-2": provider("i-2", 80), "i-1": provider("i-1", 90)}, "other": {"i-3": provider("i-3")}}
    found = maps(TERMS, used, {"api": Where("10.0.0.9", 8080)})
    assert found == {
        "services": {
            "db": [{"host": "db.internal", "port": 5432}],
            "queue": [{"host": "host-i-1", "port": 90}, {"host": "host-i-2", "port": 80}],
            "api": [{"host": "10.0.0.9", "port": 8080}],
        },
        "available": {"api": True},
    }


def test_a_node_that_has_announced_itself_is_listed_once() -> None:
    used = {"api": {"i-9": replace(provider("i-9", 8080), address="10.0.0.9")}}
    assert maps(TERMS, used, {"api": Where("10.0.0.9", 8080)})["services"]["api"] == [
        {"host": "10.0.0.9", "port": 8080}
    ]


def test_what_is_to_be_deleted_is_not_available() -> None:
    assert maps(TERMS, {}, {}, ["old"])["available"] == {"old": False, "api": True}


def test_what_came_back_is_available() -> None:
    assert maps(TERMS, {}, {}, ["api"])["available"] == {"api": True}


def test_the_attribute_has_the_name_that_nodes_json_gives() -> None:
    assert attributes(replace(TERMS, attribute="seatgeek-services"), {"services": {}}) == {
        "seatgeek-services": {"services": {}}
    }


def test_without_a_port_it_is_null() -> None:
    made = replace(TERMS, provides=(Offer("api", None, None),), requires=())
    assert maps(made, {}, {"api": Where("h", None)})["services"] == {"api": [{"host": "h", "port": None}]}
    assert wanted(made) == ["api"]
