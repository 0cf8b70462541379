"""When a node serves."""

from string import Formatter

import pytest

from nodepkg.clients.aws.ec2 import Address
from nodepkg.nodes.health_url import NODE_FIELDS
from nodepkg.ready import address, unhealthy_in, unready

NODE = Address("i-1", "10.0.0.7", "54.1.2.3", "us-east-1a", "12_04-www")
READY = {"lifecycle": "InService", "health": "Healthy", "checks": "ok", "answer": ""}
WEB = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/web-http/0123"


def test_each_field_of_a_health_url_is_the_nodes_own() -> None:
    template = "https://{private_ip}:8443/{instance_id}?at={zone}&public={public_ip}&name={name}"
    assert {field for _, field, _, _ in Formatter().parse(template) if field} == set(NODE_FIELDS)
    assert address(template, NODE) == ("https://10.0.0.7:8443/i-1?at=us-east-1a&public=54.1.2.3&name=12_04-www")


def test_what_a_tag_holds_adds_no_part_to_a_url() -> None:
    node = Address("i-1", name="a/../b?c#d {zone} @é:1")
    assert address("http://h/{name}", node) == "http://h/a%2F..%2Fb%3Fc%23d%20%7Bzone%7D%20%40%C3%A9%3A1"


def test_a_node_without_what_the_template_names_has_no_address_yet() -> None:
    assert address("http://{public_ip}/", Address("i-1", "10.0.0.7")) == ""
    assert address("http://{private_ip}/", Address("i-1", "10.0.0.7")) == "http://10.0.0.7/"


def test_a_node_is_ready_when_nothing_is_left_to_wait_for() -> None:
    assert unready(**READY) == ""
    assert unhealthy_in({}) == unhealthy_in({WEB: "healthy"}) == ""


@pytest.mark.parametrize(
    ("differs", "told"),
    [
        ({"lifecycle": "Pending"}, "Pending"),
        ({"lifecycle": "Terminating:Wait"}, "Terminating:Wait"),
        ({"lifecycle": "Standby"}, "Standby"),
        ({"health": "Unhealthy"}, "Unhealthy"),
        ({"checks": "initializing"}, "status checks initializing"),
        ({"checks": "impaired"}, "status checks impaired"),
        ({"checks": ""}, "status checks not known"),
        ({"answer": "it answers 503"}, "health_url: it answers 503"),
    ],
)
def test_each_thing_that_is_missing_keeps_a_node_from_being_ready(differs: dict[str, str], told: str) -> None:
    assert unready(**READY | differs) == told


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ({WEB: "initial"}, "initial in web-http"),
        ({"other": "healthy", WEB: "draining"}, "draining in web-http"),
        ({WEB: "unused"}, "unused in web-http"),
        ({WEB: ""}, "not in web-http"),
    ],
)
def test_a_target_group_that_does_not_send_to_a_node_is_named(targets: dict[str, str], told: str) -> None:
    assert unhealthy_in(targets) == told
