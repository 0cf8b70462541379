"""iam:policy on the command line."""

import json
from pathlib import Path

import pytest

from nodepkg.cli.app import app
from nodepkg.cli.output import Output
from nodepkg.permissions.commands import COMMANDS
from tests.cli.conftest import Run
from tests.projects import make_project

GROUP = {"run_list": ["recipe[x]"], "source_ami": "ami-1ebb2077"}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a project, and a machine without Packer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NODEPKG_NODES", raising=False)
    monkeypatch.setenv("NODEPKG_PACKER", "there-is-none")


def test_a_policy_is_printed_as_iam_takes_it(run: Run) -> None:
    done = run("iam:policy", "packer:adopt")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["Version"] == "2012-10-17"
    assert done.out == json.dumps(document, indent=4) + "\n"
    assert {one["Sid"]: (one["Action"], one.get("Condition")) for one in document["Statement"]} == {
        "Look": ("ec2:DescribeImages", None),
        "TagAsOwn": ("ec2:CreateTags", {"StringEquals": {"aws:RequestTag/nodepkg:managed": "true"}}),
    }


def test_a_typo_is_told_with_the_nearest(run: Run) -> None:
    done = run("iam:policy", "autoscale:updat")
    assert done.code == 2
    assert "autoscale:update" in done.err


def test_the_buckets_and_the_partition_are_those_of_nodes_json(run: Run, tmp_path: Path) -> None:
    groups = {
        name: {**GROUP, "region": "cn-north-1", "deploy": {"transport": "ssm", "bucket": bucket}}
        for name, bucket in (("bee", "example-one"), ("wasp", "example-two"))
    }
    make_project(tmp_path, groups)
    told = {one["Sid"]: one for one in json.loads(run("iam:policy", "instance:deploy").out)["Statement"]}
    names = ("example-one", "example-two")
    assert told["Bundles"]["Resource"] == [f"arn:aws-cn:s3:::{name}{of}" for name in names for of in ("", "/nodepkg/*")]


def test_without_a_bucket_it_is_said_that_any_will_do(run: Run) -> None:
    done = run("iam:policy", "instance:*")
    assert done.code == 0
    assert "arn:aws:s3:::*/nodepkg/*" in done.out
    assert "no deploy.bucket is known" in done.err


def test_a_nodes_json_that_is_named_has_to_be_there(run: Run) -> None:
    assert run("iam:policy", "--nodes", "none.json").code == 3


def test_an_old_packer_needs_more_and_that_is_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packer = tmp_path / "packer"
    packer.write_text("#!/bin/sh\necho Packer v1.6.6\n")
    packer.chmod(0o755)
    assert "AnySecurityGroup" not in run("iam:policy", "packer:run").out
    monkeypatch.setenv("NODEPKG_PACKER", str(packer))
    done = run("iam:policy", "packer:run")
    assert "AnySecurityGroupForOldPacker" in done.out
    assert "does not tag the security groups that it makes" in done.err
    assert run("iam:policy", "packer:clean").err == ""


def test_a_policy_that_is_too_large_for_iam_is_printed_with_a_note(run: Run, tmp_path: Path) -> None:
    assert "IAM takes" not in run("iam:policy").err
    names = [f"bee-{number}" for number in range(20)]
    make_project(tmp_path, {name: {**GROUP, "deploy": {"bucket": f"example-{name}"}} for name in names})
    done = run("iam:policy")
    assert done.code == 0
    assert len(json.loads(done.out)["Statement"]) > 10
    assert "and IAM takes 6144 in one managed policy" in done.err


def test_the_commands_with_a_policy_are_those_that_are_suggested_with_the_options_of_an_account() -> None:
    out = Output(given={"sandbox": " --sandbox"})
    names = [str(command.name) for command in app.registered_commands]
    assert {name for name in names if out.suggested(f"package {name}").endswith("--sandbox")} == set(COMMANDS)
