"""Replies that are lost, and groups that others made: what was made is ours only if it carries this run's id."""

import pytest

from nodepkg.autoscale.run import CreateAutoScalingGroup
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.templates import LaunchTemplates
from nodepkg.errors import RefusedError
from nodepkg.launch import CreateTemplateVersion, launch
from nodepkg.nodes.schema import Autoscale
from tests.autoscale.test_run import group
from tests.faults import aws, lose_replies


def start(account: Account, run_id: str) -> str:
    made = launch(account, group(), "ami-1ebb2077", "#!/bin/sh")
    CreateTemplateVersion(made, run_id).run(account)
    report = CreateAutoScalingGroup("bee-group", Autoscale(), made, (), run_id).run(account)
    return str(report["asg"])


def test_a_lost_reply_to_the_creation_of_a_group_is_no_refusal() -> None:
    with aws(lose_replies("CreateAutoScalingGroup")) as account:
        assert start(account, "run-1") == "bee-group-v001"
        assert [asg.name for asg in AutoScaling(account, "us-east-1").groups()] == ["bee-group-v001"]


def test_a_lost_reply_to_the_creation_of_a_template_makes_no_second_version() -> None:
    with aws(lose_replies("CreateLaunchTemplate")) as account:
        start(account, "run-1")
        assert len(LaunchTemplates(account, "us-east-1").versions("bee-group")) == 1


def test_of_two_operators_one_is_refused() -> None:
    with aws() as account:
        start(account, "run-1")
        with pytest.raises(RefusedError, match="bee-group-v001 exists already"):
            start(account, "run-2")
        assert len(LaunchTemplates(account, "us-east-1").versions("bee-group")) == 1
