"""instance:create without its command line, on a rig's virtual clock."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from nodepkg.clients.aws.machines import Machine, Machines
from nodepkg.clients.keys import PublicKey, public_half
from nodepkg.fleet.create import Site, plan_create
from nodepkg.fleet.order import LIVING, Order, Wish, order
from nodepkg.lease.held import Claimant, held_name
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.source import Source
from nodepkg.plan import Report, execute
from tests.fleets import REGION, FleetAccount, Rig

WINDOW = 10.0


def group(**keys: Any) -> Group:
    entry = {"run_list": ["recipe[x]"], "instance_type": "m1.large", "autoscale": False, **keys}
    return Nodes(Source(Path("nodes.json"), "", {"bee": entry})).group("bee")


class Creator:
    """Somebody who calls instance:create; `again` is the same call once more."""

    def __init__(self, rig: Rig, root: Path, key: PublicKey, **wish: Any) -> None:
        self.rig, self.root, self.key, self.wish = rig, root, key, wish
        self.runs = 0
        self.said: Callable[[str], None] = lambda _: None

    def order(self, account: FleetAccount, of: Group) -> Order:
        self.runs += 1
        wish = Wish("one-off", self.key, **self.wish)
        return order(account, of, wish, "#!/bin/sh\n", run_id=f"run-{self.runs}", random=Random(self.runs))

    def create(self, account: FleetAccount | None = None, of: Group | None = None) -> Report:
        account = account or self.rig.account
        wanted = self.order(account, of or group())
        plan_create(account, wanted)
        site = Site(account, self.root, 5.0, WINDOW, self.rig.wait, self.said)
        who = Claimant("instance:create", wanted.run_id, WINDOW, self.rig.wait, self.said)
        with held_name(account, REGION, wanted.name, who) as lease:
            site.claimed = lease
            done = list(execute(plan_create(account, wanted), site, dry_run=False, say=self.said))
        return {key: value for report in done for key, value in report.items()}

    def machines(self) -> list[Machine]:
        """Those of its name that live."""
        return [one for one in Machines(self.rig.operator(), REGION).named("one-off") if one.state in LIVING]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("dna/instances/*"))


def bury(rig: Rig, name: str = "one-off") -> None:
    """The process that holds the name is gone."""
    ssm = rig.operator().client("ssm", REGION)
    for one in ssm.get_parameters_by_path(Path=f"/nodepkg/lease/instance/{name}")["Parameters"]:
        value = json.loads(one["Value"])
        if not value["released"]:
            ssm.put_parameter(Name=one["Name"], Value=json.dumps({**value, "started": "1"}), Overwrite=True)


def new_key(folder: Path) -> PublicKey:
    """Of a key that was made for this test."""
    from tests.clients.test_keys import keygen, nobody

    return public_half(keygen(folder / "key", "-t", "ed25519"), nobody)
