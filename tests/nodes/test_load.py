"""nodes.json -> groups: inheritance, validation, and everything that is wrong told at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ConfigError
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from tests.projects import make_project

Entry = dict[str, Any]
BASE: Entry = {"run_list": ["recipe[base]"], "source_ami": "ami-1"}


def load(folder: Path, **entries: Any) -> Nodes:
    """A nodes.json of these entries; `__base__` is BASE unless one is given."""
    return make_project(folder, {"__base__": BASE, **entries})


def bee(folder: Path, **keys: Any) -> Group:
    """The group bee-group with these keys, on BASE."""
    return load(folder, **{"bee-group": keys}).group("bee-group")


def checked(nodes: Nodes, names: Sequence[str]) -> list[Group]:
    groups, wrong = nodes.examine(names)
    nodes.refuse(wrong)
    return groups


def findings(nodes: Nodes, *names: str) -> list[str]:
    """What config:check says of these groups (none: all), without the path of the folder."""
    with pytest.raises(ConfigError) as error:
        checked(nodes, names or nodes.names)
    return error.value.message.replace(f"{nodes.root}/", "").split("\n")


def finding(nodes: Nodes, *names: str) -> str:
    (only,) = findings(nodes, *names)
    return only


def of_bee(folder: Path, **keys: Any) -> str:
    """The one finding that these keys of bee-group give, after `bee-group: `."""
    told = finding(load(folder, **{"bee-group": keys}))
    return told.partition(": bee-group: ")[2]


# Inheritance


def test_every_group_inherits_base(tmp_path: Path) -> None:
    group = bee(tmp_path, run_list=["recipe[bee]"])
    assert group.layers == ("__base__",)
    assert group.run_list == ["recipe[base]", "recipe[bee]"]


def test_a_file_needs_no_base(tmp_path: Path) -> None:
    group = make_project(tmp_path, {"bee-group": BASE}).group("bee-group")
    assert group.layers == ()
    assert group.run_list == ["recipe[base]"]


@pytest.mark.parametrize("inherits", ["__web__", ["__web__"], ["__base__", "__web__"], ["__web__", "__web__"]])
def test_a_layer_lies_between_base_and_the_group(tmp_path: Path, inherits: str | list[str]) -> None:
    nodes = load(tmp_path, __web__={"run_list": ["web"]}, **{"bee-group": {"inherits": inherits, "run_list": ["bee"]}})
    assert nodes.group("bee-group").layers == ("__base__", "__web__")
    assert nodes.group("bee-group").run_list == ["recipe[base]", "web", "bee"]


def test_layers_merge_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    layers = {"__a__": {"run_list": ["a"], "key_name": "a"}, "__b__": {"run_list": ["b"], "key_name": "b"}}
    nodes = load(tmp_path, **layers, **{"bee-group": {"inherits": ["__b__", "__a__"]}})
    assert nodes.group("bee-group").run_list == ["recipe[base]", "b", "a"]
    assert nodes.group("bee-group").settings.key_name == "a"


def test_a_layer_comes_after_those_that_it_inherits(tmp_path: Path) -> None:
    nodes = load(
        tmp_path, __a__={"inherits": "__b__"}, __b__={"inherits": ["__c__"]}, __c__={}, bee={"inherits": "__a__"}
    )
    assert nodes.group("bee").layers == ("__base__", "__c__", "__b__", "__a__")


def test_a_layer_reached_twice_counts_once(tmp_path: Path) -> None:
    nodes = load(
        tmp_path,
        __root__={"run_list": ["root"]},
        __left__={"inherits": "__root__", "run_list": ["left"]},
        __right__={"inherits": "__root__", "run_list": ["right"]},
        bee={"inherits": ["__left__", "__right__"]},
    )
    assert nodes.group("bee").layers == ("__base__", "__root__", "__left__", "__right__")
    assert nodes.group("bee").run_list == ["recipe[base]", "root", "left", "right"]


def test_inherits_is_each_entrys_own(tmp_path: Path) -> None:
    nodes = load(tmp_path, __a__={"inherits": "__b__"}, __b__={}, bee={"inherits": "__a__"}, fly={})
    assert nodes.merged("bee")["inherits"] == "__a__"
    assert "inherits" not in nodes.merged("fly")


def test_a_cycle_is_an_error_that_shows_the_way(tmp_path: Path) -> None:
    nodes = load(tmp_path, __a__={"inherits": "__b__"}, __b__={"inherits": "__a__"}, bee={"inherits": "__a__"})
    assert any("inherits in a circle: __a__ -> __b__ -> __a__" in line for line in findings(nodes))


def test_a_layer_that_inherits_itself_is_an_error(tmp_path: Path) -> None:
    told = findings(load(tmp_path, __a__={"inherits": "__a__"}, bee={"inherits": "__a__"}))
    assert any("inherits in a circle: __a__ -> __a__" in line for line in told)


@pytest.mark.parametrize(
    ("inherits", "told"),
    [
        ("__wbe__", "inherits: no layer __wbe__; did you mean __web__?"),
        (["__web__", "__nothing_like_it__"], "inherits[1]: no layer __nothing_like_it__"),
        ("other-group", "inherits: other-group is a group; only layers, __like_this__, can be inherited"),
        ("bee-group", "inherits: bee-group is a group; only layers, __like_this__, can be inherited"),
        (7, "inherits: has to be a string or a list, and is a number"),
        (["__web__", 7], "inherits[1]: has to be a string, and is a number"),
    ],
)
def test_only_a_layer_that_exists_can_be_inherited(tmp_path: Path, inherits: Any, told: str) -> None:
    nodes = load(tmp_path, __web__={}, **{"bee-group": {"inherits": inherits}, "other-group": {}})
    assert finding(nodes).endswith(f": bee-group: {told}")


def test_base_inherits_nothing(tmp_path: Path) -> None:
    nodes = make_project(tmp_path, {"__base__": {**BASE, "inherits": "__web__"}, "__web__": {}, "bee": {}})
    assert "it cannot inherit itself" in finding(nodes)


def test_that_base_inherits_stops_every_command_not_only_the_check(tmp_path: Path) -> None:
    nodes = make_project(tmp_path, {"__base__": {**BASE, "inherits": "__web__"}, "__web__": {}, "bee": {}})
    with pytest.raises(ConfigError, match="__base__ is what everything inherits"):
        nodes.groups(["bee"])


def test_a_very_long_chain_of_layers_is_no_traceback(tmp_path: Path) -> None:
    layers = {f"__l{number}__": {"inherits": f"__l{number + 1}__"} for number in range(3000)}
    nodes = load(tmp_path, **layers, __l3000__={}, bee={"inherits": "__l0__"})
    assert len(nodes.group("bee").layers) == 3002


# The top level


def test_names_are_the_groups_in_the_order_of_the_file(tmp_path: Path) -> None:
    nodes = load(tmp_path, **{"$schema": "https://example.org/nodes.json"}, zoo={}, __web__={}, ant={})
    assert nodes.names == ["zoo", "ant"]
    assert [group.name for group in checked(nodes, nodes.names)] == ["zoo", "ant"]


@pytest.mark.parametrize("key", ["$settings", "$", "$Schema"])
def test_any_other_key_with_a_dollar_is_reserved(tmp_path: Path, key: str) -> None:
    told = finding(load(tmp_path, bee={}, **{key: {}}))
    assert told.endswith(f"{key}: top-level keys that start with $ are reserved; only $schema is known")


@pytest.mark.parametrize("name", ["12.04-bee", "be", "bee-v001"])
def test_an_illegal_group_name_is_an_error_with_a_legal_one(tmp_path: Path, name: str) -> None:
    told = finding(load(tmp_path, **{name: {}}))
    assert f"{name}: not a legal group name: " in told
    assert told.endswith(" would do")


@pytest.mark.parametrize(
    ("entry", "kind"), [([], "a list"), ("x", "a string"), (7, "a number"), (None, "null"), (True, "true or false")]
)
@pytest.mark.parametrize("name", ["__base__", "__web__", "bee-group"])
def test_an_entry_is_an_object(tmp_path: Path, name: str, entry: Any, kind: str) -> None:
    nodes = load(tmp_path, **{"fly-group": BASE, name: entry})
    assert any(f"{name}: has to be an object, and is {kind}" in line for line in findings(nodes, "fly-group"))


# Keys and values


def test_keys_of_ones_own_are_kept_at_every_level(tmp_path: Path) -> None:
    entry = {
        "x-note": ["any", None],
        "autoscale": {"x-note": 1},
        "packer": {"x-note": 1, "chef": {"x-note": 1}},
        "block_devices": [{"device": "/dev/sda1", "x-note": 1}],
        "source_ami_filter": {"name": "a", "owners": ["self"], "x-note": 1},
    }
    merged = bee(tmp_path, **entry).merged
    assert {key: merged[key] for key in entry} == entry


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"run_lists": []}, "run_lists: unknown key; did you mean run_list?"),
        ({"packer": {"chef": {"instal": "x"}}}, "packer.chef.instal: unknown key; did you mean install?"),
        ({"autoscale": {"nodes_max": 1}}, "autoscale.nodes_max: unknown key; did you mean node_max?"),
        ({"block_devices": [{"device": "a", "size": 1}]}, "block_devices[0].size: unknown key; did you mean size_gb?"),
        ({"zzz": 1}, "zzz: unknown key (docs/nodes.md lists them)"),
        (
            {"packer": {"zzz": 1}},
            "packer.zzz: unknown key; known are format, template, ssh_source_cidrs, builder, chef",
        ),
        ({"X-note": 1}, "X-note: unknown key (docs/nodes.md lists them)"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_nearest_known_one(tmp_path: Path, entry: Entry, told: str) -> None:
    assert of_bee(tmp_path, **entry) == told


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"region": 7}, "region: has to be a string, and is a number"),
        ({"region": {}}, "region: has to be a string, and is an object"),
        ({"region": []}, "region: has to be a string, and is a list"),
        ({"region": "mars"}, 'region: "mars" is not legal'),
        ({"run_list": "recipe[x]"}, "run_list: has to be a list, and is a string"),
        ({"run_list": {"a": 1}}, "run_list: has to be a list, and is an object"),
        ({"run_list": [None]}, "run_list[0]: has to be a string, and is null"),
        ({"run_list": ["recipe[x"]}, "run_list[0]: not a run-list item: Chef knows recipe[cookbook]"),
        ({"post_run_list": ["ok", "role[a b]"]}, "post_run_list[1]: not a run-list item"),
        ({"tags": {"a": 1}}, "tags.a: has to be a string, and is a number"),
        ({"tags": {"group": "x"}}, "tags: the tag group is reserved"),
        ({"tags": {"nodepkg:x": "x"}}, "tags: the tag nodepkg:x is reserved"),
        ({"autoscale": {"node_min": -1}}, "autoscale.node_min: has to be greater than or equal to 0"),
        ({"autoscale": {"node_min": 1.5}}, "autoscale.node_min: has to be a whole number, and is a number"),
        ({"autoscale": {"node_min": True}}, "autoscale.node_min: has to be a whole number, and is true or false"),
        ({"autoscale": {"health_check_type": "ec2"}}, "autoscale.health_check_type: \"ec2\" is none of 'EC2' or 'ELB'"),
        ({"autoscale": {"health_url": "tcp://x"}}, "autoscale.health_url: has to begin with http:// or https://"),
        ({"autoscale": {"health_url": "http://{ip}/"}}, "autoscale.health_url: in braces it may have {private_ip} "),
        (
            {"autoscale": {"health_url": "http://{zone!r}/"}},
            "autoscale.health_url: in braces it may have {private_ip} ",
        ),
        ({"autoscale": {"health_url": "http:///x"}}, "autoscale.health_url: is no URL such as http://{private_ip}:80"),
        ({"autoscale": "yes"}, "autoscale: has to be an object, and is a string"),
        ({"autoscale": True}, "autoscale: true says nothing"),
        ({"autoscale": {"node_min": 3, "node_max": 2}}, "autoscale.node_min: node_min (3) is more than node_max (2)"),
        ({"autoscale": {"node_desired": 9, "node_max": 2}}, "autoscale.node_desired: node_desired (9) is not between"),
        ({"block_devices": [{}]}, "block_devices[0]: device is missing"),
        ({"role_name": "a.b"}, 'role_name: "a.b" is not legal'),
        ({"packer": {"format": "yaml"}}, "packer.format: \"yaml\" is none of 'json' or 'hcl2'"),
        ({"packer": {"template": "../x"}}, 'packer.template: "../x" is not legal'),
        ({"packer": {"builder": {"access_key": "AKIA"}}}, "packer.builder: access_key is a secret"),
        ({"packer": {"builder": {"ami_name": "x"}}}, "packer.builder: ami_name is written by nodepkg"),
        ({"packer": {"chef": {"path": "/opt"}}}, "packer.chef.path: has to be an absolute path"),
        ({"packer": {"chef": {"path": "/opt/../etc"}}}, "packer.chef.path: has to be an absolute path"),
        ({"packer": {"chef": {"install": True}}}, "packer.chef.install: "),
        ({"user_data": "x" * 16_385}, "user_data: EC2 takes at most 16 KB"),
    ],
)
def test_a_bad_value_says_what_is_wanted(tmp_path: Path, entry: Entry, told: str) -> None:
    assert of_bee(tmp_path, **entry).startswith(told)


def test_what_is_wrong_in_an_entry_is_told_once_and_on_its_own_line(tmp_path: Path) -> None:
    nodes = load(tmp_path, bee={"run_list": ["recipe[x"], "block_devices": [{"device": 7}]})
    assert len(findings(nodes)) == 2
    base = {**BASE, "block_devices": [{"device": "a"}]}
    nodes = make_project(tmp_path, {"__base__": base, "bee": {"block_devices": [{"device": 7}]}})
    assert finding(nodes) == "nodes.json:16: bee: block_devices[0].device: has to be a string, and is a number"


def test_a_secret_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    assert "hunter2" not in of_bee(tmp_path, packer={"builder": {"secret_key": "hunter2"}})


@pytest.mark.parametrize(
    "key", ["region", "run_list", "tags", "packer", "block_devices", "role_name", "autoscale", "user_data", "zones"]
)
def test_null_is_the_default_again(tmp_path: Path, key: str) -> None:
    given = {
        "region": "eu-west-1",
        "run_list": ["recipe[x]"],
        "tags": {"a": "b"},
        "packer": {"template": "web"},
        "block_devices": [{"device": "a"}],
        "role_name": "x",
        "autoscale": {},
        "user_data": "x",
        "zones": ["a"],
    }
    document = {"__base__": {**given, "post_run_list": ["recipe[y]"]}, "bee": {key: None}, "fly": {}}
    nodes = make_project(tmp_path, document)
    default = make_project(tmp_path, {"bee": {"post_run_list": ["recipe[y]"]}}).group("bee").settings
    assert getattr(nodes.group("bee").settings, key) == getattr(default, key)
    assert getattr(nodes.groups(["fly"])[0].settings, key) != getattr(default, key)


def test_null_inside_is_the_default_again(tmp_path: Path) -> None:
    group = bee(tmp_path, packer={"format": None, "chef": {"install": None}}, autoscale={"timeout": None})
    assert group.settings.packer.format == "json"
    assert group.settings.autoscale is not None
    assert group.settings.autoscale.timeout == 120


def test_an_empty_run_list_is_an_error(tmp_path: Path) -> None:
    told = finding(make_project(tmp_path, {"bee": {"source_ami": "ami-1", "run_list": []}}))
    assert told == "nodes.json:4: bee: run_list: the run list is empty: chef-solo would exit 0 and do nothing"


def test_a_post_run_list_alone_is_no_empty_run_list(tmp_path: Path) -> None:
    nodes = make_project(tmp_path, {"bee": {"post_run_list": ["recipe[a]"]}})
    assert nodes.group("bee").run_list == ["recipe[a]"]


def test_the_post_run_lists_of_all_entries_come_last(tmp_path: Path) -> None:
    base = {"run_list": ["a"], "post_run_list": ["y"]}
    nodes = make_project(tmp_path, {"__base__": base, "bee": {"run_list": ["b", "a"], "post_run_list": ["z"]}})
    assert nodes.group("bee").run_list == ["a", "b", "a", "y", "z"]


# All at once, and where


WRONG = """{
    "__base__": {
        "run_list": ["recipe[base]"],
        "source_ami": "ami-1",
        "regoin": "us-east-1"
    },
    "__web__": {
        "tags": {"a": 1},
        "zones": [
            "us-east-1a",
            7
        ]
    },
    "bee": {
        "instance_type": 7,
        "inherits": "__wbe__"
    },
    "fly": {
        "inherits": "__web__"
    },
    "a.b": {},
    "$x": 1
}
"""


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    assert findings(make_project(tmp_path, WRONG)) == [
        "nodes.json:5: bee and 2 more: regoin: unknown key; did you mean region? (from layer __base__)",
        "nodes.json:8: fly: tags.a: has to be a string, and is a number (from layer __web__)",
        "nodes.json:11: fly: zones[1]: has to be a string, and is a number (from layer __web__)",
        "nodes.json:15: bee: instance_type: has to be a string, and is a number",
        "nodes.json:16: bee: inherits: no layer __wbe__; did you mean __web__?",
        "nodes.json:21: a.b: not a legal group name: only letters, digits, _ and - are legal"
        " (. is not: Chef refuses it in the role's name); a_b would do",
        "nodes.json:22: $x: top-level keys that start with $ are reserved; only $schema is known",
    ]


def test_a_group_that_was_not_asked_for_may_be_wrong(tmp_path: Path) -> None:
    nodes = load(tmp_path, bee={}, fly={"zzz": 1})
    assert [group.name for group in nodes.groups(["bee"])] == ["bee"]


def test_the_check_looks_at_layers_that_nobody_uses(tmp_path: Path) -> None:
    assert finding(load(tmp_path, __web__={"zzz": 1}, bee={})).startswith("nodes.json:9: __web__: zzz: unknown key")


def test_a_rule_that_a_layer_breaks_points_at_the_layer(tmp_path: Path) -> None:
    base = {**BASE, "autoscale": {"node_min": 3, "node_max": 2}}
    told = finding(make_project(tmp_path, {"__base__": base, "bee": {}}))
    assert told.startswith("nodes.json:8: bee: autoscale.node_min: ")
    assert told.endswith("(from layer __base__)")


# Source images


@pytest.mark.parametrize(
    "entry",
    [
        {"source_ami": "ami-1", "source_group": "fly"},
        {"source_group": "fly", "source_ami_filter": {"name": "a", "owners": ["self"]}},
        {"source_ami_filter": {"name": "a", "owners": ["self"]}, "source_ami": "ami-1"},
    ],
)
def test_two_source_images_in_one_entry_are_an_error(tmp_path: Path, entry: Entry) -> None:
    first, second = entry
    told = finding(load(tmp_path, bee=entry, fly={}))
    assert told.endswith(f"bee: {second}: one entry names one source image, and this has {first} too")


@pytest.mark.parametrize("key", ["source_ami", "source_group", "source_ami_filter"])
def test_the_source_image_nearest_to_the_group_wins(tmp_path: Path, key: str) -> None:
    sources: Entry = {"source_ami": "ami-2", "source_group": "fly", "source_ami_filter": {"name": "a", "owners": ["x"]}}
    far = next(name for name in sources if name != key)
    nodes = load(tmp_path, __web__={far: sources[far]}, bee={"inherits": "__web__", key: sources[key]}, fly={})
    (group,) = checked(nodes, ["bee"])
    assert [name for name in sources if getattr(group.settings, name)] == [key]
    assert [name for name in sources if name in group.merged] == [key]


def test_a_group_without_a_source_image_is_an_error_where_one_is_built(tmp_path: Path) -> None:
    nodes = make_project(tmp_path, {"bee": {"run_list": ["a"]}})
    assert nodes.group("bee").run_list == ["a"]
    with pytest.raises(ConfigError, match="no image to build on: set one of source_ami, source_group"):
        nodes.buildable(["bee"])
    assert "no image to build on" in finding(nodes)


def test_the_parts_of_a_filter_may_come_from_two_entries(tmp_path: Path) -> None:
    base = {"run_list": ["a"], "source_ami_filter": {"owners": ["self"]}}
    nodes = make_project(tmp_path, {"__base__": base, "bee": {"source_ami_filter": {"name": "ubuntu"}}})
    (group,) = checked(nodes, ["bee"])
    assert group.settings.source_ami_filter is not None
    assert (group.settings.source_ami_filter.name, group.settings.source_ami_filter.owners) == ("ubuntu", ["self"])


def test_a_filter_that_stays_without_a_part_is_an_error(tmp_path: Path) -> None:
    assert "owners is missing" in of_bee(tmp_path, source_ami_filter={"name": "ubuntu"})


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"bee": {"source_group": "flyy"}, "fly": {}}, "no group flyy to build on"),
        ({"bee": {"source_group": "__base__"}}, "no group __base__ to build on"),
        ({"bee": {"source_group": "bee"}}, "groups are built on each other in a circle: bee -> bee"),
        (
            {"bee": {"source_group": "fly"}, "fly": {"source_group": "ant"}, "ant": {"source_group": "bee"}},
            "groups are built on each other in a circle: bee -> fly -> ant -> bee",
        ),
        (
            {"bee": {"source_group": "fly", "region": "eu-west-1"}, "fly": {}},
            "fly is built in us-east-1, and images do not leave their region (eu-west-1)",
        ),
    ],
)
def test_a_group_to_build_on_has_to_fit(tmp_path: Path, groups: dict[str, Entry], told: str) -> None:
    assert finding(load(tmp_path, **groups), "bee").endswith(f": bee: source_group: {told}")


def test_groups_may_be_built_on_each_other_in_a_row(tmp_path: Path) -> None:
    nodes = load(tmp_path, bee={"source_group": "fly"}, fly={"source_group": "ant"}, ant={})
    assert [group.name for group in checked(nodes, nodes.names)] == ["bee", "fly", "ant"]


# Roles


def test_two_groups_with_one_role_name_are_an_error(tmp_path: Path) -> None:
    nodes = load(tmp_path, bee={"role_name": "worker"}, fly={"role_name": "worker"})
    assert finding(nodes).endswith(": fly: role_name: the role worker is bee's already")


def test_two_groups_with_one_role_name_are_never_built(tmp_path: Path) -> None:
    nodes = load(tmp_path, bee={"role_name": "worker"}, fly={"role_name": "worker"})
    with pytest.raises(ConfigError, match="the role worker is bee's already"):
        nodes.buildable(["fly"])


def test_a_role_name_may_hold_the_groups(tmp_path: Path) -> None:
    nodes = load(tmp_path, **{"12_04-bee": {}, "ant": {"role_name": "the-{group}-role"}})
    assert [group.role_name for group in checked(nodes, nodes.names)] == ["role-12_04-bee", "the-ant-role"]
    assert nodes.role_owner("the-ant-role") == "ant"
    assert nodes.role_owner("nobodys") is None


# What is written for AWS


@pytest.mark.parametrize("key", ["security_groups", "zones", "subnets"])
def test_exact_repeats_are_dropped_for_aws_and_stay_in_the_merge(tmp_path: Path, key: str) -> None:
    base = {**BASE, key: ["subnet-a", "subnet-b"]}
    nodes = make_project(tmp_path, {"__base__": base, "bee": {key: ["subnet-b", "subnet-c", "subnet-a"]}})
    group = nodes.group("bee")
    assert getattr(group, key) == ["subnet-a", "subnet-b", "subnet-c"]
    assert group.merged[key] == ["subnet-a", "subnet-b", "subnet-b", "subnet-c", "subnet-a"]


def test_of_two_block_devices_of_one_name_the_last_wins_in_place_of_the_first(tmp_path: Path) -> None:
    base = {**BASE, "block_devices": [{"device": "a", "size_gb": 1, "iops": 100}, {"device": "b", "size_gb": 2}]}
    nodes = make_project(tmp_path, {"__base__": base, "bee": {"block_devices": [{"device": "a", "size_gb": 3}]}})
    found = nodes.group("bee").block_devices
    assert [(device.device, device.size_gb, device.iops) for device in found] == [("a", 3, None), ("b", 2, None)]


# Warnings


def warnings_of(nodes: Nodes) -> list[str]:
    return [line.replace(f"{nodes.root}/", "") for line in nodes.warnings(nodes.groups(nodes.names))]


def test_ssh_that_is_open_to_the_world_is_warned_of(tmp_path: Path) -> None:
    (told,) = warnings_of(load(tmp_path, bee={}))
    assert told.startswith("nodes.json:8: bee: packer.ssh_source_cidrs: not set: SSH to the build machine is open")


def test_ssh_from_known_networks_is_not_warned_of(tmp_path: Path) -> None:
    assert warnings_of(load(tmp_path, bee={"packer": {"ssh_source_cidrs": ["10.0.0.0/8"]}})) == []


def test_a_role_in_a_run_list_is_warned_of_where_it_stands(tmp_path: Path) -> None:
    base = {"packer": {"ssh_source_cidrs": ["10.0.0.0/8"]}, "run_list": ["recipe[a]", "role[b]"]}
    nodes = make_project(tmp_path, {"__base__": base, "bee": {}, "fly": {"post_run_list": ["role[c]"]}})
    assert warnings_of(nodes) == [
        "nodes.json:10: bee and 1 more: run_list[1]: role[b]: a role in a run list hides what runs;"
        " name its recipes (from layer __base__)",
        "nodes.json:16: fly: post_run_list[0]: role[c]: a role in a run list hides what runs; name its recipes",
    ]


# A group's own entry counts as it is, whatever the layers say of the same key


@pytest.mark.parametrize(
    "wrong",
    [
        {"source_group": "", "source_ami": None},
        {"source_ami_filter": {"name": 5}},
        {"tags": {"group": "x"}},
        {"run_list": ["recipe[a b]"]},
        {"block_devices": [{"device": ""}]},
        {"packer": {"chef": {"path": "x"}}},
        {"autoscale": True},
        {"instance_type": 5},
        {"regoin": "us-east-1"},
    ],
)
def test_what_is_wrong_in_the_groups_own_entry_is_told(tmp_path: Path, wrong: Entry) -> None:
    base = {
        **BASE,
        "tags": {"a": "b"},
        "block_devices": [{"device": "/dev/sda1"}],
        "packer": {"chef": {"path": "/opt/there"}},
        "autoscale": {},
        "instance_type": "m5.large",
    }
    told = findings(load(tmp_path, __base__=base, bee=wrong), "bee")
    assert any(f" bee: {next(iter(wrong))}" in line for line in told)


def test_groups_that_share_layers_do_not_share_what_they_add(tmp_path: Path) -> None:
    layer = {"run_list": ["recipe[web]"], "tags": {"kind": "web"}, "default_attributes": {"a": {"b": 1}}}
    one = {"inherits": "__web__", "run_list": ["recipe[one]"], "tags": {"kind": "one"}, "default_attributes": {"c": 1}}
    nodes = load(tmp_path, __web__=layer, one=one, two={"inherits": "__web__"})
    first, second = nodes.groups(["one", "two"])
    assert first.run_list == ["recipe[base]", "recipe[web]", "recipe[one]"]
    assert (second.run_list, second.settings.tags) == (["recipe[base]", "recipe[web]"], {"kind": "web"})
    assert second.settings.default_attributes == {"a": {"b": 1}}
