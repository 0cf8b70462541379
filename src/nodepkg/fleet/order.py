"""What instance:create was asked for, made ready: the image, where it may go, and what EC2 is told. It reads only."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.ec2 import Ec2, Subnet
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.machines import KeyPair, Machine, Machines
from nodepkg.clients.keys import PublicKey
from nodepkg.errors import RefusedError
from nodepkg.fleet.places import places
from nodepkg.images.newest import managed_images, newest_available, unusable
from nodepkg.launch import MANAGED, template_data
from nodepkg.nodes.group import Group

PHASE, RUN = "nodepkg:phase", "nodepkg:run"
CREATING = "creating"
LIVING = ("pending", "running", "stopping", "stopped")
_MOST_TOLD = 5


@dataclass(frozen=True)
class Wish:
    """What the command line says: a name, a key, and perhaps a zone and an image."""

    name: str
    key: PublicKey
    zone: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Order:
    """One instance, as EC2 is told of it. `data` are RunInstances' arguments but for the place.

    It is tried in `subnets`, one after the other. `pair` is the key pair, which has to be imported if `imports`.
    """

    wish: Wish
    group: Group
    image: Image
    data: Mapping[str, Any]
    subnets: tuple[Subnet, ...]
    pair: str
    imports: bool
    run_id: str

    @property
    def name(self) -> str:
        return self.wish.name

    @property
    def region(self) -> str:
        return self.group.region

    @property
    def zones(self) -> list[str]:
        """In the order in which they are tried."""
        return list(dict.fromkeys(subnet.zone for subnet in self.subnets))


def order(account: Account, group: Group, wish: Wish, user_data: str, *, run_id: str, random: Random) -> Order:
    """Raises RefusedError if the group has no image, or the one that was named cannot be started."""
    image = chosen_image(Images(account, group.region), group.name, wish.image)
    ec2 = Ec2(account, group.region)
    where = places(ec2, group, wish.zone, random)
    pair = pair_of(Machines(account, group.region).key_pairs(public=True), wish.key)
    data = template_data(ec2, group, image.id, where[0].vpc, user_data)
    name = pair or wish.key.name
    return Order(wish, group, image, _told(data, wish.name, name, run_id), where, name, pair is None, run_id)


def chosen_image(images: Images, group: str, named: str | None) -> Image:
    """The one that was named, or the group's newest; raises RefusedError."""
    if named:
        found = images.visible(named)
        why = unusable(found, group)
        if found is None or why:
            raise RefusedError(
                f"{group}: {named} {why} in {images.region}", hint=f"its images: package packer:list {group}"
            )
        return found
    newest = newest_available(managed_images(images).get(group, []))
    if newest is None:
        raise RefusedError(f"{group}: it has no image in {images.region} yet", hint=f"package packer:run {group}")
    return newest


def pair_of(pairs: list[KeyPair], key: PublicKey) -> str | None:
    """The name of the first key pair of this key; one of our own before all others."""
    same = [pair.name for pair in pairs if key.is_of(fingerprint=pair.fingerprint, public=pair.public)]
    return key.name if key.name in same else next(iter(same), None)


def _told(data: Mapping[str, Any], name: str, pair: str, run_id: str) -> dict[str, Any]:
    """LaunchTemplateData as RunInstances wants it, tagged as being created."""
    told = dict(data) | {"KeyName": pair}
    if "UserData" in told:
        told["UserData"] = base64.b64decode(told["UserData"])  # botocore encodes it, in RunInstances alone
    marks = {"instance": {PHASE: CREATING, RUN: run_id}}
    told["TagSpecifications"] = [
        {"ResourceType": one["ResourceType"], "Tags": _tags(one["Tags"], name, marks.get(one["ResourceType"], {}))}
        for one in data["TagSpecifications"]
    ]
    return told


def _tags(tags: list[dict[str, str]], name: str, marks: Mapping[str, str]) -> list[dict[str, str]]:
    kept = [tag for tag in tags if tag["Key"] not in ("Name", *marks)]
    return [{"Key": key, "Value": value} for key, value in {"Name": name, **marks}.items()] + kept


def unfinished(order: Order, named: list[Machine]) -> Machine | None:
    """Of the machines of this name the one that an earlier call has begun, None if none lives.

    Raises RefusedError for any other that lives.
    """
    living = [one for one in named if one.state in LIVING]
    if not living:
        return None
    if len(living) == 1 and not _not_ours(order, living[0]):
        return living[0]
    told = some([f"{one.id} ({_not_ours(order, one) or 'being created'})" for one in living])
    hint = "take another --name"
    if any(map(_is_one_off, living)):
        hint += f", or first: package instance:delete {order.name if len(living) == 1 else 'ID'}"
    raise RefusedError(f"{order.name} lives already in {order.region}: {told}", hint=hint)


def some(texts: Sequence[str]) -> str:
    """The first of what may be thousands, and how many more there are."""
    more = [f"and {len(texts) - _MOST_TOLD} more"] if len(texts) > _MOST_TOLD else []
    return "; ".join([*texts[:_MOST_TOLD], *more])


def _is_one_off(machine: Machine) -> bool:
    return machine.tags.get(MANAGED) == "true" and machine.group != "" and not machine.asg


def _not_ours(order: Order, machine: Machine) -> str:
    """Why this call does not finish it; "" if it does."""
    if machine.asg:
        return f"a node of {machine.asg}"
    if machine.tags.get(MANAGED) != "true" or machine.group == "":
        return f"{machine.state}, not nodepkg's"
    if machine.group != order.group.name:
        return f"{machine.state}, of {machine.group}"
    if machine.tags.get(PHASE) != CREATING:
        return machine.state
    if machine.image != order.image.id:
        return f"being created from {machine.image}, which --image {machine.image} finishes"
    return ""
