"""packer:sweep and packer:adopt on the command line, against an embedded AWS in this process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.sandbox.front import Layer
from tests.cli.conftest import Run
from tests.faults import aws, refuse
from tests.images.test_adopt import made
from tests.images.test_sweep import World


@contextmanager
def reached(monkeypatch: pytest.MonkeyPatch, *layers: Layer) -> Iterator[Account]:
    """An account that the program takes for the user's own."""
    with aws(*layers) as account:
        environ = {"AWS_ENDPOINT_URL": str(account.endpoint), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield account


def test_what_could_not_be_removed_is_told_at_the_end(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reached(monkeypatch, refuse("TerminateInstances", "OperationNotPermitted")) as account:
        world = World(account, project)
        build = world.build(1)
        world.ended(build)
        instance, group, key_pair = world.everything_of(build)
        done = run("packer:sweep", "--older-than", "0s", "--yes", "--json")
        assert done.code == 5
        assert json.loads(done.out)["removed"] == [{"kind": "key pair", "id": key_pair, "region": "us-east-1"}]
        error = json.loads(done.err.splitlines()[-1])
        assert error["message"].splitlines() == [
            "these could not be removed:",
            f"instance {instance} in us-east-1: terminate {instance}: OperationNotPermitted: not now",
            f"security group {group} in us-east-1: {instance} uses it",
        ]
        assert [record.build for record in world.journal.records()] == [build]


def test_nothing_goes_without_an_answer(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reached(monkeypatch) as account:
        world = World(account, project)
        build = world.build(1, timedelta(hours=30))
        there = world.everything_of(build)
        world.ended(build, started=world.now.timestamp() - 108_000)
        shown = run("packer:sweep", "--dry-run")
        assert (shown.code, shown.err) == (0, "")
        assert shown.out.split("\n")[0].split() == ["kind", "id", "name", "region", "of", "age", "verdict", "why"]
        refused = run("packer:sweep", "--older-than", "0s")
        assert refused.code == 4
        assert "remove" in refused.err
        assert "--yes answers the question" in refused.err
        assert set(world.left()) == set(there)
        assert "0 leftovers removed, 3 left" in run("packer:sweep", "--yes", "--older-than", "31h").out
        assert "3 leftovers removed, 0 left" in run("packer:sweep", "--yes").out
        assert world.left() == []


def test_a_group_that_is_broken_keeps_nobody_from_sweeping(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = json.loads((project / "nodes.json").read_text())
    nodes["12_04-bee"]["autoscale"] = {"node_min": "many"}
    (project / "nodes.json").write_text(json.dumps(nodes))
    with reached(monkeypatch) as account:
        world = World(account, project)
        build = world.build(1)
        world.ended(build)
        world.everything_of(build)
        (world.journal.folder / f"{world.build(2)}.json").write_text("{")
        done = run("packer:sweep", "--older-than", "0s", "--yes")
        assert (done.code, done.out) == (0, "3 leftovers removed, 0 left\n")
        assert done.err.count(f"{world.build(2)}.json: cannot be read, and does not count") == 1


def test_a_build_is_named_by_its_id(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reached(monkeypatch) as account:
        build = World(account, project).build(1)
        assert run("packer:sweep", "--build", "12_04-bee").code == 2
        assert f"nothing of {build} is left in us-east-1" in run("packer:sweep", "--build", build).err


def test_only_the_regions_that_are_asked_for_are_looked_at(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reached(monkeypatch) as account:
        world = World(account, project)
        build = world.build(1)
        world.ended(build)
        there = world.everything_of(build)
        assert run("packer:sweep", "--older-than", "0s", "--yes", "--region", "eu-west-1").code == 0
        assert set(world.left()) == set(there)
        assert [record.build for record in world.journal.records()] == [build]


def test_an_image_of_an_unknown_build_counts_and_is_not_current(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reached(monkeypatch) as account:
        image = made(account)
        planned = run("packer:adopt", "12_04-bee", image.id, "--dry-run")
        assert planned.code == 0
        assert f"would adopt {image.id} (bee 1) as an image of 12_04-bee" in planned.err
        refused = run("packer:adopt", "12_04-bee", image.id)
        assert (refused.code, "nodepkg:managed" in refused.err) == (4, True)
        done = run("packer:adopt", "12_04-bee", image.id, "--yes")
        assert (done.code, done.out) == (0, f"adopted {image.id} (bee 1)\n")
        assert "is not known here: it counts, but is not current" in done.err
        again = run("packer:adopt", "12_04-bee", image.id)
        assert (again.code, again.out) == (0, f"{image.id} is an image of 12_04-bee already\n")
        assert run("packer:adopt", "ftp-listener", image.id, "--yes").code == 4


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("12_04-bee bee", (2, "bee is no id of an image")),
        ("12_04-bee ami-00000000", (4, "ami-00000000 is no image of this account in us-east-1")),
        ("12_04-bee ami-1ebb2077", (4, "ami-1ebb2077 is no image of this account in us-east-1")),
        ("12_04-* ami-1ebb2077", (2, "is several groups")),
        ("wasp ami-1ebb2077", (2, "wasp")),
    ],
)
def test_what_is_no_image_of_ours_is_not_adopted(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, words: str, answer: tuple[int, str]
) -> None:
    with reached(monkeypatch):
        done = run("packer:adopt", *words.split(), "--yes")
    assert done.code == answer[0]
    assert answer[1] in done.err
