"""What a rollout does: one frozen value for each change, which says itself, does itself, and knows when it shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from nodepkg.autoscale.journal import Phase, Record, Sizes
from nodepkg.autoscale.view import Asg, View
from nodepkg.clients.aws.account import Account
from nodepkg.plan import Report


class Change(Protocol):
    """An action of a plan (plan.Action) that can tell whether an observation shows it."""

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

    def found(self, view: View) -> Asg | None:
        return next((asg for asg in (view.old, view.new, *view.kept) if asg and asg.name == self.asg), None)


@dataclass(frozen=True)
class SuspendProcesses(OfAsg):
    processes: frozenset[str]

    def __str__(self) -> str:
        return f"suspend {_listed(self.processes)} of {self.asg}"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or self.processes <= asg.suspended


@dataclass(frozen=True)
class ResumeProcesses(OfAsg):
    processes: frozenset[str]

    def __str__(self) -> str:
        return f"resume {_listed(self.processes)} of {self.asg}"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or not self.processes & asg.suspended


@dataclass(frozen=True)
class RecordSizes(OfAsg):
    """Writes O's own sizes, and the size that it is pinned to, down on N (`asg`)."""

    old: str
    own: Sizes

    def __str__(self) -> str:
        return f"note on {self.asg} that {self.old} has {self.own.min} to {self.own.max} nodes, {self.own.desired} now"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        return view.record is None or view.record.own == self.own


@dataclass(frozen=True)
class Resize(OfAsg):
    """Sets min and max, and desired if it is given; AWS itself moves a desired size that is outside of them."""

    min: int
    max: int
    desired: int | None = None

    def __str__(self) -> str:
        desired = "" if self.desired is None else f", {self.desired} desired"
        return f"set {self.asg} to {self.min} to {self.max} nodes{desired}"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or (asg.min, asg.max) == (self.min, self.max)


@dataclass(frozen=True)
class Grow(OfAsg):
    """Gives N its nodes; until when they have to be ready is written down first."""

    size: int
    max: int
    deadline: float

    def __str__(self) -> str:
        return f"grow {self.asg} to {self.size} nodes"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        return view.new is None or (view.new.min >= self.size and view.new.desired >= self.size)


@dataclass(frozen=True)
class AttachTargets(OfAsg):
    targets: frozenset[str]

    def __str__(self) -> str:
        return f"attach {_listed(map(_name, self.targets))} to {self.asg}"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or self.targets <= asg.targets


@dataclass(frozen=True)
class DetachTargets(OfAsg):
    targets: frozenset[str]

    def __str__(self) -> str:
        return f"detach {_listed(map(_name, self.targets))} from {self.asg}"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or not self.targets & asg.targets


@dataclass(frozen=True)
class Enter(OfAsg):
    """Records a phase of the rollout on N, with its moment (seconds since the epoch) and, of a rollback, the reason."""

    phase: Phase
    now: float
    reason: str = ""

    def __str__(self) -> str:
        return f"note on {self.asg}: {self.phase}" + (f" ({self.reason})" if self.reason else "")

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or asg.phase == self.phase


@dataclass(frozen=True)
class RememberKept(OfAsg):
    """Writes down on a group that is kept at 0/0/0 what it is to have again: its sizes, what its user had suspended."""

    sizes: Sizes
    suspended: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"note on {self.asg} its sizes: {self.sizes.min} to {self.sizes.max}, {self.sizes.desired} desired"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or asg.kept == self.sizes


@dataclass(frozen=True)
class DeleteAsg(OfAsg):
    """Without force: AWS refuses one that has nodes."""

    def __str__(self) -> str:
        return f"delete {self.asg}"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or asg.deleting


@dataclass(frozen=True)
class Serve(OfAsg):
    """Ends the rollout: what only it needed is taken off N, and then N is the serving group. `keys` are those tags."""

    keys: tuple[str, ...]
    now: float

    def __str__(self) -> str:
        return f"note on {self.asg}: serving"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        asg = self.found(view)
        return asg is None or asg.phase == Phase.SERVING


@dataclass(frozen=True)
class TakeKept(OfAsg):
    """Claims a kept group as the new one of a rollout: back to an older generation."""

    record: Record

    def __str__(self) -> str:
        return f"bring back {self.asg} in place of {self.record.old}"

    def run(self, account: Account, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View) -> bool:
        return view.new is not None and view.new.name == self.asg


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _name(arn: str) -> str:
    """`web` of arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"""
    return arn.split("/")[1] if "/" in arn else arn
