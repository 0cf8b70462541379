"""What packer:clean deletes in random worlds, against an oracle that knows only the rules' words, as sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from nodepkg.clients.aws.autoscaling import AutoScalingGroup, Override
from nodepkg.clients.aws.ec2 import Instance
from nodepkg.clients.aws.images import Image, Snapshot
from nodepkg.clients.aws.templates import TemplatePin, TemplateVersion
from nodepkg.images.clean import Judgement, Rules, shared
from nodepkg.images.referrers import Referrers, references
from nodepkg.images.removal import kept_too
from tests.images.pictures import REGION, START, image, snapshot, usage

NOW = START + timedelta(days=10)
GROUPS = ("ant", "bee", "wasp")
STATES = ("available", "available", "available", "pending", "failed", "disabled", "invalid")
IDS = st.integers(0, 14)  # of some there is no image


@dataclass(frozen=True)
class World:
    """What there is, and what was asked for. `templates`: name -> (versions' images, the default version)."""

    images: tuple[Image, ...]
    snapshots: tuple[Snapshot, ...]
    shared: frozenset[str]
    instances: tuple[str, ...]
    templates: Mapping[str, tuple[tuple[str, ...], int]]
    configurations: tuple[str, ...]
    pins: tuple[tuple[str, str, bool], ...]  # template, version, whether an override names it
    overrides: tuple[str, ...]  # images that overrides name
    asked: frozenset[str]
    keep: int
    older_than: timedelta
    keep_served: int


def ami(number: int) -> str:
    return f"ami-{number}"


@st.composite
def made_images(draw: st.DrawFn) -> tuple[Image, ...]:
    numbers = draw(st.lists(IDS, unique=True, min_size=draw(st.sampled_from([0, 4, 8])), max_size=12))
    made = []
    for number in numbers:
        tags: dict[str, str] = {}
        for tag in ("nodepkg:keep", "nodepkg:served"):
            if draw(st.integers(0, 4)) == 0:
                tags[tag] = "x"
        if draw(st.booleans()):
            tags["nodepkg:source_ami"] = ami(draw(IDS))
        one = image(
            number,
            draw(st.sampled_from(STATES)),
            days=draw(st.sampled_from([9, 1, 8, 1, 7, 5])),
            group=draw(st.sampled_from(GROUPS)),
            tags=tags,
            snapshots=[f"snap-{volume}" for volume in draw(st.sets(st.integers(0, 8), max_size=2))],
            protected=draw(st.integers(0, 6)) == 0,
        )
        lost = draw(st.sampled_from([None] * 8 + ["group", "nodepkg:managed"]))
        made.append(replace(one, tags={key: value for key, value in one.tags.items() if key != lost}))
    return tuple(made)


@st.composite
def made_snapshots(draw: st.DrawFn) -> tuple[Snapshot, ...]:
    made = []
    for number in draw(st.sets(st.integers(0, 14), max_size=6)):
        hours = draw(st.sampled_from([0, 24 * 5, 24 * 10 - 2, 24 * 10 - 0.5]))
        one = snapshot(number, of=ami(draw(IDS)), hours=hours, group=draw(st.sampled_from(GROUPS)))
        lost = draw(st.sampled_from([None] * 5 + ["group", "nodepkg:managed"]))
        made.append(replace(one, tags={key: value for key, value in one.tags.items() if key != lost}))
    return tuple(made)


AMIS = IDS.map(ami)
TEMPLATE = st.lists(AMIS, min_size=1, max_size=4).flatmap(
    lambda images: st.tuples(st.just(tuple(images)), st.integers(1, len(images)))
)
WORLDS = st.builds(
    World,
    images=made_images(),
    snapshots=made_snapshots(),
    shared=st.frozensets(AMIS, max_size=2),
    instances=st.lists(AMIS, max_size=2).map(tuple),
    templates=st.dictionaries(st.sampled_from(["t0", "t1"]), TEMPLATE, max_size=2),
    configurations=st.lists(AMIS, max_size=1).map(tuple),
    pins=st.lists(
        st.tuples(
            st.sampled_from(["t0", "t1"]), st.sampled_from(["1", "2", "3", "$Latest", "$Default"]), st.booleans()
        ),
        max_size=2,
    ).map(tuple),
    overrides=st.lists(AMIS, max_size=1).map(tuple),
    asked=st.frozensets(st.sampled_from(GROUPS), min_size=1),
    keep=st.sampled_from([0, 1, 0, 2, 3]),
    older_than=st.sampled_from([timedelta(days=4), timedelta(), timedelta(hours=1)]),
    keep_served=st.integers(0, 2),
)


def judged(world: World) -> Judgement:
    """The program's answer."""

    def version(name: str, number: int) -> TemplateVersion:
        images, default = world.templates[name]
        return TemplateVersion(name, number, images[number - 1], number == default, template_id=f"lt-{name}")

    read = {(name, number) for name, (images, default) in world.templates.items() for number in (default, len(images))}
    numbered = {(name, int(number)) for name, number, _ in world.pins if number.isdecimal()}
    there = {(name, number) for name, (images, _) in world.templates.items() for number in range(1, len(images) + 1)}
    groups = []
    for index, (name, number, by_override) in enumerate(world.pins):
        pin = TemplatePin(None, name, number)
        told: dict[str, Any] = {"overrides": (Override(pin),)} if by_override else {}
        groups.append(AutoScalingGroup(f"asg-{index}", {}, 0, 0, 0, (), None if by_override else pin, **told))
    mixed = tuple(Override(None, one) for one in world.overrides)
    groups.append(AutoScalingGroup("mixed", {}, 0, 0, 0, (), None, overrides=mixed))
    known = Referrers(
        instances=[Instance(f"i-{index}", "stopped", one) for index, one in enumerate(world.instances)],
        versions=[version(*one) for one in sorted(read)],
        pinned=[version(*one) for one in sorted((numbered & there) - read)],
        configurations={f"lc-{index}": one for index, one in enumerate(world.configurations)},
        groups=groups,
    )
    used = references(world.images, known, {}, keep_served=world.keep_served)
    rules = Rules({REGION: sorted(world.asked)}, world.keep, NOW, world.older_than)
    judgement = rules.judge(usage(world.images, used, world.snapshots))
    return kept_too(judgement, {one: shared(["account 1"]) for one in world.shared})


def referred_to(world: World) -> set[str]:
    """By instances, template versions that count, launch configurations and overrides."""
    used = {*world.instances, *world.configurations, *world.overrides}
    for images, default in world.templates.values():
        used |= {images[default - 1], images[-1]}
    for name, number, _ in world.pins:
        if name in world.templates and number.isdecimal() and int(number) <= len(world.templates[name][0]):
            used.add(world.templates[name][0][int(number) - 1])
    return used


def in_use(world: World) -> set[str]:
    """With those that served, and with the bases of other groups' current images, until nothing is added."""
    managed = [one for one in world.images if one.tags.get("nodepkg:managed") and "group" in one.tags]
    usable = [one for one in managed if one.state == "available"]
    served = [one for one in usable if "nodepkg:served" in one.tags]
    used = referred_to(world) | {one.id for one in served if len(newer(one, served)) < world.keep_served}
    current = {one.id for one in usable if not newer(one, usable)}
    while True:
        bases = {
            base.id
            for one in world.images
            for base in world.images
            if one.id in used | current
            and one.tags.get("nodepkg:source_ami") == base.id
            and (one.tags.get("group") != base.tags.get("group") or "group" not in one.tags)
        }
        if bases <= used:
            return used
        used |= bases


def newer(than: Image, images: Sequence[Image]) -> set[str]:
    """Those of the same group that are newer; of two of one moment, the one with the higher id."""
    same = [one for one in images if one.tags["group"] == than.tags["group"]]
    return {one.id for one in same if (one.created, one.id) > (than.created, than.id)}


def to_delete(world: World) -> set[str]:
    ours = [one for one in world.images if one.tags.get("nodepkg:managed") and one.tags.get("group") in world.asked]
    available = [one for one in ours if one.state == "available"]
    newest = {one.id for one in available if len(newer(one, available)) < world.keep}
    touchable = {one.id for one in ours if one.state in {"available", "failed"} and not one.protected}
    tagged = {one.id for one in ours if "nodepkg:keep" in one.tags}
    young = {one.id for one in ours if one.created > NOW - world.older_than}
    return touchable - in_use(world) - newest - tagged - young - world.shared


def orphans(world: World) -> set[str]:
    there = {one.id for one in world.images}
    had = {volume for one in world.images for volume in one.snapshots}
    limit = NOW - max(timedelta(hours=1), world.older_than)
    return {
        one.id
        for one in world.snapshots
        if one.tags.get("nodepkg:managed")
        and one.tags.get("group") in world.asked
        and one.description.rsplit(" ", 1)[1] not in there
        and one.started < limit
    } - had


EMPTY = World((), (), frozenset(), (), {}, (), (), (), frozenset({"bee"}), 0, timedelta(), 2)
BASE = image(1, group="ant")
BUILT = image(2, group="wasp", tags={"nodepkg:source_ami": "ami-1"})
CHAIN = (BASE, BUILT, image(3, group="wasp"), image(4, group="bee", tags={"nodepkg:source_ami": "ami-2"}))
SERVED = tuple(image(number, tags={"nodepkg:served": "x"}) for number in range(1, 5))


@given(WORLDS)
@example(replace(EMPTY, images=(BASE, BUILT), asked=frozenset(GROUPS)))
@example(replace(EMPTY, images=CHAIN, asked=frozenset(GROUPS)))
@example(replace(EMPTY, images=SERVED))
@example(replace(EMPTY, images=(image(1), image(2)), templates={"t0": (("ami-1", "ami-9", "ami-2"), 2)}))
@settings(max_examples=400, deadline=None)
def test_what_goes_is_what_the_rules_say(world: World) -> None:
    judgement = judged(world)
    assert {verdict.image.id for verdict in judgement.doomed} == to_delete(world)
    assert {orphan.snapshot.id for orphan in judgement.orphans} == orphans(world)


@given(WORLDS)
@settings(max_examples=100, deadline=None)
def test_every_image_of_the_groups_gets_one_verdict_with_a_reason(world: World) -> None:
    judgement = judged(world)
    ours = [one.id for one in world.images if one.tags.get("nodepkg:managed") and one.tags.get("group") in world.asked]
    assert sorted(verdict.image.id for verdict in judgement.verdicts) == sorted(ours)
    assert all(verdict.why for verdict in judgement.verdicts)


def test_the_worlds_hold_what_the_rules_are_about() -> None:
    """The oracle is worth something only if worlds differ in what it tells apart."""
    seen: set[str] = set()

    @given(WORLDS)
    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    def collect(world: World) -> None:
        judgement = judged(world)
        seen.update(verdict.why.split(",")[0].split(" ")[0] for verdict in judgement.verdicts)
        seen.update("orphan" for _ in judgement.orphans)
        seen.update("base" for verdict in judgement.verdicts if "base of" in verdict.why)

    collect()
    told = {"in", "is", "one", "tagged", "younger", "shared", "failed", "not", "served:", "orphan", "base"}
    assert told <= seen
