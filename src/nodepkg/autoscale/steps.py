"""What a rollout does: one frozen value for each change, which says itself, does itself, and knows when it shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from nodepkg.autoscale.journal import (
    OWN_SUSPENDED,
    Phase,
    Sizes,
    between,
    counted,
    deadline,
    entered,
    joined,
    kept_sizes,
    own_sizes,
)
from nodepkg.autoscale.view import Asg, View
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.plan import Report


class Change(Protocol):
    """An action of a plan (plan.Action) that can tell whether an observation shows it.

    `changes` names what it changes: of two that change the same, the later undoes or replaces the earlier.
    """

    @property
    def changes(self) -> tuple[str, str]: ...

    def __str__(self) -> str: ...

    def run(self, account: Account, /) -> Report: ...

    def shows_in(self, view: View, /) -> bool:
        """False in an observation that is older than the change; what an observation cannot show is true."""
        ...


@dataclass(frozen=True)
class OfAsg:
    """A change of one Auto Scaling group, which is named, in a region."""

    region: str
    asg: str
    aspect: ClassVar[str] = ""

    @property
    def changes(self) -> tuple[str, str]:
        return self.asg, self.aspect

    def found(self, view: View) -> Asg | None:
        return next((asg for asg in (view.old, view.new, *view.kept) if asg and asg.name == self.asg), None)

    def _scaling(self, account: Account) -> AutoScaling:
        return AutoScaling(account, self.region)

    def _done(self) -> Report:
        return {"asg": self.asg, "action": str(self)}


@dataclass(frozen=True)
class SuspendProcesses(OfAsg):
    processes: frozenset[str]

    @property
    def changes(self) -> tuple[str, str]:
        return self.asg, _listed(self.processes)

    def __str__(self) -> str:
        return f"suspend {_listed(self.processes)} of {self.asg}"

    def run(self, account: Account, /) -> Report:
        self._scaling(account).suspend_processes(self.asg, self.processes)
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or self.processes <= asg.suspended


@dataclass(frozen=True)
class ResumeProcesses(OfAsg):
    processes: frozenset[str]

    @property
    def changes(self) -> tuple[str, str]:
        return self.asg, _listed(self.processes)

    def __str__(self) -> str:
        return f"resume {_listed(self.processes)} of {self.asg}"

    def run(self, account: Account, /) -> Report:
        self._scaling(account).resume_processes(self.asg, self.processes)
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or not self.processes & asg.suspended


@dataclass(frozen=True)
class RecordSizes(OfAsg):
    """Writes O's own sizes, and the size that it is pinned to, down on N (`asg`)."""

    aspect = "own sizes"
    old: str
    own: Sizes

    def __str__(self) -> str:
        return f"note on {self.asg} that {self.old} has {self.own}"

    def run(self, account: Account, /) -> Report:
        self._scaling(account).create_or_update_tags(self.asg, own_sizes(self.own))
        return self._done()

    def shows_in(self, view: View) -> bool:
        return view.record is None or view.record.own == self.own


@dataclass(frozen=True)
class Resize(OfAsg):
    """Sets min and max, and desired if it is given; AWS itself moves a desired size that is outside of them."""

    aspect = "sizes"
    min: int
    max: int
    desired: int | None = None

    def __str__(self) -> str:
        desired = "" if self.desired is None or self.max == 0 else f", {self.desired} desired"
        return f"set {self.asg} to {between(self.min, self.max)}{desired}"

    def run(self, account: Account, /) -> Report:
        self._scaling(account).update_sizes(self.asg, min=self.min, max=self.max, desired=self.desired)
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        if asg is None or (asg.min, asg.max) != (self.min, self.max):
            return asg is None
        return self.desired in (None, asg.desired)


@dataclass(frozen=True)
class Grow(OfAsg):
    """Gives N its nodes; until when they have to be ready is written down first."""

    aspect = "sizes"
    size: int
    max: int
    deadline: float

    def __str__(self) -> str:
        return f"grow {self.asg} to {counted(self.size)}"

    def run(self, account: Account, /) -> Report:
        scaling = self._scaling(account)
        scaling.create_or_update_tags(self.asg, deadline(self.deadline))
        scaling.update_sizes(self.asg, min=self.size, max=self.max, desired=self.size)
        return self._done()

    def shows_in(self, view: View) -> bool:
        new = view.new
        if new is None:
            return True
        # With an older deadline it would be taken for late.
        timed = deadline(self.deadline).items() <= new.tags.items()
        return timed and new.min >= self.size and new.desired >= self.size


@dataclass(frozen=True)
class AttachTargets(OfAsg):
    aspect = "targets"
    targets: frozenset[str]

    def __str__(self) -> str:
        return f"attach {_listed(map(_name, self.targets))} to {self.asg}"

    def run(self, account: Account, /) -> Report:
        self._scaling(account).attach_target_groups(self.asg, self.targets)
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or self.targets <= asg.targets


@dataclass(frozen=True)
class DetachTargets(OfAsg):
    aspect = "targets"
    targets: frozenset[str]

    def __str__(self) -> str:
        return f"detach {_listed(map(_name, self.targets))} from {self.asg}"

    def run(self, account: Account, /) -> Report:
        self._scaling(account).detach_target_groups(self.asg, self.targets)
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or not self.targets & asg.targets


@dataclass(frozen=True)
class Enter(OfAsg):
    """Records a phase of the rollout on N, with its moment (seconds since the epoch) and, of a rollback, the reason."""

    aspect = "phase"
    phase: Phase
    now: float
    reason: str = ""

    def __str__(self) -> str:
        return f"note on {self.asg}: {self.phase}" + (f" ({self.reason})" if self.reason else "")

    def run(self, account: Account, /) -> Report:
        self._scaling(account).create_or_update_tags(self.asg, entered(self.phase, self.now, self.reason))
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        # Its moment as well, from which the waits of the phase are counted.
        return asg is None or entered(self.phase, self.now).items() <= asg.tags.items()


@dataclass(frozen=True)
class RememberKept(OfAsg):
    """Writes down on a group that is kept at 0/0/0 what it is to have again: its sizes, what its user had suspended."""

    aspect = "kept sizes"
    sizes: Sizes
    suspended: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"note on {self.asg} its sizes: {self.sizes.min} to {self.sizes.max}, {self.sizes.desired} desired"

    def run(self, account: Account, /) -> Report:
        facts = kept_sizes(self.sizes) | {OWN_SUSPENDED: joined(self.suspended)}
        self._scaling(account).create_or_update_tags(self.asg, facts)
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or (asg.kept == self.sizes and asg.own_suspended == self.suspended)


@dataclass(frozen=True)
class DeleteAsg(OfAsg):
    """Without force: AWS refuses one that has nodes."""

    aspect = "life"

    def __str__(self) -> str:
        return f"delete {self.asg}"

    def run(self, account: Account, /) -> Report:
        self._scaling(account).delete_group(self.asg)
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or asg.deleting


@dataclass(frozen=True)
class Serve(OfAsg):
    """Ends the rollout: what only it needed is taken off N, and then N is the serving group. `keys` are those tags."""

    aspect = "phase"
    keys: tuple[str, ...]
    now: float

    def __str__(self) -> str:
        return f"note on {self.asg}: serving"

    def run(self, account: Account, /) -> Report:
        scaling = self._scaling(account)
        scaling.delete_tags(self.asg, self.keys)
        scaling.create_or_update_tags(self.asg, entered(Phase.SERVING, self.now))
        return self._done()

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or (asg.phase == Phase.SERVING and not set(self.keys) & asg.tags.keys())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _name(arn: str) -> str:
    """`web` of arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"""
    return arn.split("/")[1] if "/" in arn else arn
