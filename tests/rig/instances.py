"""Instances of a group in the embedded AWS, whose addresses `hosts` can stand behind."""

from typing import Any

from tests.fleets import STOCK_IMAGE


def start(client: Any, group: str, count: int, *, image: str = STOCK_IMAGE, zone: str = "us-east-1a") -> dict[str, str]:
    """One-offs of the group, as instance:create tags them: instance id -> address. `client` is boto's for EC2."""
    tags = [{"Key": "group", "Value": group}, {"Key": "nodepkg:managed", "Value": "true"}]
    made = client.run_instances(
        ImageId=image,
        InstanceType="m1.large",
        MinCount=count,
        MaxCount=count,
        Placement={"AvailabilityZone": zone},
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return {one["InstanceId"]: one["PrivateIpAddress"] for one in made["Instances"]}


def addresses(client: Any, *groups: str) -> dict[str, str]:
    """Of all running instances of these groups, members of Auto Scaling groups and others."""
    wanted = [
        {"Name": "tag:group", "Values": list(groups)},
        {"Name": "instance-state-name", "Values": ["running"]},
    ]
    pages = client.get_paginator("describe_instances").paginate(Filters=wanted)
    found = [one for page in pages for made in page["Reservations"] for one in made["Instances"]]
    return {one["InstanceId"]: one["PrivateIpAddress"] for one in found}
