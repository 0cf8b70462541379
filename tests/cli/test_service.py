"""service:… as a user sees it."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.projects import make_project

DOCUMENT = {
    "__base__": {
        "source_ami": "ami-1",
        "packer": {"ssh_source_cidrs": ["192.0.2.0/24"]},
        "services": {"cookbook": "svc", "external": {"db": [{"host": "db.internal"}]}},
    },
    "bee": {"run_list": ["recipe[svc::api]"], "services": {"requires": ["db", "front"]}},
    "www": {"run_list": ["recipe[svc::front]"], "services": {"requires": ["api"]}},
}


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path, DOCUMENT, {f"cookbooks/svc/recipes/delete-{name}.rb": "" for name in ("api", "front")})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_config_check_takes_a_circle_and_tells_it(services: Path, run: Run) -> None:
    done = run("config:check")
    assert done.code == 0
    assert done.err.count("these groups need each other: ") == 1
    assert "warning" not in done.err


def test_config_check_finds_what_nobody_provides_with_its_line(services: Path, run: Run) -> None:
    document = {**DOCUMENT, "bad": {"run_list": ["recipe[x]"], "services": {"requires": ["nope"]}}}
    make_project(services, document)
    done = run("config:check")
    assert done.code == 3
    line = next(n for n, text in enumerate((services / "nodes.json").read_text().splitlines(), 1) if '"nope"' in text)
    assert f"nodes.json:{line}: bad: services.requires[0]: nope: no group provides it" in done.err


def test_config_check_warns_of_the_port_of_a_service_that_nobody_has(services: Path, run: Run) -> None:
    base = {**DOCUMENT["__base__"]["services"], "ports": {"api": 80, "fornt": 81}}  # type: ignore[dict-item]
    make_project(services, {**DOCUMENT, "__base__": {**DOCUMENT["__base__"], "services": base}})
    done = run("config:check")
    assert done.code == 0
    assert "bee and 1 more: services.ports.fornt: no run list has this service (from layer __base__)" in " ".join(
        done.err.split()
    )
    assert "services.ports.api" not in done.err


def test_the_graph_is_a_table(services: Path, run: Run) -> None:
    done = run("service:graph")
    assert [line.split() for line in done.out.splitlines()] == [
        ["service", "provided", "by", "required", "by"],
        ["api", "bee", "www"],
        ["db", "(external)", "bee"],
        ["front", "www", "bee"],
    ]


def test_the_graph_is_json_whichever_way_it_is_asked_for(services: Path, run: Run) -> None:
    by_format, by_option = run("service:graph", "--format", "json"), run("service:graph", "--json")
    assert by_format.out == by_option.out
    document = json.loads(by_option.out)
    assert document["services"][1] == {
        "name": "db",
        "providers": [],
        "consumers": ["bee"],
        "external": True,
        "missing": False,
    }
    assert len(document["circles"]) == 1


def test_the_graph_is_a_picture_for_graphviz_and_mermaid(services: Path, run: Run) -> None:
    dot = run("service:graph", "--format", "graphviz").out
    assert dot.startswith("digraph services {\n")
    assert '"group www" -> "service api" [label="requires"];' in dot
    assert '"service api" -> "group bee";' in dot
    mermaid = run("service:graph", "--format", "mermaid").out.splitlines()
    assert mermaid[0] == "flowchart LR"
    assert '    g0["bee"]' in mermaid
    assert "    s0 --> g0" in mermaid
    assert "    g1 -->|requires| s0" in mermaid


def test_the_graph_of_a_group_has_what_it_provides_and_requires(services: Path, run: Run) -> None:
    make_project(services, {**DOCUMENT, "ant": {"run_list": ["recipe[svc::dig]"]}})
    assert [line.split()[0] for line in run("service:graph", "ant").out.splitlines()[1:]] == ["db", "dig"]


def test_the_cookbook_is_written_beside_nodes_json_and_found_fresh(services: Path, run: Run) -> None:
    assert run("service:cookbook", "--check").code == 4
    planned = run("service:cookbook", "--dry-run")
    assert planned.code == 0
    assert all(line.startswith("would create ") for line in planned.out.splitlines())
    assert not (services / "cookbooks" / "nodepkg-services").exists()
    written = json.loads(run("service:cookbook", "--json").out)
    assert {file["state"] for file in written["files"]} == {"created"}
    assert all((services / "cookbooks" / file["path"]).is_file() for file in written["files"])
    assert run("service:cookbook", "--check").code == 0


def test_an_old_wheel_in_the_cookbook_is_removed_and_told(services: Path, run: Run) -> None:
    run("service:cookbook", "--cookbooks", "elsewhere")
    old = services / "elsewhere" / "nodepkg-services" / "files" / "wheels" / "nodepkg-0.0.1-py3-none-any.whl"
    old.write_bytes(b"")
    refused = run("service:cookbook", "--cookbooks", "elsewhere", "--check")
    assert refused.code == 4
    assert f"leftover  {old.relative_to(services)}" in refused.out
    assert "would remove" in run("service:cookbook", "--cookbooks", "elsewhere", "--dry-run").out
    assert old.exists()
    assert "removed" in run("service:cookbook", "--cookbooks", "elsewhere").out
    assert not old.exists()
