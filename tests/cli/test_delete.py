"""packer:delete on the command line, against an embedded AWS in this process."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from nodepkg.cli.options import Call
from nodepkg.cli.output import Output
from nodepkg.cli.removals import carry_out_delete
from nodepkg.clients.aws.account import Account
from nodepkg.errors import RefusedError
from nodepkg.images.delete import WholeGroup
from nodepkg.images.removal import Removal
from nodepkg.images.usage import Usage, picture
from nodepkg.sandbox.throttling import Throttling
from tests.cli.conftest import Refusing, Run, existing
from tests.worlds import World


@pytest.fixture
def files(world: World, tmp_path: Path) -> Path:
    """packer/ with files of two groups, one of which begins like the other."""
    folder = tmp_path / "packer"
    (folder / "bee.d").mkdir(parents=True)
    for name in ("bee.json", "bee.pkr.hcl", "bee-hive.json", "wasp.json", "xbee.json"):
        (folder / name).write_text("{}")
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "bee.json").write_text("{}")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_images_of_the_group_and_its_template_go_and_nothing_else(
    run: Run, world: World, files: Path, calls: Throttling
) -> None:
    world.images("bee", 3)
    world.image("served", "bee", tags={"nodepkg:served": "v001"})
    wasp = world.image("wasp", "wasp")
    done = run("packer:delete", "bee", "--yes", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert len([report for report in document["deleted"] if "image" in report]) == 4
    assert document["files"] == ["packer/bee.json", "packer/bee.pkr.hcl"]
    assert existing(world) == {wasp}
    assert names(files) == {"bee.d", "bee-hive.json", "wasp.json", "xbee.json"}
    assert (files.parent / "roles" / "bee.json").exists()
    assert {action for action in calls.calls if not action.startswith("Describe")} == {"DeregisterImage"}
    again = run("packer:delete", "bee", "--yes")
    assert (again.code, again.out) == (0, "nothing deleted, 0 images left, 0 GB freed\n")


def test_an_image_in_use_refuses_the_whole_group_and_says_what_uses_it(run: Run, world: World, files: Path) -> None:
    images = world.images("bee", 3)
    instance = world.instance(images[0])
    world.template("web", [images[1]])
    world.image("wasp", "wasp", tags={"nodepkg:source_ami": images[2]})
    before = names(files)
    for how in ("--yes", "--dry-run"):
        done = run("packer:delete", "bee", how)
        assert done.code == 4
        assert f"{images[0]} (bee 0) is in use by {instance} (running)" in done.err
        assert f"{images[1]} (bee 1) is in use by launch template web version 1" in done.err
        assert f"{images[2]} (bee 2) is base of ami-" in done.err
    assert existing(world) >= set(images)
    assert names(files) == before


def test_an_image_that_others_may_use_refuses(run: Run, world: World, files: Path) -> None:
    images = world.images("bee", 2)
    world.share(images[0], Group="all")
    done = run("packer:delete", "bee", "--yes")
    assert done.code == 4
    assert f"{images[0]} (bee 0) is shared with everybody" in done.err
    assert existing(world) == set(images)


def test_what_must_not_be_touched_is_kept_and_shown(run: Run, world: World, files: Path) -> None:
    protected = world.image("protected", "bee")
    world.protect(protected)
    tagged = world.image("tagged", "bee", tags={"nodepkg:keep": ""})
    kept = {protected, tagged, *(world.image(state, "bee", state=state) for state in ("pending", "disabled"))}
    world.image("failed", "bee", state="failed")
    done = run("packer:delete", "bee", "--yes")
    assert done.code == 0, done.err
    for word in ("is protected from deregistration", "tagged nodepkg:keep", "is pending", "is disabled"):
        assert word in done.err
    assert "1 image deleted, 4 images left, 8 GB freed" in done.out
    assert existing(world) == kept
    assert "bee.json" not in names(files)


def test_a_dry_run_changes_nothing(run: Run, world: World, files: Path) -> None:
    images, before = world.images("bee", 2), names(files)
    done = run("packer:delete", "bee", "--dry-run")
    assert done.code == 0, done.err
    assert "deletes 2 images, keeps 0 images, frees 16 GB" in done.out
    assert "removes packer/bee.pkr.hcl" in done.out
    assert existing(world) == set(images)
    assert names(files) == before


def test_without_a_terminal_the_name_cannot_be_typed(run: Run, world: World, files: Path) -> None:
    images = world.images("bee", 2)
    done = run("packer:delete", "bee")
    assert done.code == 4
    assert "--yes" in done.err
    assert existing(world) == set(images)


def test_a_group_that_is_gone_from_nodes_json_needs_its_region(run: Run, world: World, files: Path) -> None:
    (files / "old-web.json").write_text("{}")
    image = world.image("old", "old-web", age=timedelta(days=9))
    refused = run("packer:delete", "old-web", "--yes")
    assert refused.code == 2
    assert "--region" in refused.err
    assert existing(world) == {image}
    done = run("packer:delete", "old-web", "--region", "us-east-1", "--yes")
    assert done.code == 0, done.err
    assert existing(world) == set()
    assert "old-web.json" not in names(files)


def test_of_a_name_that_is_mistyped_the_nearest_is_told(run: Run, world: World, files: Path) -> None:
    (image,) = world.images("bee", 1)
    refused = run("packer:delete", "beee", "--yes")
    assert refused.code == 2
    assert "did you mean bee?" in refused.err
    assert existing(world) == {image}


@pytest.mark.parametrize("name", ["*", "../bee", "b", "__base__", "bee*", ""])
def test_a_name_that_no_group_can_have_is_refused(run: Run, world: World, files: Path, name: str) -> None:
    images, before = world.images("bee", 1), names(files)
    assert run("packer:delete", name, "--region", "us-east-1", "--yes").code == 2
    assert existing(world) == set(images)
    assert names(files) == before


def test_a_group_is_not_looked_for_in_another_region(run: Run, world: World, files: Path) -> None:
    images = world.images("bee", 1)
    done = run("packer:delete", "bee", "--region", "eu-west-1", "--yes")
    assert done.code == 2
    assert "us-east-1" in done.err
    assert existing(world) == set(images)


def test_the_files_stay_where_an_image_could_not_be_deleted(
    run: Run, world: World, files: Path, refusing: Refusing
) -> None:
    images, before = world.images("bee", 2), names(files)
    refusing.actions.add("DeregisterImage")
    done = run("packer:delete", "bee", "--yes")
    assert done.code == 5
    assert existing(world) == set(images)
    assert names(files) == before


def test_the_files_stay_where_an_image_came_into_use_meanwhile(world: World, files: Path, account: Account) -> None:
    used, unused = world.images("bee", 2)
    before, now = names(files), [0.0]

    def look(region: str) -> Usage:
        seen = picture(account, region, clock=lambda: now[0])
        if not now[0]:  # a minute passes once the plan is made
            world.instance(used)
            now[0] = 61
        return seen

    rules = WholeGroup("bee", world.now)
    removal = Removal(account, look, rules.judge, clock=lambda: now[0])
    with pytest.raises(RefusedError, match="came into use"):
        carry_out_delete(Call(Output(), yes=True), removal, rules, "us-east-1", files.parent)
    assert existing(world) == {used}
    assert [report["image"] for report in removal.done if "kept" not in report] == [unused]
    assert names(files) == before
