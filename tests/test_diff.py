"""What follows from a difference: decided on plain values."""

from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.diff import Asg, Facts, GroupChange, State, Version, compared, difference, judge
from nodepkg.launch import launch_inputs, template_data
from nodepkg.nodes.changes import Kind
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes, load
from nodepkg.render.user_data import UserData
from tests.projects import make_project

RUNS = {"instance_type": "t3.small"}


def version(image: str = "i", *, launch: Any = RUNS, sizes: Any = (1, 2), **merged: Any) -> Version:
    """A group that has an Auto Scaling group, unless `launch` is None."""
    role = {"roles/bee.json": image}
    return Version(merged, Facts(role, image, {}, launch, sizes if launch is not None else None))


def follows(change: GroupChange) -> tuple[bool, str, dict[str, str]]:
    return change.builds, str(change.asg), {path: str(kind) for path, kind in change.artifacts.items()}


def test_nothing_follows_from_nothing() -> None:
    same = judge("bee", version(), version())
    assert follows(same) == (False, "nothing", {})
    assert not same.differs


def test_a_key_that_nothing_is_made_from_changes_and_nothing_follows() -> None:
    change = judge("bee", version(autoscale={"bake_time": 1}), version(autoscale={"bake_time": 2}))
    assert change.differs
    assert not change.follows


def test_another_image_replaces_the_group() -> None:
    change = judge("bee", version("old"), version("new"))
    assert follows(change) == (True, "replace", {"roles/bee.json": "changed"})


def test_another_image_of_a_group_without_nodes_is_built_and_that_is_all() -> None:
    assert follows(judge("bee", version("a", launch=None), version("b", launch=None)))[:2] == (True, "nothing")


def test_a_file_that_all_groups_get_makes_a_rebuild_due() -> None:
    change = judge("bee", version(), version(), shared={"cookbooks/x/a.rb": Kind.CHANGED})
    assert follows(change) == (True, "replace", {})


def test_nodes_that_start_in_another_way_are_replaced_without_a_new_image() -> None:
    change = judge("bee", version(), version(launch={"instance_type": "m5.large"}))
    assert follows(change)[:2] == (False, "replace")


def test_other_sizes_alone_resize() -> None:
    assert follows(judge("bee", version(), version(sizes=(1, 3))))[:2] == (False, "resize")
    assert judge("bee", version("a"), version("b", sizes=(1, 3))).asg is Asg.REPLACE


def test_an_auto_scaling_group_comes_and_goes_with_its_key() -> None:
    assert judge("bee", version(launch=None), version()).asg is Asg.START
    assert judge("bee", version(), version(launch=None)).asg is Asg.DELETE


def test_what_is_built_on_a_new_image_is_built_after_it_and_replaced() -> None:
    change = judge("bee", version(), version(), base="base")
    assert (change.rebuild, change.builds, change.base, change.asg) == (False, True, "base", Asg.REPLACE)


def test_a_new_group_has_everything_to_make() -> None:
    change = judge("bee", None, version())
    assert change.state is State.ADDED
    assert follows(change) == (True, "start", {"roles/bee.json": "added"})


def test_of_a_group_that_is_gone_its_own_files_are_left() -> None:
    made = {"roles/bee.json": "", "roles/other.json": "", "packer/bee.json": ""}
    change = judge("bee", Version({}, Facts(made, "i", {}, RUNS, (1, 1))), None)
    assert change.state is State.REMOVED
    assert follows(change) == (False, "delete", {"roles/bee.json": "removed", "packer/bee.json": "removed"})


def test_everything_follows_where_the_group_was_wrong() -> None:
    change = judge("bee", Version({"autoscale": {"node_min": 1}, "x": 1}, None, "was wrong"), version(x=2))
    assert follows(change) == (True, "replace", {"roles/bee.json": "changed"})
    assert change.note == "was wrong"
    assert "x" in [one.key for one in change.changes]


def test_the_role_of_another_group_is_not_its_to_make_or_remove() -> None:
    with_other = Version({}, Facts({"roles/bee.json": "a", "roles/wasp.json": "b"}, "i"))
    without = Version({}, Facts({"roles/bee.json": "a"}, "i"))
    assert judge("bee", with_other, without).artifacts == {}


def test_compared_files_come_go_and_change() -> None:
    found = compared({"a": "1", "b": "1", "c": "1"}, {"b": "2", "c": "1", "d": "1"})
    assert found == {"a": Kind.REMOVED, "b": Kind.CHANGED, "d": Kind.ADDED}


def two(folder: Path, before: Any, after: Any, *names: str, files: Any = None) -> dict[str, GroupChange]:
    """What differs between two documents, each over a `__base__` with a source image."""

    def made(part: str, document: Any) -> Nodes:
        base = {"source_ami": "ami-1", "run_list": ["recipe[x]"], **document.get("__base__", {})}
        return make_project(folder / part, {**document, "__base__": base}, files)

    then, now = made("before", before), made("after", after)
    asked = names or tuple(dict.fromkeys([*now.names, *then.names]))
    return {change.group: change for change in difference(then, now, asked)}


def again(folder: Path) -> list[GroupChange]:
    """What differs between the projects of `two` after a file was edited."""
    return difference(load(folder / "before/nodes.json"), load(folder / "after/nodes.json"), ["bee", "wasp"])


CHAIN = {
    "leaf": {"source_group": "middle", "autoscale": {}},
    "middle": {"source_group": "base-group"},
    "base-group": {},
    "other": {"autoscale": {}},
}


def test_a_rebuild_of_a_base_reaches_all_that_is_built_on_it(tmp_path: Path) -> None:
    after = {**CHAIN, "base-group": {"run_list": ["recipe[y]"]}}
    found = two(tmp_path, CHAIN, after)
    assert {name: (one.rebuild, one.base, str(one.asg)) for name, one in found.items()} == {
        "leaf": (False, "middle", "replace"),
        "middle": (False, "base-group", "nothing"),
        "base-group": (True, "", "nothing"),
    }


def test_the_base_counts_also_where_only_the_leaf_is_asked_for(tmp_path: Path) -> None:
    after = {**CHAIN, "base-group": {"run_list": ["recipe[y]"]}}
    assert list(two(tmp_path, CHAIN, after, "leaf")) == ["leaf"]


@pytest.mark.parametrize(
    "keys", [{"health_url": "http://{private_ip}/"}, {"health_timeout": 9}, {"unhealthy_after": 9}, {"keep_old": 1}]
)
def test_how_a_rollout_judges_and_what_it_keeps_replaces_no_nodes(tmp_path: Path, keys: dict[str, Any]) -> None:
    (change,) = two(tmp_path, {"bee": {"autoscale": {}}}, {"bee": {"autoscale": keys}}).values()
    assert [one.key for one in change.changes]
    assert not change.follows


def test_an_instance_type_drives_the_build_and_replaces_the_nodes(tmp_path: Path) -> None:
    found = two(tmp_path, {"bee": {"autoscale": {}}}, {"bee": {"autoscale": {}, "instance_type": "m5.large"}})
    assert follows(found["bee"]) == (False, "replace", {"packer/bee.json": "changed"})


def test_a_group_that_is_wrong_in_the_past_is_compared_by_its_merge(tmp_path: Path) -> None:
    found = two(tmp_path, {"bee": {"instanse_type": "x"}, "wasp": {}}, {"bee": {}, "wasp": {}})
    assert list(found) == ["bee"]
    assert [one.key for one in found["bee"].changes] == ["instanse_type"]
    assert "instanse_type" in found["bee"].note
    assert found["bee"].rebuild


def test_a_missing_role_in_the_past_is_told_of_those_that_refer_to_it(tmp_path: Path) -> None:
    found = two(tmp_path, {"bee": {"run_list": ["role[gone]"]}, "wasp": {}}, {"bee": {}, "wasp": {}})
    assert list(found) == ["bee"]
    assert "role[gone]" in found["bee"].note


def test_a_broken_link_in_the_past_is_told_and_everything_follows(tmp_path: Path) -> None:
    (tmp_path / "before/cookbooks").mkdir(parents=True)
    (tmp_path / "before/cookbooks/gone").symlink_to("nowhere")
    found = two(tmp_path, {"bee": {}, "wasp": {}}, {"bee": {}, "wasp": {}})
    assert [(one.rebuild, "broken symbolic link" in one.note) for one in found.values()] == [(True, True), (True, True)]


@pytest.mark.parametrize("template", ['{% include "part.j2" %}', '{% set name = "part.j2" %}{% include name %}'])
def test_a_part_of_a_template_counts_for_those_that_include_it(tmp_path: Path, template: str) -> None:
    part = '{"builders": [{"type": "null", "ami_name": "%s"}]}'
    nodes = {"bee": {"packer": {"template": "own"}}, "wasp": {}}
    files = {"templates/packer/own.j2": template, "templates/packer/part.j2": part % "a"}
    found = two(tmp_path, nodes, nodes, files=files)
    assert found == {}
    (tmp_path / "after/templates/packer/part.j2").write_text(part % "b")
    (change,) = again(tmp_path)
    assert (change.group, dict(change.files)) == ("bee", {"templates/packer/part.j2": Kind.CHANGED})
    assert (change.rebuild, list(change.artifacts)) == (False, ["packer/bee.json"])


def test_the_role_of_another_group_makes_a_rebuild_due(tmp_path: Path) -> None:
    before = {"bee": {"run_list": ["role[role-wasp]"]}, "wasp": {}}
    found = two(tmp_path, before, {**before, "wasp": {"run_list": ["recipe[y]"]}})
    assert {name: (one.rebuild, list(one.artifacts)) for name, one in found.items()} == {
        "bee": (True, ["roles/wasp.json"]),
        "wasp": (True, ["roles/wasp.json"]),
    }


def test_a_role_of_the_users_own_is_told_with_the_groups_that_refer_to_it(tmp_path: Path) -> None:
    nodes = {"bee": {"run_list": ["role[own]"]}, "wasp": {}}
    two(tmp_path, nodes, nodes, files={"roles/own.rb": "name 'own'"})
    (tmp_path / "after/roles/own.rb").write_text("name 'own' # other")
    (change,) = again(tmp_path)
    assert (change.group, change.rebuild, dict(change.files)) == ("bee", True, {"roles/own.rb": Kind.CHANGED})


@pytest.mark.parametrize("files", [{}, {"solo.rb": "other"}, {"data_bags/x/y.json": "{}"}])
def test_a_file_beside_the_same_nodes_json_is_not_overlooked(tmp_path: Path, files: dict[str, str]) -> None:
    entry = {"bee": {"source_ami": "ami-1", "run_list": ["recipe[x]"]}}
    sides = make_project(tmp_path / "before", entry), make_project(tmp_path / "after", entry, files)
    found = difference(*sides, ["bee"])
    assert [one.rebuild for one in found] == [True] * bool(files)


LAUNCH = {
    "instance_type": "m5.large",
    "security_groups": ["sg-2"],
    "key_name": "ops",
    "iam_instance_profile": "web",
    "block_devices": [{"device": "/dev/sda1"}],
    "user_data": "#!/bin/sh",
    "tags": {"team": "ops"},
    "description": "x",
    "ssh_username": "admin",
    "run_list": ["recipe[y]"],
}


@pytest.mark.parametrize("key", LAUNCH)
def test_launch_inputs_differ_where_the_launch_template_does(tmp_path: Path, key: str) -> None:
    entry = {"source_ami": "ami-1", "run_list": ["recipe[x]"], "autoscale": {}}
    nodes = make_project(tmp_path, {"bee": entry, "wasp": {**entry, key: LAUNCH[key]}})
    ec2 = Ec2(Account(endpoint="http://127.0.0.1:1"), "us-east-1")  # asked for names of security groups only
    bee, wasp = (
        template_data(ec2, group, "ami-1", "vpc-1", user_data_of(group)) | {"TagSpecifications": group.settings.tags}
        for group in nodes.groups(["bee", "wasp"])
    )
    inputs = [launch_inputs(group, user_data_of(group)) for group in nodes.groups(["bee", "wasp"])]
    assert (bee != wasp) == (inputs[0] != inputs[1])


def user_data_of(group: Group) -> str:
    """Without what makes each group's its own."""
    return group.settings.user_data or "rendered"


def test_user_data_that_is_rendered_differently_replaces_the_nodes_and_builds_no_image(tmp_path: Path) -> None:
    nodes = {"bee": {"autoscale": {}}, "wasp": {}, "ant": {"autoscale": {}, "user_data": "#!/bin/sh"}}
    files = {"templates/user_data/default.j2": "#!/bin/sh\n. {{ path | shell }}/{% include 'part.j2' %}"}
    assert two(tmp_path, nodes, nodes, files=files | {"templates/user_data/part.j2": "a"}) == {}
    (tmp_path / "after/templates/user_data/part.j2").write_text("b")
    (change,) = difference(load(tmp_path / "before/nodes.json"), load(tmp_path / "after/nodes.json"), list(nodes))
    assert (change.group, change.rebuild, change.asg) == ("bee", False, Asg.REPLACE)
    assert change.files == {"templates/user_data/part.j2": Kind.CHANGED}


def test_a_run_list_reaches_the_nodes_by_a_new_image(tmp_path: Path) -> None:
    """The dna in the user data names the group's role, and that is in the image."""
    found = two(tmp_path, {"bee": {"autoscale": {}}}, {"bee": {"autoscale": {}, "run_list": ["recipe[y]"]}})
    assert (found["bee"].rebuild, found["bee"].asg) == (True, Asg.REPLACE)
    before, after = (load(tmp_path / side / "nodes.json").group("bee") for side in ("before", "after"))
    assert UserData(tmp_path).text(before) == UserData(tmp_path).text(after)
