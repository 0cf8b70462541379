"""packer:list on the command line, against an embedded AWS in this process."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.images.due import current_digest
from nodepkg.nodes.load import load
from nodepkg.render.bundle import Project
from nodepkg.render.packer import PackerTemplates
from tests.cli.conftest import Run
from tests.faults import aws, deny
from tests.worlds import World

BEE = "12_04-bee"


@pytest.fixture
def endpoint() -> Iterator[str]:
    with aws() as account:
        yield str(account.endpoint)


@pytest.fixture
def world(project: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """The example as the current folder, and an account that the environment leads to."""
    assert project
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return World()


def digest_now(folder: Path) -> str:
    nodes = load(folder / "nodes.json")
    return current_digest(PackerTemplates(Project(nodes)), nodes.group(BEE))


def edit(folder: Path, change: Any) -> None:
    path = folder / "nodes.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def cells(text: str) -> dict[str, str]:
    """Each line of a table by its first cell, with single spaces."""
    return {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}


def test_the_table_has_each_image_with_what_is_to_be_known_of_it(run: Run, project: Path, world: World) -> None:
    made = {"nodepkg:digest": digest_now(project), "nodepkg:commit": "c0ffee00c0ffee00-dirty"}
    made |= {"nodepkg:source_ami": "ami-1ebb2077"}
    old = world.image("old", BEE, age=timedelta(days=9), size_gb=10, tags=made)
    failed = world.image("half", BEE, age=timedelta(days=3), state="failed")
    new = world.image("new", BEE, age=timedelta(days=2), tags=made)
    world.protect(old)
    world.launch_configuration("legacy", old)
    done = run("packer:list", BEE)
    assert done.code == 0, done.err
    lines = cells(done.out)
    assert list(lines)[1:] == [new, failed, old]
    assert lines[new] == f"{new} new 2d 8 GB available current c0ffee00c0-dirty ami-1ebb2077 -"
    assert lines[failed] == f"{failed} half 3d 8 GB failed stale - - -"
    shown = "9d 10 GB available, protected current c0ffee00c0-dirty ami-1ebb2077 launch configuration legacy"
    assert lines[old] == f"{old} old {shown}"
    assert "looked at 0 template versions, 1 launch configuration, 0 groups, 0 instances in us-east-1" in done.err


def test_the_document_has_all_references_and_the_table_the_first_ones(run: Run, world: World) -> None:
    (image,) = world.images(BEE, 1)
    instances = sorted(world.instance(image) for _ in range(6))
    (told,) = json.loads(run("packer:list", BEE, "--json").out)["images"]
    assert told["in_use_by"] == [f"{instance} (running)" for instance in instances]
    assert (told["image"], told["group"], told["region"], told["size_gb"]) == (image, BEE, "us-east-1", 8)
    (line,) = [line for line in run("packer:list", BEE).out.splitlines() if image in line]
    assert line.endswith(f"{instances[2]} (running), 3 more")


def test_a_group_that_cannot_be_rendered_is_listed_all_the_same(run: Run, project: Path, world: World) -> None:
    (image,) = world.images(BEE, 1)
    edit(project, lambda document: document[BEE].update(no_such_key=1))
    done = run("packer:list", BEE, "--json")
    assert done.code == 0
    (told,) = json.loads(done.out)["images"]
    assert (told["image"], told["current"]) == (image, None)
    assert "whether its images are current is not known" in done.err
    assert "no_such_key" in done.err
    assert " ? " in run("packer:list", BEE).out


def test_a_mistake_in_a_layer_is_told_once(run: Run, project: Path, world: World) -> None:
    for group in (BEE, "ftp-listener"):
        world.images(group, 1)
    edit(project, lambda document: document["__base__"].update(no_such_key=1))
    warnings = [line for line in run("packer:list").err.splitlines() if "no_such_key" in line]
    assert len(warnings) == 1
    assert f"{BEE}, ftp-listener: whether their images are current is not known" in warnings[0]


def test_groups_that_nodes_json_has_no_more_are_told(run: Run, world: World) -> None:
    world.images("12_04-gone", 2, size_gb=5)
    world.image("x", "it's; rm -rf")
    done = run("packer:list")
    assert done.code == 0
    told = " ".join(done.err.split())
    assert "12_04-gone has 2 images (10 GB) in us-east-1, but it is not in nodes.json" in told
    assert "package packer:delete 12_04-gone --region us-east-1" in told
    assert "it's; rm -rf has 1 image" in told
    assert "packer:delete 'it" not in told  # no name that a command would take
    assert json.loads(run("packer:list", "--json").out)["elsewhere"] == [
        {"group": "12_04-gone", "region": "us-east-1", "images": 2, "size_gb": 10, "region_in_nodes": None},
        {"group": "it's; rm -rf", "region": "us-east-1", "images": 1, "size_gb": 8, "region_in_nodes": None},
    ]
    assert "12_04-gone" not in run("packer:list", BEE).err


def test_a_group_that_moved_to_another_region_is_told(run: Run, project: Path, world: World) -> None:
    world.images(BEE, 1)
    edit(project, lambda document: document[BEE].update(region="eu-west-1", source_ami="ami-1ebb2077"))
    done = run("packer:list")
    assert f"{BEE} has 1 image (8 GB) in us-east-1, but nodes.json has it in eu-west-1" in " ".join(done.err.split())


def test_images_that_are_not_nodepkgs_are_not_listed(run: Run, world: World) -> None:
    world.image("by hand", BEE, managed=False)
    done = run("packer:list", BEE)
    assert done.code == 0
    assert "no images" in done.err
    assert "by hand" not in done.out


def test_a_list_that_cannot_be_read_is_an_error(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world
    with aws(deny("DescribeLaunchConfigurations")) as account:
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(account.endpoint))
        done = run("packer:list", BEE)
    assert done.code == 5
    assert done.out == ""
    assert "describe launch configurations in us-east-1: AccessDenied" in " ".join(done.err.split())


def test_nothing_is_changed(run: Run, world: World, endpoint: str) -> None:
    world.images(BEE, 2)
    before = Account(endpoint=endpoint).client("ec2", "us-east-1").describe_images(Owners=["self"])["Images"]
    done = run("packer:list", "-v")
    calls = [line.split()[-1] for line in done.err.splitlines() if line.startswith("aws: ")]
    assert calls
    assert all(call.startswith(("Describe", "Get")) for call in calls)
    assert Account(endpoint=endpoint).client("ec2", "us-east-1").describe_images(Owners=["self"])["Images"] == before
