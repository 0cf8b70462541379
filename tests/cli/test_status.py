"""group:status on the command line: its next command is what packer:run would do."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.account import Account
from tests.cli.conftest import Run
from tests.projects import make_project
from tests.worlds import STOCK_IMAGE, World

CHAIN = {
    "__base__": {"run_list": ["recipe[x]"]},
    "base": {"source_ami": STOCK_IMAGE},
    "leaf": {"source_group": "base"},
}


@pytest.fixture
def chain(world: World, run: Run, tmp_path: Path) -> World:
    make_project(tmp_path, CHAIN, {"cookbooks/x/recipes/default.rb": ""})
    assert run("group:create").code == 0
    return world


def rows(run: Run) -> dict[str, Any]:
    done = run("group:status", "--json")
    assert done.code == 0, done.err
    return {row["group"]: row for row in json.loads(done.out)}


def current(chain: World, run: Run, group: str, source: str) -> str:
    digest = rows(run)[group]["digest"]
    tags = {"nodepkg:digest": digest, "nodepkg:source_ami": source}
    return chain.image(f"{group} 1", group, age=timedelta(days=1), tags=tags)


def test_what_is_built_on_another_base_now_is_due(chain: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODEPKG_PACKER", "there-is-none")
    old = current(chain, run, "base", STOCK_IMAGE)
    current(chain, run, "leaf", old)
    assert [(row["due"], row["next"]) for row in rows(run).values()] == [(None, None)] * 2
    assert run("packer:run").code == 0  # and there is no Packer

    chain.images("base", 1, tags=dict(chain.ec2.tags[old]))
    found = rows(run)
    assert (found["base"]["due"], found["base"]["next"]) == (None, None)
    assert found["leaf"]["image"]["current"]
    assert found["leaf"]["due"] == "its base image has changed"
    assert found["leaf"]["next"] == "package packer:run leaf"
    assert run("packer:run", "base").code == 0
    assert run("packer:run", "leaf").code == 6


def test_a_base_without_an_image_comes_first(chain: World, run: Run) -> None:
    found = rows(run)
    assert found["leaf"]["due"] == "no image yet"
    assert {row["next"] for row in found.values()} == {"package packer:run base"}
    assert run("packer:run", "leaf", "--dry-run").code == 4


def test_an_image_made_from_another_source_than_that_of_nodes_json_is_due(chain: World, run: Run) -> None:
    current(chain, run, "base", "ami-0123")
    assert rows(run)["base"]["next"] == "package packer:run base"


def test_what_only_packer_has_credentials_for_goes_by_its_digest(
    account: Account, world: World, run: Run, tmp_path: Path
) -> None:
    assert account
    own = {"source_ami": STOCK_IMAGE, "run_list": ["recipe[x]"], "packer": {"builder": {"profile": "build"}}}
    make_project(tmp_path, {"own": own}, {"cookbooks/x/recipes/default.rb": ""})
    assert run("group:create").code == 0
    assert rows(run)["own"]["next"] == "package packer:run own"
    current(world, run, "own", "ami-0123")
    assert rows(run)["own"]["next"] is None
