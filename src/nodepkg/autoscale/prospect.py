"""What a command finds before it takes any lease: whether there is anything to do, and what that would be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nodepkg.asked import Web
from nodepkg.autoscale.failures import is_undecided
from nodepkg.autoscale.observe import Observation, observe
from nodepkg.autoscale.task import Task
from nodepkg.autoscale.update import Begin
from nodepkg.clients.aws.account import Account
from nodepkg.errors import AwsError, CredentialsError, NodepkgError
from nodepkg.lease.claim import Holder, holders


@dataclass(frozen=True)
class Prospect:
    """Of one group. `error` is why it cannot be looked at, or nothing can begin; `holder` who has it now."""

    task: Task
    seen: Observation | None
    error: NodepkgError | None = None
    holder: Holder | None = None

    @property
    def unfinished(self) -> bool:
        return self.seen is not None and self.seen.view.new is not None

    @property
    def runs(self) -> bool:
        """Whether the group has an Auto Scaling group, as far as could be seen."""
        return self.seen is None or any(not asg.status for asg in self.seen.asgs)

    @property
    def is_idle(self) -> bool:
        """Whether nothing differs and nothing is left over, so that nobody has to hold the group."""
        if self.seen is None or self.error or self.holder or self.unfinished:
            return False
        return self.seen.view.claim is None and not self.seen.view.housekeeping


def look_ahead(account: Account, tasks: Sequence[Task], web: Web) -> list[Prospect]:
    """One look at all groups. What is wrong with one is in its prospect; raises CredentialsError."""
    held: dict[str, Holder] = {}
    for region in sorted({task.region for task in tasks}):
        held |= holders(account, region, [task.group for task in tasks if task.region == region])
    found = _seen(account, tasks, web)
    return [_prospect(task, found[task.group], held.get(task.group)) for task in tasks]


def with_refusals(account: Account, one: Prospect) -> Prospect:
    """With why it cannot begin, also where a rollout is refused only when it does."""
    claim = one.seen.view.claim if one.seen and not one.error else None
    try:
        if isinstance(claim, Begin):
            claim.require_carried(account)
    except NodepkgError as error:
        return replace(one, error=error)
    return one


def _prospect(task: Task, found: Observation | NodepkgError, holder: Holder | None) -> Prospect:
    if isinstance(found, NodepkgError):
        return Prospect(task, None, found, holder)
    return Prospect(task, found, found.error, holder)


def _seen(account: Account, tasks: Sequence[Task], web: Web) -> Mapping[str, Observation | NodepkgError]:
    try:
        return observe(account, [task.subject(task.goal, "", begins=True) for task in tasks], web=web)
    except CredentialsError:
        raise
    except AwsError as error:
        if len(tasks) == 1 or is_undecided(error):
            return {task.group: error for task in tasks}
        return {task.group: _seen(account, [task], web)[task.group] for task in tasks}
