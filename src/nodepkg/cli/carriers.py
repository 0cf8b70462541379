"""What carries a deploy to its hosts: SSH from here, or AWS's Systems Manager."""

import time
from collections.abc import Sequence
from pathlib import Path

from nodepkg.cli.options import Call
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import Machines
from nodepkg.clients.keys import LoginKey
from nodepkg.errors import AwsError
from nodepkg.fleet.course import Order
from nodepkg.fleet.targets import Targets
from nodepkg.fleet.transport import Transport
from nodepkg.nodes.group import Group


def forget_gone(call: Call, account: Account, root: Path, groups: Sequence[Group], targets: Targets) -> None:
    """Drops the host keys of instances that are gone. `targets` is what was seen of the groups."""
    from nodepkg.fleet.known_hosts import KNOWN_HOSTS, KnownHosts

    known = KnownHosts(root / KNOWN_HOSTS)
    for group in groups:
        try:
            exist = Machines(account, group.region).living
            known.drop_gone(group.name, group.region, targets.living[group.name], exist)
        except AwsError as error:
            call.out.warning(f"{group.name}: host keys of gone instances are not dropped: {error.message}")


def over_ssh(account: Account, root: Path, key: LoginKey | None) -> Transport:
    """With the host keys that are known in this project. Without `key`: those of the agent, and of ~/.ssh."""
    from nodepkg.clients.ssh.client import Ssh
    from nodepkg.fleet.known_hosts import KNOWN_HOSTS, KnownHosts
    from nodepkg.fleet.over_ssh import OverSsh

    ssh = Ssh(key=key.text if key else None, loopback_only=account.endpoint is not None)
    return OverSsh(
        ssh, KnownHosts(root / KNOWN_HOSTS), console=lambda host: Machines(account, host.region).console(host.instance)
    )


def over_ssm(call: Call, account: Account, groups: Sequence[Group], targets: Targets, order: Order) -> Transport:
    """Where all that the tags of a group reach are handed over together, one command by tag serves it."""
    from nodepkg.fleet.over_ssm import OverSsm

    meant = {job.host.group for job in order.jobs}
    return OverSsm(
        account,
        buckets={one.name: one.settings.deploy.bucket or "" for one in groups if one.name in meant},
        at_once=order.pace.at_once,
        max_errors=order.pace.max_errors,
        tagged=targets.tagged if order.handed_over else {},
        poll=call.poll,
        window=order.window,
        sleep=time.sleep,
        note=call.out.warning,
    )
