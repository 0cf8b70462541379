"""packer:clean on the command line, against an embedded AWS in this process."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from nodepkg.sandbox.throttling import Throttling
from tests.cli.conftest import FLEET, Refusing, Run, existing
from tests.projects import make_project
from tests.worlds import World


def test_a_dry_run_shows_every_image_with_its_reason_and_deletes_nothing(
    run: Run, world: World, calls: Throttling
) -> None:
    world.now -= timedelta(minutes=5, seconds=30)  # half a minute from where its age is told otherwise
    images = world.images("bee", 4, size_gb=10)
    instance = world.instance(images[0], "stopped")
    done = run("packer:clean", "bee", "-n", "2", "--dry-run")
    assert done.code == 0, done.err
    lines = {line.split()[0]: " ".join(line.split()) for line in done.out.splitlines()}
    assert lines[images[3]] == f"{images[3]} bee 3 5m 10 GB kept one of the newest 2"
    assert lines[images[1]] == f"{images[1]} bee 1 2d 10 GB deleted not among the newest 2"
    assert lines[images[0]] == f"{images[0]} bee 0 3d 10 GB kept in use by {instance} (stopped)"
    assert "deletes 1 image, keeps 3 images, frees 10 GB\n" in done.out
    assert lines["looked"].endswith("0 launch configurations, 0 groups, 1 instance in us-east-1")
    assert "would delete 1 image" in done.err
    assert existing(world) == set(images)
    assert calls.calls["DeregisterImage"] == 0
    assert calls.calls["DescribeImageAttribute"] == 1


def test_the_json_document_says_all_that_the_table_does(run: Run, world: World) -> None:
    old, new = world.images("bee", 2)
    tags = {"nodepkg:image-snapshot": "true", "nodepkg:managed": "true", "group": "bee"}
    orphan = world.snapshot(size_gb=5, age=timedelta(hours=2), tags=tags)
    for dry_run in (("--dry-run",), ("--yes",)):
        done = run("packer:clean", "bee", "-n", "1", "--json", *dry_run)
        assert done.code == 0, done.err
        document = json.loads(done.out)
        first, second = document["images"]
        assert (first["image"], first["kept"]) == (new, True)
        assert 86_400 <= second.pop("age_seconds") < 86_500
        assert second.pop("created").startswith("20")
        assert second == {
            "image": old,
            "name": "bee 0",
            "group": "bee",
            "region": "us-east-1",
            "size_gb": 8,
            "state": "available",
            "kept": False,
            "why": "not among the newest 1",
        }
        assert [snapshot["snapshot"] for snapshot in document["snapshots"]] == [orphan]
        assert document["frees_gb"] == 13
        assert document["usage"]["us-east-1"]["instances"] == 0
        assert document["refused"] is None
    assert {report.get("image") or report["snapshot"] for report in document["deleted"]} == {old, orphan}
    assert existing(world) == {new}


def test_without_a_terminal_it_asks_nobody_and_deletes_nothing(run: Run, world: World) -> None:
    images = world.images("bee", 2)
    done = run("packer:clean", "-n", "0")
    assert done.code == 4
    assert "--yes" in done.err
    assert images[0] in done.err
    assert existing(world) == set(images)


def test_nothing_to_delete_needs_no_answer(run: Run, world: World) -> None:
    images = world.images("bee", 2)
    done = run("packer:clean")
    assert done.code == 0, done.err
    assert "nothing deleted, 2 images left" in done.out
    assert existing(world) == set(images)


def test_a_plan_that_deletes_too_much_is_refused_before_the_first_deletion(
    run: Run, world: World, calls: Throttling
) -> None:
    images = {*world.images("bee", 3), *world.images("wasp", 3)}
    done = run("packer:clean", "-n", "1", "--max-delete", "3", "--yes")
    assert done.code == 4
    assert "the plan deletes 4 images, more than --max-delete 3" in done.err
    assert existing(world) == images
    shown = run("packer:clean", "-n", "1", "--max-delete", "3", "--dry-run")
    assert shown.code == 0
    assert "refused: the plan deletes 4 images" in shown.out
    assert "would delete" not in shown.err
    document = json.loads(run("packer:clean", "-n", "1", "--max-delete", "3", "--dry-run", "--json").out)
    assert document["refused"].startswith("the plan deletes 4 images")
    assert calls.calls["DescribeImageAttribute"] == 0
    assert run("packer:clean", "-n", "1", "--max-delete", "4", "--yes").code == 0
    assert len(existing(world)) == 2


LISTS = (
    "DescribeImages",
    "DescribeInstances",
    "DescribeSnapshots",
    "DescribeLaunchTemplateVersions",
    "DescribeLaunchConfigurations",
    "DescribeAutoScalingGroups",
)


@pytest.mark.parametrize("action", [*LISTS, "DescribeImageAttribute"])
def test_what_cannot_be_read_forbids_every_deletion(run: Run, world: World, refusing: Refusing, action: str) -> None:
    images = world.images("bee", 3)
    refusing.actions.add(action)
    done = run("packer:clean", "-n", "0", "--yes")
    assert done.code == 5
    assert "UnauthorizedOperation" in done.err
    assert existing(world) == set(images)


def test_the_number_of_lists_does_not_grow_with_the_groups(
    run: Run, world: World, calls: Throttling, tmp_path: Path
) -> None:
    names = [f"group-{number}" for number in range(40)]
    make_project(tmp_path, dict.fromkeys(names, FLEET["bee"]))
    for name in names:
        world.images(name, 3)
    assert run("packer:clean", "-n", "2", "--yes").code == 0
    assert {action: calls.calls[action] for action in calls.calls if action in LISTS} == dict.fromkeys(LISTS, 1)
    assert calls.calls["DeregisterImage"] == calls.calls["DescribeImageAttribute"] == 40


def test_options_narrow_what_goes(run: Run, world: World) -> None:
    served = world.image("served", "bee", age=timedelta(days=40), tags={"nodepkg:served": "v001"})
    named = world.image("named", "bee", age=timedelta(days=30))
    world.template("web", [named, "ami-1ebb2077", "ami-1ebb2077"], default=2)
    young = world.image("young", "bee", age=timedelta(days=13))

    def goes(*options: str) -> set[str]:
        document = json.loads(run("packer:clean", "-n", "0", "--dry-run", "--json", *options).out)
        return {entry["image"] for entry in document["images"] if not entry["kept"]}

    assert goes() == {named, young}
    assert goes("--keep-served", "0") == {served, named, young}
    assert goes("--all-versions") == {young}
    assert goes("--older-than", "14d") == {named}
    assert goes("--older-than", "2w") == {named}


def test_what_is_shared_is_told_and_kept_with_yes_too(run: Run, world: World) -> None:
    image, other = world.images("bee", 2)
    world.share(image, UserId="123456789012")
    done = run("packer:clean", "-n", "0", "--yes", "--json")
    document = json.loads(done.out)
    told = {entry["image"]: (entry["kept"], entry["why"]) for entry in document["images"]}
    assert told[image] == (True, "shared with account 123456789012")
    assert [report["image"] for report in document["deleted"]] == [other]
    assert document["frees_gb"] == 8
    assert f"kept {image}: shared with account 123456789012" in done.err


def test_what_was_deleted_before_an_error_is_reported(run: Run, world: World, refusing: Refusing) -> None:
    """EC2 forbids one snapshot: the images that went until then are told, and the run fails."""
    world.images("bee", 1)
    orphan = world.snapshot(
        age=timedelta(hours=2),
        tags={"nodepkg:image-snapshot": "true", "nodepkg:managed": "true", "group": "bee"},
    )
    refusing.actions.add("DeleteSnapshot")
    done = run("packer:clean", "-n", "0", "--yes", "--json")
    assert done.code == 5
    assert f"delete {orphan}" in done.err
    assert len(json.loads(done.out)["deleted"]) == 1


def test_what_others_named_steers_no_terminal(run: Run, world: World) -> None:
    evil = "a\nerror: b\x9b2J\u202e"
    world.image("of nobody", evil)
    used = world.image("red \x9b31m", "bee", age=timedelta(days=3), tags={"nodepkg:commit": evil})
    world.image("old \x9b31m", "bee", age=timedelta(days=4))
    world.launch_configuration("web \x9b5m", used)
    for command in (
        ["packer:list"],
        ["packer:delete", "bee", "--yes"],
        ["packer:clean", "-n", "0", "--dry-run"],
        ["packer:clean", "-n", "0", "--yes"],
    ):
        done = run(*command)
        assert not {"\x9b", "\u202e"} & {*done.out, *done.err}, command
        assert "\nerror: b" not in done.out + done.err
