"""packer:list: the images of groups in several regions, on plain values."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nodepkg.clients.aws.images import Image
from nodepkg.images.listing import Digests, ListedImage, Stranger, listing, strangers
from nodepkg.images.usage import Usage
from nodepkg.render.bundle import Project
from nodepkg.render.packer import PackerTemplates
from tests.projects import make_project

START = datetime(2026, 1, 1, tzinfo=UTC)


def image(number: int, group: str, digest: str = "d1", **tags: str) -> Image:
    named = {"group": group, "nodepkg:managed": "true", "nodepkg:digest": digest}
    named |= {f"nodepkg:{key}": value for key, value in tags.items()}
    created = START + timedelta(days=number)
    return Image(f"ami-{number}", f"{group} {number}", created, "available", named, size_gb=8, protected=number == 9)


def usage(region: str, *images: Image, references: Mapping[str, tuple[str, ...]] | None = None) -> Usage:
    return Usage(region, 0.0, images, (), references or {}, {})


def test_images_are_listed_group_by_group_the_newest_first() -> None:
    usages = {
        "us-east-1": usage("us-east-1", image(1, "bee"), image(2, "bee"), image(4, "wasp")),
        "eu-west-1": usage("eu-west-1", image(3, "ant"), image(5, "bee")),
    }
    found = listing(usages, {"bee": "us-east-1", "ant": "eu-west-1"}, lambda _: "d1")
    assert [(one.group, one.region, one.image.id) for one in found] == [
        ("bee", "us-east-1", "ami-2"),
        ("bee", "us-east-1", "ami-1"),
        ("ant", "eu-west-1", "ami-3"),
    ]


def test_an_image_is_current_if_its_digest_is_what_the_group_would_have_now() -> None:
    usages = {"r": usage("r", image(1, "bee", "d0"), image(2, "bee"), image(3, "wasp"))}
    found = listing(usages, {"bee": "r", "wasp": "r", "ant": "r"}, {"bee": "d1", "wasp": None}.__getitem__)
    assert [(one.image.id, one.current) for one in found] == [("ami-2", True), ("ami-1", False), ("ami-3", None)]


def test_the_document_has_values_and_no_words() -> None:
    made = image(9, "bee", source_ami="ami-1", commit="c0ffee")
    (found,) = listing({"r": usage("r", made, references={"ami-9": ("served",)})}, {"bee": "r"}, lambda _: "d2")
    assert found.document(START + timedelta(days=10)) == {
        "group": "bee",
        "region": "r",
        "image": "ami-9",
        "name": "bee 9",
        "created": "2026-01-10T00:00:00+00:00",
        "age_seconds": 86400,
        "size_gb": 8,
        "state": "available",
        "protected": True,
        "digest": "d1",
        "current": False,
        "commit": "c0ffee",
        "base": "ami-1",
        "in_use_by": ["served"],
    }


def test_an_image_without_tags_of_a_build_has_nulls() -> None:
    bare = Image("ami-1", "x", START, "available", {"group": "bee", "nodepkg:managed": "true"})
    told = ListedImage("bee", "r", bare, current=False, in_use_by=()).document(START)
    assert [told[key] for key in ("digest", "commit", "base", "in_use_by")] == [None, None, None, []]


def test_groups_that_nodes_json_does_not_have_there_are_strangers() -> None:
    usages = [usage("r", image(1, "bee"), image(2, "gone"), image(3, "gone"), image(4, "moved"))]
    homes = {"bee": "r", "moved": "elsewhere"}
    assert strangers(usages, homes.get) == [
        Stranger("gone", "r", 2, 16, None),
        Stranger("moved", "r", 1, 8, "elsewhere"),
    ]


def test_a_group_that_cannot_be_rendered_has_no_digest_and_says_why(tmp_path: Path) -> None:
    good = {"source_ami": "ami-1", "run_list": ["recipe[bee]"]}
    document = {"bee": good, "wasp": good | {"packer": {"template": "broken"}}, "ant": good | {"bogus": 1}}
    files = {
        "cookbooks/bee/metadata.rb": 'name "bee"\nversion "1.0.0"\n',
        "cookbooks/bee/recipes/default.rb": "",
        "templates/packer/broken.j2": "{{ nothing.at.all }}",
    }
    nodes = make_project(tmp_path, document, files)
    digests = Digests(PackerTemplates(Project(nodes)), *nodes.sound(["bee", "wasp", "ant"]))
    assert digests("bee"), digests.unknown
    assert digests("wasp") is None
    assert digests("ant") is None
    assert "nothing" in digests.unknown["wasp"]
    assert "bogus" in digests.unknown["ant"]
    assert set(digests.unknown) == {"wasp", "ant"}
