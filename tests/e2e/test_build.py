"""From nodes.json to an image with the real Packer, and what the node received on the way."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest

from nodepkg.clients.packer import FIRST_WITH_INIT, find
from nodepkg.sandbox import process
from nodepkg.sandbox.seed import Seed, SeedImage, SeedRegion
from tests.e2e.program import Program
from tests.packers import each_language, each_packer
from tests.rig.sshd import Node, Recording, node

BUNDLE = "/opt/nodepkg/"


def reach(project: Path, host: Node, endpoint: str) -> None:
    """Points the example's builders at the front, and at the sshd that stands for every instance."""
    nodes = json.loads((project / "nodes.json").read_text())
    nodes["__base__"]["ssh_username"] = host.user
    for layer in ("__base__", "__web__"):
        nodes[layer].setdefault("packer", {})["builder"] = {
            "custom_endpoint_ec2": endpoint,
            "skip_region_validation": True,
            "skip_metadata_api_check": True,
            "ssh_host": host.address,
            "ssh_port": host.port,
        }
    (project / "nodes.json").write_text(json.dumps(nodes, indent=4))


def speak(project: Path, language: str) -> None:
    """Every group's template in this language."""
    nodes = json.loads((project / "nodes.json").read_text())
    nodes["__base__"]["packer"]["format"] = language
    nodes["__web__"]["packer"].pop("template")
    (project / "nodes.json").write_text(json.dumps(nodes, indent=4))


def seed(aws: process.Sandbox) -> None:
    process.seed(
        aws,
        Seed(
            {
                "us-east-1": SeedRegion(
                    images=(SeedImage("ami-1ebb2077", "precise"),), instance_types=("m1.large", "m3.xlarge")
                )
            }
        ),
    )


def client(aws: process.Sandbox) -> Any:
    return boto3.client(
        "ec2", region_name="us-east-1", endpoint_url=aws.endpoint, aws_access_key_id="x", aws_secret_access_key="x"
    )


def received(recording: Recording) -> dict[str, bytes]:
    return {path.removeprefix(BUNDLE): text for path, text in recording.files.items() if path.startswith(BUNDLE)}


@each_language
def test_a_node_receives_its_bundle_and_converges(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str, language: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        speak(on_aws.folder, language)
        on_aws("role:create")
        on_aws("packer:create")
        done = on_aws("packer:run", "12_04-bee", "--json", NODEPKG_PACKER=packer)
        (recording,) = host.recordings()

    said = " ".join(recording.argv)
    assert said == f"chef-solo --chef-license accept-silent -c {BUNDLE}solo.rb -j {BUNDLE}dna.json"
    assert recording.uid == 0
    files = received(recording)
    assert json.loads(files["dna.json"]) == {"id": "12_04-bee", "run_list": ["role[role-12_04-bee]"]}
    assert json.loads(files["roles/role-12_04-bee.json"])["name"] == "role-12_04-bee"
    wanted = {
        path.relative_to(on_aws.folder).as_posix(): path.read_bytes()
        for folder in ("cookbooks", "data_bags")
        for path in (on_aws.folder / folder).rglob("*")
        if path.is_file()
    }
    got = {path: text for path, text in files.items() if path.startswith(("cookbooks/", "data_bags/"))}
    assert got == wanted
    assert {path for path in files if path not in got} == {"solo.rb", "dna.json", "roles/role-12_04-bee.json"}

    (image,) = json.loads(done.stdout)["images"]
    (made,) = client(aws).describe_images(ImageIds=[image["image"]])["Images"]
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert tags["group"] == "12_04-bee"
    assert tags["nodepkg:managed"] == "true"
    assert tags["nodepkg:digest"] == image["digest"]
    assert tags["nodepkg:source_ami"] == "ami-1ebb2077"


@each_packer
def test_a_build_leaves_nothing_behind(on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        on_aws("group:create")
        on_aws("packer:run", "12_04-base", NODEPKG_PACKER=packer)
    ec2 = client(aws)
    states = [
        instance["State"]["Name"]
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    ]
    assert states == ["terminated"]
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]


@each_packer
def test_a_converge_that_fails_is_told_and_leaves_no_image(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1", chef_exit=3) as host:
        reach(on_aws.folder, host, aws.endpoint)
        on_aws("group:create")
        done = on_aws("packer:run", "12_04-bee", code=6, NODEPKG_PACKER=packer)
    assert "Script exited with non-zero exit status: 3" in done.stderr.split("error:")[-1]
    assert client(aws).describe_images(Owners=["self"])["Images"] == []


def test_an_old_packer_that_would_build_elsewhere_is_refused(on_aws: Program, aws: process.Sandbox) -> None:
    """Packer 1.6.6 does not heed AWS_ENDPOINT_URL, which everything else does."""
    seed(aws)
    on_aws("group:create")
    assert "custom_endpoint_ec2" in on_aws("packer:run", "12_04-bee", code=4).stderr


def for_debians(template: Path) -> None:
    """Takes out of a template in HCL2 what Packer 1.6.6 does not know, so that it can run the rest of it."""
    text = template.read_text()
    for block in (r"packer \{\n.*?^\}\n", r"  metadata_options \{\n.*?^  \}\n"):
        text, count = re.subn(block, "", text, flags=re.DOTALL | re.MULTILINE)
        assert count == 1
    template.write_text(text)


@each_packer
@pytest.mark.parametrize("language", ["json", "hcl2"])
def test_a_build_by_hand_works_as_it_is(
    on_aws: Program, aws: process.Sandbox, tmp_path: Path, packer: str, language: str
) -> None:
    seed(aws)
    with node(tmp_path, address="127.0.0.1") as host:
        reach(on_aws.folder, host, aws.endpoint)
        speak(on_aws.folder, language)
        on_aws("group:create")
        (template,) = (on_aws.folder / "packer").glob("12_04-bee.*")
        if language == "hcl2" and find({"NODEPKG_PACKER": packer}).version < FIRST_WITH_INIT:
            for_debians(template)
        else:
            assert on_aws("group:create", "--check").returncode == 0
        for action in ("validate", "build"):
            subprocess.run(
                [packer, action, str(template.relative_to(on_aws.folder))],
                cwd=on_aws.folder,
                env=on_aws.environ,
                check=True,
                timeout=300,
                stdin=subprocess.DEVNULL,
            )
        (recording,) = host.recordings()
    assert received(recording).keys() >= {"dna.json", "solo.rb", "roles/role-12_04-bee.json"}


def test_a_packer_without_hcl2_is_told_so(on_aws: Program, aws: process.Sandbox) -> None:
    seed(aws)
    speak(on_aws.folder, "hcl2")
    on_aws("group:create")
    done = on_aws("packer:run", "12_04-bee", code=6)
    assert "too old for packer.format hcl2, which wants 1.7 or newer" in done.stderr
