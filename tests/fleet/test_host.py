"""How a host is reached: its address, from what EC2 and its tags say."""

from datetime import UTC, datetime

import pytest

from nodepkg.clients.aws.machines import Machine
from nodepkg.fleet.host import host

BEE = Machine(
    "i-1",
    "running",
    {"Name": "bee-1", "group": "bee", "fqdn": "bee-1.example.org", "evil": "-oProxyCommand=reboot", "sh": "$(reboot)"},
    datetime(2026, 1, 1, tzinfo=UTC),
    (),
    zone="us-east-1a",
    private_ip="10.0.0.7",
    private_dns="ip-10-0-0-7.ec2.internal",
)


@pytest.mark.parametrize(
    ("template", "address"),
    [
        ("{private_ip}", "10.0.0.7"),
        ("{private_dns}", "ip-10-0-0-7.ec2.internal"),
        ("{instance_id}", "i-1"),
        ("{name}.{zone}.example.org", "bee-1.us-east-1a.example.org"),
        ("{tag:fqdn}", "bee-1.example.org"),
    ],
)
def test_an_address_has_the_nodes_own_in_place_of_fields(template: str, address: str) -> None:
    found = host(BEE, "us-east-1", template)
    assert (found.address, found.unreachable) == (address, "")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{public_ip}", "it has no public_ip"),
        ("{tag:none}", "it has no tag:none"),
        ("{tag:evil}", "no address"),
        ("{tag:sh}", "no address"),
    ],
)
def test_what_gives_no_address_is_said_and_never_reaches_ssh(template: str, why: str) -> None:
    found = host(BEE, "us-east-1", template)
    assert found.address == ""
    assert why in found.unreachable
