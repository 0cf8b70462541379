"""What a group provides follows from its run list; who needs whom from `requires`."""

from pathlib import Path
from typing import Any

import pytest

from nodepkg.nodes.findings import Finding
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.service_graph import circles, graph, members, provides, unprovided, unused
from nodepkg.nodes.services import provided
from tests.projects import make_project

BASE: dict[str, Any] = {"source_ami": "ami-1", "services": {"cookbook": "svc"}}


def nodes_of(folder: Path, **groups: Any) -> Nodes:
    return make_project(folder, {"__base__": BASE, **groups})


def group(*services: str, requires: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "run_list": [f"recipe[svc::{name}]" for name in services] or ["recipe[x]"],
        "services": {"requires": [*requires], **more},
    }


def told(nodes: Nodes, *names: str) -> list[str]:
    return [
        f"{found.entry} {found.key_path[-1]}: {found.problem}"
        for found in unprovided(nodes, nodes.groups(names or nodes.names))
    ]


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ("recipe[svc::api]", ["api"]),
        ("recipe[svc::api@1.2.3]", ["api"]),
        ("svc::api", ["api"]),
        ("recipe[svc]", []),
        ("recipe[svc::default]", []),
        ("recipe[svc::delete-api]", []),
        ("recipe[other::api]", []),
        ("recipe[svc-two::api]", []),
        ("role[svc]", []),
    ],
)
def test_a_recipe_of_the_cookbook_is_a_service(item: str, names: list[str]) -> None:
    assert provided([item, item], "svc") == names


def test_what_a_group_provides_is_in_post_run_lists_layers_and_groups_roles_too(tmp_path: Path) -> None:
    nodes = nodes_of(
        tmp_path,
        __web__={"run_list": ["recipe[svc::front]"]},
        bee={"run_list": ["recipe[svc::work]", "role[role-www]", "role[elsewhere]"]},
        www={"inherits": "__web__", "run_list": ["role[role-bee]"], "post_run_list": ["svc::last"]},
    )
    assert provides(nodes, nodes.group("bee")) == ["work", "front", "last"]
    assert provides(nodes, nodes.group("www")) == ["front", "work", "last"]


def test_a_group_without_the_key_takes_no_part(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, off={"run_list": ["recipe[svc::api]"], "services": None}, www=group("front"))
    assert [member.group for member in members(nodes)] == ["www"]
    assert provides(nodes, nodes.group("off")) == []


def test_each_service_has_who_provides_and_who_needs_it(tmp_path: Path) -> None:
    nodes = nodes_of(
        tmp_path,
        bee=group("api", requires=("db",), external={"db": [{"host": "db.internal", "port": 5432}]}),
        ant=group("api"),
        www=group("front", requires=("api", "gone")),
    )
    shown = {
        one.name: (one.providers, one.consumers, one.external, one.is_missing) for one in graph(members(nodes)).services
    }
    assert shown == {
        "api": (("bee", "ant"), ("www",), False, False),
        "db": ((), ("bee",), True, False),
        "front": (("www",), (), False, False),
        "gone": ((), ("www",), False, True),
    }


def test_groups_that_need_each_other_are_told_and_allowed(tmp_path: Path) -> None:
    nodes = nodes_of(
        tmp_path,
        bee=group("api", requires=("front", "api")),
        www=group("front", requires=("api",)),
        ant=group("x", requires=("api",)),
    )
    assert unprovided(nodes, nodes.groups(nodes.names)) == []
    (told,) = circles(nodes, nodes.groups(["bee"]))
    assert told in (
        "these groups need each other: bee -> www -> bee",
        "these groups need each other: www -> bee -> www",
    )
    assert circles(nodes, nodes.groups(["ant"])) == []


def test_every_group_of_a_tangle_is_in_a_circle_that_is_told(tmp_path: Path) -> None:
    nodes = nodes_of(
        tmp_path,
        one=group("s1", requires=("s2",)),
        two=group("s2", requires=("s3", "s1")),
        three=group("s3", requires=("s1", "s4")),
        four=group("s4", requires=("s3",)),
    )
    told = " ".join(circles(nodes, nodes.groups(nodes.names)))
    assert all(name in told for name in nodes.names)


def test_what_nobody_provides_is_wrong_where_it_is_required(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, www=group("front", requires=("front", "nope")), bee=group(requires=("front",)))
    assert told(nodes) == ["www 1: nope: no group provides it (no run list has it), and `external` does not name it"]
    assert told(nodes, "bee") == []


def test_what_a_layer_requires_is_told_at_the_layer_unless_the_group_says_it_anew(tmp_path: Path) -> None:
    nodes = nodes_of(
        tmp_path,
        __web__={"services": {"requires": ["nope"]}},
        one={"inherits": "__web__", "run_list": ["recipe[x]"]},
        two={"inherits": "__web__", "run_list": ["recipe[x]"], "services": {"requires": []}},
    )
    assert [line.split(":")[0] for line in told(nodes)] == ["__web__ 0"]


@pytest.mark.parametrize("other", [{"etcd": ["http://127.0.0.2:2379"]}, {"prefix": "/other"}])
def test_a_service_of_another_registry_does_not_count(tmp_path: Path, other: dict[str, Any]) -> None:
    nodes = nodes_of(tmp_path, bee=group("api", **other), www=group("front", requires=("api",)))
    (line,) = told(nodes)
    assert "nobody provides it here: bee announces it in another registry" in line


def test_a_group_that_is_wrong_elsewhere_hides_no_service(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, bee={**group("api"), "region": 7}, www=group("front", requires=("api",)))
    assert told(nodes, "www") == []


def test_a_check_is_a_command_or_a_url(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, bee=group("api", checks={"api": {"interval": 3}}))
    findings = nodes.examine(["bee"])[1]
    assert [(found.key_path, found.problem) for found in findings] == [
        (("services", "checks", "api"), "has to have either command or http")
    ]


def test_ports_and_checks_of_services_that_no_run_list_has_are_told(tmp_path: Path) -> None:
    """Those of another group are none: they usually stand in __base__."""
    base = {**BASE, "services": {**BASE["services"], "ports": {"api": 1, "wbe": 2}}}
    check = {"api": {"http": "http://127.0.0.1/"}, "ap": {"command": "true"}}
    nodes = make_project(tmp_path, {"__base__": base, "bee": group("api", checks=check), "www": group("web")})
    told = [(one.entry, one.key_path, one.groups) for one in unused(nodes, nodes.groups(nodes.names))]
    assert told == [
        ("__base__", ("services", "ports", "wbe"), ("bee",)),
        ("bee", ("services", "checks", "ap"), ("bee",)),
        ("__base__", ("services", "ports", "wbe"), ("www",)),
    ]
    assert unused(nodes, nodes.groups(["www"])) == [
        Finding("__base__", ("services", "ports", "wbe"), "no run list has this service", ("www",))
    ]
