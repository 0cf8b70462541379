"""The commands that write artefacts, as their users meet them."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]
BEE = """{
    "name": "role-12_04-bee",
    "chef_type": "role",
    "json_class": "Chef::Role",
    "description": "12_04-bee-ec2 instance, responsible for worker processes",
    "override_attributes": {},
    "default_attributes": {
        "environment": "production",
        "key": "value",
        "other_key": "value"
    },
    "run_list": [
        "recipe[seatgeek::base]",
        "recipe[seatgeek-service::api-workers]",
        "recipe[seatgeek::collect-services]"
    ]
}
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit(project: Path, group: str, **keys: object) -> None:
    nodes = json.loads((project / "nodes.json").read_text())
    nodes[group].update(keys)
    (project / "nodes.json").write_text(json.dumps(nodes, indent=4))


def test_role_create_gives_the_role_of_the_seed(run: Run, project: Path) -> None:
    assert run("role:create", "12_04-bee").code == 0
    assert (project / "roles" / "12_04-bee.json").read_text() == BEE
    assert [path.name for path in (project / "roles").iterdir()] == ["12_04-bee.json"]


def test_the_artefacts_of_the_repository_are_fresh(run: Run) -> None:
    assert run("group:create", "--check", "--nodes", str(ROOT / "nodes.json")).code == 0


def test_one_artefact_is_fresh_and_two_are(run: Run, project: Path) -> None:
    run("role:create")
    assert run("role:create", "12_04-bee", "--check").out == "1 artefact is fresh\n"
    assert run("role:create", "12_04-bee", "12_04-www", "--check").out == "2 artefacts are fresh\n"


def test_each_file_is_told_as_created_unchanged_or_updated(run: Run, project: Path) -> None:
    words = [run("role:create", "12_04-bee").out.split()[0] for _ in range(2)]
    edit(project, "12_04-bee", description="other")
    words.append(run("role:create", "12_04-bee").out.split()[0])
    assert words == ["created", "unchanged", "updated"]


@pytest.mark.parametrize("command", ["role:create", "packer:create", "autoscale:create", "group:create"])
def test_check_writes_nothing_and_lists_what_is_stale(run: Run, project: Path, command: str) -> None:
    before = files(project)
    done = run(command, "12_04-bee", "--check")
    assert done.code == 4
    assert "12_04-bee.json" in done.out
    assert "missing" in done.out
    assert f"package {command}" in done.err
    assert files(project) == before
    run(command, "12_04-bee")
    assert run(command, "12_04-bee", "--check").code == 0
    edit(project, "12_04-bee", role_name="worker", instance_type="t3.large")
    done = run(command, "12_04-bee", "--check", "--json")
    assert done.code == 4
    assert {entry["state"] for entry in json.loads(done.out)["artifacts"]} >= {"stale"}


def test_an_error_writes_nothing(run: Run, project: Path) -> None:
    edit(project, "ftp-processor", run_list=["recipe[a", "b]"], regoin="x")
    before = files(project)
    done = run("group:create")
    assert done.code == 3
    assert "run_list[0]" in done.err
    assert "run_list[1]" in done.err
    assert "did you mean region?" in done.err
    assert files(project) == before


def test_autoscale_create_writes_dna_and_role(run: Run, project: Path) -> None:
    assert run("autoscale:create", "12_04-bee").code == 0
    dna = (project / "dna" / "asg" / "12_04-bee.json").read_text()
    assert dna == '{\n    "id": "12_04-bee",\n    "run_list": [\n        "role[role-12_04-bee]"\n    ]\n}\n'
    assert (project / "roles" / "12_04-bee.json").is_file()


def test_autoscale_create_refuses_a_named_group_without_one(run: Run, project: Path) -> None:
    before = files(project)
    done = run("autoscale:create", "12_04-base", "12_04-bee")
    assert done.code == 4
    assert "12_04-base" in done.err
    assert files(project) == before


@pytest.mark.parametrize("patterns", [[], ["12_04-*"]])
def test_autoscale_create_leaves_it_out_with_a_word_otherwise(run: Run, project: Path, patterns: list[str]) -> None:
    done = run("autoscale:create", *patterns)
    assert done.code == 0
    assert "12_04-base" in done.err
    assert "12_04-base" not in done.out


@pytest.mark.parametrize("command", ["roles:update", "role:update"])
def test_roles_update_refreshes_what_exists_and_shows_the_change(run: Run, project: Path, command: str) -> None:
    run("role:create", "12_04-bee", "12_04-www")
    edit(project, "12_04-bee", description="new words")
    done = run(command)
    assert done.code == 0
    assert '-    "description": "12_04-bee-ec2 instance, responsible for worker processes",' in done.out
    assert '+    "description": "new words",' in done.out
    assert "12_04-base" in done.err
    assert "role:create" in done.err
    assert {path.name for path in (project / "roles").iterdir()} == {"12_04-bee.json", "12_04-www.json"}
    assert '"new words"' in (project / "roles" / "12_04-bee.json").read_text()


def test_roles_update_of_a_named_group_without_a_role_says_what_to_run(run: Run, project: Path) -> None:
    done = run("roles:update", "12_04-bee")
    assert done.code == 4
    assert "package role:create 12_04-bee" in done.err


def test_group_create_writes_everything_in_one_pass(run: Run, project: Path) -> None:
    run("group:create")
    made = {path for path in files(project) if path.startswith(("roles", "packer", "dna"))}
    groups = ["12_04-base", "12_04-bee", "12_04-www", "ftp-listener", "ftp-processor"]
    assert made == {
        *(f"roles/{name}.json" for name in groups),
        *(f"packer/{name}.json" for name in groups),
        *(f"dna/asg/{name}.json" for name in groups if name != "12_04-base"),
    }


def test_a_typo_in_a_group_names_the_nearest(run: Run, project: Path) -> None:
    done = run("role:create", "12_04-bees")
    assert done.code == 2
    assert "12_04-bee" in done.err


def test_region_selects_and_never_overrides(run: Run, project: Path) -> None:
    edit(project, "ftp-listener", region="eu-west-1", source_ami="ami-11112222", source_group=None)
    assert "ftp-listener" in run("packer:create", "--region", "eu-west-1").out
    assert json.loads((project / "packer" / "ftp-listener.json").read_text())["builders"][0]["region"] == "eu-west-1"
    assert [path.name for path in (project / "packer").iterdir()] == ["ftp-listener.json"]
    assert run("packer:create", "--region", "ap-south-1").code == 2


def test_config_check_warns_and_passes(run: Run, project: Path) -> None:
    edit(project, "__base__", packer={})
    edit(project, "ftp-listener", run_list=["role[role-12_04-bee]"])
    done = run("config:check")
    assert done.code == 0
    assert "open to the world" in done.err
    assert "hides what runs" in done.err


def test_config_check_finds_a_role_that_nobody_has(run: Run, project: Path) -> None:
    edit(project, "ftp-listener", run_list=["role[nobody]"])
    done = run("config:check")
    assert done.code == 3
    assert "role[nobody]" in done.err


def test_config_show_prints_the_merge(run: Run, project: Path) -> None:
    shown = json.loads(run("config:show", "12_04-www").out)
    assert shown["security_groups"] == ["external", "internal", "www"]
    assert shown["packer"] == {"ssh_source_cidrs": ["192.0.2.0/24"], "template": "web"}
    assert shown["autoscale"] == {"node_min": 2, "node_max": 6}
    assert run("config:show", "12_04-*").code == 2


def test_a_folder_that_cannot_be_written_is_an_error_with_its_name(run: Run, project: Path) -> None:
    (project / "roles").write_text("a file in the way")
    done = run("role:create", "12_04-bee")
    assert done.code == 4
    assert "roles" in done.err


def test_a_template_in_the_former_language_is_told(run: Run, project: Path) -> None:
    run("packer:create", "12_04-bee")
    edit(project, "12_04-bee", packer={"format": "hcl2"})
    done = run("packer:create", "12_04-bee")
    assert done.out == "created   packer/12_04-bee.pkr.hcl\n"
    assert "packer/12_04-bee.json is from before packer.format was changed" in done.err
    (project / "packer" / "12_04-bee.json").unlink()
    assert run("group:create", "12_04-bee").err == ""
