"""The digests: what makes a rebuild due, and what does not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodepkg.nodes.load import Nodes, load
from nodepkg.render.bundle import Bundle, Project, bundle, sha256
from nodepkg.render.digest import bundle_digest, image_digest
from nodepkg.render.packer import PackerTemplates
from tests.projects import make_project

Document = dict[str, Any]

DOCUMENT: Document = {
    "__base__": {
        "source_ami": "ami-1",
        "default_attributes": {"a": 1, "b": {"c": 2, "d": 3}},
        "packer": {"ssh_source_cidrs": ["192.0.2.0/24"], "builder": {"ena_support": True, "ami_users": ["1", "2"]}},
        "block_devices": [{"device": "/dev/sda1", "size_gb": 8}],
    },
    "bee": {"run_list": ["recipe[a]", "role[role-ant]", "role[hand]"], "autoscale": {}, "tags": {"team": "ops"}},
    "ant": {"run_list": ["recipe[b]"]},
    "fly": {"run_list": ["recipe[c]"]},
}
FILES = {
    "cookbooks/a/recipes/default.rb": "log 'a'\n",
    "data_bags/users/ann.json": '{"id": "ann"}\n',
    "roles/hand.json": '{"name": "hand", "run_list": ["recipe[a]"]}',
}


def digests(nodes: Nodes) -> tuple[str, str]:
    """Bundle digest and image digest of bee."""
    project = Project(nodes)
    group = nodes.group("bee")
    made = bundle(project, group)
    return bundle_digest(made), image_digest(made, PackerTemplates(project).document(group))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path / "project", DOCUMENT, FILES)
    return tmp_path / "project"


def digests_at(folder: Path) -> tuple[str, str]:
    return digests(load(folder / "nodes.json"))


def edited(folder: Path, path: str, value: object) -> tuple[str, str]:
    """The digests when the value at this path of nodes.json is another (`...`: gone)."""
    document = json.loads(json.dumps(DOCUMENT))
    *way, last = path.split(".")
    holder = document
    for key in way:
        holder = holder.setdefault(key, {})
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return digests(make_project(folder, document, FILES))


def test_a_digest_is_sha256_in_hex(project: Path) -> None:
    for digest in digests_at(project):
        assert len(digest) == 64
        assert set(digest) <= set("0123456789abcdef")


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def test_the_order_of_keys_does_not_count(project: Path) -> None:
    before = digests_at(project)
    (project / "nodes.json").write_text(json.dumps(reversed_keys(DOCUMENT)))
    assert digests_at(project) == before


def test_the_order_of_keys_of_a_hand_written_role_does_not_count(project: Path) -> None:
    before = digests_at(project)
    (project / "roles/hand.json").write_text('{\n"run_list": ["recipe[a]"],\n"name": "hand"}\n')
    assert digests_at(project) == before


def test_the_place_times_and_rights_of_files_do_not_count(project: Path, tmp_path: Path) -> None:
    before = digests_at(project)
    moved = tmp_path / "another" / "place"
    shutil.copytree(project, moved)
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert digests_at(moved) == before


def test_the_order_in_which_files_were_made_does_not_count(project: Path, tmp_path: Path) -> None:
    make_project(tmp_path / "other", DOCUMENT, dict(reversed(FILES.items())))
    assert digests_at(tmp_path / "other") == digests_at(project)


def test_the_scheme_of_the_digest_is_kept() -> None:
    """A change of it would make a rebuild of every image due."""
    shared = {"cookbooks/a/metadata.rb": sha256(b"a")}
    canonical_dna, solo_rb = b'{"a":2,"b":1}', b"# solo\n"
    made = Bundle("bee", {}, shared, {"dna.json": b'{"b": 1, "a": 2}', "solo.rb": solo_rb})
    lines = [
        f"{sha256(b'a')}  cookbooks/a/metadata.rb\n",
        f"{sha256(canonical_dna)}  dna.json\n",
        f"{sha256(solo_rb)}  solo.rb\n",
    ]
    assert bundle_digest(made) == sha256("".join(lines).encode())


IN_THE_IMAGE = [
    pytest.param("__base__.source_ami", "ami-2", id="source image"),
    pytest.param("bee.source_group", "ant", id="source group"),
    pytest.param("bee.source_ami_filter", {"name": "a", "owners": ["self"]}, id="source filter"),
    pytest.param("__base__.block_devices", [{"device": "/dev/sda1", "size_gb": 9}], id="block devices"),
    pytest.param("__base__.block_devices", ..., id="no block devices"),
    pytest.param("bee.packer.chef", {"command": "cinc-solo"}, id="chef command"),
    pytest.param("bee.packer.chef", {"install": False}, id="chef install"),
    pytest.param("bee.packer.chef", {"path": "/srv/nodepkg"}, id="chef path"),
    pytest.param("__base__.packer.builder.ena_support", False, id="ena_support"),
    pytest.param("__base__.packer.builder.ami_users", ["2", "1"], id="order of a list of the builder"),
    pytest.param("__base__.packer.builder.encrypt_boot", True, id="encrypt_boot"),
    pytest.param("__base__.packer.builder.ami_regions", ["eu-west-1"], id="ami_regions"),
]
IN_THE_BUNDLE = [
    pytest.param("bee.run_list", ["recipe[a]", "role[hand]", "role[role-ant]"], id="order of the run list"),
    pytest.param("bee.post_run_list", ["recipe[z]"], id="post run list"),
    pytest.param("bee.description", "bees", id="description"),
    pytest.param("bee.override_attributes", {"a": 2}, id="override attributes"),
    pytest.param("__base__.default_attributes.b.d", 4, id="default attributes"),
    pytest.param("bee.role_name", "worker", id="role name"),
    pytest.param("ant.run_list", ["recipe[z]"], id="role of a group that it refers to"),
]
ONLY_DRIVES = [
    pytest.param("bee.instance_type", "c5.large", id="instance_type"),
    pytest.param("bee.tags", {"team": "dev", "cost": "1"}, id="tags"),
    pytest.param("bee.autoscale", {"node_min": 3, "timeout": 1, "target_groups": ["x"]}, id="autoscale"),
    pytest.param("bee.autoscale", False, id="no autoscale"),
    pytest.param("bee.security_groups", ["x"], id="security_groups"),
    pytest.param("bee.zones", ["us-east-1a"], id="zones"),
    pytest.param("bee.subnets", ["subnet-1"], id="subnets"),
    pytest.param("bee.key_name", "ops", id="key_name"),
    pytest.param("bee.iam_instance_profile", "x", id="iam_instance_profile"),
    pytest.param("bee.user_data", "#!/bin/sh", id="user_data"),
    pytest.param("bee.ssh_username", "admin", id="ssh_username"),
    pytest.param("bee.x-note", "x", id="a key of one's own"),
    pytest.param("__base__.packer.ssh_source_cidrs", ["10.0.0.0/8"], id="ssh_source_cidrs"),
    pytest.param("__base__.packer.ssh_source_cidrs", ..., id="no ssh_source_cidrs"),
    *(
        pytest.param(f"__base__.packer.builder.{key}", value, id=f"builder {key}")
        for key, value in {
            "instance_type": "c5.large",
            "vpc_id": "vpc-1",
            "subnet_id": "subnet-1",
            "security_group_ids": ["sg-1"],
            "associate_public_ip_address": True,
            "availability_zone": "us-east-1a",
            "iam_instance_profile": "x",
            "ssh_timeout": "10m",
            "ssh_interface": "private_ip",
            "ssh_port": 2222,
            "ssh_agent_auth": True,
            "aws_polling": {"delay_seconds": 1, "max_attempts": 9},
            "spot_price": "auto",
            "communicator": "ssh",
            "temporary_key_pair_type": "ed25519",
            "skip_credential_validation": True,
            "max_retries": 3,
        }.items()
    ),
    pytest.param("fly.run_list", ["recipe[z]"], id="another group"),
    pytest.param("new", {"run_list": ["recipe[z]"]}, id="a new group"),
    pytest.param("__web__", {"key_name": "x"}, id="a new layer"),
]


@pytest.mark.parametrize(("path", "value"), IN_THE_BUNDLE)
def test_what_a_node_gets_changes_both_digests(project: Path, path: str, value: object) -> None:
    before, after = digests_at(project), edited(project, path, value)
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False]


@pytest.mark.parametrize(("path", "value"), IN_THE_IMAGE)
def test_what_the_image_is_made_from_changes_its_digest_alone(project: Path, path: str, value: object) -> None:
    before, after = digests_at(project), edited(project, path, value)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


@pytest.mark.parametrize(("path", "value"), ONLY_DRIVES)
def test_what_only_drives_the_build_or_the_fleet_changes_nothing(project: Path, path: str, value: object) -> None:
    assert edited(project, path, value) == digests_at(project)


def write(path: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)

    return change


def rename(path: str, to: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / path).rename(folder / to)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(write("cookbooks/a/recipes/default.rb", "log 'b'\n"), id="content of a cookbook"),
        pytest.param(write("cookbooks/a/recipes/default.rb", "log 'a'\r\n"), id="one byte of a cookbook"),
        pytest.param(write("cookbooks/a/recipes/other.rb", ""), id="a new file"),
        pytest.param(rename("cookbooks/a/recipes/default.rb", "cookbooks/a/recipes/other.rb"), id="another name"),
        pytest.param(write("data_bags/users/ann.json", '{"id":"ann"}\n'), id="a data bag"),
        pytest.param(write("roles/hand.json", '{"name": "hand", "run_list": ["recipe[z]"]}'), id="a hand-written role"),
        pytest.param(write("solo.rb", "# mine\n"), id="a solo.rb"),
    ],
)
def test_each_file_of_the_bundle_counts(project: Path, change: Callable[[Path], None]) -> None:
    before = digests_at(project)
    change(project)
    assert [one == other for one, other in zip(before, digests_at(project), strict=True)] == [False, False]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(write("README", "x"), id="a readme"),
        pytest.param(write("roles/bee.json", "stale"), id="a stale role on disk"),
        pytest.param(write("roles/role-ant.json", "{}"), id="a stray role"),
        pytest.param(write("packer/bee.json", "{}"), id="a stale template on disk"),
        pytest.param(write("dna/asg/bee.json", "{}"), id="a dna on disk"),
        pytest.param(write(".git/HEAD", "ref: refs/heads/main\n"), id="git"),
    ],
)
def test_other_files_do_not_count(project: Path, change: Callable[[Path], None]) -> None:
    before = digests_at(project)
    change(project)
    assert digests_at(project) == before


def test_a_provisioner_of_the_users_template_counts(project: Path) -> None:
    before = digests_at(project)
    write(
        "templates/packer/amazon-ebs.j2",
        '{% extends "nodepkg/amazon-ebs.j2" %}'
        '{% block provisioners_after %}, {"type": "shell", "inline": ["true"]}{% endblock %}',
    )(project)
    assert [one == other for one, other in zip(before, digests_at(project), strict=True)] == [True, False]


def test_the_spelling_of_the_users_template_does_not_count(project: Path) -> None:
    before = digests_at(project)
    write("templates/packer/amazon-ebs.j2", '{# mine #}{% extends "nodepkg/amazon-ebs.j2" %}')(project)
    assert digests_at(project) == before


def test_two_groups_that_say_the_same_differ_by_their_names_only(project: Path) -> None:
    nodes = make_project(project, {"__base__": {"run_list": ["a"]}, "bee": {}, "ant": {}})
    made = [bundle(Project(nodes), group) for group in nodes.groups(["bee", "ant"])]
    assert bundle_digest(made[0]) != bundle_digest(made[1])
    assert made[0].shared_digests == made[1].shared_digests
