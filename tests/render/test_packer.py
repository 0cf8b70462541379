"""Packer templates: what section 3 of the issue says, one by one, and the user's own templates."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from nodepkg.errors import ConfigError
from nodepkg.render.bundle import Project
from nodepkg.render.packer import PackerTemplates
from tests.projects import EXAMPLE, complaint, copy_example, make_project

Entry = dict[str, Any]
BASE: Entry = {"run_list": ["recipe[a]"], "source_ami": "ami-1"}


def rendered(folder: Path, files: dict[str, str] | None = None, /, **keys: Any) -> Entry:
    """The template of the group bee with these keys, as Packer reads it."""
    nodes = make_project(folder, {"__base__": BASE, "bee": keys, "ant": {}}, files)
    return PackerTemplates(Project(nodes)).document(nodes.group("bee"))


def builder(folder: Path, **keys: Any) -> Entry:
    (only,) = rendered(folder, **keys)["builders"]
    assert isinstance(only, dict)
    return only


def packers_reading(value: Any) -> Any:
    """What Packer's own template engine makes of literals: {{`{{`}} gives {{."""
    if isinstance(value, dict):
        return {packers_reading(key): packers_reading(item) for key, item in value.items()}
    if isinstance(value, list):
        return [packers_reading(item) for item in value]
    return re.sub(r"\{\{`(.*?)`\}\}", r"\1", value) if isinstance(value, str) else value


# The builder


def test_the_builder_has_type_region_instance_type_and_user(tmp_path: Path) -> None:
    made = builder(tmp_path, region="eu-west-1", instance_type="c5.large", ssh_username="admin")
    assert made["type"] == "amazon-ebs"
    assert (made["region"], made["instance_type"], made["ssh_username"]) == ("eu-west-1", "c5.large", "admin")


def test_the_image_is_named_after_group_and_time(tmp_path: Path) -> None:
    assert builder(tmp_path)["ami_name"] == "bee {{timestamp}}"


def test_a_source_image_is_given_by_its_id(tmp_path: Path) -> None:
    made = builder(tmp_path)
    assert made["source_ami"] == "ami-1"
    assert "source_ami_filter" not in made


def test_a_source_group_is_a_filter_on_the_tag_group(tmp_path: Path) -> None:
    made = builder(tmp_path, source_group="ant")
    assert "source_ami" not in made
    assert made["source_ami_filter"]["filters"]["tag:group"] == "ant"
    assert made["source_ami_filter"]["owners"] == ["self"]
    assert made["source_ami_filter"]["most_recent"] is True


def test_a_filter_has_name_and_owners_and_takes_the_newest(tmp_path: Path) -> None:
    made = builder(tmp_path, source_ami_filter={"name": "ubuntu*", "owners": ["1", "amazon"]})
    assert made["source_ami_filter"]["filters"]["name"] == "ubuntu*"
    assert made["source_ami_filter"]["owners"] == ["1", "amazon"]
    assert made["source_ami_filter"]["most_recent"] is True


def test_image_and_snapshots_say_whose_they_are_and_what_they_are_made_from(tmp_path: Path) -> None:
    made = builder(tmp_path, tags={"team": "ops"})
    assert made["tags"] == {
        "team": "ops",
        "group": "bee",
        "nodepkg:managed": "true",
        "nodepkg:source_ami": "{{ .SourceAMI }}",
        "nodepkg:commit": "{{user `nodepkg_commit`}}",
        "nodepkg:digest": "{{user `nodepkg_digest`}}",
    }
    assert made["snapshot_tags"] == {**made["tags"], "nodepkg:image-snapshot": "true"}


def test_the_build_machine_is_managed_and_is_no_node_of_the_group(tmp_path: Path) -> None:
    assert builder(tmp_path, tags={"team": "ops"})["run_tags"] == {
        "team": "ops",
        "nodepkg:managed": "true",
        "nodepkg:build": "{{user `nodepkg_build`}}",
    }


def test_what_only_a_build_knows_are_variables_that_are_empty_in_the_file(tmp_path: Path) -> None:
    names = ("nodepkg_build", "nodepkg_commit", "nodepkg_digest", "nodepkg_key_pair")
    assert rendered(tmp_path)["variables"] == dict.fromkeys(names, "")


def test_the_key_pair_has_the_name_that_the_build_gives_it(tmp_path: Path) -> None:
    assert builder(tmp_path)["temporary_key_pair_name"] == "{{user `nodepkg_key_pair`}}"


def test_ssh_is_open_to_the_networks_that_are_named(tmp_path: Path) -> None:
    made = builder(tmp_path, packer={"ssh_source_cidrs": ["10.0.0.0/8", "192.0.2.0/24"]})
    assert made["temporary_security_group_source_cidrs"] == ["10.0.0.0/8", "192.0.2.0/24"]


def test_without_networks_the_choice_is_packers(tmp_path: Path) -> None:
    assert "temporary_security_group_source_cidrs" not in builder(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("security_groups", ["sg-of-the-nodes"]),
        ("subnets", ["subnet-ofthenodes"]),
        ("zones", ["zone-of-the-nodes"]),
        ("key_name", "key-of-the-nodes"),
        ("iam_instance_profile", "profile-of-the-nodes"),
        ("user_data", "data of the nodes"),
    ],
)
def test_what_the_running_nodes_have_is_not_the_build_machines(tmp_path: Path, key: str, value: Any) -> None:
    assert rendered(tmp_path / "with", **{key: value}) == rendered(tmp_path / "without")


def test_extra_builder_keys_are_written_as_they_are(tmp_path: Path) -> None:
    extra = {
        "ena_support": True,
        "aws_polling": {"delay_seconds": 5},
        "ami_users": ["1"],
        "ami_description": "{{timestamp}}",
    }
    made = builder(tmp_path, packer={"builder": extra})
    assert {key: made[key] for key in extra} == extra


def test_the_builders_instance_type_is_the_build_machines(tmp_path: Path) -> None:
    made = rendered(tmp_path, instance_type="t3.small", packer={"builder": {"instance_type": "c5.large"}})
    assert made["builders"][0]["instance_type"] == "c5.large"
    assert json.dumps(made).count("instance_type") == 1


def test_volumes_are_written_in_packers_words(tmp_path: Path) -> None:
    device = {"device": "/dev/sda1", "size_gb": 20, "type": "io2", "iops": 500, "encrypted": True, "kms_key_id": "k"}
    assert builder(tmp_path, block_devices=[device])["launch_block_device_mappings"] == [
        {
            "device_name": "/dev/sda1",
            "volume_size": 20,
            "volume_type": "io2",
            "iops": 500,
            "encrypted": True,
            "kms_key_id": "k",
            "delete_on_termination": True,
        }
    ]


def test_of_two_volumes_of_one_device_one_is_written(tmp_path: Path) -> None:
    made = builder(tmp_path, block_devices=[{"device": "a", "size_gb": 1}, {"device": "a", "size_gb": 2}])
    assert [device["volume_size"] for device in made["launch_block_device_mappings"]] == [2]


def test_without_volumes_those_of_the_source_image_stay(tmp_path: Path) -> None:
    assert "launch_block_device_mappings" not in builder(tmp_path)


SECRET = re.compile(r"access_key|secret_key|ACCESS_KEY|SECRET_KEY|password|token", re.IGNORECASE)


def test_no_template_of_the_example_holds_credentials(tmp_path: Path) -> None:
    nodes = copy_example(tmp_path)
    templates = PackerTemplates(Project(nodes))
    assert [name for name in nodes.names if SECRET.search(templates.template(nodes.group(name)).text)] == []


@pytest.mark.parametrize("key", ["access_key", "secret_key", "token", "ssh_password", "Access_Key"])
def test_credentials_in_the_builder_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=r"packer\.builder"):
        rendered(tmp_path, packer={"builder": {key: "AKIA"}})


def test_the_template_uses_no_key_that_packer_1_6_6_refuses(tmp_path: Path) -> None:
    made = rendered(tmp_path)
    assert set(made) == {"variables", "builders", "provisioners"}
    assert "metadata_options" not in made["builders"][0]


@pytest.mark.parametrize("tags", [{"a": "{{ .Version }}"}, {"{{ .Key }}": "a"}, {"a": "}}{{"}])
def test_braces_in_a_tag_are_refused_since_packer_would_evaluate_them(tmp_path: Path, tags: Entry) -> None:
    with pytest.raises(ConfigError, match=r"tags: the tag .*: Packer evaluates \{\{…\}\} in tags"):
        rendered(tmp_path, tags=tags)


def test_other_characters_of_a_tag_stay_as_they_are(tmp_path: Path) -> None:
    made = builder(tmp_path, tags={"a": '"\\\n}} ${x} %{y}'})
    assert made["tags"]["a"] == made["run_tags"]["a"] == '"\\\n}} ${x} %{y}'


# The provisioners


def files_of(made: Entry) -> list[tuple[str, str]]:
    return [(step["source"], step["destination"]) for step in made["provisioners"] if step["type"] == "file"]


def shell_of(made: Entry) -> list[str]:
    """The shell lines of all provisioners, as the build machine gets them."""
    return [
        packers_reading(line) for step in made["provisioners"] if step["type"] == "shell" for line in step["inline"]
    ]


def test_the_bundle_is_uploaded_from_beside_the_template(tmp_path: Path) -> None:
    files = {"cookbooks/a/metadata.rb": "", "data_bags/b/c.json": "{}", "solo.rb": "", "roles/hand.json": "{}"}
    assert files_of(rendered(tmp_path, files, run_list=["role[hand]", "role[role-ant]"])) == [
        ("{{template_dir}}/../cookbooks/", "/opt/nodepkg/cookbooks"),
        ("{{template_dir}}/../data_bags/", "/opt/nodepkg/data_bags"),
        ("{{template_dir}}/../solo.rb", "/opt/nodepkg/solo.rb"),
        ("{{template_dir}}/../roles/bee.json", "/opt/nodepkg/roles/role-bee.json"),
        ("{{template_dir}}/../roles/hand.json", "/opt/nodepkg/roles/hand.json"),
        ("{{template_dir}}/../roles/ant.json", "/opt/nodepkg/roles/role-ant.json"),
    ]


def test_what_is_not_there_is_not_uploaded(tmp_path: Path) -> None:
    assert files_of(rendered(tmp_path)) == [("{{template_dir}}/../roles/bee.json", "/opt/nodepkg/roles/role-bee.json")]


def test_every_upload_of_the_example_is_there_once_the_artefacts_are(tmp_path: Path) -> None:
    nodes = copy_example(tmp_path)
    templates = PackerTemplates(Project(nodes))
    for name in nodes.names:
        for source, _ in files_of(templates.document(nodes.group(name))):
            assert (EXAMPLE / "packer" / source.removeprefix("{{template_dir}}/")).exists()


def test_chef_is_installed_before_it_runs(tmp_path: Path) -> None:
    chef = {"install": "apt-get install -y cinc", "command": "cinc-solo -c {path}/solo.rb", "path": "/srv/chef"}
    assert shell_of(rendered(tmp_path, packer={"chef": chef}))[-2:] == [
        "apt-get install -y cinc",
        "cinc-solo -c /srv/chef/solo.rb",
    ]


def test_the_installation_of_chef_can_be_left_out(tmp_path: Path) -> None:
    lines = shell_of(rendered(tmp_path, packer={"chef": {"install": False}}))
    assert not any("omnitruck" in line for line in lines)
    assert lines[-1].startswith("chef-solo ")


def test_chef_solo_runs_with_the_dna_and_its_licence_accepted(tmp_path: Path) -> None:
    expected = "chef-solo --chef-license accept-silent -c /opt/nodepkg/solo.rb -j /opt/nodepkg/dna.json"
    assert shell_of(rendered(tmp_path))[-1] == expected


def test_shell_words_of_the_user_survive_packers_own_templates(tmp_path: Path) -> None:
    chef = {"install": "docker ps --format '{{ .ID }}'", "command": "echo '{{`x`}}' {path}"}
    made = rendered(tmp_path, packer={"chef": chef})
    assert made["provisioners"][-2]["inline"] == ["docker ps --format '{{`{{`}} .ID }}'"]
    assert made["provisioners"][-1]["inline"] == ["echo '{{`{{`}}`x`}}' /opt/nodepkg"]


@pytest.mark.parametrize("solo_rb", [None, '# it\'s "mine": $HOME `id` {{ .X }} \\n %s\n'])
def test_the_shell_lines_make_the_bundle_when_they_are_run(tmp_path: Path, solo_rb: str | None) -> None:
    node = tmp_path / "node"
    files = {"solo.rb": solo_rb} if solo_rb else None
    chef = {"install": False, "command": "cat {path}/dna.json", "path": str(node)}
    *lines, converge = shell_of(rendered(tmp_path / "project", files, packer={"chef": chef}))
    for line in lines:
        subprocess.run(["/bin/sh", "-ec", line], check=True)
    said = subprocess.run(["/bin/sh", "-ec", converge], check=True, capture_output=True, text=True).stdout
    assert json.loads(said) == {"id": "bee", "run_list": ["role[role-bee]"]}
    assert (node / "cookbooks").is_dir()
    assert (node / "roles").is_dir()
    assert (node / "solo.rb").exists() is (solo_rb is None)


def test_the_dna_is_the_one_of_the_bundle(tmp_path: Path) -> None:
    node = tmp_path / "node"
    made = rendered(tmp_path / "project", packer={"chef": {"path": str(node)}})
    node.mkdir()
    for line in shell_of(made):
        if line.startswith("printf"):
            subprocess.run(["/bin/sh", "-ec", line], check=True)
    assert (node / "dna.json").read_text() == (EXAMPLE / "dna/asg/12_04-bee.json").read_text().replace(
        "12_04-bee", "bee"
    )
    assert (node / "solo.rb").read_text() == (EXAMPLE / "src/nodepkg/templates/solo.rb").read_text()


# The user's own templates

OWN = "templates/packer/amazon-ebs.j2"


def own(folder: Path, text: str, **more: str) -> Entry:
    """The template of bee by the user's own amazon-ebs.j2."""
    return rendered(folder, {OWN: text, **{f"templates/packer/{name}.j2": other for name, other in more.items()}})


def refused(folder: Path, text: str, **more: str) -> str:
    with pytest.raises(ConfigError) as error:
        own(folder, text, **more)
    return complaint(error).replace(f"{folder}/", "")


def test_a_template_of_the_user_overrides_the_shipped_one(tmp_path: Path) -> None:
    assert own(tmp_path, '{"builders": [{"type": {{ group | tojson }}}]}') == {"builders": [{"type": "bee"}]}


def test_a_template_of_the_user_may_extend_the_shipped_one(tmp_path: Path) -> None:
    text = (
        '{% extends "nodepkg/amazon-ebs.j2" %}'
        '{% block builder %}"ena_support": true, {% endblock %}'
        '{% block provisioners_before %}{"type": "breakpoint"}, {% endblock %}'
        '{% block provisioners_after %}, {"type": "shell", "inline": ["last"]}{% endblock %}'
    )
    made = own(tmp_path / "own", text)
    shipped = rendered(tmp_path / "shipped")
    assert made["builders"] == [{**shipped["builders"][0], "ena_support": True}]
    assert made["provisioners"] == [
        {"type": "breakpoint"},
        *shipped["provisioners"],
        {"type": "shell", "inline": ["last"]},
    ]


def test_a_group_may_name_its_template(tmp_path: Path) -> None:
    files = {"templates/packer/web.j2": '{"builders": [{{ merged["x-note"] | tojson }}]}'}
    made = rendered(tmp_path, files, packer={"template": "web"}, **{"x-note": {"a": 1}})
    assert made == {"builders": [{"a": 1}]}


def test_the_template_of_the_example_adds_its_check(tmp_path: Path) -> None:
    nodes = copy_example(tmp_path)
    made = PackerTemplates(Project(nodes)).document(nodes.group("12_04-www"))
    assert "nginx.conf" in made["provisioners"][-1]["inline"][0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("{\n{% if %}\n}", f"{OWN}:2: ", id="syntax"),
        pytest.param("{\n\n{{ group | no_such_filter }}}", f"{OWN}:3: ", id="unknown filter"),
        pytest.param("{% block a %}\n\n", f"{OWN}:1: Unexpected end", id="a block without end"),
        pytest.param("{\n{{ nobody }}\n}", f"{OWN}:2: 'nobody' is undefined", id="undefined"),
        pytest.param("{\n\n{{ settings.nobody }}\n}", f"{OWN}:3: ", id="undefined attribute"),
        pytest.param("{\n{{ merged.nobody.more }}\n}", f"{OWN}:2: ", id="undefined attribute of one"),
        pytest.param("\n\n{{ 1 / 0 }}", f"{OWN}:3: division by zero", id="division by zero"),
        pytest.param("\n{{ group + 1 }}", f"{OWN}:2: ", id="types"),
        pytest.param("\n{{ group() }}", f"{OWN}:2: ", id="not callable"),
        pytest.param("\n{{ [1][7] }}", f"{OWN}:2: ", id="index"),
        pytest.param("\n{{ [1] | join(1, 2, 3, 4) }}", f"{OWN}:2: ", id="filter argument"),
        pytest.param("\n{{ settings | tojson }}", f"{OWN}:2: ", id="no JSON value"),
        pytest.param("\n{% include 'gone.j2' %}", f"{OWN}:2: ", id="an include that is not there"),
        pytest.param("\n{% extends 'gone.j2' %}", f"{OWN}:2: ", id="a parent that is not there"),
        pytest.param("\n{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", OWN, id="endless macro"),
        pytest.param("{% extends 'amazon-ebs.j2' %}", OWN, id="extends itself"),
        pytest.param("{% include 'amazon-ebs.j2' %}", OWN, id="includes itself"),
    ],
)
def test_a_broken_template_is_an_error_that_names_its_line(tmp_path: Path, text: str, told: str) -> None:
    assert told in refused(tmp_path, text)


def test_the_line_is_that_of_the_included_template(tmp_path: Path) -> None:
    assert "templates/packer/part.j2:2: 'x' is undefined" in refused(
        tmp_path, "{% include 'part.j2' %}", part="\n{{ x }}"
    )
    assert "templates/packer/part.j2:2: " in refused(tmp_path, "{% include 'part.j2' %}", part="\n{% if %}")


def test_the_line_is_that_of_a_block_of_ones_own(tmp_path: Path) -> None:
    text = '{% extends "nodepkg/amazon-ebs.j2" %}\n{% block builder %}\n{{ nobody }}{% endblock %}'
    assert f"{OWN}:3: 'nobody' is undefined" in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param('{\n"builders": [,]\n}', "is not JSON: Expecting value on line 2 of it: ", id="not JSON"),
        pytest.param("", "is not JSON", id="empty"),
        pytest.param("[" * 100_000, "is not JSON", id="nested without end"),
        pytest.param('{"builders": [{"a": NaN}]}', "is not JSON", id="NaN"),
        pytest.param('{"builders": [{"a": 1e999}]}', "is not JSON", id="an infinite number"),
        pytest.param('{"builders": [{"a": 1, "a": 2}]}', "is not JSON", id="a key twice"),
        pytest.param('{"builders": [{"a": ' + "1" * 5000 + "}]}", "is not JSON", id="a number without end"),
        pytest.param('{"builders": [{"a": "\\ud800"}]}', "is not JSON", id="half of a character"),
        pytest.param("[]", "no Packer template", id="a list"),
        pytest.param("{}", "no Packer template", id="no builders"),
        pytest.param('{"builders": {}}', "no Packer template", id="builders that are no list"),
        pytest.param('{"builders": ["a"]}', "no Packer template", id="a builder that is no object"),
    ],
)
def test_what_is_rendered_has_to_be_a_packer_template(tmp_path: Path, text: str, told: str) -> None:
    said = refused(tmp_path, text)
    assert OWN in said
    assert "for bee" in said
    assert told in said


def test_a_template_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    nodes = make_project(tmp_path, {"bee": BASE}, {OWN: ""})
    (tmp_path / OWN).write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigError, match=r"templates/packer/amazon-ebs\.j2: is not UTF-8"):
        PackerTemplates(Project(nodes)).document(nodes.group("bee"))


@pytest.mark.parametrize("keys", [{"packer": {"template": "gone"}}, {"type": "gone"}])
def test_a_template_that_is_not_there_is_named(tmp_path: Path, keys: Entry) -> None:
    with pytest.raises(ConfigError, match=r"bee: no template gone\.j2 in .*templates/packer"):
        rendered(tmp_path, **keys)


def test_a_folder_is_no_template(tmp_path: Path) -> None:
    (tmp_path / "templates" / "packer" / "web.j2").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"no template web\.j2"):
        rendered(tmp_path, packer={"template": "web"})


@pytest.mark.parametrize("name", ["../bee", "a/b", "..", "/tmp/bee", "bee\n", "bee\0"])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    nodes = make_project(tmp_path, {name: BASE})
    with pytest.raises(ConfigError, match="not a legal group name"):
        nodes.groups([name])
    with pytest.raises(ConfigError, match=r"packer\.template"):
        rendered(tmp_path, packer={"template": f"{name}/x"})


@pytest.mark.parametrize("text", ["{% include '../../secret' %}", "{% include '/etc/passwd' %}"])
def test_no_template_reads_outside_its_folder(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text("{}")
    assert "no template" in refused(tmp_path, text) or "not found" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "value", ["plain", 'quo"ted', "<'&'>", "ünï\n", "", 5, 1.5, True, None, [], ["<", {"a": "'"}], {"b": [1], "a": "ß"}]
)
def test_tojson_writes_what_jinja2_would(value: object, tmp_path: Path) -> None:
    ours = PackerTemplates(Project(make_project(tmp_path, {})))._templates.environment
    own = Environment(autoescape=False)
    own.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
    for text in ("{{ value | tojson }}", "{{ value | tojson(2) }}", "{{ '<' ~ (value | tojson) }}"):
        rendered = [made.from_string(text).render(value=value) for made in (own, ours, ours)]
        assert rendered[0] == rendered[1] == rendered[2]
