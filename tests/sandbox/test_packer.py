"""The staged template speaks to the sandbox only, and the real Packers build it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ExitCode, RefusedError
from nodepkg.render.hcltext import read
from nodepkg.sandbox.environment import child_environment
from nodepkg.sandbox.packer import staged_template
from nodepkg.sandbox.process import Sandbox
from tests.packers import each_packer
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


HCL = """
variable "owner" {
  type    = string
  default = "ops"
}
source "amazon-ebs" "image" {
  region        = "us-east-1"
  source_ami    = "ami-1ebb2077"
  instance_type = "m1.large"
  ssh_username  = "ubuntu"
  ami_name      = "12_04-bee {{timestamp}}"
  access_key    = ""
  tags          = { group = "12_04-bee", owner = var.owner, text = "$${x} \\u0024{ %%{y}", source = "{{ .SourceAMI }}" }
  SECURITY
  launch_block_device_mappings {
    device_name = "/dev/sda1"
    volume_size = 20

    delete_on_termination = true
  }
}
build {
  name    = "bee"
  sources = ["source.amazon-ebs.image"]
  provisioner "shell" { inline = ["false"] }
  post-processor "manifest" {}
}
"""


def hcl(security: str = "", more: str = "") -> dict[str, Any]:
    return read(HCL.replace("SECURITY", security) + more)


def test_sources_in_hcl_speak_to_the_endpoint_and_log_in_nowhere() -> None:
    staged = staged_template(hcl("temporary_security_group_source_public_ip = true"), ENDPOINT)
    assert staged.keys() == {"variable", "source", "build"}
    body = staged["source"][0]["amazon-ebs"]["image"]
    assert body["custom_endpoint_ec2"] == ENDPOINT
    assert body["communicator"] == "none"
    assert body["launch_block_device_mappings"] == [
        {"device_name": "/dev/sda1", "volume_size": 20, "delete_on_termination": True}
    ]
    dropped = ("ssh_username", "access_key", "temporary_security_group_source_public_ip")
    assert not [key for key in body if key in dropped]
    with_registry = hcl(more='build {\n hcp_packer_registry {\n  bucket_name = "x"\n }\n}\nhcp_packer_registry {}\n')
    assert "hcp" not in json.dumps(staged_template(with_registry, ENDPOINT))
    assert staged["build"] == [{"name": "bee", "sources": ["source.amazon-ebs.image"]}]


@pytest.mark.parametrize(
    ("security", "more", "told"),
    [
        ('profile = "production"', "", "profile"),
        ('assume_role {\n role_arn = "arn:aws:iam::1:role/x"\n}', "", "assume_role"),
        ('ami_description = vault("a", "b")', "", "vault"),
        ('ami_description = "x ${consul_key("a")}"', "", "consul_key"),
        ("", 'data "http" "x" {\n url = "http://example.invalid"\n}\n', "data source http"),
        ("", 'source "docker" "x" {}\n', "docker"),
        ("", 'build {\n source "amazon-ebs.image" {\n  token = "t"\n }\n}\n', "token"),
    ],
)
def test_what_leads_out_of_the_sandbox_is_refused_in_hcl(security: str, more: str, told: str) -> None:
    with pytest.raises(RefusedError, match=told):
        staged_template(hcl(security, more), ENDPOINT)


def test_other_builders_are_refused() -> None:
    with pytest.raises(RefusedError, match="docker"):
        staged_template(with_builder(type="docker"), ENDPOINT)


@pytest.mark.parametrize("call", ["{{vault `a` `b`}}", "{{ consul_key `a` }}", "{{aws_secretsmanager `a`}}"])
def test_functions_that_ask_elsewhere_are_refused(call: str) -> None:
    with pytest.raises(RefusedError, match="asks"):
        staged_template(TEMPLATE | {"variables": {"password": call}}, ENDPOINT)


@each_packer
@pytest.mark.parametrize("name", ["bee.json", "bee.pkr.json"])
def test_packer_builds_in_the_sandbox(packer: str, name: str, seeded: Sandbox, client: Client, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(json.dumps(staged_template(TEMPLATE if name == "bee.json" else hcl(), seeded.endpoint)))
    environment = child_environment({**os.environ, "HOME": str(tmp_path)}, seeded.endpoint)
    build = subprocess.run(
        [packer, "build", "-machine-readable", str(file)],
        check=False,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    ec2 = client("ec2")
    (image,) = ec2.describe_images(Owners=["self"])["Images"]
    assert f"artifact,0,id,us-east-1:{image['ImageId']}" in build.stdout
    tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    assert tags["source"] == "ami-1ebb2077"
    if name == "bee.pkr.json":
        assert (tags["owner"], tags["text"]) == ("ops", "${x} ${ %{y}")
    assert_nothing_left_behind(ec2)


def assert_nothing_left_behind(ec2: Any) -> None:
    instances = [one for reservation in ec2.describe_instances()["Reservations"] for one in reservation["Instances"]]
    assert {instance["State"]["Name"] for instance in instances} == {"terminated"}
    assert [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]] == ["ops"]
    groups = {group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    assert groups == {"default", "bee", "external", "seeded-sg-0123456789abcdef0"}
    assert ec2.describe_volumes()["Volumes"] == []
