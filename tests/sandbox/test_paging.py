"""Pages of a list that changes while it is read."""

import pytest

from nodepkg.sandbox.paging import BadTokenError, at_most, page


def number(item: int) -> int:
    return item


def test_pages_give_each_item_once_in_order() -> None:
    first, token = page([3, 1, 2], number, token=None, size=2)
    second, end = page([3, 1, 2], number, token=token, size=2)
    assert (first, second, end) == ([1, 2], [3], None)


def test_a_last_page_that_is_full_has_no_token() -> None:
    assert page([1, 2], number, token=None, size=2) == ([1, 2], None)


def test_an_item_that_goes_between_two_pages_hides_no_other() -> None:
    _, token = page([1, 2, 3, 4], number, token=None, size=2)
    assert page([3, 4], number, token=token, size=2)[0] == [3, 4]


def test_keys_of_several_parts_order_part_by_part() -> None:
    items = [("lt-a", 10), ("lt-a", 9), ("lt-b", 1)]
    first, token = page(items, lambda item: item, token=None, size=2)
    assert first == [("lt-a", 9), ("lt-a", 10)]
    assert page(items, lambda item: item, token=token, size=2) == ([("lt-b", 1)], None)


@pytest.mark.parametrize("token", ["x", "é", "ami-1"])
def test_a_token_of_somebody_else_is_an_error(token: str) -> None:
    with pytest.raises(BadTokenError):
        page([1], number, token=token, size=1)


def test_pages_may_be_shorter_than_asked_for_or_empty() -> None:
    with at_most(1):
        first, token = page([1, 2], number, token=None, size=2)
        with at_most(0):
            nothing, other = page([1, 2], number, token=token, size=2)
    assert (first, nothing) == ([1], [])
    assert other != token
    assert page([1, 2], number, token=other, size=2) == ([2], None)
    with at_most(0):
        _, start = page([1, 2], number, token=None, size=None)
    assert page([1, 2], number, token=start, size=None) == ([1, 2], None)
