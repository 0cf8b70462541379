"""Which images go: the decider on plain values."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from nodepkg.clients.aws.images import Image
from nodepkg.images.clean import DeregisterImage, judge, plan_clean
from nodepkg.images.newest import belongs, newest_available

START = datetime(2026, 1, 1, tzinfo=UTC)


def image(number: int, state: str = "available", days: int | None = None) -> Image:
    created = START + timedelta(days=number if days is None else days)
    return Image(
        f"ami-{number}",
        f"bee {number}",
        created,
        state,
        {"group": "bee", "nodepkg:managed": "true"},
        (f"snap-{number}",),
    )


def deleted(images: list[Image], keep: int, used: dict[str, list[str]] | None = None) -> list[str]:
    return [action.image.id for action in plan_clean(judge(images, used or {}, keep=keep, region="us-east-1"))]


def test_the_newest_stay() -> None:
    assert deleted([image(1), image(3), image(2)], keep=2) == ["ami-1"]


def test_none_to_keep_deletes_all() -> None:
    assert deleted([image(1), image(2)], keep=0) == ["ami-1", "ami-2"]


def test_what_is_in_use_stays_whatever_its_age() -> None:
    assert deleted([image(1), image(2), image(3)], keep=1, used={"ami-1": ["i-1"]}) == ["ami-2"]


def test_one_in_use_does_not_count_less_towards_the_number() -> None:
    assert deleted([image(1), image(2), image(3)], keep=2, used={"ami-3": ["i-1"]}) == ["ami-1"]


def test_a_failed_image_neither_counts_nor_stays() -> None:
    assert deleted([image(1), image(2, "failed")], keep=1) == ["ami-2"]


def test_pending_and_disabled_images_are_not_touched() -> None:
    assert deleted([image(1, "pending"), image(2, "disabled"), image(3)], keep=0) == ["ami-3"]


def test_the_id_decides_between_two_of_one_moment() -> None:
    assert deleted([image(2, days=1), image(1, days=1)], keep=1) == ["ami-1"]


def test_every_verdict_says_why() -> None:
    verdicts = judge(
        [image(1), image(2), image(3)], {"ami-1": ["i-1", "launch template bee version 1"]}, keep=1, region="r"
    )
    assert [verdict.why for verdict in verdicts] == [
        "one of the newest 1",
        "not among the newest 1",
        "in use by i-1, launch template bee version 1",
    ]


def test_an_action_tells_itself() -> None:
    assert str(DeregisterImage(image(1), "us-east-1")) == "deregister bee 1 (ami-1) and its 1 snapshot"


images = st.lists(
    st.builds(
        image, st.integers(1, 30), st.sampled_from(["available", "pending", "failed", "disabled"]), st.integers(0, 5)
    ),
    unique_by=lambda made: made.id,
)


@given(images, st.sets(st.integers(1, 30)), st.integers(0, 5))
def test_only_what_an_independent_count_allows_goes(made: list[Image], used: set[int], keep: int) -> None:
    usage = {f"ami-{number}": ["i-1"] for number in used}
    for identity in deleted(made, keep, usage):
        (gone,) = [one for one in made if one.id == identity]
        newer = [one for one in made if one.state == "available" and (one.created, one.id) > (gone.created, gone.id)]
        assert identity not in usage
        assert gone.state == "failed" or (gone.state == "available" and len(newer) >= keep)


def test_only_managed_images_of_the_group_belong_to_it() -> None:
    assert belongs(image(1), "bee")
    assert not belongs(image(1), "wasp")
    assert not belongs(Image("ami-1", "x", START, "available", {"group": "bee"}), "bee")


def test_the_newest_image_is_one_that_can_be_used() -> None:
    assert newest_available([image(1), image(2, "pending"), image(3, "failed")]) == image(1)
    assert newest_available([image(2, "pending")]) is None
