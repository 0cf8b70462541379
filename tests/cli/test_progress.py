"""What is told while images are built."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepkg.cli.layout import cells
from nodepkg.cli.output import Output
from nodepkg.cli.progress import Lines, LiveLines, cut, elapsed, watching


@dataclass
class Screen:
    """What is drawn, and a clock that is set by hand."""

    width: int = 60
    now: float = 0.0
    drawn: list[str] = field(default_factory=list)

    def live(self) -> LiveLines:
        return LiveLines(Output(quiet=True), self.drawn.append, lambda: self.width, lambda: self.now)


def test_each_build_has_a_line_with_its_step_and_its_last_message() -> None:
    screen = Screen(width=100)
    live = screen.live()
    live.began("12_04-base", "x.log")
    live.began("www", "x.log")
    live.said("12_04-base", "==> amazon-ebs: Provisioning with shell script: /tmp/x", step=True)
    live.said("12_04-base", "    amazon-ebs: Setting up nginx", step=False)
    screen.now = 75
    live.tick(waiting=3)
    assert screen.drawn[-1].split("\n") == [
        "12_04-base   1m15s  Provisioning with shell script: /tmp/x  Setting up nginx",
        "www          1m15s  starting",
        "2 building, 3 waiting",
    ]


def test_what_has_ended_is_counted_and_has_no_line() -> None:
    screen = Screen()
    live = screen.live()
    for group in ("a", "b"):
        live.began(group, "x.log")
    live.ended("a", "built", "built ami-1")
    live.ended("c", "skipped", "skipped, since b failed")
    live.tick(waiting=0)
    assert screen.drawn[-1].split("\n") == ["b      0s  starting", "1 building, 1 built, 1 skipped"]


@given(
    st.integers(min_value=1, max_value=200),
    st.lists(st.tuples(st.text(min_size=1), st.text(), st.booleans()), max_size=5),
)
def test_no_line_is_wider_than_the_terminal(width: int, said: list[tuple[str, str, bool]]) -> None:
    screen = Screen(width=width)
    live = screen.live()
    for number, (_, line, step) in enumerate(said):
        live.began(f"group-{number}" * 5, "x.log")
        live.said(f"group-{number}" * 5, line, step=step)
    live.tick(waiting=1)
    lines = screen.drawn[-1].split("\n")
    assert len(lines) == len(said) + 1
    assert all(cells(line) < max(width, 21) for line in lines)


def test_it_is_drawn_a_few_times_a_second_only() -> None:
    screen = Screen()
    live = screen.live()
    for hundredths in range(100):
        screen.now = hundredths / 100
        live.tick(waiting=1)
    assert len(screen.drawn) == 4


def test_a_terminal_that_is_gone_ends_no_build() -> None:
    def broken(_: str) -> None:
        raise OSError(5, "Input/output error")

    LiveLines(Output(), broken, lambda: 60, lambda: 0.0).tick(waiting=1)


@given(st.text(), st.integers(min_value=0, max_value=30))
def test_what_is_cut_fits(text: str, width: int) -> None:
    shown = cut(text, width)
    assert cells(shown) <= width
    assert shown == text or cells(text) > width


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0s"), (59.9, "59s"), (192, "3m12s"), (3900, "1h05m")])
def test_times_are_short(seconds: float, shown: str) -> None:
    assert elapsed(seconds) == shown


def test_elsewhere_each_line_has_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(Output()) as watcher:
        assert isinstance(watcher, Lines)
        watcher.began("bee", "x.log")
        watcher.said("bee", "==> amazon-ebs: \x1b[31mWaiting", step=True)
        watcher.note("a note")
        watcher.ended("bee", "built", "built ami-1")
    assert capsys.readouterr().err.splitlines() == [
        "[bee] building; the log is x.log",
        "[bee] ==> amazon-ebs: \\x1b[31mWaiting",
        "a note",
        "[bee] built ami-1",
    ]


def test_json_has_a_line_each_and_quiet_none(capsys: pytest.CaptureFixture[str]) -> None:
    for out in (Output(json=True), Output(quiet=True)):
        with watching(out) as watcher:
            watcher.said("bee", "==> amazon-ebs: Waiting", step=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line) == {"level": "progress", "message": "==> amazon-ebs: Waiting", "group": "bee"}
