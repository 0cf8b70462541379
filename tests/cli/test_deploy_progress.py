"""What a deploy shows while it runs."""

import pytest

from nodepkg.cli.deploy_progress import Lines, LiveTable
from nodepkg.cli.layout import cells
from nodepkg.cli.output import Output
from nodepkg.cli.progress import Screen
from nodepkg.fleet.course import Counts
from nodepkg.fleet.host import Host


def hosts(number: int) -> list[Host]:
    return [
        Host(f"i-{n:017}", "12_04-bee", "us-east-1", "us-east-1a", f"bee-{n}", "", "10.0.0.1") for n in range(number)
    ]


@pytest.mark.parametrize("width", [20, 60, 200])
def test_of_many_hosts_the_table_shows_what_fits_and_counts(width: int) -> None:
    drawn: list[str] = []
    table = LiveTable(Output(), Screen(drawn.append, lambda: width), height=lambda: 12, clock=lambda: 100.0)
    for host in hosts(50):
        table.stands(host, "converging")
        table.wrote(host, b"Starting Chef\n  * package[nginx] action install\x1b[2J\n\n")
    table.tick(lambda: Counts({"waiting": 440, "converging": 50, "succeeded": 8, "failed": 2}))
    (text,) = drawn
    lines = text.split("\n")
    assert len(lines) == 10
    assert "and 42 more" in lines[-2]
    assert all(cells(line) <= width for line in lines)
    assert "\x1b" not in text
    assert lines[-1].startswith("500 hosts: 2 failed" if width == 20 else "2 failed, 50 converging")


def test_what_a_host_wrote_goes_with_its_stage() -> None:
    drawn: list[str] = []
    table = LiveTable(Output(), Screen(drawn.append, lambda: 80), clock=lambda: 100.0)
    (host,) = hosts(1)
    table.stands(host, "converging")
    table.wrote(host, b"E: broken\n")
    table.stands(host, "converging")
    assert "E: broken" in table.drawn(Counts())
    table.stands(host, "failed, being checked")
    assert "E: broken" not in table.drawn(Counts())
    assert "failed, being checked" in table.drawn(Counts())


def test_of_those_that_end_the_table_tells_what_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    table = LiveTable(Output(), Screen(lambda text: None, lambda: 80), clock=lambda: 100.0)
    good, bad = hosts(2)
    for host in (good, bad):
        table.stands(host, "converging")
    table.ended(good, "succeeded", "succeeded")
    table.ended(bad, "failed", "failed: boom")
    assert capsys.readouterr().err == "12_04-bee bee-1 i-00000000000000001: failed: boom (after 0s)\n"


def test_without_a_terminal_each_change_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines, (host,) = Lines(Output()), hosts(1)
    lines.stands(host, "converging")
    lines.stands(host, "converging")
    lines.ended(host, "succeeded", "succeeded")
    assert capsys.readouterr().err.splitlines() == [
        "[12_04-bee] bee-0 i-00000000000000000: converging",
        "[12_04-bee] bee-0 i-00000000000000000: succeeded",
    ]
