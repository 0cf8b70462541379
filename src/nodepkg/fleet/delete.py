"""instance:delete: what may go, and its going."""

from dataclasses import dataclass
from pathlib import Path

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import Machine, Machines
from nodepkg.errors import RefusedError
from nodepkg.fleet.find import ID, require_ours
from nodepkg.fleet.known_hosts import KnownHosts
from nodepkg.fleet.login import KNOWN_HOSTS
from nodepkg.fleet.order import LIVING
from nodepkg.images.leftovers import BUILD_TAG
from nodepkg.lease.claim import Lease
from nodepkg.nodes.names import group_name_problem
from nodepkg.plan import Action, Report


@dataclass(frozen=True)
class Place:
    """Where the steps are done. `lease` is None where nothing of AWS is changed."""

    account: Account
    root: Path
    lease: Lease | None = None


@dataclass(frozen=True)
class TerminateInstance:
    region: str
    machine: Machine

    def __str__(self) -> str:
        return f"terminate {self.machine.id} ({self.machine.name or 'no name'})"

    def run(self, place: Place, /) -> Report:
        machines, told = Machines(place.account, self.region), self.machine.id
        seen = machines.machine(told)
        if seen is not None:
            require_deletable(seen)
        if place.lease is None:
            raise AssertionError(f"{told} is not claimed")
        place.lease.making("terminating", lambda: machines.terminate_instance(told))
        return {"terminated": True, "kept_volumes": list(self.machine.staying)}


@dataclass(frozen=True)
class RemoveDna:
    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"

    def run(self, place: Place, /) -> Report:
        try:
            (place.root / self.path).unlink(missing_ok=True)
        except OSError as error:
            raise RefusedError(f"{self.path} cannot be removed: {error.strerror}") from error
        return {"dna": self.path}


@dataclass(frozen=True)
class ForgetHostKey:
    """What we remember of its host key; the user's own known_hosts is the user's."""

    instance: str

    def __str__(self) -> str:
        return f"forget the host key of {self.instance}"

    def run(self, place: Place, /) -> Report:
        KnownHosts(place.root / KNOWN_HOSTS).forget([self.instance])
        return {"host_key": "forgotten"}


def require_deletable(machine: Machine) -> None:
    """Raises RefusedError for what is not a one-off of ours."""
    if machine.asg:
        raise RefusedError(
            f"{machine.id} is a node of the Auto Scaling group {machine.asg}, which would replace it",
            hint=f"fewer nodes: package autoscale:resize {machine.group or 'GROUP'}",
        )
    if BUILD_TAG in machine.tags:
        raise RefusedError(
            f"{machine.id} is the machine of a build", hint="what builds left behind: package packer:sweep"
        )
    require_ours(machine)


def name_to_claim(machine: Machine) -> str:
    """Its name; somebody may have given it one that no claim could have."""
    return machine.name if machine.name and not group_name_problem(machine.name) else machine.id


def plan_delete(region: str, machine: Machine, root: Path) -> list[Action[Place]]:
    """What goes. Of what is terminated already only what is left of it here."""
    require_deletable(machine)
    terminate: list[Action[Place]] = [TerminateInstance(region, machine)] if machine.state in LIVING else []
    return [*terminate, *left_of(root, machine.id)]


def left_of(root: Path, instance: str) -> list[Action[Place]]:
    """What there is of an instance in the project: its dna, and its host key."""
    found = sorted((root / "dna" / "instances").glob(f"*-{instance}.json")) if ID.fullmatch(instance) else []
    files: list[Action[Place]] = [RemoveDna(path.relative_to(root).as_posix()) for path in found]
    known = KnownHosts(root / KNOWN_HOSTS).of(instance)
    return [*files, ForgetHostKey(instance)] if known else files
