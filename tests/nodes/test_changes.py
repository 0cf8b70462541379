"""What differs between two merged entries."""

from typing import Any

import pytest
from hypothesis import given

from nodepkg.nodes.changes import changes
from tests.nodes.test_merge import ENTRIES

Entry = dict[str, Any]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1}, {"a": 2}, [("changed", "a", 1, 2)]),
        ({"a": 1}, {}, [("removed", "a", 1, None)]),
        ({}, {"a": None}, [("added", "a", None, None)]),
        ({"a": 1}, {"a": True}, [("changed", "a", 1, True)]),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, []),
        ({"a": {"x": {"p": 1, "q": 1}}}, {"a": {"x": {"p": 2, "q": 1}}}, [("changed", "a.x.p", 1, 2)]),
        ({"a": {"x": [1, 2]}}, {"a": {"x": [2]}}, [("changed", "a.x", [1, 2], [2])]),
        ({"a": False}, {"a": {"x": 1}}, [("changed", "a", False, {"x": 1})]),
        ({"a": [1]}, {"a": None}, [("changed", "a", [1], None)]),
        ({"l": ["a", "c"]}, {"l": ["a", "b", "c"]}, [("added", "l[1]", None, "b")]),
        ({"l": ["a", "b", "c"]}, {"l": ["a", "c"]}, [("removed", "l[1]", "b", None)]),
        ({"l": ["a", "b"]}, {"l": ["a", "c"]}, [("removed", "l[1]", "b", None), ("added", "l[1]", None, "c")]),
        ({"l": [{"d": "x", "s": 1}]}, {"l": [{"d": "x", "s": 2}]}, [("changed", "l[0].s", 1, 2)]),
    ],
)
def test_each_value_that_differs_is_told_once(before: Entry, after: Entry, told: list[Any]) -> None:
    found = changes(before, after)
    assert [(str(one.kind), one.key, one.before, one.after) for one in found] == told


def test_an_item_that_moved_is_told_as_moved() -> None:
    (moved,) = changes({"l": ["a", "b", "c"]}, {"l": ["b", "c", "a"]})
    assert (str(moved.kind), moved.path, moved.was, moved.after) == ("moved", ("l", 2), ("l", 0), "a")


@given(ENTRIES, ENTRIES)
def test_equal_entries_have_no_changes_and_others_have_some(before: Entry, after: Entry) -> None:
    assert changes(before, before) == []
    assert bool(changes(before, after)) == (repr_of(before) != repr_of(after))


def repr_of(value: Any) -> Any:
    """So that 1 and true differ and the order of keys does not count."""
    if isinstance(value, dict):
        return {key: repr_of(item) for key, item in value.items()}
    return [repr_of(item) for item in value] if isinstance(value, list) else repr(value)
