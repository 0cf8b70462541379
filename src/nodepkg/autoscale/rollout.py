"""What a rollout does next: decide(view, now) -> Step, a pure function of what AWS shows.

O is the group that serves, N the next generation. Each row of the table (docs/rollouts.md) is a function that gives a
step as long as what the next row needs has not been observed, and None once it has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nodepkg.autoscale.journal import Phase, Record, counted, leftover_keys
from nodepkg.autoscale.steps import (
    AttachTargets,
    Change,
    DeleteAsg,
    DetachTargets,
    Enter,
    Grow,
    RecordSizes,
    RememberKept,
    Resize,
    ResumeProcesses,
    Serve,
    SuspendProcesses,
)
from nodepkg.autoscale.view import ALARMS, EMPTY, REPLACE, SCHEDULED, Asg, Goal, Sizes, View, lacks

PINNED = frozenset({SCHEDULED, "AZRebalance"})
# All that a rollout suspends of O, but for what its user had suspended.
SUSPENDED_BY_US = PINNED | {ALARMS, REPLACE}


@dataclass(frozen=True)
class Act:
    """One change, and the row that it belongs to."""

    state: str
    change: Change


@dataclass(frozen=True)
class Wait:
    """Nothing to do but to look again; `until` is the moment from which the wait may be over by itself."""

    state: str
    why: str
    until: float | None = None


@dataclass(frozen=True)
class Done:
    """Nothing is left to do: N serves, or O again after a rollback."""

    rolled_back: bool = False


@dataclass(frozen=True)
class Refuse:
    """What was asked for cannot be done any more."""

    why: str


Step = Act | Wait | Done | Refuse


@dataclass(frozen=True)
class Pair:
    """O and N, both seen, with the record that N carries."""

    old: Asg
    new: Asg
    record: Record
    view: View
    region: str
    now: float

    @property
    def terms_max(self) -> int:
        return max(self.view.terms.max, self.record.own.max if self.record.own else 0)

    @property
    def keeps(self) -> bool:
        """Whether O stays, at size 0: not one that is given up for an older generation."""
        return self.view.terms.keep_old > 0 and not self.record.from_kept

    def suspend(self, state: str, processes: frozenset[str]) -> Act | None:
        """Suspends those of O that neither its user nor we have suspended."""
        missing = processes - self.record.old_suspended - self.old.suspended
        return Act(state, SuspendProcesses(self.region, self.old.name, missing)) if missing else None

    def resume(self, processes: frozenset[str]) -> Act | None:
        """Resumes those of O that we have suspended."""
        ours = (processes - self.record.old_suspended) & self.old.suspended
        return Act("rollback", ResumeProcesses(self.region, self.old.name, ours)) if ours else None

    def roll_back(self, state: str, reason: str) -> Act:
        return Act(state, Enter(self.region, self.new.name, Phase.ROLLBACK, self.now, reason))


Row = Callable[[Pair], Step | None]


def decide(view: View, now: float, *, region: str) -> Step:
    """The next step. `now` is when the observation began, in seconds since the epoch by AWS's clock."""
    new, record = view.new, view.record
    if new is None or record is None:
        return _without_new(view, now)
    if new.deleting:
        return Wait("rollback", f"AWS is deleting {new.name}")
    if view.old is None:
        return _without_old(view, new, record, region, now)
    pair = Pair(view.old, new, record, view, region, now)
    return next(step for row in _rows(pair) if (step := row(pair)))


def _rows(pair: Pair) -> Sequence[Row]:
    """Which rows of the table a rollout is in."""
    old, record = pair.old, pair.record
    if old.sizes == EMPTY or old.deleting:
        return _FORWARD
    if record.phase is Phase.ROLLBACK or pair.view.goal is Goal.ROLLBACK:
        return _UNDO
    severed = record.phase is not Phase.CLAIM and not (record.old_targets and record.old_targets <= old.targets)
    return _SEVERED if severed else _JOINED


def _without_old(view: View, new: Asg, record: Record, region: str, now: float) -> Step:
    if not view.steady("old gone", now):
        return Wait("retire", f"{record.old or 'the old group'} is gone: looking again", now + view.terms.window)
    if view.goal is Goal.ROLLBACK and record.phase is not Phase.ROLLBACK:
        return Refuse(f"{record.old} is gone already: from here {new.name} only goes forward")
    return _done(view, new, record, region, now)


def _without_new(view: View, now: float) -> Step:
    """There is no N: nothing has begun, or everything is over. It is believed in two observations."""
    if view.old and view.old.name == view.aim:
        return Done()
    if not view.steady("no new", now):
        state = "rollback" if view.aim else "claim"
        return Wait(state, "making sure that no rollout is under way", now + view.terms.window)
    if view.claim and not view.aim:
        return Act("claim", view.claim)
    # What this process worked on is gone: it was rolled back.
    rolled_back = bool(view.aim) or view.goal is Goal.ROLLBACK
    return Act("done", view.housekeeping[0]) if view.housekeeping else Done(rolled_back)


def _claim(pair: Pair) -> Step | None:
    """N exists at size 0; none of its schedules may wake it, and sick nodes of a group brought back are replaced."""
    new = pair.new
    if SCHEDULED not in new.suspended:
        return Act("claim", SuspendProcesses(pair.region, new.name, frozenset({SCHEDULED})))
    ours = (SUSPENDED_BY_US - {SCHEDULED} - new.own_suspended) & new.suspended
    return Act("claim", ResumeProcesses(pair.region, new.name, ours)) if ours else None


def _pin(pair: Pair) -> Step | None:
    """O does not shrink below what it serves with now. Its own sizes are recorded once nothing can change them."""
    old, own = pair.old, pair.record.own
    if step := pair.suspend("pin", PINNED):
        return step
    if own is None:
        if not pair.view.steady("old sizes", pair.now):
            return Wait("pin", f"making sure of the sizes of {old.name}", pair.now + pair.view.terms.window)
        return Act("pin", RecordSizes(pair.region, pair.new.name, old.name, old.sizes))
    if old.min < own.desired:
        return Act("pin", Resize(pair.region, old.name, own.desired, old.max))
    return None


def _grow(pair: Pair) -> Step | None:
    own, terms, new = pair.record.own, pair.view.terms, pair.new
    if new.desired < max(own.desired if own else 0, terms.min) or new.min < new.desired:
        return _grow_to(pair, "grow", max(pair.old.desired, terms.min, new.desired))
    return _ready_in_time(pair, "grow", frozenset())


def _grow_to(pair: Pair, state: str, size: int) -> Act:
    room = max(pair.terms_max, size + 1)
    deadline = pair.now + pair.view.terms.ready_timeout
    return Act(state, Grow(pair.region, pair.new.name, size, room, deadline))


def _ready_in_time(pair: Pair, state: str, targets: frozenset[str]) -> Step | None:
    """Waits for all nodes of N, up to the deadline; that they are ready is looked at first."""
    new, deadline = pair.new, pair.record.deadline
    if len(new.nodes) == new.desired and all(node.ready and node.serves(targets) for node in new.nodes):
        return None
    lacking = lacks(new, targets)
    # That the registry is lost for a moment, later than that, is no failure of N.
    registry = pair.view.registry
    unsure = registry and registry.lost and pair.view.held("registry lost", pair.now) <= pair.view.terms.unhealthy_after
    if deadline is not None and pair.now >= deadline and not unsure:
        return pair.roll_back(state, f"{new.name} was not ready in time: {lacking}")
    return Wait(state, lacking, deadline)


def _attach(pair: Pair) -> Step | None:
    missing = pair.record.targets - pair.new.targets
    if missing:
        return Act("attach", AttachTargets(pair.region, pair.new.name, missing))
    return _ready_in_time(pair, "attach", pair.record.targets)


def _bake(pair: Pair) -> Step | None:
    """The same nodes stay ready for so long: one that is replaced starts it anew."""
    left = pair.view.terms.bake_time - max(pair.view.held("new whole", pair.now), 0)
    return Wait("bake", "nodes have to stay healthy", pair.now + left) if left > 0 else None


def _match(pair: Pair) -> Step | None:
    """O stops scaling; what it has grown by since, N gets as well."""
    if step := pair.suspend("match", frozenset({ALARMS})):
        return step
    if not pair.view.steady("old at rest", pair.now):
        return Wait("match", f"making sure that {pair.old.name} scales no more", pair.now + pair.view.terms.window)
    if pair.old.desired > pair.new.desired:
        return _grow_to(pair, "match", pair.old.desired)
    return None


def _cut(pair: Pair) -> Step | None:
    attached = pair.record.old_targets & pair.old.targets
    if pair.record.phase is not Phase.CLAIM and not attached:
        return None
    if others := pair.old.targets - pair.record.old_targets:
        told = ", ".join(sorted(others))
        return pair.roll_back("cut", f"{pair.old.name} was attached to {told} meanwhile, where {pair.new.name} is not")
    if not pair.view.steady("new carries", pair.now):
        return Wait("cut", f"{pair.new.name} has to be whole in two observations", pair.now + pair.view.terms.window)
    if pair.record.phase is Phase.CLAIM:
        return Act("cut", Enter(pair.region, pair.new.name, Phase.CUT, pair.now))
    return Act("cut", DetachTargets(pair.region, pair.old.name, attached))


def _sick(pair: Pair) -> Step | None:
    """In hold N is not mended by new nodes: O, which still has all of its own, comes back."""
    view, lacking = pair.view, lacks(pair.new, pair.record.targets)
    if view.held("sick", pair.now) > view.terms.unhealthy_after:
        return pair.roll_back("hold", f"{pair.new.name} became sick: {lacking}")
    # Its policies may ask for nodes that never start, while the others serve.
    if view.held("new lacking", pair.now) > view.terms.ready_timeout:
        return pair.roll_back("hold", f"{pair.new.name} did not become whole again: {lacking}")
    return None


def _hold(pair: Pair) -> Step | None:
    if pair.record.phase is not Phase.HOLD:
        return Act("hold", Enter(pair.region, pair.new.name, Phase.HOLD, pair.now))
    if step := pair.suspend("hold", frozenset({REPLACE})):
        return step
    return Act("hold", pair.view.carry[0]) if pair.view.carry else None


def _heard(pair: Pair) -> Step | None:
    """Those that use O's nodes hear that they leave, and have the time for it."""
    view, old, since = pair.view, pair.old, pair.record.since
    registry, why = view.registry, "every other node has a chance to update"
    if registry and registry.say:
        return Act("hold", registry.say[0])
    over = max(since, registry.told if registry else since) + view.terms.timeout
    if draining := old.registered:
        return Wait("hold", f"{counted(draining)} of {old.name} draining", over if pair.now < over else None)
    if pair.now >= over or (registry and registry.is_heard and not view.terms.wait_full):
        return None
    return Wait("hold", (registry.lost_told or registry.waits_for or why) if registry else why, over)


def _retire(pair: Pair) -> Step | None:
    """The last step that can still be refused: O gives up its nodes."""
    old, terms = pair.old, pair.view.terms
    if not pair.view.steady("new carries", pair.now):
        return Wait("retire", f"{pair.new.name} has to be whole in two observations", pair.now + terms.window)
    if pair.view.alarms:
        return Act("retire", pair.view.alarms[0])
    own = pair.record.own
    if pair.keeps and own and old.kept != (sizes := Sizes(own.min, own.max, old.desired)):
        return Act("retire", RememberKept(pair.region, old.name, sizes, pair.record.old_suspended))
    return Act("retire", Resize(pair.region, old.name, 0, 0, 0))


def _too_late(pair: Pair) -> Step | None:
    """O is at 0/0/0: only forward from here, whatever the tags say."""
    if pair.view.goal is Goal.ROLLBACK and pair.record.phase is not Phase.ROLLBACK:
        return Refuse(f"{pair.old.name} is at size 0 already: from here it only goes forward")
    return None


def _retired(pair: Pair) -> Step:
    old = pair.old
    if old.deleting:
        return Wait("retire", f"AWS is deleting {old.name}")
    if old.nodes:
        return Wait("retire", f"{counted(len(old.nodes))} of {old.name} being terminated")
    if old.kept is None or not pair.keeps:
        return Act("retire", DeleteAsg(pair.region, old.name))
    if old.phase != Phase.KEPT:
        return Act("retire", Enter(pair.region, old.name, Phase.KEPT, pair.now))
    return _done(pair.view, pair.new, pair.record, pair.region, pair.now)


def _done(view: View, new: Asg, record: Record, region: str, now: float) -> Step:
    """O is gone, or kept. N becomes what nodes.json says, and only then the group that serves."""
    if record.phase is not Phase.DONE:
        return Act("done", Enter(region, new.name, Phase.DONE, now))
    if change := _settling(view, new, record, region):
        return Act("done", change)
    if view.registry and now < (until := view.registry.until_vanished(record.since)):
        return Wait("done", f"{record.old} has to vanish from the registry, too", until)
    return Act("done", Serve(region, new.name, tuple(leftover_keys(new.tags)), now))


def _settling(view: View, new: Asg, record: Record, region: str) -> Change | None:
    if missing := record.targets - new.targets:
        return AttachTargets(region, new.name, missing)
    most = max(view.terms.max, new.desired, view.terms.min)
    if (new.min, new.max) != (view.terms.min, most):
        return Resize(region, new.name, view.terms.min, most)
    if SCHEDULED in new.suspended - new.own_suspended:
        return ResumeProcesses(region, new.name, frozenset({SCHEDULED}))
    return view.housekeeping[0] if view.housekeeping else None


def _recorded(pair: Pair) -> Step | None:
    """A rollback is recorded before it begins, and stays one until it is done."""
    return None if pair.record.phase is Phase.ROLLBACK else pair.roll_back("rollback", "asked for")


def _old_attached(pair: Pair) -> Step | None:
    """First of all O gets back what it served: its sick nodes are replaced, it has its target groups."""
    if step := pair.resume(frozenset({REPLACE})):
        return step
    missing = pair.record.old_targets - pair.old.targets
    return Act("rollback", AttachTargets(pair.region, pair.old.name, missing)) if missing else None


def _old_stays(pair: Pair) -> Step | None:
    """Those that use O's services hear that it stays before N, which they may use by now, goes; but not for ever."""
    registry = pair.view.registry
    if registry and registry.unsay:
        return Act("rollback", registry.unsay[0])
    left = pair.view.terms.timeout - max(pair.view.held("registry lost", pair.now), 0)
    return Wait("rollback", registry.lost_told, pair.now + left) if registry and registry.lost and left > 0 else None


def _old_whole(pair: Pair) -> Step | None:
    """Nothing is taken from N before O was seen whole twice."""
    new, window = pair.new, pair.view.terms.window
    if not (new.targets or new.nodes or new.desired) or pair.view.steady("old whole", pair.now):
        return None
    nodes = sum(node.up and node.serves(pair.record.old_targets) for node in pair.old.nodes)
    why = f"{pair.old.name} has to be whole in two observations: {nodes} of {pair.old.desired} nodes ready"
    return Wait("rollback", why, pair.now + window)


def _old_scales(pair: Pair) -> Step | None:
    if pair.view.alarms:
        return Act("rollback", pair.view.alarms[0])
    return pair.resume(frozenset({ALARMS}))


def _new_detached(pair: Pair) -> Step | None:
    if pair.new.targets:
        return Act("rollback", DetachTargets(pair.region, pair.new.name, pair.new.targets))
    draining = pair.new.registered
    return Wait("rollback", f"{counted(draining)} of {pair.new.name} draining") if draining else None


def _new_empty(pair: Pair) -> Step | None:
    new = pair.new
    if new.sizes != EMPTY:
        return Act("rollback", Resize(pair.region, new.name, 0, 0, 0))
    return Wait("rollback", f"{counted(len(new.nodes))} of {new.name} being terminated") if new.nodes else None


def _old_unpinned(pair: Pair) -> Step | None:
    """O's own sizes, while no schedule of its own can have changed them since; then it is left to itself."""
    own, old = pair.record.own, pair.old
    if own and SCHEDULED in old.suspended and (old.min, old.max) != (own.min, own.max):
        return Act("rollback", Resize(pair.region, old.name, own.min, own.max))
    return pair.resume(PINNED)


def _new_gone(pair: Pair) -> Step:
    new = pair.new
    if pair.record.from_kept:
        return Act("rollback", Enter(pair.region, new.name, Phase.KEPT, pair.now))
    return Act("rollback", DeleteAsg(pair.region, new.name))


_JOINED: tuple[Row, ...] = (_claim, _pin, _grow, _attach, _bake, _match, _cut, _hold, _heard, _retire)
_SEVERED: tuple[Row, ...] = (_sick, _cut, _hold, _heard, _retire)
_FORWARD: tuple[Row, ...] = (_too_late, _retired)
_UNDO: tuple[Row, ...] = (
    *(_recorded, _old_attached, _old_stays, _old_whole, _old_scales),
    *(_new_detached, _new_empty, _old_unpinned, _new_gone),
)
