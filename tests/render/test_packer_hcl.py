"""Packer templates in HCL2: the same machine as in JSON, and what only HCL2 can say."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ConfigError
from nodepkg.images.due import current_digest
from nodepkg.nodes.load import load
from nodepkg.render.bundle import Project
from nodepkg.render.hcltext import read
from nodepkg.render.packer import PackerTemplates
from tests.packers import packers
from tests.projects import GOLDEN, complaint, copy_example, make_project

Entry = dict[str, Any]
BASE: Entry = {"run_list": ["recipe[a]"], "source_ami": "ami-1"}


def templates(folder: Path, files: dict[str, str] | None = None, /, **keys: Any) -> PackerTemplates:
    """Those of a project with the group bee, which has these keys, in HCL2."""
    packer = {"format": "hcl2", **keys.pop("packer", {})}
    return PackerTemplates(Project(make_project(folder, {"__base__": BASE, "bee": {**keys, "packer": packer}}, files)))


def text(made: PackerTemplates) -> str:
    return made.template(made.project.nodes.group("bee")).text


def source(folder: Path, **keys: Any) -> Entry:
    """The body of the source block of bee, in HCL's JSON syntax."""
    (block,) = read(text(templates(folder, **keys)))["source"]
    body = block["amazon-ebs"]["image"]
    assert isinstance(body, dict)
    return body


def example_in(folder: Path, language: str) -> PackerTemplates:
    """Those of the example, with every group in this language and with the shipped template."""
    copy_example(folder)
    document = json.loads((folder / "nodes.json").read_text())
    document["__web__"].pop("packer")
    document["__base__"]["packer"]["format"] = language
    (folder / "nodes.json").write_text(json.dumps(document))
    return PackerTemplates(Project(load(folder / "nodes.json")))


def test_the_template_is_the_golden_one(tmp_path: Path) -> None:
    made = example_in(tmp_path, "hcl2")
    artifact = made.template(made.project.nodes.group("ftp-listener"))
    assert artifact.path == "packer/ftp-listener.pkr.hcl"
    assert artifact.text == (GOLDEN / artifact.path).read_bytes().decode()


def test_packer_fmt_has_nothing_to_add(tmp_path: Path) -> None:
    made = example_in(tmp_path, "hcl2")
    for group in made.project.nodes.buildable(made.project.nodes.names):
        path = tmp_path / Path(made.template(group).path).name
        path.write_text(made.template(group).text)
        subprocess.run([packers()[0], "fmt", "-check", str(path)], check=True, timeout=60)


def test_the_language_makes_no_other_image(tmp_path: Path) -> None:
    as_json, as_hcl = example_in(tmp_path / "json", "json"), example_in(tmp_path / "hcl", "hcl2")
    for group in as_json.project.nodes.names:
        digests = [current_digest(made, made.project.nodes.group(group)) for made in (as_json, as_hcl)]
        assert digests[0] == digests[1], group


MACHINE = {
    "block_devices": [{"device": "/dev/sda1", "size_gb": 20}, {"device": "/dev/sdb", "type": "io2", "iops": 100}],
    "source_ami_filter": {"name": "ubuntu/*", "owners": ["099720109477"]},
    "packer": {"builder": {"ena_support": True}, "chef": {"install": "echo ${X:-y} %{z} {{w}} '${'", "path": "/var/n"}},
}


def test_the_language_makes_no_other_image_of_whatever_machine(tmp_path: Path) -> None:
    digests = set()
    for language in ("json", "hcl2"):
        machine = json.loads(json.dumps(MACHINE))
        machine["packer"]["format"] = language
        document = {"__base__": {"run_list": ["recipe[a]"]}, "bee": machine}
        nodes = make_project(tmp_path / language, document)
        digests.add(current_digest(PackerTemplates(Project(nodes)), nodes.group("bee")))
    assert len(digests) == 1


def test_a_packer_that_has_plugins_is_told_which(tmp_path: Path) -> None:
    (packer,) = read(text(templates(tmp_path)))["packer"]
    (required,) = packer["required_plugins"]
    assert required == {"amazon": {"source": "github.com/hashicorp/amazon", "version": ">= 1.2.0"}}


def test_the_build_machine_wants_imdsv2(tmp_path: Path) -> None:
    (options,) = source(tmp_path)["metadata_options"]
    assert options["http_tokens"] == "required"


def test_the_builder_may_say_otherwise(tmp_path: Path) -> None:
    (options,) = source(tmp_path / "a", packer={"builder": {"metadata_options": {"http_tokens": "optional"}}})[
        "metadata_options"
    ]
    assert options["http_tokens"] == "optional"
    made = source(tmp_path / "b", packer={"builder": {"metadata_options": {"http_put_response_hop_limit": 2}}})
    assert made["metadata_options"] == [
        {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 2}
    ]


def test_ssh_is_open_to_the_callers_own_address(tmp_path: Path) -> None:
    made = source(tmp_path)
    assert made["temporary_security_group_source_public_ip"] is True
    assert "temporary_security_group_source_cidrs" not in made


def test_ssh_is_open_to_the_networks_that_are_named_instead(tmp_path: Path) -> None:
    made = source(tmp_path, packer={"ssh_source_cidrs": ["10.0.0.0/8"]})
    assert made["temporary_security_group_source_cidrs"] == ["10.0.0.0/8"]
    assert "temporary_security_group_source_public_ip" not in made


def test_a_security_group_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    made = source(tmp_path, packer={"builder": {"security_group_id": "sg-1"}})
    assert "temporary_security_group_source_public_ip" not in made


def test_no_warning_of_an_open_port(tmp_path: Path) -> None:
    nodes = templates(tmp_path).project.nodes
    assert nodes.warnings(nodes.groups(["bee"])) == []


def test_tags_and_variables_are_those_of_json(tmp_path: Path) -> None:
    made = read(text(templates(tmp_path, tags={"team": "ops ${x} %{y}"})))
    body = made["source"][0]["amazon-ebs"]["image"]
    assert body["tags"] == {
        "team": "ops $${x} %%{y}",
        "group": "bee",
        "nodepkg:managed": "true",
        "nodepkg:source_ami": "{{ .SourceAMI }}",
        "nodepkg:commit": "${var.nodepkg_commit}",
        "nodepkg:digest": "${var.nodepkg_digest}",
    }
    assert body["snapshot_tags"] == {**body["tags"], "nodepkg:image-snapshot": "true"}
    assert body["run_tags"] == {
        "team": "ops $${x} %%{y}",
        "nodepkg:managed": "true",
        "nodepkg:build": "${var.nodepkg_build}",
    }
    assert body["temporary_key_pair_name"] == "${var.nodepkg_key_pair}"
    empty = {"type": "string", "default": ""}
    names = ("nodepkg_build", "nodepkg_commit", "nodepkg_digest", "nodepkg_key_pair")
    assert made["variable"] == [{name: empty} for name in names]


def test_what_nodes_json_says_is_never_evaluated(tmp_path: Path) -> None:
    command = "echo ${path.root} %{if true}"
    made = templates(tmp_path, packer={"chef": {"install": command}})
    assert "echo $${path.root} %%{if true}" in text(made)
    steps = made.document(made.project.nodes.group("bee"))["provisioners"]
    assert {"type": "shell", "inline": [command]}.items() <= steps[-2].items()


EXTENDING = """{% extends "nodepkg/amazon-ebs.pkr.hcl.j2" %}
{% block provisioners_after %}
provisioner "shell" { inline = ["nginx -t"] }
{% endblock %}
"""


def test_a_template_of_the_user_may_extend_the_shipped_one(tmp_path: Path) -> None:
    made = templates(
        tmp_path, {"templates/packer/web.pkr.hcl.j2": EXTENDING}, run_list=["recipe[b]"], packer={"template": "web"}
    )
    steps = made.document(made.project.nodes.group("bee"))["provisioners"]
    assert steps[-1] == {"type": "shell", "inline": ["nginx -t"]}
    assert '  provisioner "shell" { inline = ["nginx -t"] }\n}\n' in text(made)


OWN = """locals {
  size = "%s"
}
source "amazon-ebs" "image" {
  source_ami = "ami-1"
  root       = local.size
}
"""


def test_what_decides_values_counts_for_the_image(tmp_path: Path) -> None:
    digests = set()
    for size in ("1", "2"):
        made = templates(tmp_path / size, {"templates/packer/amazon-ebs.pkr.hcl.j2": OWN % size})
        digests.add(current_digest(made, made.project.nodes.group("bee")))
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("source {\n", "not HCL"),
        ('source "amazon-ebs" "x" {\n a = "b\n}\n', "not HCL"),
        ("build {}\n", "no Packer template: it has no source"),
        ("", "no Packer template: it has no source"),
    ],
)
def test_what_is_rendered_has_to_be_a_packer_template(tmp_path: Path, template: str, told: str) -> None:
    made = templates(tmp_path, {"templates/packer/amazon-ebs.pkr.hcl.j2": template})
    with pytest.raises(ConfigError) as caught:
        text(made)
    assert "templates/packer/amazon-ebs.pkr.hcl.j2: what it renders for bee is " + told in complaint(caught)


def test_a_template_of_the_other_language_does_not_serve(tmp_path: Path) -> None:
    made = templates(tmp_path, {"templates/packer/web.j2": "{}"}, packer={"template": "web"})
    with pytest.raises(ConfigError, match=r"web\.j2: is not for bee, whose packer\.format is hcl2") as caught:
        text(made)
    assert "write templates/packer/web.pkr.hcl.j2" in caught.value.hint


def test_what_the_shipped_template_was_overridden_with_is_not_lost_with_the_language(tmp_path: Path) -> None:
    own = '{% extends "nodepkg/amazon-ebs.j2" %}'
    made = templates(tmp_path, {"templates/packer/amazon-ebs.j2": own})
    with pytest.raises(ConfigError, match=r"amazon-ebs\.j2: is not for bee"):
        text(made)


@pytest.mark.parametrize(
    "builder",
    [
        {"security_group_ids": []},
        {"security_group_id": None},
        {"security_group_filter": {}},
        {"temporary_security_group_source_cidrs": []},
    ],
)
def test_what_names_nobody_leaves_ssh_to_the_callers_address(tmp_path: Path, builder: Entry) -> None:
    assert source(tmp_path, packer={"builder": builder})["temporary_security_group_source_public_ip"] is True


def test_ssh_that_is_open_to_the_world_by_name_is_warned_of(tmp_path: Path) -> None:
    builder = {"temporary_security_group_source_public_ip": False}
    nodes = templates(tmp_path, packer={"builder": builder}).project.nodes
    assert "open to the world" in nodes.warnings(nodes.groups(["bee"]))[0]


def test_a_key_that_would_begin_an_expression_is_quoted(tmp_path: Path) -> None:
    assert '    "for"  ' in text(templates(tmp_path, tags={"for": "ops"}))


def test_packers_own_functions_in_the_builder_are_those_of_hcl2(tmp_path: Path) -> None:
    builder = {
        "user_data_file": "{{template_dir}}/${x}.sh",
        "ami_description": "c={{ user `nodepkg_commit` }} {{timestamp}}",
    }
    made = source(tmp_path, packer={"builder": builder})
    assert made["user_data_file"] == "${path.root}/$${x}.sh"
    assert made["ami_description"] == "c=${var.nodepkg_commit} {{timestamp}}"


def test_a_list_of_no_volumes_is_no_block(tmp_path: Path) -> None:
    assert "ami_block_device_mappings" not in source(tmp_path, packer={"builder": {"ami_block_device_mappings": []}})


@pytest.mark.parametrize(
    "more",
    [
        'build {\n  source "amazon-ebs.image" {\n    ebs_optimized = true\n  }\n}\n',
        'build {\n  dynamic "provisioner" {\n    for_each = ["a"]\n  }\n}\n',
    ],
)
def test_what_a_build_lays_over_its_source_counts_for_the_image(tmp_path: Path, more: str) -> None:
    digests = set()
    for folder, own in (("a", OWN % 1), ("b", OWN % 1 + more)):
        made = templates(tmp_path / folder, {"templates/packer/amazon-ebs.pkr.hcl.j2": own})
        digests.add(current_digest(made, made.project.nodes.group("bee")))
    assert len(digests) == 2
