"""A registry of services beside the sky of tests, in its virtual time: its nodes announce, and others use them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nodepkg.autoscale.journal import Phase
from nodepkg.autoscale.observe import Observation, Subject
from nodepkg.autoscale.registered import Membership, Reading, SayLeaving, UnsayLeaving
from nodepkg.autoscale.steps import Change
from nodepkg.clients.aws.account import Account
from nodepkg.errors import NodepkgError, UnreachableError
from nodepkg.plan import Report
from nodepkg.services.blocking import Picture
from nodepkg.services.entries import Leaving
from nodepkg.services.terms import Location
from tests.autoscale.skies import Machine, Process, Sky

LOCATION = Location(("http://127.0.0.1:2379",), "/nodepkg")
MEMBERSHIP = Membership(LOCATION, ("api", "workers"), ttl=30)
DOWN = "etcd (http://127.0.0.1:2379) did not answer"


@dataclass
class Register:
    """What the registry has. Nodes announce `late` seconds after they are up, those of `silent` fleets never.

    `users` acknowledge that a node leaves so many seconds after it was said; `down`: nobody reaches it.
    """

    sky: Sky
    late: float = 10.0
    silent: set[str] = field(default_factory=set)
    users: dict[str, float] = field(default_factory=lambda: {"i-user": 15.0})
    down: bool = False
    read_only: bool = False
    leaving: dict[str, tuple[Leaving, float]] = field(default_factory=dict)
    looks: int = 0

    def look(self, asked: Mapping[Location, Mapping[str, Collection[str]]]) -> dict[Location, Picture | NodepkgError]:
        self.looks += 1
        return {one: UnreachableError(DOWN) if self.down else self._picture(groups) for one, groups in asked.items()}

    def say_leaving(self, location: Location, leaving: Sequence[Leaving]) -> None:
        self._refuse()
        for one in leaving:
            self.leaving.setdefault(one.instance, (one, self.sky.now))

    def unsay_leaving(self, location: Location, instances: Collection[str], by: str) -> None:
        self._refuse()
        for instance in instances:
            if instance in self.leaving and self.leaving[instance][0].by == by:
                del self.leaving[instance]

    def _refuse(self) -> None:
        if self.down or self.read_only:
            raise UnreachableError(DOWN)

    def _picture(self, groups: Mapping[str, Collection[str]]) -> Picture:
        fleets = [fleet for fleets in self.sky.fleets.values() for fleet in fleets.values()]
        there = [
            machine.id
            for fleet in fleets
            if fleet.name not in self.silent
            for machine in fleet.machines
            if self._announces(machine)
        ]
        waiting = {
            group: {"api": [user for user, late in self.users.items() if self.sky.now - said < late]}
            for group, instances in groups.items()
            if (said := max((at for name, (_, at) in self.leaving.items() if name in instances), default=None))
        }
        leaving = {name: told for name, (told, _) in self.leaving.items()}
        return Picture(
            {name: frozenset(MEMBERSHIP.provides) for name in there},
            dict.fromkeys(there, MEMBERSHIP.provides),
            leaving,
            waiting,
        )

    def _announces(self, machine: Machine) -> bool:
        """Until its lease has run out, which may be later than AWS forgets it."""
        began = self.sky.now - machine.born >= self.sky.pending + self.late
        return began and (machine.ended is None or self.sky.now - machine.ended < MEMBERSHIP.ttl)


@dataclass
class Registering(Process):
    """A process that asks a registry, too."""

    register: Register | None = None

    def _seen(self, subject: Subject) -> Observation:
        seen = super()._seen(subject)
        if subject.membership is None:
            return seen
        assert self.register
        picture = self.register.look({LOCATION: {subject.group: self._leavers(seen)}})[LOCATION]
        reading = Reading(subject.group, "r", subject.membership, self.register, picture, self.sky.now)
        view = reading.shown_in(seen.view)
        tidies = view.registry and (view.record is None or view.record.phase is Phase.DONE)
        return replace(
            seen, view=replace(view, housekeeping=view.registry.leftover if tidies and view.registry else ())
        )

    @staticmethod
    def _leavers(seen: Observation) -> list[str]:
        old, new = seen.view.old, seen.view.new
        return [node.id for node in old.nodes] if old and new else []

    def act(self, change: Change) -> Report:
        if not isinstance(change, SayLeaving | UnsayLeaving):
            return super().act(change)
        if error := self.before(change):
            raise error
        self.sky.advance(self.sky.call)
        change.run(Account())
        self.changes.append((change.asg, str(change)))
        if error := self.after(change):
            raise error
        return {}
