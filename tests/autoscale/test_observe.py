"""What is observed of groups, on a rig in which nodes take their time."""

import socket
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

from nodepkg.asked import web_of
from nodepkg.autoscale.observe import readiness
from nodepkg.autoscale.view import Node
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.balancing import LoadBalancing
from nodepkg.clients.aws.ec2 import STATUSES_OF_ONE, Ec2
from nodepkg.ready import Health
from tests.faults import Recorder, refuse
from tests.fleets import REGION, Rig, fleet

URL = "http://{private_ip}:8080/health?zone={zone}"


class Asked:
    """Answers for nodes: with what is `wrong`, by url, or with 2xx; notes what it is asked."""

    def __init__(self, **wrong: str) -> None:
        self.wrong: dict[str, str] = wrong
        self.urls: list[str] = []
        self.timeouts: list[float] = []

    def __call__(self, urls: Collection[str], *, timeout: float) -> Mapping[str, str]:
        self.urls += urls
        self.timeouts.append(timeout)
        return {url: self.wrong.get("every", "") for url in urls}


def nobody(urls: Collection[str], *, timeout: float) -> Mapping[str, str]:
    assert not urls
    return {}


def seen(
    rig: Rig, *names: str, health: Mapping[str, Health] | None = None, web: Asked | None = None
) -> dict[str, tuple[Node, ...]]:
    asgs = AutoScaling(rig.account, REGION).groups_named(names)
    return readiness(rig.account, REGION, asgs, health=health or {}, web=web or nobody)


def test_a_node_is_seen_on_its_way_until_it_is_ready() -> None:
    with fleet(pending=30, checks=60, healthy=20) as rig:
        target = rig.world().target_group("web")
        rig.group("web-v001", 1, target_groups=[target])
        told = []
        for _ in range(8):
            told += [(node.why, node.ready, node.serves([target])) for node in seen(rig, "web-v001")["web-v001"]]
            rig.wait(20)
    assert list(dict.fromkeys(told)) == [
        ("Pending", False, False),
        ("status checks initializing", False, False),
        ("status checks initializing", False, True),
        ("", True, True),
    ]


def test_of_a_sick_node_it_is_said_what_it_lacks() -> None:
    with fleet() as rig:
        rig.group("web-v001", 1)
        rig.wait(600)
        (node,) = seen(rig, "web-v001")["web-v001"]
        rig.world().sick(node.id, "impaired")
        rig.wait(1)
        (sick,) = seen(rig, "web-v001")["web-v001"]
        assert (sick.ready, sick.checks, sick.why) == (False, False, "status checks impaired")


def test_many_groups_take_few_calls() -> None:
    calls = Recorder()
    with fleet(calls) as rig:
        targets = [rig.world().target_group(name) for name in ("one", "two")]
        names = [rig.group(f"web-{number}-v001", 2, target_groups=targets) for number in range(5)]
        rig.wait(600)
        asgs = AutoScaling(rig.account, REGION).groups_named(names)
        calls.calls.clear()
        found = readiness(rig.account, REGION, asgs, health={}, web=nobody)
        assert [len(found[name]) for name in names] == [2] * 5
        assert all(node.ready and node.serves(targets) for nodes in found.values() for node in nodes)
        assert calls.counts == {"DescribeInstanceStatus": 1, "DescribeTargetHealth": 2}
        calls.calls.clear()
        health = {name: Health(URL) for name in names}
        assert all(
            node.ready
            for nodes in readiness(rig.account, REGION, asgs, health=health, web=Asked()).values()
            for node in nodes
        )
        assert calls.counts == {"DescribeInstanceStatus": 1, "DescribeTargetHealth": 2, "DescribeInstances": 1}


def test_no_group_and_a_group_without_nodes_take_no_calls() -> None:
    calls = Recorder()
    with fleet(calls) as rig:
        rig.group("web-v001", 0)
        asgs = AutoScaling(rig.account, REGION).groups_named(["web-v001", "gone-v001"])
        calls.calls.clear()
        health = {"web-v001": Health(URL)}
        assert readiness(rig.account, REGION, asgs, health=health, web=nobody) == {"web-v001": ()}
        assert readiness(rig.account, REGION, [], health=health, web=nobody) == {}
        assert calls.calls == []


def test_status_checks_are_asked_for_a_hundred_at_a_time() -> None:
    calls = Recorder()
    with fleet(calls) as rig:
        rig.group("web-v001", STATUSES_OF_ONE + 1, most=200)
        rig.wait(600)
        assert all(node.ready for node in seen(rig, "web-v001")["web-v001"])
        assert calls.counts["DescribeInstanceStatus"] == 2


@pytest.mark.parametrize("known", [0, 1, 3])
def test_nodes_that_ec2_does_not_know_yet_are_not_ready_and_hide_no_others(known: int) -> None:
    with fleet() as rig:
        rig.group("web-v001", 3)
        rig.wait(600)
        ids = [node.id for node in rig.world().nodes("web-v001")][:known]
        found = Ec2(rig.account, REGION).status_checks([*ids, "i-00000000000000001", "i-00000000000000002"])
        assert found == dict.fromkeys(ids, "ok")


def test_an_ec2_that_does_not_say_which_it_does_not_know_is_asked_in_halves() -> None:
    with fleet(refuse("DescribeInstanceStatus", "InvalidInstanceID.NotFound", 2)) as rig:
        rig.group("web-v001", 3)
        rig.wait(600)
        ids = sorted(node.id for node in rig.world().nodes("web-v001"))
        # The whole is refused, and then the first half, which is one: as if EC2 did not know it.
        assert Ec2(rig.account, REGION).status_checks(ids) == dict.fromkeys(ids[1:], "ok")


def test_a_node_is_asked_by_its_own_address_once_it_is_up() -> None:
    web = Asked()
    with fleet(pending=30, checks=60) as rig:
        rig.group("web-v001", 2)
        health = {"web-v001": Health(URL, 7)}
        rig.wait(31)
        early = seen(rig, "web-v001", health=health, web=web)["web-v001"]
        assert [(node.answers, node.ready, node.why) for node in early] == [
            (False, False, "status checks initializing")
        ] * 2
        assert web.urls == []
        rig.wait(600)
        late = seen(rig, "web-v001", health=health, web=web)["web-v001"]
        assert [(node.answers, node.ready, node.why) for node in late] == [(True, True, "")] * 2
        addresses = Ec2(rig.account, REGION).addresses(node.id for node in late)
    wanted = {f"http://{one.private_ip}:8080/health?zone={one.zone}" for one in addresses.values()}
    assert set(web.urls) == wanted
    assert len(wanted) == 2
    assert web.timeouts == [7]


def test_a_node_that_does_not_answer_is_up_and_not_ready() -> None:
    with fleet() as rig:
        rig.group("web-v001", 1)
        rig.wait(600)
        health = {"web-v001": Health(URL)}
        (node,) = seen(rig, "web-v001", health=health, web=Asked(every="it answers 503"))["web-v001"]
    assert (node.up, node.ready, node.why) == (True, False, "health_url: it answers 503")


def test_a_node_without_an_address_that_is_asked_for_is_not_ready() -> None:
    with fleet() as rig:
        rig.group("web-v001", 1)
        rig.wait(600)
        (node,) = seen(rig, "web-v001", health={"web-v001": Health("http://h/{name}")}, web=Asked())["web-v001"]
    assert not node.ready
    assert node.why == "health_url: EC2 does not tell of all that http://h/{name} names"


def test_target_groups_that_a_group_left_are_looked_at_where_they_are_named() -> None:
    with fleet(drain=60) as rig:
        target = rig.world().target_group("web")
        rig.group("web-v001", 1, target_groups=[target])
        rig.wait(600)
        rig.client("autoscaling").detach_load_balancer_target_groups(
            AutoScalingGroupName="web-v001", TargetGroupARNs=[target]
        )
        rig.wait(1)
        asgs = AutoScaling(rig.account, REGION).groups_named(["web-v001"])
        states = []
        for _ in range(3):
            found = readiness(rig.account, REGION, asgs, health={}, web=nobody, also={"web-v001": [target]})
            states.append(dict(found["web-v001"][0].targets).get(target))
            rig.wait(60)
    assert states[0] == "draining"
    assert states[-1] is None


def test_a_target_group_that_is_gone_has_no_targets() -> None:
    with fleet() as rig:
        arn = f"arn:aws:elasticloadbalancing:{REGION}:123456789012:targetgroup/gone/0123456789abcdef"
        assert LoadBalancing(rig.account, REGION).target_health(arn) == {}


def test_what_a_group_could_not_do_is_told_in_awss_words() -> None:
    with fleet(pending=30) as rig:
        rig.world().short("us-east-1a")
        rig.group("web-v001", 1, zones=["us-east-1a"])
        rig.wait(60)
        found = AutoScaling(rig.account, REGION).activities("web-v001")
        assert AutoScaling(rig.account, REGION).activities("gone-v001") == []
    assert found[0].failed
    assert "us-east-1a" in found[0].reason


def test_nodes_that_aws_takes_out_of_service_are_told_and_those_that_people_take_are_not() -> None:
    with fleet(pending=5, checks=5) as rig:
        rig.group("web-v001", 1, HealthCheckGracePeriod=0)
        rig.wait(30)
        (node,) = AutoScaling(rig.account, REGION).groups_named(["web-v001"])[0].members
        client = rig.client("autoscaling")
        client.terminate_instance_in_auto_scaling_group(InstanceId=node.id, ShouldDecrementDesiredCapacity=False)
        rig.wait(60)
        (other,) = AutoScaling(rig.account, REGION).groups_named(["web-v001"])[0].members
        client.set_instance_health(InstanceId=other.id, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
        rig.wait(60)
        troubles = [one.trouble for one in AutoScaling(rig.account, REGION).activities("web-v001")]
    (told,) = filter(None, troubles)
    assert told.startswith("an instance was taken out of service in response to")


@contextmanager
def listening(address: str) -> Iterator[int]:
    """A port of this address, at which every request is answered with 200."""
    with socket.create_server((address, 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_nodes_of_the_embedded_aws_are_asked_at_their_loopback_addresses() -> None:
    with fleet() as rig:
        rig.group("web-v001", 2, zones=["us-east-1a"])
        rig.wait(600)
        asgs = AutoScaling(rig.account, REGION).groups_named(["web-v001"])
        there, other = (member.id for member in asgs[0].members)
        with listening(Ec2(rig.account, REGION).addresses([there])[there].private_ip) as port:
            health = {"web-v001": Health(f"http://{{private_ip}}:{port}/")}
            found = readiness(rig.account, REGION, asgs, health=health, web=web_of(rig.account))
    assert {node.id: node.why for node in found["web-v001"]} == {
        there: "",
        other: "health_url: no connection: Connection refused",
    }
