"""What EC2 tells of instances, asked of the embedded AWS."""

import base64

import pytest
from botocore.stub import Stubber

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import Machines
from nodepkg.errors import AwsError


def test_only_what_is_not_terminated_lives(account: Account) -> None:
    machines = Machines(account, "us-east-1")
    told = machines.client.run_instances(ImageId="ami-1ebb2077", MinCount=2, MaxCount=2)
    lives, ended = (raw["InstanceId"] for raw in told["Instances"])
    machines.terminate_instance(ended)
    assert machines.living([lives, ended, "i-00000000000000000"]) == {lives}
    assert machines.living([]) == set()


def test_the_latest_console_is_read_where_the_instance_can_tell_it(account: Account) -> None:
    machines = Machines(account, "us-east-1")
    output = {"Output": base64.b64encode(b"ec2: booted").decode()}
    with Stubber(machines.client) as ec2:
        ec2.add_response("get_console_output", output, {"InstanceId": "i-1", "Latest": True})
        assert machines.console("i-1") == "ec2: booted"
        ec2.add_client_error("get_console_output", "UnsupportedOperation")
        ec2.add_response("get_console_output", output, {"InstanceId": "i-1"})
        assert machines.console("i-1") == "ec2: booted"
        ec2.add_client_error("get_console_output", "UnauthorizedOperation")
        with pytest.raises(AwsError):
            machines.console("i-1")
