"""The main job on the embedded AWS: from nodes.json to running nodes, and what must be refused on the way."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

from nodepkg.sandbox import process
from tests.e2e.program import Program
from tests.packers import each_packer


def endpoint(package: Program) -> str:
    return str(json.loads(package("sandbox:status", "--json").stdout)["endpoint"])


def client(package: Program, service: str) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=endpoint(package),
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource["Tags"]}


@each_packer
def test_the_whole_chain(package: Program, packer: str) -> None:
    package("group:create")
    before = {path: path.read_bytes() for path in (package.folder / "packer").iterdir()}
    built = package("packer:run", "12_04-base", "ftp-processor", "--sandbox", "--json", NODEPKG_PACKER=packer)
    images = {report["group"]: report["image"] for report in json.loads(built.stdout)["images"]}
    assert {path: path.read_bytes() for path in (package.folder / "packer").iterdir()} == before

    started = json.loads(package("autoscale:run", "ftp-processor", "--sandbox", "--json").stdout)["groups"]
    assert [(group["asg"], group["image"], group["version"]) for group in started] == [
        ("ftp-processor-v001", images["ftp-processor"], 1)
    ]
    (asg,) = client(package, "autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    tags = tags_of(asg)
    assert tags.pop("nodepkg:run")
    assert float(tags.pop("nodepkg:since"))
    assert tags == {
        "group": "ftp-processor",
        "nodepkg:managed": "true",
        "nodepkg:phase": "serving",
        "nodepkg:version": "1",
        "nodepkg:image": images["ftp-processor"],
    }
    propagated = {tag["Key"] for tag in asg["Tags"] if tag["PropagateAtLaunch"]}
    assert propagated == {"group"}
    assert (asg["MinSize"], asg["DesiredCapacity"], asg["MaxSize"]) == (1, 1, 4)
    assert asg["LaunchTemplate"]["Version"] == "1"

    (reservation,) = client(package, "ec2").describe_instances(
        Filters=[{"Name": "tag:group", "Values": ["ftp-processor"]}]
    )["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance["ImageId"] == images["ftp-processor"]
    assert instance["PrivateIpAddress"].startswith("127.")
    assert instance.get("PublicIpAddress", "127.").startswith("127.")

    status = {entry["group"]: entry for entry in json.loads(package("group:status", "--sandbox", "--json").stdout)}
    assert status["ftp-processor"]["next"] is None
    assert status["ftp-processor"]["image"]["current"]
    assert status["ftp-processor"]["asg"][0]["newest"]
    assert status["12_04-bee"]["next"] == "package packer:run 12_04-bee"


def test_autoscale_run_refuses_a_group_that_runs(package: Program) -> None:
    package("group:create")
    package("packer:run", "12_04-bee", "--sandbox")
    package("autoscale:run", "12_04-bee", "--sandbox")
    done = package("autoscale:run", "12_04-bee", "--sandbox", code=4)
    assert "12_04-bee-v001" in done.stderr
    assert len(client(package, "ec2").describe_launch_template_versions(LaunchTemplateName="12_04-bee")) > 0


def test_autoscale_run_refuses_a_group_without_an_image(package: Program) -> None:
    done = package("autoscale:run", "12_04-bee", "--sandbox", code=4)
    assert "package packer:run 12_04-bee" in done.stderr


def test_packer_run_refuses_what_is_stale_or_missing(package: Program) -> None:
    done = package("packer:run", "12_04-bee", "--sandbox", code=4)
    assert "package group:create 12_04-bee" in done.stderr
    package("group:create")
    nodes = (package.folder / "nodes.json").read_text()
    (package.folder / "nodes.json").write_text(nodes.replace('"other_key": "value"', '"other_key": "other"'))
    done = package("packer:run", "12_04-bee", "--sandbox", code=4)
    assert "roles/12_04-bee.json" in done.stderr


@pytest.mark.parametrize("command", ["packer:run", "autoscale:run", "packer:clean"])
def test_a_dry_run_changes_nothing(package: Program, command: str) -> None:
    package("group:create")
    package("packer:run", "12_04-bee", "--sandbox")

    def world() -> list[Any]:
        ec2, autoscaling = client(package, "ec2"), client(package, "autoscaling")
        return [
            ec2.describe_images(Owners=["self"])["Images"],
            ec2.describe_launch_templates()["LaunchTemplates"],
            ec2.describe_instances()["Reservations"],
            ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"],
            autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"],
        ]

    before = world()
    extra = {"packer:clean": ["-n", "0"], "packer:run": ["--force"]}.get(command, [])
    done = package(command, "12_04-bee", "--sandbox", "--dry-run", *extra)
    assert "would" in done.stderr
    assert world() == before


def test_clean_keeps_the_newest_and_what_is_in_use(package: Program) -> None:
    package("group:create")
    made = []
    for _ in range(3):
        time.sleep(1.1)  # the name of an image holds the second in which it was built
        built = package("packer:run", "12_04-bee", "--force", "--sandbox", "--json")
        made.append(json.loads(built.stdout)["images"][0]["image"])
        if len(made) == 1:
            package("autoscale:run", "12_04-bee", "--sandbox")
    refused = package("packer:clean", "12_04-bee", "-n", "1", "--sandbox", code=4)
    assert "--yes" in refused.stderr

    done = package("packer:clean", "12_04-bee", "-n", "1", "--sandbox", "--yes", "--json")
    verdicts = {entry["image"]: entry["kept"] for entry in json.loads(done.stdout)["images"]}
    assert verdicts == {made[0]: True, made[1]: False, made[2]: True}
    ec2 = client(package, "ec2")
    left = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag:group", "Values": ["12_04-bee"]}])["Images"]
    assert {image["ImageId"] for image in left} == {made[0], made[2]}
    kept = {image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] for image in left}
    tagged = [{"Name": "tag:nodepkg:image-snapshot", "Values": ["true"]}]
    assert {snapshot["SnapshotId"] for snapshot in ec2.describe_snapshots(Filters=tagged)["Snapshots"]} == kept


def test_clean_spares_images_that_are_not_ours(package: Program) -> None:
    package("group:create")
    package("packer:run", "12_04-bee", "--sandbox")
    ec2 = client(package, "ec2")
    (image,) = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag:group", "Values": ["12_04-bee"]}])["Images"]
    ec2.delete_tags(Resources=[image["ImageId"]], Tags=[{"Key": "nodepkg:managed"}])
    done = package("packer:clean", "12_04-bee", "-n", "0", "--sandbox", "--yes", "--json")
    document = json.loads(done.stdout)
    assert document["images"] == document["deleted"] == []
    assert ec2.describe_images(ImageIds=[image["ImageId"]])["Images"]


def test_a_launch_template_of_somebody_else_is_left_alone(package: Program) -> None:
    package("group:create")
    package("packer:run", "12_04-bee", "--sandbox")
    ec2 = client(package, "ec2")
    ec2.create_launch_template(LaunchTemplateName="12_04-bee", LaunchTemplateData={"InstanceType": "m1.large"})
    done = package("autoscale:run", "12_04-bee", "--sandbox", code=4)
    assert "nodepkg:managed" in done.stderr
    assert len(ec2.describe_launch_template_versions(LaunchTemplateName="12_04-bee")["LaunchTemplateVersions"]) == 1


def test_target_groups_are_found_by_name_before_anything_is_made(package: Program) -> None:
    nodes = json.loads((package.folder / "nodes.json").read_text())
    nodes["12_04-bee"]["autoscale"]["target_groups"] = ["workers"]
    (package.folder / "nodes.json").write_text(json.dumps(nodes))
    package("group:create")
    package("packer:run", "12_04-bee", "--sandbox")
    package("autoscale:run", "12_04-bee", "--sandbox")
    (asg,) = client(package, "autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert asg["HealthCheckType"] == "ELB"
    assert [arn.split("/")[1] for arn in asg["TargetGroupARNs"]] == ["workers"]


def test_a_run_that_was_cut_short_is_finished_by_the_next(package: Program) -> None:
    """Killed between the launch template and the group: the version that it made serves."""
    package("group:create")
    package("packer:run", "12_04-bee", "--sandbox")
    package("autoscale:run", "12_04-bee", "--sandbox")
    autoscaling = client(package, "autoscaling")
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName="12_04-bee-v001", ForceDelete=True)
    (group,) = json.loads(package("autoscale:run", "12_04-bee", "--sandbox", "--json").stdout)["groups"]
    assert group["version"] == 1


HOSTILE = {
    "AWS_PROFILE": "production",
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_AUTO_SCALING": "http://127.0.0.1:9",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


@each_packer
def test_no_setting_of_the_user_reaches_a_sandbox_command(package: Program, tmp_path: Path, packer: str) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile production]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9\nca_bundle = /none\n"
    )
    package.environ |= HOSTILE | {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(config)}
    package.environ |= {"NODEPKG_SANDBOX": "1", "NODEPKG_PACKER": packer}
    package("group:create")
    package("packer:run", "12_04-bee")
    package("autoscale:run", "12_04-bee")
    assert "12_04-bee-v001" in package("group:status").stdout
    package("packer:clean", "-n", "0", "--yes")


def test_a_builder_with_a_profile_is_refused(package: Program) -> None:
    nodes = json.loads((package.folder / "nodes.json").read_text())
    nodes["12_04-bee"]["packer"] = {"builder": {"profile": "production"}}
    (package.folder / "nodes.json").write_text(json.dumps(nodes))
    package("group:create")
    done = package("packer:run", "12_04-bee", "--sandbox", code=4)
    assert "profile" in done.stderr


def test_a_profile_and_the_sandbox_exclude_each_other(package: Program) -> None:
    assert "--profile" in package("group:status", "--sandbox", "--profile", "x", code=2).stderr


def test_without_moto_it_says_what_to_install(package: Program) -> None:
    program = "import sys; sys.modules['moto'] = None; from nodepkg.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "sandbox:start"],
        cwd=package.folder,
        env=package.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6
    assert "nodepkg[sandbox]" in done.stderr


def test_status_without_credentials_shows_the_local_part_and_says_so(package: Program) -> None:
    package("group:create", "12_04-bee")
    done = package("group:status")
    assert "12_04-bee" in done.stdout
    assert "missing" in done.stdout
    assert "only what is on disk" in done.stderr


def test_the_sandbox_outlives_its_command_and_is_stopped(package: Program) -> None:
    assert json.loads(package("sandbox:status", "--json").stdout) == {"running": False}
    started = json.loads(package("sandbox:start", "--json").stdout)
    assert json.loads(package("sandbox:start", "--json").stdout) == started
    os.kill(started["pid"], 0)
    assert json.loads(package("sandbox:status", "--json").stdout) == started
    package("sandbox:reset")
    assert process.running(package.folder / ".nodepkg" / "sandbox") is not None
    assert json.loads(package("sandbox:stop", "--json").stdout) == {"stopped": True}
    assert json.loads(package("sandbox:stop", "--json").stdout) == {"stopped": False}
    package("sandbox:reset", code=4)


def test_a_packer_that_is_something_else_is_told_apart(package: Program, tmp_path: Path) -> None:
    package("group:create")
    other = tmp_path / "packer"
    other.write_text("#!/bin/sh\necho cracklib; cat\n")
    other.chmod(0o755)
    assert "HashiCorp" in package("packer:run", "12_04-bee", "--sandbox", code=6, NODEPKG_PACKER=str(other)).stderr
    assert (
        "apt-get install packer"
        in package("packer:run", "12_04-bee", "--sandbox", code=6, NODEPKG_PACKER="none").stderr
    )


def test_a_packer_without_the_plugin_is_told_what_to_run(package: Program, tmp_path: Path) -> None:
    package("group:create")
    newer = tmp_path / "packer"
    newer.write_text('#!/bin/sh\ncase "$1" in version) echo Packer v1.16.0;; plugins) ;; *) exit 1;; esac\n')
    newer.chmod(0o755)
    done = package("packer:run", "12_04-bee", "--sandbox", code=6, NODEPKG_PACKER=str(newer))
    assert "packer plugins install github.com/hashicorp/amazon" in done.stderr


@each_packer
def test_an_image_that_packer_took_back_is_no_success(package: Program, packer: str) -> None:
    """Packer lists it, and exits 0, although it could not set the description, and deregistered the image."""
    path = package.folder / "nodes.json"
    nodes = json.loads(path.read_text())
    nodes["12_04-base"]["packer"] = {"builder": {"ami_description": "{{ .NoSuchThing }}"}}
    path.write_text(json.dumps(nodes))
    package("group:create")
    done = package("packer:run", "12_04-base", "--sandbox", code=6, NODEPKG_PACKER=packer)
    assert "of 12_04-base, but it is not there" in done.stderr
