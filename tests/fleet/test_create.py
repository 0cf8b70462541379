"""One instance, whatever AWS does: lost replies, no room, slow starts, old reads, and a kill at any request.

NODEPKG_SWEEP=all kills before and after each request; else before some and after others.
"""

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from moto.ec2.models.instances import StateReason

from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.machines import Machines
from nodepkg.clients.keys import PublicKey
from nodepkg.errors import AwsError, RefusedError, UsageError
from nodepkg.fleet.places import places
from nodepkg.images.leftovers import leftovers
from nodepkg.sandbox.front import Layer
from tests.faults import (
    Recorder,
    cut_page,
    deny,
    fail,
    lose_replies,
    no_room,
    refuse,
    slow_start,
    slow_termination,
    stale,
    throttle,
)
from tests.fleet.creations import Creator, bury, group, new_key
from tests.fleets import REGION, STOCK_IMAGE, Killed, Rig, fleet

STEP = 1 if os.environ.get("NODEPKG_SWEEP") == "all" else 4
FIRST = {"before": 1, "after": min(STEP, 3)}
ZONES = [f"{REGION}{letter}" for letter in "abcdef"]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> PublicKey:
    return new_key(tmp_path_factory.mktemp("keys"))


def require_made(creator: Creator) -> str:
    """There is exactly one, it is finished, and has its file; the id."""
    (machine,) = creator.machines()
    tags = dict(machine.tags)
    assert tags == {"Name": "one-off", "group": "bee", "nodepkg:managed": "true"}
    assert (machine.state, machine.key_name) == ("running", creator.key.name)
    assert creator.files() == [f"bee-{machine.id}.json"]
    dna = json.loads((creator.root / "dna/instances" / creator.files()[0]).read_text())
    assert dna == {"id": f"bee-{machine.id}", "run_list": ["role[role-bee]"]}
    return machine.id


class Dying(Creator):
    """The first instance is terminated while it is waited for."""

    reason = "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request"

    def __init__(self, *arguments: Any, **wish: Any) -> None:
        super().__init__(*arguments, **wish)
        self.said = self.die

    def die(self, said: str) -> None:
        for machine in self.machines() if said.startswith("wait") else ():
            instance = self.rig.world().now_there.ec2.get_instance(machine.id)
            instance._state.name, instance._state.code = "terminated", 48
            instance.state_reason = StateReason(self.reason, self.reason.partition(":")[0])


def held(rig: Rig) -> bool:
    found = rig.operator().client("ssm", REGION).get_parameters_by_path(Path="/nodepkg/lease/instance/one-off")
    return any(not json.loads(one["Value"])["released"] for one in found["Parameters"])


def test_one_is_made_and_its_name_is_free_again(tmp_path: Path, key: PublicKey) -> None:
    recorder = Recorder()
    with fleet(slow_start(3), recorder, direct=True) as rig:
        image, creator = rig.world().image(), Creator(rig, tmp_path, key)
        done = creator.create(of=group(tags={"team": "x", "Name": "nodes"}, user_data="#!/bin/sh\necho ä\n"))
        (machine,) = creator.machines()
        assert (done["instance"], machine.image, machine.tags["team"]) == (machine.id, image, "x")
        assert not held(rig)
        (asked,) = recorder.of("RunInstances")
        assert len(asked.parameters["ClientToken"]) <= 64
        (pair,) = Machines(rig.account, REGION).key_pairs(public=True)
        assert (pair.name, dict(pair.tags)) == (key.name, {"nodepkg:managed": "true"})
        assert pair.public.split() == key.text.split()
        assert leftovers(rig.account, REGION, None, []) == []  # packer:sweep takes nothing of it for a build's


def test_a_pair_of_the_key_is_used_as_it_is_called(tmp_path: Path, key: PublicKey) -> None:
    with fleet(direct=True) as rig:
        rig.world().image()
        rig.client("ec2").import_key_pair(KeyName="ops", PublicKeyMaterial=key.text.encode())
        creator = Creator(rig, tmp_path, key)
        creator.create()
        assert creator.machines()[0].key_name == "ops"
        assert len(Machines(rig.account, REGION).key_pairs()) == 1


def test_a_pair_of_our_name_and_another_key_is_not_used(tmp_path: Path, key: PublicKey) -> None:
    with fleet(direct=True) as rig:
        rig.world().image()
        rig.client("ec2").import_key_pair(KeyName=key.name, PublicKeyMaterial=new_key(tmp_path).text.encode())
        creator = Creator(rig, tmp_path, key)
        with pytest.raises(RefusedError, match="is of another key"):
            creator.create()
        assert (creator.machines(), held(rig)) == ([], False)


@pytest.mark.parametrize(
    "fault",
    [
        lose_replies("RunInstances"),
        lose_replies("RunInstances", 3),
        fail("RunInstances", 2),
        throttle("RunInstances", 2),
        throttle("RunInstances", 15),
        throttle("ImportKeyPair", 9),
        throttle("DeleteTags", 9),
        cut_page("RunInstances", count=1),
        lose_replies("ImportKeyPair"),
        lose_replies("PutParameter"),
        lose_replies("DeleteTags"),
        throttle("*", 3),
        refuse("RunInstances", "InvalidKeyPair.NotFound", 2),
        fail("DescribeInstances", 3),
    ],
)
def test_what_passes_makes_one_instance(tmp_path: Path, key: PublicKey, fault: Layer) -> None:
    with fleet(slow_start(2), fault, direct=True) as rig:
        rig.world().image()
        creator = Creator(rig, tmp_path, key)
        creator.create()
        require_made(creator)


def test_old_reads_make_no_second_instance(tmp_path: Path, key: PublicKey) -> None:
    with fleet(slow_start(2), stale(8), lose_replies("RunInstances"), direct=True, remembers=30) as rig:
        rig.client("ec2").create_tags(Resources=[rig.world().image()], Tags=[{"Key": "seen", "Value": "long ago"}])
        rig.wait(20)
        creator = Creator(rig, tmp_path, key)
        creator.create()
        rig.wait(20)
        require_made(creator)
        with pytest.raises(RefusedError, match="lives already"):
            creator.create()


def test_where_there_is_no_room_the_next_zone_is_tried(tmp_path: Path, key: PublicKey) -> None:
    recorder = Recorder()
    with fleet(recorder, no_room(*ZONES[:4]), no_room(ZONES[4], code="Unsupported", status=400), direct=True) as rig:
        rig.world().image()
        creator = Creator(rig, tmp_path, key)
        assert creator.create()["zone"] == ZONES[5]
        require_made(creator)
        tokens = [call.parameters["ClientToken"] for call in recorder.of("RunInstances")]
        assert len(tokens) == len(set(tokens))


def test_no_room_is_told_and_leaves_nothing(tmp_path: Path, key: PublicKey) -> None:
    recorder = Recorder()
    with fleet(no_room(), recorder, direct=True) as rig:
        rig.world().image()
        with pytest.raises(AwsError, match=r"no room for m1.large in us-east-1b") as one:
            Creator(rig, tmp_path, key, zone=ZONES[1]).create()
        assert "without --zone" in one.value.hint
        assert recorder.counts["RunInstances"] == 1
        with pytest.raises(AwsError, match=r"no room for m1.large in .*InsufficientInstanceCapacity") as all_of_them:
            Creator(rig, tmp_path, key).create()
        assert all(zone in all_of_them.value.message for zone in ZONES)
        assert not held(rig)


def test_what_aws_forbids_is_told_at_once(tmp_path: Path, key: PublicKey) -> None:
    recorder = Recorder()
    with fleet(deny("RunInstances"), recorder, direct=True) as rig:
        rig.world().image()
        with pytest.raises(AwsError, match="UnauthorizedOperation"):
            Creator(rig, tmp_path, key).create()
        assert (recorder.counts["RunInstances"], held(rig)) == (1, False)


def test_an_address_that_never_comes_keeps_nobody_waiting_for_long(tmp_path: Path, key: PublicKey) -> None:
    with fleet(direct=True) as rig:
        rig.world().image()
        creator, began = Creator(rig, tmp_path, key), rig.clock.now()
        creator.create(of=group(deploy={"address": "{tag:door}"}))
        require_made(creator)
        assert rig.clock.now() - began < 40


def test_what_dies_on_the_way_is_told_with_aws_reason(tmp_path: Path, key: PublicKey) -> None:
    with fleet(slow_start(1000), direct=True) as rig:
        rig.world().image()
        creator = Dying(rig, tmp_path, key)
        creator.reason = "Client.VolumeLimitExceeded: Volume limit exceeded"
        with pytest.raises(AwsError, match=r"is terminated and will not run: .*Volume limit exceeded"):
            creator.create()
        assert (creator.files(), held(rig)) == ([], False)


def test_where_there_is_no_room_after_all_the_next_zone_is_tried(tmp_path: Path, key: PublicKey) -> None:
    recorder = Recorder()
    with fleet(slow_start(3), lose_replies("RunInstances", 2), recorder, direct=True) as rig:
        rig.world().image()
        Dying(rig, tmp_path, key).create()
        require_made(Creator(rig, tmp_path, key))
        tokens = [call.parameters["ClientToken"] for call in recorder.of("RunInstances")]
        assert len(tokens) == len(set(tokens)) == 2


def test_of_the_zone_that_was_named_it_is_told_that_it_has_no_room_after_all(tmp_path: Path, key: PublicKey) -> None:
    with fleet(slow_start(3), direct=True) as rig:
        rig.world().image()
        with pytest.raises(AwsError, match=r"no room for m1.large in us-east-1b: Server.Insufficient") as error:
            Dying(rig, tmp_path, key, zone=ZONES[1]).create()
        assert "without --zone" in error.value.hint


def test_waiting_has_an_end_and_the_same_call_goes_on(tmp_path: Path, key: PublicKey) -> None:
    with fleet(slow_start(150), direct=True) as rig:
        rig.world().image()
        creator = Creator(rig, tmp_path, key)
        with pytest.raises(AwsError, match="does not run after 600 s: it is pending"):
            creator.create()
        assert not held(rig)
        (begun,) = creator.machines()
        assert creator.create()["instance"] == begun.id == require_made(creator)


def test_what_is_begun_and_was_stopped_is_not_waited_for(tmp_path: Path, key: PublicKey) -> None:
    with fleet(slow_start(150), direct=True) as rig:
        rig.world().image()
        creator = Creator(rig, tmp_path, key)
        with pytest.raises(AwsError, match="does not run after"):
            creator.create()
        rig.client("ec2").stop_instances(InstanceIds=[creator.machines()[0].id])
        with pytest.raises(AwsError, match="is stopped and will not run") as stopped:
            creator.create()
        assert "package instance:delete i-" in stopped.value.hint


def test_what_is_begun_is_finished_only_by_the_same_call(tmp_path: Path, key: PublicKey) -> None:
    with fleet(slow_start(150), direct=True) as rig:
        image = rig.world().image()
        creator = Creator(rig, tmp_path, key)
        with pytest.raises(AwsError):
            creator.create()
        newer = rig.world().image()
        with pytest.raises(RefusedError, match=f"--image {image} finishes"):
            creator.create()
        Creator(rig, tmp_path, key, image=image).create()
        require_made(creator)
        with pytest.raises(RefusedError, match=r"one-off lives already in us-east-1: i-\w+ \(running\)"):
            Creator(rig, tmp_path, key, image=newer).create()


@pytest.mark.parametrize(
    ("tags", "why"), [({"nodepkg:managed": "true", "group": "wasp"}, "of wasp"), ({}, "not nodepkg")]
)
def test_the_name_of_any_other_machine_is_refused(
    tmp_path: Path, key: PublicKey, tags: dict[str, str], why: str
) -> None:
    with fleet(direct=True) as rig:
        image = rig.world().image()
        told = [
            {"Key": name, "Value": value}
            for name, value in {"Name": "one-off", "nodepkg:phase": "creating", **tags}.items()
        ]
        made = rig.client("ec2").run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": told}],
        )["Instances"][0]["InstanceId"]
        creator = Creator(rig, tmp_path, key)
        for action in ("stop_instances", "terminate_instances"):
            with pytest.raises(RefusedError, match=why):
                creator.create()
            getattr(rig.client("ec2"), action)(InstanceIds=[made])
        creator.create()
        require_made(creator)


def test_somebody_who_makes_the_same_name_is_not_disturbed(tmp_path: Path, key: PublicKey) -> None:
    with fleet(slow_start(1000), direct=True) as rig:
        rig.world().image()
        creator = Creator(rig, tmp_path, key)
        refused = list[RefusedError]()

        def meanwhile(text: str) -> None:
            if "wait" in text and not refused:
                with pytest.raises(RefusedError, match="one-off is held by") as error:
                    Creator(rig, tmp_path, key).create()
                refused.append(error.value)

        creator.said = meanwhile
        with pytest.raises(AwsError, match="does not run"):
            creator.create()
        assert len(refused) == len(creator.machines()) == 1


def test_images_that_cannot_be_started_are_refused(tmp_path: Path, key: PublicKey) -> None:
    with fleet(direct=True) as rig:
        with pytest.raises(RefusedError, match="has no image in us-east-1 yet"):
            Creator(rig, tmp_path, key).create()
        other = rig.world().image("wasp")
        for image, why in (("ami-00000000", "no image that this account can see"), (other, "is an image of wasp")):
            with pytest.raises(RefusedError, match=why):
                Creator(rig, tmp_path, key, image=image).create()
        Creator(rig, tmp_path, key, image=STOCK_IMAGE).create()


def test_zones_are_the_groups_and_come_by_chance() -> None:
    with fleet(direct=True) as rig:
        ec2 = Ec2(rig.account, REGION)
        firsts = {places(ec2, group(), None, Random(seed))[0].zone for seed in range(40)}
        assert firsts == {subnet.zone for subnet in places(ec2, group(), None, Random(0))} == set(ZONES)
        two = group(zones=ZONES[:2])
        assert {subnet.zone for subnet in places(ec2, two, None, Random(0))} == set(ZONES[:2])
        assert [subnet.zone for subnet in places(ec2, two, ZONES[1], Random(0))] == [ZONES[1]]
        for of, zone in ((two, ZONES[2]), (group(), "us-east-1z"), (group(), "")):
            with pytest.raises(UsageError, match=f"--zone {zone}: bee has"):
                places(ec2, of, zone, Random(0))
        with pytest.raises(AwsError, match=r"p9.huge is not offered in"):
            places(ec2, group(instance_type="p9.huge"), ZONES[0], Random(0))


def test_subnets_of_the_group_are_those_that_count() -> None:
    with fleet(direct=True) as rig:
        ec2 = Ec2(rig.account, REGION)
        own = [subnet.id for subnet in ec2.default_subnets()[:2]]
        of = group(subnets=own)
        assert {subnet.id for subnet in places(ec2, of, None, Random(0))} == set(own)
        with pytest.raises(UsageError, match="no subnet of its own there"):
            places(ec2, of, ZONES[4], Random(0))


def requests_of(tmp_path: Path, key: PublicKey) -> int:
    with fleet(slow_start(1), direct=True) as rig:
        rig.world().image()
        Creator(rig, tmp_path / "first", key).create()
        return len(rig.account.sent)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_request_is_finished_by_the_same_call(tmp_path: Path, key: PublicKey, when: str) -> None:
    requests = requests_of(tmp_path, key)
    assert requests > 15
    for number in (*range(FIRST[when], requests, STEP), requests):
        with fleet(slow_start(1), slow_termination(1), direct=True) as rig:
            rig.world().image()
            creator = Creator(rig, tmp_path / str(number), key)
            rig.account.stop_at(number, when)
            with pytest.raises(Killed):
                creator.create()
            rig.account.stop_never()
            bury(rig)
            if number == requests or (creator.machines() and not creator.machines()[0].tags.get("nodepkg:phase")):
                require_made(creator)  # all that was left was to give the name back
                continue
            creator.create()
            require_made(creator)
            assert not held(rig)
