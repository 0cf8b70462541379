"""autoscale:rollback: a rollout in progress is undone; without one the last kept generation comes back."""

from dataclasses import dataclass, replace

from nodepkg.autoscale.claim import TakeKept
from nodepkg.autoscale.journal import IMAGE, VERSION, targets_in
from nodepkg.autoscale.observe import Observation
from nodepkg.autoscale.prospect import Prospect
from nodepkg.autoscale.registered import Membership
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.task import Task
from nodepkg.autoscale.terms import health_of, terms_of
from nodepkg.autoscale.update import Begin, first_record, refuse, require_registry, require_settled
from nodepkg.autoscale.view import Asg, Goal
from nodepkg.autoscale.wanted import serving
from nodepkg.clients.aws.account import Account
from nodepkg.errors import RefusedError
from nodepkg.nodes.group import Group
from nodepkg.nodes.schema import Autoscale


@dataclass(frozen=True)
class Return:
    """The way back of one group."""

    account: Account
    group: Group
    run: str
    membership: Membership | None = None

    def undoing(self, window: float) -> Task:
        """Undoes the rollout in progress."""
        settings = self.group.settings.autoscale or Autoscale()
        terms = terms_of(settings, window)
        return Task(
            self.group.name,
            self.group.region,
            self.run,
            terms,
            Goal.ROLLBACK,
            health_of(settings),
            result="rolled back",
            membership=self.membership,
        )

    def way(self, prospect: Prospect, window: float) -> Task:
        """What a rollback comes to: undoing what is under way, tidying up what a run has left that was killed early, or
        the last kept generation. Raises RefusedError if there is none of it.
        """
        if prospect.error:
            raise prospect.error
        seen = prospect.seen
        if seen is None or prospect.unfinished:
            return self.undoing(window)
        kept = last_kept(seen)
        if kept is None and not prospect.is_idle:
            return self.undoing(window)
        self.claim(seen)
        return self.to_kept(kept, window) if kept else self.undoing(window)

    def to_kept(self, kept: Asg, window: float) -> Task:
        """Brings this kept generation back, with the sizes that it had."""
        undoing = self.undoing(window)
        least, most = (kept.kept.min, kept.kept.max) if kept.kept else (undoing.terms.min, undoing.terms.max)
        return replace(
            undoing,
            goal=Goal.UPDATE,
            terms=replace(undoing.terms, min=least, max=most),
            claim=self.claim,
            refuse_others=True,
        )

    def claim(self, seen: Observation) -> Change | None:
        """Takes the last kept generation; raises RefusedError if there is none."""
        old, kept = serving(self.group.name, seen.asgs), last_kept(seen)
        if kept is None:
            raise RefusedError(
                f"{self.group.name}: nothing to roll back to: no rollout is under way, and no older generation is kept",
                hint="autoscale.keep_old says how many generations are kept; "
                f"an older image: package autoscale:update {self.group.name} --image AMI",
            )
        require_settled(self.group.name, old)
        record = first_record(self.run, old, frozenset(targets_in(kept.tags)), self.account.now())
        version = kept.tags.get(VERSION, "")
        record = replace(
            record,
            version=int(version) if version.isdigit() else 0,
            image=kept.tags.get(IMAGE, ""),
            from_kept=True,
        )
        refuse(old, record)
        require_registry(seen.view)
        return Begin(self.group.region, kept.name, TakeKept(self.group.region, kept.name, record))


def last_kept(seen: Observation) -> Asg | None:
    """The newest of the generations that are kept."""
    return next((asg for asg in reversed(seen.view.kept) if not asg.deleting and asg.kept), None)
