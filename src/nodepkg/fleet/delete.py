"""instance:delete: what may go, and its going."""

from dataclasses import dataclass
from pathlib import Path

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.machines import Machine, Machines
from nodepkg.errors import RefusedError
from nodepkg.fleet.order import LIVING
from nodepkg.images.leftovers import BUILD_TAG
from nodepkg.launch import MANAGED
from nodepkg.lease.claim import Lease
from nodepkg.nodes.names import group_name_problem
from nodepkg.plan import Action, Report
from nodepkg.render.dna import instance_dna_path


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
        with place.lease.fenced():
            machines.terminate_instance(told)
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
    if machine.tags.get(MANAGED) != "true" or not machine.group:
        raise RefusedError(f"{machine.id} is not nodepkg's: it lacks the tag {MANAGED}=true, or group")


def name_to_claim(machine: Machine) -> str:
    """Its name; somebody may have given it one that no claim could have."""
    return machine.name if machine.name and not group_name_problem(machine.name) else machine.id


def plan_delete(region: str, machine: Machine, root: Path) -> list[Action[Place]]:
    """What goes. Of what is terminated already only the file."""
    require_deletable(machine)
    terminate: list[Action[Place]] = [TerminateInstance(region, machine)] if machine.state in LIVING else []
    return [*terminate, *leftover_files(root, machine.group, machine.id)]


def leftover_files(root: Path, group: str, instance: str) -> list[Action[Place]]:
    """The file of its own, if it is there."""
    path = instance_dna_path(group, instance)
    return [RemoveDna(path)] if (root / path).exists() else []


def orphaned_files(root: Path, instance: str) -> list[Action[Place]]:
    """The files of an instance that AWS knows no more."""
    found = sorted((root / "dna" / "instances").glob(f"*-{instance}.json"))
    return [RemoveDna(path.relative_to(root).as_posix()) for path in found]
