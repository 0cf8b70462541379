"""Which images go: the decider on plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from nodepkg.clients.aws.images import UNDATED, Image, Snapshot
from nodepkg.images.clean import Judgement, Rules, judge, too_many, written
from nodepkg.images.newest import belongs, newest_available
from tests.images.pictures import REGION, START, image, snapshot, usage

NOW = START + timedelta(days=100)


def rules(keep: int = 0, older_than: timedelta = timedelta()) -> Rules:
    return Rules({REGION: ["bee"]}, keep, NOW, older_than)


def deleted(images: list[Image], keep: int, used: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    return [verdict.image.id for verdict in rules(keep).judge(usage(images, used)).doomed]


def why(made: Image, used: Sequence[str] = (), keep: int = 0, older_than: timedelta = timedelta()) -> str:
    """The reason why it is kept, or "deleted: …"."""
    picture = usage([made], {made.id: used} if used else {})
    (verdict,) = judge([made], picture, group="bee", keep=keep, older_than=older_than, now=NOW)
    return verdict.why if verdict.kept else f"deleted: {verdict.why}"


def orphaned(*snapshots: Snapshot, images: Sequence[Image] = (), older_than: timedelta = timedelta()) -> list[str]:
    judgement = rules(older_than=older_than).judge(usage(images, snapshots=snapshots))
    return [orphan.snapshot.id for orphan in judgement.orphans]


def test_the_newest_stay() -> None:
    assert deleted([image(1), image(3), image(2)], keep=2) == ["ami-1"]


def test_none_to_keep_deletes_all() -> None:
    assert deleted([image(2), image(1)], keep=0) == ["ami-1", "ami-2"]


def test_what_is_in_use_stays_whatever_its_age() -> None:
    assert deleted([image(1), image(2), image(3)], keep=1, used={"ami-1": ["i-1"]}) == ["ami-2"]


def test_one_in_use_does_not_count_less_towards_the_number() -> None:
    assert deleted([image(1), image(2), image(3)], keep=2, used={"ami-3": ["i-1"]}) == ["ami-1"]


def test_a_failed_image_neither_counts_nor_stays() -> None:
    assert deleted([image(1), image(2, "failed")], keep=1) == ["ami-2"]


def test_disabled_and_protected_images_count_only_if_they_are_available() -> None:
    images = [image(1), image(2), image(3, "disabled"), image(4, protected=True)]
    assert deleted(images, keep=1) == ["ami-1", "ami-2"]


def test_the_id_decides_between_two_of_one_moment() -> None:
    assert deleted([image(2, days=1), image(1, days=1)], keep=1) == ["ami-1"]


def test_an_image_without_a_date_stays_and_a_failed_one_goes() -> None:
    undated = replace(image(1), created=UNDATED)
    assert why(undated).startswith("has no creation date")
    assert why(replace(undated, state="failed")) == "deleted: failed"


def test_each_group_keeps_its_own_newest() -> None:
    both = Rules({REGION: ["bee", "wasp"], "eu-west-1": ["ant"]}, 1, NOW)
    images = [image(1), image(2), image(3, group="wasp"), image(4, group="wasp"), image(5, group="ant"), image(6)]
    judgement = both.judge(usage(images))
    assert [verdict.image.id for verdict in judgement.doomed] == ["ami-1", "ami-2", "ami-3"]
    assert {verdict.group for verdict in judgement.verdicts} == {"bee", "wasp"}


def test_what_is_not_managed_is_not_even_looked_at() -> None:
    stranger = replace(image(1), tags={"group": "bee"})
    assert rules().judge(usage([stranger])).verdicts == ()


@pytest.mark.parametrize(
    ("made", "used", "expected"),
    [
        (image(1), (), "deleted: not among the newest 0"),
        (image(1, "failed"), (), "deleted: failed"),
        (image(1), ("i-0a (stopped)", "template b version 3"), "in use by i-0a (stopped), template b version 3"),
        (image(1, "failed"), ("i-1 (running)",), "in use by i-1 (running)"),
        (image(1, "pending"), (), "is pending"),
        (image(1, "disabled"), (), "is disabled"),
        (image(1, "invalid"), (), "is invalid"),
        (image(1, "disabled"), ("i-1 (running)",), "is disabled, in use by i-1 (running)"),
        (image(1, protected=True), (), "is protected from deregistration"),
        (image(1, "failed", protected=True), (), "is protected from deregistration"),
        (image(1, tags={"nodepkg:keep": ""}), (), "tagged nodepkg:keep"),
        (image(1), ("base of ami-2 (group wasp)",), "base of ami-2 (group wasp)"),
        (image(1), ("i-1 (running)", "base of ami-2"), "in use by i-1 (running); base of ami-2"),
        (image(1), ("served",), "served: a rollback needs it"),
        (image(1), ("i-1 (running)", "served"), "in use by i-1 (running); served: a rollback needs it"),
        (image(1), tuple(f"i-{number}" for number in range(8)), "in use by i-0, i-1, i-2, i-3, i-4 and 3 more"),
    ],
)  # fmt: skip
def test_every_verdict_says_why(made: Image, used: Sequence[str], expected: str) -> None:
    assert why(made, used) == expected


def test_one_that_stays_by_number_says_the_number() -> None:
    assert why(image(1), keep=10) == "one of the newest 10"


def test_older_than_spares_what_is_younger() -> None:
    week_old = image(93)
    assert why(week_old, older_than=timedelta(days=14)) == "younger than 14d"
    assert why(week_old, older_than=timedelta(days=7)).startswith("deleted")
    assert why(replace(week_old, state="failed"), older_than=timedelta(days=8)) == "younger than 8d"


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(days=14), "14d"),
        (timedelta(hours=36), "1d12h"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(), "0s"),
    ],
)
def test_a_span_is_written_as_it_is_read(span: timedelta, text: str) -> None:
    assert written(span) == text


def test_a_snapshot_whose_image_is_gone_goes() -> None:
    assert orphaned(snapshot(1)) == ["snap-1"]


@pytest.mark.parametrize(
    "kept",
    [
        snapshot(2),  # its image is there, though it does not list it
        snapshot(9, of="ami-9 from SourceAmi ami-2"),
        snapshot(3, of="ami-9"),  # another image has it
        replace(snapshot(1), tags={"group": "bee", "nodepkg:image-snapshot": "true"}),
        snapshot(1, group="wasp"),
        snapshot(1, hours=24 * 100 - 1),
    ],
)
def test_a_snapshot_that_may_be_needed_stays(kept: Snapshot) -> None:
    images = [image(2, "disabled", snapshots=[]), image(4, snapshots=["snap-3"])]
    assert orphaned(kept, images=images) == []


def test_of_a_snapshot_that_names_no_image_a_pending_one_may_be_made() -> None:
    unnamed = replace(snapshot(1), description="")
    assert orphaned(unnamed, images=[image(5, "pending", group="wasp")]) == ["snap-1"]
    assert orphaned(unnamed, images=[image(5, "pending", snapshots=[])]) == []


def test_older_than_spares_younger_snapshots_too() -> None:
    assert orphaned(snapshot(1, hours=24 * 95), older_than=timedelta(days=14)) == []
    assert orphaned(snapshot(1, hours=24 * 95), older_than=timedelta(days=4)) == ["snap-1"]


def test_more_than_the_most_is_refused_and_snapshots_count() -> None:
    judgement = rules().judge(usage([image(1), image(2)], snapshots=[snapshot(9)]))
    assert too_many([judgement], 3) is None
    refused = too_many([judgement], 2)
    assert refused == "the plan deletes 2 images and 1 orphaned snapshot, more than --max-delete 2: nothing is deleted"
    assert too_many([judgement, judgement], 5) is not None


def frees(judgement: Judgement) -> int:
    return judgement.frees_gb


def test_what_is_freed_are_the_volumes_of_what_goes() -> None:
    one = rules(1).judge(usage([image(1), image(2), image(3)], snapshots=[snapshot(9, gb=5)]))
    assert frees(one) == 8 + 8 + 5


def test_a_shared_snapshot_frees_nothing_while_another_image_has_it() -> None:
    images = [image(1, snapshots=["snap-9"]), image(2, snapshots=["snap-9"]), image(3, snapshots=["snap-9"])]
    known = [snapshot(9)]
    assert frees(rules(1).judge(usage(images, snapshots=known))) == 0
    assert frees(rules(0).judge(usage(images, snapshots=known))) == 8


def test_only_managed_images_of_the_group_belong_to_it() -> None:
    assert belongs(image(1), "bee")
    assert not belongs(image(1), "wasp")
    assert not belongs(replace(image(1), tags={"group": "bee"}), "bee")


def test_the_newest_image_is_one_that_can_be_used() -> None:
    assert newest_available([image(1), image(2, "pending"), image(3, "failed")]) == image(1)
    assert newest_available([image(2, "pending")]) is None
