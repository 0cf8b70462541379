"""services.json: what group:create writes is read, and a file that is damaged is said to be."""

import json
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ConfigError
from nodepkg.pace import Share
from nodepkg.render.services import services_content
from nodepkg.services.terms import Check, Offer, read
from tests.projects import make_project
from tests.services.nodes import document


def test_what_group_create_writes_is_read(tmp_path: Path) -> None:
    services = {
        "cookbook": "svc",
        "ports": {"api": 8080},
        "checks": {"api": {"command": "true", "rise": 4}},
        "requires": ["db"],
        "external": {"db": [{"host": "db.internal"}]},
        "tls": {"ca": "/etc/ca.pem"},
        "user": "nodes",
        "at_once": "25%",
    }
    bee = {"source_ami": "ami-1", "run_list": ["recipe[svc::api]"], "services": services}
    nodes = make_project(tmp_path, {"bee": bee})
    (tmp_path / "services.json").write_text(services_content(nodes, nodes.group("bee")) or "")
    found = read(tmp_path / "services.json")
    assert found.provides == (Offer("api", 8080, Check("true", "", 10, 5, 4, 3)),)
    assert found.requires == ("db",)
    assert found.external["db"][0].port is None
    assert (found.location.ca, found.location.user, found.location.key) == ("/etc/ca.pem", "nodes", "")
    assert found.at_once == Share(25, percent=True)
    assert found.command == "chef-solo --chef-license accept-silent -c /opt/nodepkg/solo.rb -j /opt/nodepkg/dna.json"


def test_a_file_that_is_not_there_says_who_brings_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path / "services.json")
    assert "is not there" in raised.value.message
    assert "package group:create" in raised.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"group": ""},
        {"group": 7},
        {"provides": ["api"]},
        {"provides": {"a/b": {"port": 1, "check": None}}},
        {"provides": {"delete-x": {"port": 1, "check": None}}},
        {"provides": {"api": {"port": 0, "check": None}}},
        {"provides": {"api": {"port": "1", "check": None}}},
        {"requires": ["../x"]},
        {"requires": None},
        {"requires": "api"},
        {"etcd": "http://127.0.0.1:2379"},
        {"ttl": 0},
        {"min_providers": 1e999},
        {"etcd": None},
        {"at_once": "many"},
        {"ttl": "x"},
        {"external": {"db": [{"port": 1}]}},
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "services.json"
    path.write_text(json.dumps({**document(), **change}))
    with pytest.raises(ConfigError) as raised:
        read(path)
    assert str(path) in raised.value.message


def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole, path = json.dumps(document(provides=("api",))), tmp_path / "services.json"
    for length in range(len(whole)):
        path.write_text(whole[:length])
        with pytest.raises(ConfigError):
            read(path)


@pytest.mark.parametrize("key", sorted(document()))
def test_a_key_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "services.json"
    path.write_text(json.dumps({name: value for name, value in document().items() if name != key}))
    with pytest.raises(ConfigError) as raised:
        read(path)
    assert f"{key} is missing" in raised.value.message
