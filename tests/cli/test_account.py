"""Which AWS a call talks to, and what follows for the call."""

import pytest

from nodepkg.cli.account import window
from nodepkg.cli.options import Call
from nodepkg.cli.output import Output


def call(*, sandbox: bool) -> Call:
    return Call(Output(), sandbox=sandbox)


def test_only_the_embedded_aws_shows_at_once_what_is_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODEPKG_CONSISTENCY_SECONDS")
    assert window(call(sandbox=True)) == 0
    assert window(call(sandbox=False)) == 10


@pytest.mark.parametrize("sandbox", [False, True])
def test_a_window_that_is_told_counts_everywhere(monkeypatch: pytest.MonkeyPatch, sandbox: bool) -> None:
    monkeypatch.setenv("NODEPKG_CONSISTENCY_SECONDS", "2.5")
    assert window(call(sandbox=sandbox)) == 2.5
