"""What is told while groups are rolled out: a live table on a terminal, lines elsewhere."""

from dataclasses import dataclass, field

import pytest

from nodepkg.autoscale.task import Standing
from nodepkg.cli.output import Output
from nodepkg.cli.progress import Screen
from nodepkg.cli.rollout_progress import Lines, LiveTable

WHY = "0 of 2 nodes ready; i-0123456789abcdef0: status checks initializing"
GROWS = Standing("12_04-bee", "grow", WHY, "12_04-bee-v002", 0, 2, 2, deadline=1900.0)


@dataclass
class Drawn:
    """A live table on a terminal of this width, at second 1000 by AWS's clock and 5 by its own."""

    width: int
    drawn: list[str] = field(default_factory=list)
    at: float = 0.0

    def __post_init__(self) -> None:
        screen = Screen(self.drawn.append, lambda: self.width)
        self.table = LiveTable(Output(), screen, lambda: 1000.0, lambda: self.at)

    def lines(self) -> list[str]:
        self.at += 5
        self.table.tick(3)
        return self.drawn[-1].splitlines()


def test_a_group_has_a_line_with_its_state_nodes_and_time() -> None:
    shown = Drawn(120)
    shown.table.began("12_04-bee")
    shown.table.stands(GROWS)
    head, line, counts = shown.lines()
    assert head.split() == ["group", "time", "state", "ready", "old", "left"]
    assert line.split()[:6] == ["12_04-bee", "5s", "grow", "0/2", "2", "15m00s"]
    assert line.split(maxsplit=6)[-1] == "i-0123456789abcdef0: status checks initializing"
    assert counts == "1 under way, 3 waiting"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    shown = Drawn(width)
    shown.table.began("12_04-bee")
    shown.table.stands(GROWS)
    assert all(len(line) < width for line in shown.lines())


def test_what_has_ended_is_told_once_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Drawn(80)
    shown.table.began("bee")
    shown.at = 65
    shown.table.ended("bee", "updated", "updated")
    assert capsys.readouterr().err == "bee: updated (after 1m05s)\n"
    assert shown.lines() == ["3 waiting, 1 updated"]


def test_elsewhere_there_is_a_line_for_each_change_of_state(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(Output())
    for one in (GROWS, GROWS, Standing("12_04-bee", "bake", "nodes have to stay healthy", "12_04-bee-v002", 2, 2, 2)):
        lines.stands(one)
    assert capsys.readouterr().err.splitlines() == [
        f"[12_04-bee] grow: 12_04-bee-v002: {WHY}; 2 old",
        "[12_04-bee] bake: nodes have to stay healthy; 12_04-bee-v002: 2 of 2 nodes ready; 2 old",
    ]


def test_a_group_that_is_to_have_no_nodes_yet_is_not_told_to_lack_some(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(Output()).stands(Standing("bee", "pin", "suspend AZRebalance of bee-v001", "bee-v002", old=1))
    assert capsys.readouterr().err == "[bee] pin: suspend AZRebalance of bee-v001; 1 old\n"
