"""What regions were like some seconds ago: AWS's answers may be as old as that."""

import bisect
import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ssm.models import ParameterDict, ssm_backends

from nodepkg.sandbox.realistic.records import Group, State
from nodepkg.sandbox.realistic.world import World


def _templates(found: dict[str, Any]) -> dict[str, Any]:
    copies = {name: copy.copy(template) for name, template in found.items()}
    for template in copies.values():
        template.versions = list(template.versions)
    return copies


def _reservations(found: dict[str, Any]) -> dict[str, Any]:
    copies = {name: copy.copy(reservation) for name, reservation in found.items()}
    for reservation in copies.values():
        reservation.instances = [copy.copy(instance) for instance in reservation.instances]
        for instance in reservation.instances:
            instance._state = copy.copy(instance._state)
    return copies


def _each(found: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.copy(one) for name, one in found.items()}


def _tags(found: Any) -> Any:
    made = copy.copy(found)
    made.update({name: dict(tags) for name, tags in found.items()})
    return made


def _parameters(found: ParameterDict) -> ParameterDict:
    made = ParameterDict(found.account_id, found.region_name)
    vars(made).update(vars(found))
    made.update({name: list(versions) for name, versions in found.items()})
    return made


# What of moto can be read as it was.
_PARTS: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (ec2_backends, "launch_templates", _templates),
    (ec2_backends, "launch_template_name_to_ids", dict),
    (ec2_backends, "launch_template_insert_order", list),
    (ec2_backends, "reservations", _reservations),
    (ec2_backends, "amis", _each),
    (ec2_backends, "tags", _tags),
    (ssm_backends, "_parameters", _parameters),
    (cloudwatch_backends, "alarms", _each),
)


@dataclass(frozen=True)
class _Moment:
    at: float
    state: State
    parts: tuple[Any, ...]


class Past:
    """Of one region, as long as `seconds` back. `note` says that it may have changed."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world, self._seconds = world, seconds
        self._copies: dict[str, tuple[Group, Group]] = {}
        # Before it was used first, the region was as it is then.
        self._moments = [replace(self._now(), at=-math.inf)]
        self._noted = world.changes

    def note(self, *, always: bool = False) -> None:
        """Later reads may ask for what is now; `always`: also if what has changed is moto's alone."""
        if self._noted == self._world.changes and not always:
            return
        self._noted = self._world.changes
        moment = self._now()
        if self._moments[-1].at == moment.at:
            self._moments.pop()
        self._moments.append(moment)
        first = max(0, self._index(self._world.now - self._seconds))
        del self._moments[:first]

    def _index(self, at: float) -> int:
        return bisect.bisect_right([moment.at for moment in self._moments], at) - 1

    def _now(self) -> _Moment:
        parts = tuple(copied(getattr(_backend(self._world, of), name)) for of, name, copied in _PARTS)
        state = self._world.state
        groups = {name: self._copy(group) for name, group in state.groups.items()}
        self._world.altered.clear()
        registered = {arn: _each(targets) for arn, targets in state.targets.items()}
        activities = [copy.copy(activity) for activity in state.activities]
        commands = copy.deepcopy(state.commands)
        return _Moment(self._world.now, State(groups, registered, activities, commands), parts)

    def _copy(self, group: Group) -> Group:
        """One that has not been altered since it was copied need not be copied again."""
        known = self._copies.get(group.name)
        if known is None or known[0] is not group or group.name in self._world.altered:
            known = self._copies[group.name] = (group, copy.deepcopy(group))
        return known[1]

    @contextmanager
    def ago(self, seconds: float) -> Iterator[None]:
        """Within it the region is as it was so many seconds ago. It is for reading, while nobody else does anything."""
        moment = self._moments[max(0, self._index(self._world.now - seconds))]
        now = (self._world.state, [getattr(_backend(self._world, of), name) for of, name, _ in _PARTS])
        try:
            self._put(moment.state, moment.parts)
            yield
        finally:
            self._put(*now)

    def _put(self, state: State, parts: Any) -> None:
        self._world.state = state
        for (of, name, _), part in zip(_PARTS, parts, strict=True):
            setattr(_backend(self._world, of), name, part)


def _backend(world: World, backends: Any) -> Any:
    return backends[DEFAULT_ACCOUNT_ID][world.region]
