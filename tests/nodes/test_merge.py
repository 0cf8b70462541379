"""The merge rules of the issue, one by one, and against an oracle that is written another way."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodepkg.nodes.merge import merge

Entry = dict[str, Any]


@pytest.mark.parametrize(
    ("parent", "child", "merged"),
    [
        pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [1, 2, 3]}, id="lists append, parent first"),
        pytest.param({"a": [1]}, {"a": [1]}, {"a": [1, 1]}, id="a repeated item stays"),
        pytest.param({"a": [1]}, {"a": []}, {"a": [1]}, id="an empty list adds nothing"),
        pytest.param({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}, id="dicts merge"),
        pytest.param({"a": {"x": 1}}, {"a": {"x": 2}}, {"a": {"x": 2}}, id="a key of both is the child's"),
        pytest.param(
            {"a": {"x": {"p": 1}}}, {"a": {"x": {"q": 2}}}, {"a": {"x": {"q": 2}}}, id="dicts at level 1 only"
        ),
        pytest.param({"a": {"x": [1]}}, {"a": {"x": [2]}}, {"a": {"x": [2]}}, id="lists in dicts do not append"),
        pytest.param({"a": {"x": 1}}, {"a": {}}, {"a": {"x": 1}}, id="an empty dict changes nothing"),
        pytest.param({"a": "x"}, {"a": "y"}, {"a": "y"}, id="strings override"),
        pytest.param({"a": 1}, {"a": 0}, {"a": 0}, id="zero overrides"),
        pytest.param({"a": True}, {"a": False}, {"a": False}, id="false overrides"),
        pytest.param({"a": [1]}, {"a": None}, {"a": None}, id="null overrides a list"),
        pytest.param({"a": {"x": 1}}, {"a": None}, {"a": None}, id="null overrides a dict"),
        pytest.param({"a": None}, {"a": [1]}, {"a": [1]}, id="a list overrides null"),
        pytest.param({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}, id="a dict overrides null"),
        pytest.param({"a": [1]}, {"a": {"x": 1}}, {"a": {"x": 1}}, id="a dict overrides a list"),
        pytest.param({"a": {"x": 1}}, {"a": [1]}, {"a": [1]}, id="a list overrides a dict"),
        pytest.param({"a": [1]}, {"a": "x"}, {"a": "x"}, id="a string overrides a list"),
        pytest.param({"a": False}, {"a": {"x": 1}}, {"a": {"x": 1}}, id="a dict overrides false"),
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="keys of one side stay"),
    ],
)
def test_a_child_is_laid_over_its_parent(parent: Entry, child: Entry, merged: Entry) -> None:
    assert merge([parent, child]) == merged


def test_no_entries_make_an_empty_one() -> None:
    assert merge([]) == {}


def test_the_parent_gives_the_order_of_keys() -> None:
    assert list(merge([{"a": 1, "b": 2}, {"c": 3, "b": 4, "a": 5}])) == ["a", "b", "c"]
    assert list(merge([{"d": {"a": 1, "b": 2}}, {"d": {"c": 3, "a": 4}}])["d"]) == ["a", "b", "c"]


def test_a_list_that_null_ended_begins_anew() -> None:
    assert merge([{"a": [1]}, {"a": None}, {"a": [2]}]) == {"a": [2]}


def test_lists_of_a_chain_append_from_the_first_to_the_last() -> None:
    assert merge([{"a": [1]}, {"a": [2]}, {}, {"a": [3]}]) == {"a": [1, 2, 3]}


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
CHAINS = st.lists(ENTRIES, max_size=5)


def oracle(chain: list[Entry]) -> Entry:
    merged: Entry = {}
    for key in {key for entry in chain for key in entry}:
        value, *later = [entry[key] for entry in chain if key in entry]
        for after in later:
            if type(value) is type(after) is list:
                value = [*value, *after]
            elif type(value) is type(after) is dict:
                value = {name: after.get(name, value.get(name)) for name in {*value, *after}} | after
            else:
                value = after
        merged[key] = value
    return merged


@settings(max_examples=600, deadline=None)
@given(CHAINS)
def test_the_merge_is_what_the_oracle_says(chain: list[Entry]) -> None:
    assert merge(chain) == oracle(chain)


@settings(max_examples=300, deadline=None)
@given(CHAINS)
def test_no_entry_is_changed_by_a_merge(chain: list[Entry]) -> None:
    before = deepcopy(chain)
    merge(chain)
    assert chain == before


@settings(max_examples=300, deadline=None)
@given(CHAINS, CHAINS)
def test_a_merge_of_merges_is_one_merge(first: list[Entry], second: list[Entry]) -> None:
    assert merge([merge(first), *second]) == merge([*first, *second])
