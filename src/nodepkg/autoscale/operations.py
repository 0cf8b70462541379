"""What autoscale:stop, start, resize and delete are given: their operations become tasks of the runner.

Each says what comes next by what was observed; nothing is remembered from one process to the next but what stands
in AWS, so that a command that was killed is simply run again.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from nodepkg.autoscale.runner import Runner
from nodepkg.autoscale.task import Operation, Order, Task, Watcher, World
from nodepkg.autoscale.view import Terms
from nodepkg.errors import AwsError, NodepkgError, RefusedError
from nodepkg.images.interrupts import Interrupts
from nodepkg.plan import Report
from nodepkg.ready import Health

Key = tuple[str, str]  # region and group


class OfGroup(Operation, Protocol):
    """An operation as an action of a plan. `health` is what the group's nodes are asked."""

    @property
    def region(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def window(self) -> float: ...
    @property
    def health(self) -> Health: ...

    def __str__(self) -> str: ...

    def run(self, site: "Site", /) -> Report: ...


@dataclass
class Site:
    """What a command works with; seconds throughout. `reports` are those of the groups that came to their end."""

    world: World
    watching: Callable[[], AbstractContextManager[Watcher]]
    run_id: str
    poll: float
    reports: list[Report] = field(default_factory=list)
    _tasks: list[Task] = field(default_factory=list)

    def begin(self, one: OfGroup) -> Report:
        terms = Terms(window=one.window)
        self._tasks.append(Task(one.group, one.region, self.run_id, terms, health=one.health, operation=one))
        return {"group": one.group}

    def pursue(self) -> None:
        """Claims all groups, and sees each through to its end; raises in the end what went wrong with some."""
        with self.watching() as watcher:
            order = Order(self._tasks, poll=self.poll, together=True)
            runner = Runner(self.world, order, watcher, Interrupts())
            runner.run()
        results = [runner.results[task.group] for task in self._tasks]
        self.reports += [result.report for result in results if result.report is not None]
        if runner.interrupted:
            raise KeyboardInterrupt
        if errors := [result.error for result in results if result.error]:
            raise _together(errors)


@dataclass(frozen=True)
class Pursue:
    """The last action of a plan: all groups are claimed, and come to their end."""

    says: str

    def __str__(self) -> str:
        return self.says

    def run(self, site: Site, /) -> Report:
        site.pursue()
        return {"groups": site.reports}


def _together(errors: Sequence[NodepkgError]) -> NodepkgError:
    """One error for all: that of AWS before that of a rule, since its remedy is needed first."""
    if len(errors) == 1:
        return errors[0]
    chief = next((error for error in errors if isinstance(error, AwsError)), errors[0])
    kind = AwsError if isinstance(chief, AwsError) else RefusedError
    return kind("\n".join(error.message for error in errors), hint=chief.hint)
