"""Which groups a command line means."""

from pathlib import Path

import pytest

from nodepkg.errors import RefusedError, UsageError
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.select import one, scaling, select
from tests.projects import make_project


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    base = {"run_list": ["recipe[a]"], "region": "us-east-1"}
    eu = {"region": "eu-west-1", "autoscale": {}}
    groups = {"12_04-www": {}, "12_04-bee": {"autoscale": {}}, "ftp-listener": {"inherits": "__eu__"}, "ftp-base": {}}
    return make_project(tmp_path, {"__base__": base, "__eu__": eu, **groups})


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ([], ["12_04-www", "12_04-bee", "ftp-listener", "ftp-base"]),
        (["12_04-bee"], ["12_04-bee"]),
        (["12_04-*"], ["12_04-www", "12_04-bee"]),
        (["12_04-???"], ["12_04-www", "12_04-bee"]),
        (["*-[bl]*"], ["12_04-bee", "ftp-listener", "ftp-base"]),
        (["*"], ["12_04-www", "12_04-bee", "ftp-listener", "ftp-base"]),
        (["ftp-base", "12_04-bee", "12_04-*", "ftp-base"], ["12_04-www", "12_04-bee", "ftp-base"]),
    ],
)
def test_names_and_globs_choose_in_the_order_of_the_file(nodes: Nodes, patterns: list[str], chosen: list[str]) -> None:
    assert select(nodes, patterns) == chosen


@pytest.mark.parametrize(
    ("pattern", "message", "hint"),
    [
        ("12_04-bees", "no group 12_04-bees in ", "12_04-bee"),
        ("ftp-listner", "no group ftp-listner in ", "did you mean ftp-listener"),
        ("zzz", "no group zzz in ", "package group:list"),
        ("zzz-*", "no group zzz-* in ", "package group:list"),
        ("FTP-BASE", "no group FTP-BASE in ", "package group:list"),
        ("", "no group  in ", "package group:list"),
        ("__base__", "__base__ is a layer, not a group", "package group:list"),
        ("__eu__", "__eu__ is a layer, not a group", "package group:list"),
    ],
)
def test_a_pattern_that_chooses_nothing_is_an_error(nodes: Nodes, pattern: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        select(nodes, ["12_04-bee", pattern])
    assert message in error.value.message
    assert hint in error.value.hint


def test_globs_never_choose_layers(nodes: Nodes) -> None:
    with pytest.raises(UsageError):
        select(nodes, ["__*__"])


@pytest.mark.parametrize(
    ("patterns", "region", "chosen"),
    [
        ([], "eu-west-1", ["ftp-listener"]),
        (["ftp-*"], "us-east-1", ["ftp-base"]),
        (["12_04-bee"], "us-east-1", ["12_04-bee"]),
    ],
)
def test_a_region_chooses_among_the_groups(nodes: Nodes, patterns: list[str], region: str, chosen: list[str]) -> None:
    assert select(nodes, patterns, region) == chosen


def test_a_region_never_overrides_nodes_json(nodes: Nodes) -> None:
    assert [nodes.group(name).region for name in select(nodes, [], "eu-west-1")] == ["eu-west-1"]


def test_a_region_without_groups_is_an_error_that_names_theirs(nodes: Nodes) -> None:
    with pytest.raises(UsageError) as error:
        select(nodes, [], "mars-west-1")
    assert error.value.hint == "they are in eu-west-1, us-east-1"


def test_one_group_is_one_group(nodes: Nodes) -> None:
    assert one(nodes, "*-bee") == "12_04-bee"
    with pytest.raises(UsageError, match=r"12_04-\* is several groups: 12_04-www, 12_04-bee"):
        one(nodes, "12_04-*")


def test_groups_without_autoscaling_are_left_out_with_a_word(nodes: Nodes) -> None:
    having, without = scaling(nodes.groups(nodes.names), ["12_04-*", "ftp-*"])
    assert [group.name for group in having] == ["12_04-bee", "ftp-listener"]
    assert without == ["12_04-www", "ftp-base"]


def test_a_group_without_autoscaling_that_is_named_is_refused(nodes: Nodes) -> None:
    with pytest.raises(RefusedError, match="12_04-www: has no Auto Scaling group"):
        scaling(nodes.groups(nodes.names), ["12_04-www", "12_04-bee"])
