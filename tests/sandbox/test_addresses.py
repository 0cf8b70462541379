"""Every address of an instance is loopback, in answers and in what a request says of it."""

import ipaddress
from typing import Any

import pytest

from nodepkg.sandbox.addresses import loopback
from tests.sandbox.conftest import Client


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ("10.1.2.3", "127.1.2.3"),
        ("172.31.0.7", "127.31.0.7"),
        ("10.0.0.1", "127.255.10.1"),
        ("127.0.0.1", "127.255.127.1"),
        ("127.1.2.3", "127.1.2.3"),
        ("ip-10-1-2-3.ec2.internal", "127.1.2.3"),
        ("ec2-54-214-1-2.compute-1.amazonaws.com", "127.214.1.2"),
        ("ec2-54-214-1-2.eu-west-1.compute.amazonaws.com", "127.214.1.2"),
        ("bee-1.us-east-1.elb.amazonaws.com", "bee-1.us-east-1.elb.amazonaws.com"),
        ("10.0.0.0/16", "10.0.0.0/16"),
        ("", ""),
    ],
)
def test_loopback(original: str, expected: str) -> None:
    assert loopback(original) == expected
    assert loopback(expected) == expected


def instances(ec2: Any, **request: Any) -> list[dict[str, Any]]:
    pages = ec2.describe_instances(**request)["Reservations"]
    return [instance for reservation in pages for instance in reservation["Instances"]]


def launch(ec2: Any, **request: Any) -> dict[str, Any]:
    ec2.run_instances(ImageId="ami-1ebb2077", InstanceType="m1.large", MinCount=1, MaxCount=1, **request)
    return instances(ec2)[-1]


def addresses_in(value: Any) -> set[str]:
    """Every address or name of a host in an answer, however deep."""
    if isinstance(value, list):
        return {address for item in value for address in addresses_in(item)}
    if isinstance(value, dict):
        hosts = ("PrivateIpAddress", "PublicIpAddress", "PublicIp", "PrivateDnsName", "PublicDnsName")
        direct = {item for key, item in value.items() if key in hosts and isinstance(item, str)}
        return direct | {address for item in value.values() for address in addresses_in(item)}
    return set()


def assert_loopback(answer: Any) -> None:
    found = addresses_in(answer)
    assert found
    for address in found:
        assert ipaddress.ip_address(address) in ipaddress.ip_network("127.0.0.0/8")
        assert ipaddress.ip_address(address) not in ipaddress.ip_network("127.0.0.0/24")


def test_instances_have_loopback_addresses(client: Client) -> None:
    ec2 = client("ec2")
    assert_loopback(ec2.run_instances(ImageId="ami-1ebb2077", MinCount=2, MaxCount=2)["Instances"])
    assert_loopback(instances(ec2))
    assert_loopback(ec2.describe_network_interfaces()["NetworkInterfaces"])


def test_nodes_of_an_asg_have_loopback_addresses(client: Client) -> None:
    ec2, autoscaling = client("ec2"), client("autoscaling")
    template = {"ImageId": "ami-1ebb2077", "InstanceType": "m1.large", "KeyName": "ops"}
    ec2.create_launch_template(LaunchTemplateName="12_04-bee", LaunchTemplateData=template)
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName="12_04-bee-v001",
        MinSize=2,
        MaxSize=2,
        VPCZoneIdentifier="subnet-0aaaaaaaaaaaaaaaa",
        LaunchTemplate={"LaunchTemplateName": "12_04-bee", "Version": "1"},
    )
    (asg,) = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    ids = [instance["InstanceId"] for instance in asg["Instances"]]
    nodes = instances(ec2, InstanceIds=ids)
    assert len(nodes) == 2
    assert_loopback(nodes)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("private-ip-address", "PrivateIpAddress"),
        ("ip-address", "PublicIpAddress"),
        ("private-dns-name", "PrivateDnsName"),
        ("dns-name", "PublicDnsName"),
    ],
)
def test_instances_are_found_by_their_loopback_address(client: Client, name: str, key: str) -> None:
    ec2 = client("ec2")
    launch(ec2)
    instance = launch(ec2)
    found = instances(ec2, Filters=[{"Name": name, "Values": [instance[key]]}])
    assert [one["InstanceId"] for one in found] == [instance["InstanceId"]]


def test_elastic_ips_go_by_their_loopback_address(client: Client) -> None:
    ec2 = client("ec2")
    instance = launch(ec2)
    address = ec2.allocate_address(Domain="vpc")
    assert_loopback(address)
    ec2.associate_address(InstanceId=instance["InstanceId"], PublicIp=address["PublicIp"])
    (found,) = ec2.describe_addresses(PublicIps=[address["PublicIp"]])["Addresses"]
    assert found["InstanceId"] == instance["InstanceId"]
    assert_loopback(found)
    assert instances(ec2)[0]["PublicIpAddress"] == address["PublicIp"]


def test_networks_and_tags_stay_as_they_are(client: Client) -> None:
    ec2 = client("ec2")
    instance = launch(ec2)
    (bee,) = ec2.describe_security_groups(GroupNames=["bee"])["SecurityGroups"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.1.2.3/32"}]}
    ec2.authorize_security_group_ingress(GroupId=bee["GroupId"], IpPermissions=[rule])
    (bee,) = ec2.describe_security_groups(GroupNames=["bee"])["SecurityGroups"]
    assert bee["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "10.1.2.3/32"}]
    assert "172.31.0.0/20" in {subnet["CidrBlock"] for subnet in ec2.describe_subnets()["Subnets"]}

    tags = [{"Key": "seen", "Value": "10.9.8.7"}, {"Key": "address", "Value": instance["PrivateIpAddress"]}]
    ec2.create_tags(Resources=[instance["InstanceId"]], Tags=tags)
    by_tag = [{"Name": "tag:address", "Values": [instance["PrivateIpAddress"]]}]
    (tagged,) = instances(ec2, Filters=by_tag)
    assert sorted(tagged["Tags"], key=lambda tag: str(tag["Key"]), reverse=True) == tags
