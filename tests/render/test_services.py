"""services/GROUP.json: what the agent is told, in the bundle, the image and on disk."""

import json
from pathlib import Path
from typing import Any

from nodepkg.images.due import stale_inputs
from nodepkg.nodes.load import Nodes
from nodepkg.render.bundle import Project, bundle
from nodepkg.render.digest import bundle_digest
from nodepkg.render.files import write
from nodepkg.render.group import group_artifacts
from nodepkg.render.packer import PackerTemplates
from nodepkg.render.services import outdated, services_artifact, undeletable
from tests.projects import make_project

SERVICES: dict[str, Any] = {
    "cookbook": "svc",
    "ports": {"api": 8080},
    "checks": {"api": {"http": "http://127.0.0.1:8080/"}},
    "requires": ["db", "db"],
    "external": {"db": [{"host": "db.internal", "port": 5432}]},
}


def project(folder: Path, **more: Any) -> Nodes:
    bee = {"run_list": ["recipe[svc::api]", "recipe[svc::other]"], "services": {**SERVICES, **more}}
    plain = {"run_list": ["recipe[x]"]}
    return make_project(folder, {"__base__": {"source_ami": "ami-1"}, "bee": bee, "plain": plain})


def test_the_agent_is_told_what_it_announces_and_needs(tmp_path: Path) -> None:
    nodes = project(tmp_path)
    made = services_artifact(nodes, nodes.group("bee"))
    assert made
    assert made.path == "services/bee.json"
    document = json.loads(made.text)
    assert document["provides"] == {
        "api": {
            "port": 8080,
            "check": {"http": "http://127.0.0.1:8080/", "interval": 10, "timeout": 5, "rise": 2, "fall": 3},
        },
        "other": {"port": None, "check": None},
    }
    assert document["requires"] == ["db"]
    assert document["external"] == {"db": [{"host": "db.internal", "port": 5432}]}
    assert document["command"].startswith("chef-solo ")
    assert "{path}" not in document["command"]


def test_a_group_without_services_has_no_such_file(tmp_path: Path) -> None:
    nodes = project(tmp_path)
    group = nodes.group("plain")
    assert services_artifact(nodes, group) is None
    assert "services.json" not in bundle(Project(nodes), group).own
    assert not any(
        made.path.startswith("services/") for made in group_artifacts(PackerTemplates(Project(nodes)), group)
    )


def test_the_bundle_has_it_and_its_digest_changes_with_what_it_says(tmp_path: Path) -> None:
    before, after = project(tmp_path / "one"), project(tmp_path / "two", doubt=61)
    first, second = (bundle(Project(nodes), nodes.group("bee")) for nodes in (before, after))
    assert json.loads(first.own["services.json"])["doubt"] == 60
    assert bundle_digest(first) != bundle_digest(second)


def test_an_image_gets_it_and_is_not_built_while_the_file_is_stale(tmp_path: Path) -> None:
    nodes = project(tmp_path)
    templates, group = PackerTemplates(Project(nodes)), nodes.group("bee")
    (shell, *_) = [made for made in templates.document(group)["provisioners"] if made["type"] == "shell"]
    uploads = [made for made in templates.document(group)["provisioners"] if made["type"] == "file"]
    assert {"source": "{{template_dir}}/../services/bee.json", "destination": "/opt/nodepkg/services.json"}.items() <= (
        uploads[-1].items()
    )
    assert "/opt/nodepkg/services.json" in shell["inline"][0]
    list(write(nodes.root, group_artifacts(templates, group)))
    assert stale_inputs(templates, group) == []
    (tmp_path / "services/bee.json").write_text("{}")
    assert stale_inputs(templates, group) == ["services/bee.json"]


def test_a_service_that_no_recipe_deletes_is_warned_of(tmp_path: Path) -> None:
    nodes = project(tmp_path)
    recipes = tmp_path / "cookbooks/svc/recipes"
    recipes.mkdir(parents=True)
    (recipes / "delete-other.rb").touch()
    assert undeletable(nodes, nodes.groups(nodes.names)) == [
        "bee: the service api cannot be taken off a node: there is no cookbooks/svc/recipes/delete-api.rb"
    ]


def test_a_solo_rb_by_which_recipes_do_not_get_the_providers_is_told(tmp_path: Path) -> None:
    nodes = project(tmp_path)
    remedy = "leave it out, or put recipe[nodepkg-services::collect] first into the run list"
    for text, told in (
        ('root = "."\n# node_path\nmy_node_path 1', []),
        ('x 1\n  node_path("/var")', ["sets node_path, so Chef may bring back providers that are gone"]),
        ("solo_legacy_mode true", ["sets solo_legacy_mode, so a deploy converges with no providers"]),
    ):
        (tmp_path / "solo.rb").write_text(text)
        assert outdated(nodes, nodes.groups(nodes.names)) == [f"bee: solo.rb {one}: {remedy}" for one in told]
    assert outdated(nodes, nodes.groups(["plain"])) == []
    base = {"source_ami": "ami-1", "run_list": ["recipe[nodepkg-services::collect]"]}
    bee = {"run_list": ["recipe[svc::api]"], "services": SERVICES}
    collecting = make_project(tmp_path, {"__base__": base, "bee": bee})
    assert outdated(collecting, collecting.groups(["bee"])) == []
    (tmp_path / "solo.rb").unlink()
    assert outdated(nodes, nodes.groups(nodes.names)) == []
