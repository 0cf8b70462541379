"""Which groups are due, why, and what forbids to build them."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.images import Image
from nodepkg.errors import AwsError, RefusedError, ToolError
from nodepkg.images.due import NoBaseError, Shown, bases_first, current_digest, forbid, needs, show
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.source import Source
from nodepkg.render import files
from nodepkg.render.bundle import Project
from nodepkg.render.packer import PackerTemplates
from nodepkg.render.role import role
from tests.projects import make_project


def groups(**bases: str | None) -> list[Group]:
    entries = {
        name: {"run_list": ["recipe[x]"], **({"source_group": base} if base else {"source_ami": "ami-1"})}
        for name, base in bases.items()
    }
    nodes = Nodes(Source(Path("nodes.json"), "", entries))
    return nodes.groups(nodes.names)


def order(**bases: str | None) -> list[str]:
    return [group.name for group in bases_first(groups(**bases))]


def test_a_base_is_built_before_what_is_built_on_it() -> None:
    assert order(leaf="middle", other=None, middle="base", base=None) == ["base", "middle", "leaf", "other"]


def test_a_base_that_is_not_asked_for_changes_nothing() -> None:
    (leaf, _base) = groups(leaf="base", base=None)
    assert bases_first([leaf]) == [leaf]


class World:
    """A project with fresh artefacts: a base, a leaf that is built on it, and a group by itself."""

    def __init__(self, folder: Path, **more: Any) -> None:
        entries = {
            "__base__": {"run_list": ["recipe[x]"], "region": "us-east-1"},
            "base": {"source_ami": "ami-1ebb2077"},
            "leaf": {"source_group": "base"},
            "alone": {"source_ami": "ami-1ebb2077"},
            **more,
        }
        self.nodes = make_project(folder, entries, {"cookbooks/x/recipes/default.rb": ""})
        self.templates = PackerTemplates(Project(self.nodes))
        self.groups = self.nodes.buildable(self.nodes.names)
        for group in self.groups:
            files.write(folder, [self.templates.template(group), role(group)])

    def group(self, name: str) -> Group:
        return next(group for group in self.groups if group.name == name)

    def image(self, name: str, number: int = 1, **tags: str) -> Image:
        """An image that is up to date, unless a tag (`_` for `:`) says otherwise."""
        kept = {
            "group": name,
            "nodepkg:managed": "true",
            "nodepkg:digest": current_digest(self.templates, self.group(name)),
            "nodepkg:source_ami": "ami-1ebb2077",
        } | {key.replace("_", ":", 1): value for key, value in tags.items()}
        return Image(
            f"ami-{number}", name, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number), "available", kept
        )

    def fresh(self) -> dict[str, Shown]:
        return {
            "base": Shown(self.image("base", 1), "ami-1ebb2077"),
            "leaf": Shown(self.image("leaf", 2, nodepkg_source_ami="ami-1"), "ami-1"),
            "alone": Shown(self.image("alone", 3), "ami-1ebb2077"),
        }

    def why(self, shown: dict[str, Shown], *names: str, force: bool = False) -> dict[str, str]:
        asked = [self.group(name) for name in names or ("base", "leaf", "alone")]
        return {need.group.name: need.why for need in needs(self.templates, asked, shown, force=force)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_has_its_digest_and_its_base_is_up_to_date(world: World) -> None:
    assert world.why(world.fresh()) == {"base": "", "leaf": "", "alone": ""}


def test_every_reason_is_told(world: World) -> None:
    fresh = world.fresh()
    image = world.image
    assert world.why(fresh | {"alone": Shown(None, "ami-1ebb2077")}, "alone") == {"alone": "no image yet"}
    for shown, why in (
        (Shown(image("alone", nodepkg_digest="0" * 64), "ami-1ebb2077"), "the digest has changed"),
        (Shown(image("alone", nodepkg_digest=""), "ami-1ebb2077"), "the newest image has no digest"),
        (Shown(image("alone"), "ami-2"), "its base image has changed"),
        (Shown(image("alone", nodepkg_source_ami=""), "ami-2"), "its base image is not known"),
        (Shown(image("alone"), None), ""),
    ):
        assert world.why(fresh | {"alone": shown}, "alone") == {"alone": why}
    assert world.why(fresh, "alone", force=True) == {"alone": "--force"}


def test_what_is_built_on_a_base_that_is_rebuilt_is_due(world: World) -> None:
    shown = world.fresh() | {"base": Shown(None, "ami-1ebb2077")}
    assert world.why(shown) == {"base": "no image yet", "leaf": "its base base is rebuilt", "alone": ""}
    assert world.why(shown, "leaf") == {"leaf": ""}


def test_a_base_without_image_forbids_unless_it_is_built_in_the_same_run(world: World) -> None:
    missing = NoBaseError("leaf is built on base, which has no image", hint="package packer:run base")
    shown = world.fresh() | {"leaf": Shown(None, missing=missing), "base": Shown(None, "ami-1ebb2077")}
    (alone,) = needs(world.templates, [world.group("leaf")], shown)
    assert (alone.forbids, alone.builds) == (missing, False)
    _base, leaf = needs(world.templates, [world.group("leaf"), world.group("base")], shown)
    assert (leaf.forbids, leaf.builds, leaf.base) == (None, True, "base")


def test_a_missing_source_image_forbids_only_what_is_due(world: World) -> None:
    missing = AwsError("no such image")
    due, fresh = world.fresh() | {"alone": Shown(None, missing=missing)}, world.fresh()["alone"]
    (need,) = needs(world.templates, [world.group("alone")], due)
    assert need.forbids is missing
    (need,) = needs(world.templates, [world.group("alone")], {"alone": Shown(fresh.newest, missing=missing)})
    assert (need.why, need.forbids) == ("", None)


@pytest.mark.parametrize("path", ["roles/alone.json", "packer/alone.json"])
def test_what_is_stale_or_missing_is_refused_with_the_command(world: World, path: str) -> None:
    (world.nodes.root / path).write_text("{}")
    (need,) = needs(world.templates, [world.group("alone")], world.fresh())
    assert isinstance(need.forbids, RefusedError)
    assert path in need.forbids.message
    assert need.forbids.hint == "package group:create alone"
    (world.nodes.root / path).unlink()
    (need,) = needs(world.templates, [world.group("alone")], world.fresh())
    assert not need.builds


def test_a_group_that_cannot_be_seen_is_always_due(tmp_path: Path) -> None:
    world = World(tmp_path, own={"source_ami": "ami-9", "packer": {"builder": {"profile": "build"}}})
    (need,) = needs(world.templates, [world.group("own")], {})
    assert need.builds


def test_a_check_forbids_what_it_complains_of_and_is_not_asked_of_the_rest(world: World) -> None:
    asked: list[str] = []

    def check(group: Group) -> None:
        asked.append(group.name)
        if group.name == "base":
            raise ToolError("no")

    decided = needs(world.templates, [world.group("base"), world.group("alone")], {**world.fresh(), "base": Shown()})
    checked = {need.group.name: need for need in forbid(decided, check)}
    assert asked == ["base"]
    assert isinstance(checked["base"].forbids, ToolError)
    assert checked["alone"].why == ""


def client(account: Account) -> Any:
    return account.client("ec2", "us-east-1")


def register(account: Account, name: str, **tags: str) -> str:
    made = client(account).register_image(Name=name, RootDeviceName="/dev/sda1", Architecture="x86_64")["ImageId"]
    given = [{"Key": key.replace("_", ":", 1), "Value": value} for key, value in tags.items()]
    client(account).create_tags(Resources=[made], Tags=given)
    return str(made)


def test_aws_is_asked_the_same_few_questions_for_any_number_of_groups(account: Account, tmp_path: Path) -> None:
    """One listing of our own images, one for all source_ami, one for each filter."""
    filters = [{"name": "precise*", "owners": ["self"]}, {"name": "none*", "owners": ["self"]}]
    many = {f"filter-{number}": {"source_ami_filter": filters[number % 2]} for number in range(10)}
    world = World(tmp_path, **many, **{f"named-{number}": {"source_ami": f"ami-{number:08x}"} for number in range(10)})
    asked: list[str] = []
    client(account).meta.events.register("before-call", lambda model, **_: asked.append(model.name))
    shown = show(account, world.templates, world.groups)
    assert asked == ["DescribeImages"] * 4
    assert shown["alone"] == Shown(None, "ami-1ebb2077")
    for name, why in {
        "named-1": "named-1: source_ami ami-00000001: there is no such image in us-east-1",
        "filter-1": "filter-1: source_ami_filter 'none*' of self: no image matches in us-east-1",
        "leaf": "leaf is built on base, which has no image in us-east-1",
    }.items():
        missing = shown[name].missing
        assert missing is not None
        assert missing.message == why
    assert [int(shown[name].missing.exit_code) for name in ("named-1", "filter-1", "leaf")] == [5, 5, 4]  # type: ignore[union-attr]


def test_the_newest_of_a_base_counts_also_one_that_was_tagged_by_hand(account: Account, tmp_path: Path) -> None:
    world = World(tmp_path)
    ours = {"nodepkg_managed": "true"}
    register(account, "leaf 1", group="leaf", **ours)
    by_hand = [register(account, f"base {number}", group="base") for number in (1, 2)]
    shown = show(account, world.templates, world.groups)
    created = {image["ImageId"]: image["CreationDate"] for image in client(account).describe_images()["Images"]}
    assert shown["leaf"].base == max(by_hand, key=lambda image: (created[image], image))
    assert shown["base"].newest is None
    assert shown["leaf"].newest is not None


def test_a_source_image_that_a_template_names_itself_is_not_compared(account: Account, tmp_path: Path) -> None:
    (tmp_path / "templates" / "packer").mkdir(parents=True)
    (tmp_path / "templates" / "packer" / "own.j2").write_text(
        '{"builders": [{"type": "amazon-ebs", "region": "us-east-1", "source_ami": "ami-0123"}]}'
    )
    world = World(tmp_path, own={"source_ami": "ami-9", "packer": {"template": "own"}})
    assert show(account, world.templates, [world.group("own")]) == {"own": Shown()}


def test_what_cannot_be_read_counts_as_missing_for_its_region(tmp_path: Path) -> None:
    world = World(tmp_path, own={"source_ami": "ami-9", "packer": {"builder": {"profile": "build"}}})
    shown = show(Account(profile="there-is-none"), world.templates, world.groups)
    assert {name for name, seen in shown.items() if isinstance(seen.missing, AwsError)} == {"base", "leaf", "alone"}


def test_every_mixture_of_what_is_asked_for_is_ordered_and_complete(world: World) -> None:
    for names in itertools.permutations(("base", "leaf", "alone"), 2):
        found = list(world.why(world.fresh(), *names))
        assert sorted(found) == sorted(names)
        assert "base" not in found or "leaf" not in found or found.index("base") < found.index("leaf")
