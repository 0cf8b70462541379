"""Rollouts of groups whose nodes announce services: on an AWS and a registry in memory, in virtual time."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from nodepkg.autoscale.registered import by
from nodepkg.autoscale.runner import Runner
from nodepkg.autoscale.steps import Change
from nodepkg.autoscale.task import Order, Result, Standing, Task
from nodepkg.autoscale.view import Terms
from nodepkg.images.interrupts import Interrupts
from nodepkg.services.entries import Leaving
from tests.autoscale.registers import DOWN, MEMBERSHIP, Register, Registering
from tests.autoscale.skies import TERMS, Killed, Sky, undo, update
from tests.autoscale.test_runner import Told

NEW, OLD = "bee-v002", "bee-v001"


def updating(run: str = "run-1", terms: Terms = TERMS) -> Task:
    return update(run=run, terms=terms, membership=MEMBERSHIP)


def undoing() -> Task:
    return replace(undo(), membership=MEMBERSHIP)


class At(Told):
    """Does something when a row is reached for the first time."""

    def __init__(self, row: str, then: Callable[[], object]) -> None:
        super().__init__()
        self.row, self.then, self.done = row, then, False

    def stands(self, standing: Standing) -> None:
        super().stands(standing)
        if standing.state == self.row and not self.done:
            self.done = True
            self.then()


class Scene:
    """A group that serves with two nodes."""

    def __init__(self, **register: object) -> None:
        self.sky = Sky()
        self.old = self.sky.serve("bee")
        self.register = Register(self.sky, **register)  # type: ignore[arg-type]
        self.told = Told()
        self.moments: list[float] = []

    def process(self, **more: object) -> Registering:
        return Registering(self.sky, register=self.register, **more)  # type: ignore[arg-type]

    def run(self, task: Task, process: Registering | None = None) -> Result:
        runner = Runner(process or self.process(), Order([task]), self.told, Interrupts())
        runner.run()
        return runner.results["bee"]

    @property
    def asgs(self) -> list[str]:
        return list(self.sky.fleets["bee"])


def timed(scene: Scene) -> Registering:
    """A process that notes when hold begins, and when O gives up its nodes."""

    def note(change: Change) -> None:
        if str(change) in (f"note on {NEW}: hold", f"set {OLD} to 0 nodes"):
            scene.moments.append(scene.sky.now)

    return scene.process(after=note)


def held(scene: Scene) -> float:
    """For how many seconds O was in hold."""
    began, ended = scene.moments
    return ended - began


def test_a_node_is_ready_when_it_has_announced_its_services() -> None:
    scene = Scene(late=200.0)
    process = scene.process()
    assert scene.run(updating(), process).result == "updated"
    whys = {one.why for one in scene.told.standings if one.state == "grow"}
    assert any(why.endswith("api, workers not announced") for why in whys), whys
    born = max(machine.born for machine in scene.sky.fleets["bee"][NEW].machines)
    assert scene.sky.now - born > 200


def test_a_group_that_never_announces_goes_back_and_nobody_is_said_to_leave() -> None:
    scene = Scene(silent={NEW})
    result = scene.run(updating())
    assert result.result == "rolled back"
    assert "not announced" in str(result.error)
    assert (scene.asgs, scene.register.leaving) == ([OLD], {})


def test_hold_ends_when_all_have_acknowledged() -> None:
    scene = Scene()
    assert scene.run(updating(), timed(scene)).result == "updated"
    assert scene.sky.drain <= held(scene) < scene.sky.drain + 15 + 10
    assert (scene.asgs, scene.register.leaving) == ([NEW], {})


def test_who_has_not_acknowledged_is_waited_for_as_long_as_the_timeout() -> None:
    scene = Scene(users={"i-user": 15.0, "i-deaf": 10_000.0})
    assert scene.run(updating(), timed(scene)).result == "updated"
    assert TERMS.timeout - 1 < held(scene) < TERMS.timeout + 20
    assert "i-deaf has not acknowledged yet" in [one.why for one in scene.told.standings if one.state == "hold"]
    assert scene.register.leaving == {}


def test_the_whole_timeout_may_be_asked_for() -> None:
    scene = Scene()
    assert scene.run(updating(terms=replace(TERMS, wait_full=True)), timed(scene)).result == "updated"
    assert TERMS.timeout - 1 < held(scene) < TERMS.timeout + 20


def test_nodes_that_the_registry_does_not_know_are_given_the_whole_timeout() -> None:
    scene = Scene(silent={OLD})
    assert scene.run(updating(), timed(scene)).result == "updated"
    assert TERMS.timeout - 1 < held(scene) < TERMS.timeout + 20


@pytest.mark.parametrize("row", ["pin", "grow", "attach", "bake", "match"])
def test_a_registry_that_is_lost_before_the_cut_lets_the_new_group_go_back(row: str) -> None:
    scene = Scene()
    scene.told = At(row, lambda: setattr(scene.register, "down", True))
    result = scene.run(updating())
    assert result.result == "rolled back"
    assert DOWN in str(result.error)
    assert f"bee: the registry of services cannot be asked: {DOWN}" in scene.told.notes
    assert (scene.asgs, scene.register.leaving) == ([OLD], {})
    assert scene.sky.leastserving["bee"] == 2


@pytest.mark.parametrize("row", ["cut", "hold", "retire", "done"])
def test_a_registry_that_is_lost_later_costs_the_whole_timeout_and_no_more(row: str) -> None:
    scene = Scene()
    scene.told = At(row, lambda: setattr(scene.register, "down", True))
    assert scene.run(updating(), timed(scene)).result == "updated"
    assert scene.asgs == [NEW]
    if row == "hold":
        assert TERMS.timeout - 1 < held(scene) < TERMS.timeout + 20
    assert f"bee: the registry of services cannot be asked: {DOWN}" in scene.told.notes
    scene.register.down = False
    scene.run(updating("run-2"))
    assert scene.register.leaving == {}


def test_a_registry_that_is_lost_for_a_moment_after_the_deadline_sends_nobody_back() -> None:
    scene = Scene()
    lost: list[float] = []

    def look(_: int) -> None:
        new = scene.sky.fleets["bee"].get(NEW)
        late = new is not None and scene.sky.now > float(new.tags.get("nodepkg:deadline", "inf"))
        scene.register.down = late and not lost
        lost.extend([scene.sky.now] if scene.register.down else [])

    terms = replace(TERMS, ready_timeout=80)
    assert scene.run(updating(terms=terms), scene.process(on_look=look)).result == "updated"
    assert lost
    states = [state for _, state in scene.told.states]
    assert states[states.index("bake") + 1 :][:2] == ["grow", "bake"]


def test_a_registry_that_comes_back_in_hold_is_told_and_shortens_it_again() -> None:
    scene = Scene()

    def look(_: int) -> None:
        scene.register.down = len(scene.moments) == 1 and scene.sky.now < scene.moments[0] + 60

    process = timed(scene)
    process.on_look = look
    assert scene.run(updating(), process).result == "updated"
    assert 60 < held(scene) < 60 + 15 + 15
    assert scene.register.leaving == {}


def test_a_registry_that_takes_nothing_costs_the_whole_timeout_and_no_more() -> None:
    scene = Scene(read_only=True)
    assert scene.run(updating(), timed(scene)).result == "updated"
    assert TERMS.timeout - 1 < held(scene) < TERMS.timeout + 20
    assert any(note.startswith("bee: left as it is: announce in the registry") for note in scene.told.notes)


def test_a_rollback_takes_back_what_was_said_before_the_new_group_goes() -> None:
    scene = Scene(users={"i-deaf": 10_000.0})
    process = scene.process(after=lambda change: Killed() if "announce" in str(change) else None)
    with pytest.raises(Killed):
        scene.run(updating(), process)
    assert set(scene.register.leaving) == {machine.id for machine in scene.old.machines}
    back = scene.process(takes_over=True)
    assert scene.run(undoing(), back).result == "rolled back"
    assert (scene.asgs, scene.register.leaving) == ([OLD], {})
    said = [change for _, change in back.changes]
    taken = said.index(f"take back from the registry that 2 nodes of {OLD} will leave")
    assert said.index(f"detach web from {NEW}") > taken > said.index(f"attach web to {OLD}")


def test_a_rollback_without_the_registry_waits_no_longer_than_the_timeout_and_what_it_said_is_taken_back_later() -> (
    None
):
    scene = Scene(users={"i-deaf": 10_000.0})
    with pytest.raises(Killed):
        scene.run(updating(), scene.process(after=lambda change: Killed() if "announce" in str(change) else None))
    scene.register.down = True
    began = scene.sky.now
    assert scene.run(undoing(), scene.process(takes_over=True)).result == "rolled back"
    assert scene.sky.now - began > TERMS.timeout
    assert scene.register.leaving
    scene.register.down = False
    scene.run(undoing())
    assert scene.register.leaving == {}


def test_a_rollback_that_the_registry_does_not_take_waits_no_longer_than_the_timeout() -> None:
    scene = Scene(users={"i-deaf": 10_000.0})
    with pytest.raises(Killed):
        scene.run(updating(), scene.process(after=lambda change: Killed() if "announce" in str(change) else None))
    scene.register.read_only = True
    began = scene.sky.now
    assert scene.run(undoing(), scene.process(takes_over=True)).result == "rolled back"
    assert TERMS.timeout < scene.sky.now - began < 2 * TERMS.timeout + 60
    scene.register.read_only = False
    scene.run(undoing())
    assert scene.register.leaving == {}


def test_what_a_node_says_itself_is_not_taken_back() -> None:
    scene = Scene(users={"i-deaf": 10_000.0})
    first = scene.old.machines[0].id
    scene.register.leaving[first] = (Leaving(first, "agent", ""), scene.sky.now)
    with pytest.raises(Killed):
        scene.run(updating(), scene.process(after=lambda change: Killed() if "hold" in str(change) else None))
    assert scene.run(undoing(), scene.process(takes_over=True)).result == "rolled back"
    assert set(scene.register.leaving) == {first}


def killed_at(number: int) -> Callable[[Change], BaseException | None]:
    left = iter(range(number))
    return lambda _: None if next(left, None) is not None else Killed()


@pytest.mark.parametrize("late", [0.0, 25.0])
def test_whoever_goes_on_leaves_nothing_over_wherever_one_was_killed(late: float) -> None:
    """`late`: how long AWS takes to terminate nodes, shorter or longer than their lease lasts."""
    for number in range(100):
        scene = Scene()
        scene.sky.termination = late + 5
        try:
            scene.run(updating(), scene.process(after=killed_at(number)))
        except Killed:
            pass
        else:
            assert number > 15
            break
        assert scene.run(updating("run-2"), scene.process(takes_over=True)).result in ("updated", "up to date")
        assert (scene.asgs, scene.register.leaving) == ([NEW], {}), number
        assert scene.sky.leastserving["bee"] == 2
    else:
        pytest.fail("it never ended")


def test_whoever_undoes_leaves_nothing_over_wherever_one_was_killed() -> None:
    for number in range(100):
        scene = Scene()
        try:
            scene.run(updating(), scene.process(after=killed_at(number)))
        except Killed:
            pass
        else:
            break
        back = OLD in scene.asgs and scene.sky.fleets["bee"][OLD].desired > 0
        scene.run(undoing(), scene.process(takes_over=True))
        if not back:
            scene.run(updating("run-3"), scene.process(takes_over=True))
        assert (scene.asgs, scene.register.leaving) == ([OLD if back else NEW], {}), number
    else:
        pytest.fail("it never ended")


def test_a_group_without_services_asks_no_registry() -> None:
    scene = Scene()
    assert scene.run(update()).result == "updated"
    assert (scene.register.looks, scene.register.leaving) == (0, {})


def test_all_processes_of_a_group_speak_with_one_name() -> None:
    assert by("bee") == "autoscale:update bee"
