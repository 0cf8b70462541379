"""How a rollout begins: the new group is made, or an older generation is taken, and carries the record from then on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nodepkg.autoscale.journal import (
    KEPT,
    OWN_SUSPENDED,
    PHASE,
    RUN,
    TARGET,
    Phase,
    Record,
    leftover_keys,
    read,
)
from nodepkg.autoscale.steps import OfAsg
from nodepkg.autoscale.view import View
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup, NewGroup
from nodepkg.errors import AwsError, NotYetError, RefusedError
from nodepkg.launch import MANAGED, CreateTemplateVersion, Launch
from nodepkg.nodes.schema import Autoscale
from nodepkg.plan import Report

_GENERATION = re.compile(r"(.*)-v(\d+)")


def generation(asg: str) -> int:
    """The number in the name of an ASG: 7 of `web-v007`; 0 if there is none."""
    found = _GENERATION.fullmatch(asg)
    return int(found[2]) if found else 0


def next_name(old: str, group: str = "") -> str:
    """The generation after O: `web-v008` after `web-v007`; after one without a number the group's first."""
    found = _GENERATION.fullmatch(old)
    return f"{found[1]}-v{int(found[2]) + 1:03}" if found else f"{group or old}-v001"


@dataclass(frozen=True)
class CreateNext(OfAsg):
    """Makes the new group (`asg`) at size 0, out of every target group, with O's lifecycle hooks and the record.

    The version of its launch template is made before, or found by its content. A group of this name that is there
    already is ours if this run made it, or if it is the new one of another rollout of the same O, which then goes on.
    `hooks` are as Scaling.lifecycle_hooks gives them; `token` is one run's.
    """

    aspect = "life"
    launch: Launch = field(hash=False)
    settings: Autoscale = field(hash=False)
    record: Record
    hooks: tuple[Mapping[str, Any], ...] = field(hash=False)
    token: str

    def __str__(self) -> str:
        return f"create {self.asg} with image {self.launch.image}, next to {self.record.old}"

    def run(self, account: Account, /) -> Report:
        """Raises NotYetError while the name is not free, or it cannot be seen yet whose it is."""
        version = int(CreateTemplateVersion(self.launch, self.token).run(account)["version"])
        scaling = AutoScaling(account, self.region)
        try:
            scaling.create_group(self._new_group(version))
        except AwsError as error:
            if error.code != "AlreadyExists":
                raise
            self._accept(scaling.group(self.asg), error)
        return {"asg": self.asg, "action": str(self), "template": self.launch.template, "version": version}

    def _new_group(self, version: int) -> NewGroup:
        targets, settings = self.record.targets, self.settings
        return NewGroup(
            name=self.asg,
            template=self.launch.template,
            version=version,
            min=0,
            max=0,
            desired=0,
            tags={"group": self.launch.template},
            own_tags={MANAGED: "true"} | replace(self.record, version=version).tags(),
            subnets=self.launch.placement.ids,
            health_check_type=settings.health_check_type or ("ELB" if targets else "EC2"),
            health_check_grace_period=settings.health_check_grace_period,
            hooks=self.hooks,
        )

    def _accept(self, made: AutoScalingGroup | None, error: AwsError) -> None:
        if made is None:
            raise NotYetError(f"{self.asg} exists, and AWS does not show it yet", code=error.code) from error
        if made.status:
            raise NotYetError(f"AWS is deleting {self.asg}", code=error.code) from error
        record = read(made.tags)
        ours = made.tags.get(RUN) == self.record.run
        if not ours and (record is None or record.old != self.record.old):
            raise RefusedError(
                f"{self.asg} exists already in {self.region}, and is not of this rollout",
                hint="no rollout of this group has made it: delete it, or give it another name",
            ) from error

    def shows_in(self, view: View) -> bool:
        return view.new is not None and view.new.name == self.asg


@dataclass(frozen=True)
class TakeKept(OfAsg):
    """Claims a kept group as the new one of a rollout: back to an older generation."""

    aspect = "phase"
    record: Record

    def __str__(self) -> str:
        return f"bring back {self.asg} in place of {self.record.old}"

    def run(self, account: Account, /) -> Report:
        """Raises NotYetError while it cannot be seen, RefusedError if it is no longer kept."""
        scaling = AutoScaling(account, self.region)
        found = scaling.group(self.asg)
        if found is None:
            raise NotYetError(f"AWS does not show {self.asg}")
        current = read(found.tags)
        if current is None or current.old != self.record.old:
            if found.status or found.tags.get(PHASE) != Phase.KEPT:
                raise RefusedError(f"{self.asg} is kept no more in {self.region}")
            facts = self.record.tags()
            scaling.delete_tags(self.asg, _stale(found.tags, facts))
            # What makes it the new group comes last, should the call be cut in two.
            scaling.create_or_update_tags(self.asg, {**without(facts, PHASE), PHASE: facts[PHASE]})
        return {"asg": self.asg, "action": str(self)}

    def shows_in(self, view: View) -> bool:
        return view.new is not None and view.new.name == self.asg


def without(tags: Mapping[str, str], key: str) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name != key}


def _stale(tags: Mapping[str, str], facts: Mapping[str, str]) -> list[str]:
    """What an earlier rollout has left on a kept group; its sizes stay, for it may have to be kept again."""
    left = {key for key in leftover_keys(tags) if not key.startswith(KEPT)} - {OWN_SUSPENDED}
    left |= {key for key in tags if key.startswith(TARGET)}
    return sorted(left - facts.keys())
