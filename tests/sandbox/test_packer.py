"""The staged template speaks to the sandbox only, and the real Packers build it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ExitCode, RefusedError
from nodepkg.sandbox.environment import child_environment
from nodepkg.sandbox.packer import staged_template
from nodepkg.sandbox.process import Sandbox
from tests.sandbox.conftest import Client

ENDPOINT = "http://127.0.0.1:1"
TEMPLATE: dict[str, Any] = {
    "variables": {"group": "12_04-bee"},
    "builders": [
        {
            "type": "amazon-ebs",
            "region": "us-east-1",
            "source_ami": "ami-1ebb2077",
            "instance_type": "m1.large",
            "ssh_username": "ubuntu",
            "ssh_interface": "private_ip",
            "access_key": "",
            "ami_name": "12_04-bee {{timestamp}}",
            "tags": {"group": "{{user `group`}}", "source": "{{ .SourceAMI }}"},
            "snapshot_tags": {"group": "12_04-bee"},
            "run_tags": {"nodepkg:managed": "true"},
            "temporary_security_group_source_cidrs": ["10.0.0.0/8"],
            "launch_block_device_mappings": [
                {"device_name": "/dev/sda1", "volume_size": 20, "volume_type": "gp2", "delete_on_termination": True}
            ],
        }
    ],
    "provisioners": [{"type": "shell", "inline": ["false"]}],
    "post-processors": [{"type": "manifest"}],
}


def with_builder(**changes: Any) -> dict[str, Any]:
    return TEMPLATE | {"builders": [TEMPLATE["builders"][0] | changes]}


def test_builders_speak_to_the_endpoint_and_log_in_nowhere() -> None:
    staged = staged_template(TEMPLATE, ENDPOINT)
    assert staged.keys() == {"variables", "builders"}
    (builder,) = staged["builders"]
    assert builder["custom_endpoint_ec2"] == ENDPOINT
    assert builder["communicator"] == "none"
    assert builder["source_ami"] == "ami-1ebb2077"
    assert builder["skip_region_validation"] and builder["skip_metadata_api_check"]
    assert not [key for key in builder if key.startswith("ssh_") or key == "access_key"]


def test_the_template_itself_stays_as_it_was() -> None:
    before = json.dumps(TEMPLATE)
    staged_template(TEMPLATE, ENDPOINT)
    assert json.dumps(TEMPLATE) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("access_key", "{{user `key`}}"),
        ("secret_key", "s"),
        ("token", "t"),
        ("profile", "production"),
        ("shared_credentials_file", "~/.aws/credentials"),
        ("assume_role", {"role_arn": "arn:aws:iam::1:role/x"}),
        ("mfa_code", "123456"),
        ("vault_aws_engine", {"name": "x"}),
    ],
)
def test_credentials_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(RefusedError, match=key) as caught:
        staged_template(with_builder(**{key: value}), ENDPOINT)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_other_builders_are_refused() -> None:
    with pytest.raises(RefusedError, match="docker"):
        staged_template(with_builder(type="docker"), ENDPOINT)


@pytest.mark.parametrize("call", ["{{vault `a` `b`}}", "{{ consul_key `a` }}", "{{aws_secretsmanager `a`}}"])
def test_functions_that_ask_elsewhere_are_refused(call: str) -> None:
    with pytest.raises(RefusedError, match="asks"):
        staged_template(TEMPLATE | {"variables": {"password": call}}, ENDPOINT)


CURRENT = "/work/tools/p116/packer"


@pytest.mark.parametrize("packer", [shutil.which("packer"), os.environ.get("NODEPKG_PACKER_CURRENT", CURRENT)])
def test_packer_builds_in_the_sandbox(packer: str | None, seeded: Sandbox, client: Client, tmp_path: Path) -> None:
    if not packer or not Path(packer).exists():
        pytest.skip("this Packer is not installed")
    template = tmp_path / "bee.json"
    template.write_text(json.dumps(staged_template(TEMPLATE, seeded.endpoint)))
    environment = child_environment({**os.environ, "HOME": str(tmp_path)}, seeded.endpoint)
    command = [packer, "build", "-machine-readable", str(template)]
    build = subprocess.run(
        command, check=False, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert build.returncode == 0, build.stdout + build.stderr
    ec2 = client("ec2")
    (image,) = ec2.describe_images(Owners=["self"])["Images"]
    assert f"artifact,0,id,us-east-1:{image['ImageId']}" in build.stdout
    assert {"Key": "source", "Value": "ami-1ebb2077"} in image["Tags"]
    assert_nothing_left_behind(ec2)


def assert_nothing_left_behind(ec2: Any) -> None:
    instances = [one for reservation in ec2.describe_instances()["Reservations"] for one in reservation["Instances"]]
    assert {instance["State"]["Name"] for instance in instances} == {"terminated"}
    assert [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]] == ["ops"]
    groups = {group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    assert groups == {"default", "bee", "external", "seeded-sg-0123456789abcdef0"}
    assert ec2.describe_volumes()["Volumes"] == []
