"""autoscale:status: how each group stands, in values. Pure; outlook.py gathers what it is told from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nodepkg.autoscale.generations import Role, continuing, role, rollout, serving
from nodepkg.autoscale.journal import SINCE, Phase, Record, kept_in
from nodepkg.autoscale.rollout import Act, Step, Wait, decide
from nodepkg.autoscale.view import ALARMS, Asg, Seen, View, facts, remember
from nodepkg.clients.aws.autoscaling import AutoScalingGroup
from nodepkg.clients.aws.images import Image
from nodepkg.lease.claim import Holder


@dataclass(frozen=True)
class Generation:
    """One Auto Scaling group of a group, as listed, and as observed with its nodes' health.

    `image` is that of its launch template version, None if that is gone.
    """

    listed: AutoScalingGroup
    observed: Asg
    image: str | None

    @property
    def role(self) -> Role:
        return role(self.listed)

    @property
    def in_service(self) -> int:
        return sum(member.lifecycle == "InService" for member in self.listed.members)

    @property
    def ready(self) -> int:
        """How many of its nodes are in service, healthy, and healthy in each target group that is attached to it."""
        return sum(node.ready and node.serves(self.observed.targets) for node in self.observed.nodes)

    @property
    def since(self) -> float | None:
        """When it came to be what it is (seconds since the epoch), as far as it is written down: a stop is not."""
        return None if self.role is Role.STOPPED else moment(self.listed.tags.get(SINCE, ""))

    @property
    def template(self) -> str | None:
        pin = self.listed.template
        return f"{pin.name or pin.id}:{pin.version}" if pin else None


@dataclass(frozen=True)
class Standing:
    """How a group stands. `in_nodes`: nodes.json has it, in this region; `scales`: and an Auto Scaling group for it.

    `view` is what a rollout is decided on, None where none is under way; `newest` the newest image that can be used.
    """

    group: str
    region: str
    in_nodes: bool
    scales: bool
    generations: tuple[Generation, ...]
    newest: Image | None
    holder: Holder | None
    view: View | None = None

    @property
    def serves(self) -> Generation | None:
        found = serving([one.listed for one in self.generations])
        return next((one for one in self.generations if len(found) == 1 and one.listed is found[0]), None)

    @property
    def record(self) -> Record | None:
        under_way = rollout([one.listed for one in self.generations])
        return under_way[1] if under_way else None

    @property
    def image_newer(self) -> bool | None:
        """Whether there is a newer image than the one that serves; None if either is not known."""
        running = self.serves
        if running is None or running.image is None or self.newest is None:
            return None
        return running.image != self.newest.id

    @property
    def next(self) -> str:
        """The command that is to be run next; "" for none."""
        if record := self.record:
            return continuing(self.group, record)
        running = self.serves
        if not (self.in_nodes and self.scales):
            return ""
        if running is None:
            return f"package autoscale:run {self.group}" if self.newest and not self.generations else ""
        stale = self.image_newer and running.role is Role.SERVING
        return f"package autoscale:update {self.group}" if stale else ""


def step_of(standing: Standing, seen: Seen, now: float) -> tuple[Step | None, Seen]:
    """The row of the table that a rollout is in, and what is remembered for the next look; None if there is none.

    Who looks for the first time does not know for how long anything has held: what the rollout itself must have seen
    before it came so far is taken as seen.
    """
    view = standing.view
    if view is None:
        return None, {}
    seen = remember(seen or _assumed(view, now), view, now)
    return decide(replace(view, seen=seen), now, region=standing.region), seen


def _assumed(view: View, now: float) -> Seen:
    told = {fact: value for fact, value in facts(view).items() if fact != "sick"}
    at_rest = bool(view.old and view.record and ALARMS in view.old.suspended - view.record.old_suspended)
    baked = max(view.terms.bake_time, view.terms.window) if at_rest else view.terms.window
    return {fact: (value, now - (baked if fact == "new whole" else view.terms.window)) for fact, value in told.items()}


def document(standing: Standing, step: Step | None, now: float) -> dict[str, Any]:
    """One group as values; moments are seconds since the epoch, and what there is not is null."""
    newest, holder = standing.newest, standing.holder
    return {
        "group": standing.group,
        "region": standing.region,
        "in_nodes_json": standing.in_nodes,
        "state": state(standing, step),
        "newest_image": newest.id if newest else None,
        "image_newer": standing.image_newer,
        "generations": [_generation(one, newest) for one in standing.generations],
        "rollout": _rollout(standing, step),
        "owner": holder and _owner(holder, now),
        "next": standing.next or None,
    }


def state(standing: Standing, step: Step | None) -> str:
    """One word for the group: the row of its rollout, or serving, stopped, not running, unclear."""
    if standing.record:
        return step.state if isinstance(step, Act | Wait) else "done"
    if running := standing.serves:
        return str(running.role)
    return "unclear" if standing.generations else "not running"


def told(step: Step | None) -> str:
    """What a rollout waits for, or does next, in words."""
    match step:
        case Act(_, change):
            return f"next: {change}"
        case Wait(_, why):
            return why
    return ""


def _generation(one: Generation, newest: Image | None) -> dict[str, Any]:
    asg, kept = one.listed, kept_in(one.listed.tags)
    return {
        "asg": asg.name,
        "role": str(one.role),
        "deleting": bool(asg.status),
        "image": one.image,
        "newest": newest is not None and one.image == newest.id,
        "template": one.template,
        "min": asg.min,
        "max": asg.max,
        "desired": asg.desired,
        "ready": one.ready,
        "in_service": one.in_service,
        "nodes": len(asg.members),
        "suspended": sorted(asg.suspended),
        "remembers": {"min": kept.min, "max": kept.max, "desired": kept.desired} if kept else None,
        "since": one.since,
    }


def _rollout(standing: Standing, step: Step | None) -> dict[str, Any] | None:
    record = standing.record
    if record is None:
        return None
    new = next(one.listed.name for one in standing.generations if one.role is Role.NEW)
    return {
        "state": state(standing, step),
        "why": told(step),
        "until": step.until if isinstance(step, Wait) else None,
        "undoing": record.phase is Phase.ROLLBACK,
        "old": record.old or None,
        "new": new,
        "image": record.image or None,
        "version": record.version or None,
        "phase": str(record.phase),
        "since": record.since or None,
        "deadline": record.deadline,
        "reason": record.reason or None,
    }


def _owner(holder: Holder, now: float) -> Mapping[str, Any]:
    return {
        "who": f"{holder.user}@{holder.host}",
        "command": holder.command,
        "state": holder.state or None,
        "pid": holder.pid,
        "since": holder.since,
        "heartbeat_age_seconds": max(round(now - holder.heartbeat), 0),
    }


def moment(text: str) -> float | None:
    """Of a tag; None if it says none."""
    try:
        return float(text)
    except ValueError:
        return None
