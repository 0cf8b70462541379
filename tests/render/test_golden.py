"""The artefacts of the example, byte for byte."""

import json
from pathlib import Path

import pytest

from nodepkg.nodes.group import Group
from nodepkg.nodes.load import load
from nodepkg.render.bundle import Project
from nodepkg.render.dna import asg_dna, dna_document
from nodepkg.render.group import autoscale_artifacts, group_artifacts
from nodepkg.render.packer import PackerTemplates
from nodepkg.render.role import role
from tests.projects import EXAMPLE, GOLDEN

NODES = load(EXAMPLE / "nodes.json")
GROUPS = [pytest.param(NODES.group(name), id=name) for name in NODES.names]
SCALING = [case for case in GROUPS if case.values[0].settings.autoscale]  # type: ignore[union-attr]


def golden(path: str) -> str:
    """The file as it has to be, newlines and all."""
    return (GOLDEN / path).read_bytes().decode("utf-8")


@pytest.mark.parametrize("group", GROUPS)
def test_the_role_is_the_golden_one(group: Group) -> None:
    assert (role(group).path, role(group).text) == (f"roles/{group.name}.json", golden(f"roles/{group.name}.json"))


@pytest.mark.parametrize("group", GROUPS)
def test_the_packer_template_is_the_golden_one(group: Group) -> None:
    made = PackerTemplates(Project(NODES)).template(group)
    assert (made.path, made.text) == (f"packer/{group.name}.json", golden(f"packer/{group.name}.json"))


@pytest.mark.parametrize("group", SCALING)
def test_the_dna_is_the_golden_one(group: Group) -> None:
    made = asg_dna(group)
    assert (made.path, made.text) == (f"dna/asg/{group.name}.json", golden(f"dna/asg/{group.name}.json"))


def test_the_golden_files_are_those_of_the_example() -> None:
    templates = PackerTemplates(Project(NODES))
    made = {artifact.path for name in NODES.names for artifact in group_artifacts(templates, NODES.group(name))}
    assert {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*.json")} == made


def test_the_role_of_bee_is_what_the_issue_says() -> None:
    text = role(NODES.group("12_04-bee")).text
    document = json.loads(text)
    assert list(document.items()) == [
        ("name", "role-12_04-bee"),
        ("chef_type", "role"),
        ("json_class", "Chef::Role"),
        ("description", "12_04-bee-ec2 instance, responsible for worker processes"),
        ("override_attributes", {}),
        ("default_attributes", {"environment": "production", "key": "value", "other_key": "value"}),
        (
            "run_list",
            ["recipe[seatgeek::base]", "recipe[seatgeek-service::api-workers]", "recipe[seatgeek::collect-services]"],
        ),
    ]
    assert list(document["default_attributes"]) == ["environment", "key", "other_key"]
    assert text == json.dumps(document, indent=4) + "\n"


def test_the_dna_of_bee_is_what_the_issue_says() -> None:
    group = NODES.group("12_04-bee")
    assert dna_document(group) == {"id": "12_04-bee", "run_list": ["role[role-12_04-bee]"]}
    assert asg_dna(group).text == (
        '{\n    "id": "12_04-bee",\n    "run_list": [\n        "role[role-12_04-bee]"\n    ]\n}\n'
    )


def test_the_dna_of_an_auto_scaling_group_comes_with_the_role() -> None:
    made = autoscale_artifacts(NODES.group("12_04-bee"))
    assert {artifact.path for artifact in made} == {"roles/12_04-bee.json", "dna/asg/12_04-bee.json"}


def test_a_group_without_autoscaling_gets_no_dna() -> None:
    made = group_artifacts(PackerTemplates(Project(NODES)), NODES.group("12_04-base"))
    assert {artifact.path for artifact in made} == {"roles/12_04-base.json", "packer/12_04-base.json"}


def test_characters_of_a_role_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text('{"bee": {"description": "naïve → 漢", "run_list": ["a"]}}', encoding="utf-8")
    assert '"description": "naïve → 漢",' in role(load(tmp_path / "nodes.json").group("bee")).text
