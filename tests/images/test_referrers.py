"""What refers to which image: lists joined, on plain values."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepkg.clients.aws.autoscaling import AutoScalingGroup, Override
from nodepkg.clients.aws.ec2 import Instance
from nodepkg.clients.aws.images import Image
from nodepkg.clients.aws.templates import TemplatePin, TemplateVersion
from nodepkg.images.referrers import Referrers, references

START = datetime(2026, 1, 1, tzinfo=UTC)


def image(number: int, group: str = "bee", state: str = "available", **tags: str) -> Image:
    ours = {"group": group, "nodepkg:managed": "true"} if group else {}
    named = {f"nodepkg:{key}": value for key, value in tags.items()}
    return Image(f"ami-{number}", f"{group} {number}", START + timedelta(days=number), state, ours | named)


def version(number: int, image: str | None, name: str = "web", *, default: bool = False) -> TemplateVersion:
    return TemplateVersion(name, number, image, default, template_id=f"lt-{name}")


def pin(version: str, name: str | None = "web", id: str | None = None) -> TemplatePin:
    return TemplatePin(id, name, version)


def group(
    name: str = "web-v001",
    template: TemplatePin | None = None,
    *overrides: Override,
    configuration: str | None = None,
) -> AutoScalingGroup:
    return AutoScalingGroup(name, {}, 0, 0, 0, (), template, configuration, overrides)


def found(
    known: Referrers, *images: Image, keep_served: int = 2, resolved: Mapping[str, str] | None = None
) -> Mapping[str, tuple[str, ...]]:
    return references(images, known, resolved or {}, keep_served=keep_served)


def test_an_instance_refers_to_its_image_in_every_state() -> None:
    known = Referrers(instances=[Instance("i-2", "stopped", "ami-1"), Instance("i-1", "running", "ami-1")])
    assert found(known) == {"ami-1": ("i-1 (running)", "i-2 (stopped)")}


def test_a_launch_configuration_counts_and_so_does_the_group_that_uses_it() -> None:
    known = Referrers(configurations={"old": "ami-1", "older": "ami-2"}, groups=[group(configuration="old")])
    assert found(known) == {
        "ami-1": ("launch configuration old", "ASG web-v001: launch configuration old"),
        "ami-2": ("launch configuration older",),
    }


def test_a_version_that_only_a_group_pins_counts_for_the_group() -> None:
    known = Referrers(
        versions=[version(9, "ami-9", default=True)], pinned=[version(3, "ami-3")], groups=[group(template=pin("3"))]
    )
    assert found(known) == {
        "ami-3": ("ASG web-v001: launch template web version 3",),
        "ami-9": ("launch template web version 9",),
    }


def test_a_version_that_was_read_beside_the_pinned_one_counts_for_nothing() -> None:
    known = Referrers(pinned=[version(2, "ami-2"), version(3, "ami-3")], groups=[group(template=pin("3"))])
    assert set(found(known)) == {"ami-3"}


@pytest.mark.parametrize(
    ("pinned", "meant"),
    [
        (pin("1"), "ami-1"),
        (pin("$Default"), "ami-1"),
        (pin("$Latest"), "ami-2"),
        (pin("2", None, "lt-web"), "ami-2"),
        (pin("2", "another name", "lt-web"), "ami-2"),  # the id counts
    ],
)
def test_a_group_names_a_version_by_number_or_word_and_its_template_by_name_or_id(
    pinned: TemplatePin, meant: str
) -> None:
    known = Referrers(
        versions=[version(1, "ami-1", default=True), version(2, "ami-2"), version(7, "ami-7", "wasp", default=True)],
        groups=[group(template=pinned)],
    )
    users = [one for one, by in found(known).items() if any("ASG" in reference for reference in by)]
    assert users == [meant]


@pytest.mark.parametrize(
    "pinned", [pin("3"), pin("1", "gone"), pin("1", "web", "lt-before"), pin("x"), pin("$Latest", "gone")]
)
def test_a_pin_to_what_is_gone_refers_to_nothing(pinned: TemplatePin) -> None:
    known = Referrers(versions=[version(1, "ami-1", default=True)], groups=[group(template=pinned)])
    assert found(known) == {"ami-1": ("launch template web version 1",)}


def test_overrides_refer_to_a_template_or_an_image_of_their_own() -> None:
    known = Referrers(
        versions=[version(1, "ami-1", default=True), version(5, "ami-5", "arm", default=True)],
        pinned=[version(4, "ami-4", "arm")],
        groups=[
            group(
                "web-v001",
                pin("1"),
                Override(pin("4", "arm")),
                Override(image="ami-6"),
                Override(image="resolve:ssm:/a"),
            )
        ],
    )
    assert found(known, resolved={"resolve:ssm:/a": "ami-7"}) == {
        "ami-1": ("launch template web version 1", "ASG web-v001: launch template web version 1"),
        "ami-4": ("override of ASG web-v001: launch template arm version 4",),
        "ami-5": ("launch template arm version 5",),
        "ami-6": ("override of ASG web-v001: ami-6",),
        "ami-7": ("override of ASG web-v001: resolve:ssm:/a",),
    }


def test_what_is_told_twice_is_told_once() -> None:
    override = Override(image="ami-1")
    known = Referrers(groups=[group("web-v001", None, override, override)])
    assert found(known) == {"ami-1": ("override of ASG web-v001: ami-1",)}


def test_the_base_of_another_groups_newest_image_is_in_use() -> None:
    assert found(Referrers(), image(1), image(2, "wasp", source_ami="ami-1")) == {
        "ami-1": ("base of ami-2 (group wasp)",)
    }


def test_the_base_of_an_image_that_is_not_current_is_not_in_use() -> None:
    images = [image(1), image(2, "wasp", source_ami="ami-1"), image(3), image(4, "wasp", source_ami="ami-3")]
    assert set(found(Referrers(), *images)) == {"ami-3"}


@pytest.mark.parametrize("state", ["pending", "failed", "disabled"])
def test_only_an_available_image_is_a_groups_newest(state: str) -> None:
    images = [image(1), image(2, "wasp", source_ami="ami-1"), image(3, "wasp", state)]
    assert set(found(Referrers(), *images)) == {"ami-1"}


def test_the_base_of_an_image_in_use_is_in_use_and_so_is_the_base_of_that() -> None:
    images = [
        image(1, "base"),
        image(2, "middle", source_ami="ami-1"),
        image(3, "top", source_ami="ami-2"),
        image(4, "base"),
        image(5, "middle", source_ami="ami-4"),
        image(6, "top", source_ami="ami-5"),
    ]
    assert set(found(Referrers(), *images)) == {"ami-4", "ami-5"}
    used = found(Referrers(instances=[Instance("i-1", "running", "ami-3")]), *images)
    assert used["ami-1"] == ("base of ami-2 (group middle)",)
    assert used["ami-2"] == ("base of ami-3 (group top)",)


def test_a_group_that_is_built_on_itself_does_not_keep_all_of_its_images() -> None:
    assert found(Referrers(), image(1), image(2, source_ami="ami-1"), image(3, source_ami="ami-2")) == {}


def test_bases_in_a_circle_come_to_an_end() -> None:
    images = [image(1, "bee", source_ami="ami-2"), image(2, "wasp", source_ami="ami-1")]
    assert set(found(Referrers(), *images)) == {"ami-1", "ami-2"}


def test_the_latest_served_images_of_each_group_are_in_use() -> None:
    images = [image(number, served="x") for number in (1, 2, 3)] + [image(4), image(5, "wasp", served="x")]
    assert found(Referrers(), *images) == {"ami-2": ("served",), "ami-3": ("served",), "ami-5": ("served",)}
    assert set(found(Referrers(), *images, keep_served=1)) == {"ami-3", "ami-5"}
    assert found(Referrers(), *images, keep_served=0) == {}


def test_a_served_image_that_cannot_be_used_takes_no_place() -> None:
    images = [image(1, served="x"), image(2, served="x"), image(3, "bee", "disabled", served="x")]
    assert set(found(Referrers(), *images)) == {"ami-1", "ami-2"}


def test_an_image_that_is_not_nodepkgs_is_no_groups() -> None:
    stray = Image("ami-9", "x", START + timedelta(days=9), "available", {"group": "bee", "nodepkg:served": "x"})
    assert set(found(Referrers(), image(1, served="x"), stray, keep_served=1)) == {"ami-1"}


instances = st.builds(
    Instance, st.sampled_from(["i-1", "i-2"]), st.just("running"), st.sampled_from(["ami-1", "ami-2"])
)
versions = st.builds(version, st.integers(1, 3), st.sampled_from(["ami-1", "ami-2", None]), st.sampled_from(["a", "b"]))
pins = st.builds(pin, st.sampled_from(["1", "2", "$Latest", "$Default"]), st.sampled_from(["a", "b"]))
groups = st.builds(
    group, st.sampled_from(["v1", "v2"]), pins, st.builds(Override, pins, st.sampled_from(["ami-3", None]))
)


@given(
    st.lists(instances, unique_by=lambda one: one.id),
    st.lists(versions, unique_by=lambda one: (one.template, one.number)),
    st.lists(groups, unique_by=lambda one: one.name),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_lists_changes_nothing(
    running: list[Instance], known: list[TemplateVersion], scaling: list[AutoScalingGroup], shuffle: random.Random
) -> None:
    images = [image(1), image(2, "wasp", source_ami="ami-1", served="x"), image(3, "top", source_ami="ami-2")]
    before = found(Referrers(running, known, (), {"a": "ami-1", "b": "ami-1"}, scaling), *images)
    for some in (running, known, scaling, images):
        shuffle.shuffle(some)
    after = found(Referrers(running, known, (), {"b": "ami-1", "a": "ami-1"}, scaling), *images)
    assert list(before.items()) == list(after.items())
    assert all(len(set(by)) == len(by) for by in after.values())


def test_aliases_are_told_with_what_names_them() -> None:
    known = Referrers(
        versions=[version(1, "resolve:ssm:/a")], groups=[group("v1", None, Override(image="resolve:ssm:/a"))]
    )
    assert known.aliases() == {
        "resolve:ssm:/a": ["launch template web version 1", "override of ASG v1: resolve:ssm:/a"]
    }


def test_counts_tell_how_much_was_looked_at() -> None:
    known = Referrers(
        [Instance("i-1", "running", "ami-1")], [version(1, "ami-1"), version(2, None)], [version(2, None)], {"a": "b"}
    )
    assert known.counts() == {"template versions": 2, "launch configurations": 1, "groups": 0, "instances": 1}
