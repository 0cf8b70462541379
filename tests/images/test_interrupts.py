"""Ctrl-C as a number."""

import os
import signal
import subprocess
import sys

import pytest

from nodepkg.images.interrupts import Interrupts


def test_signals_are_counted_and_raise_only_where_somebody_waits() -> None:
    times = iter([0.0, 10.0, 20.0])
    interrupts = Interrupts(clock=lambda: next(times))
    with interrupts.counted():
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.count == 1
        with pytest.raises(KeyboardInterrupt), interrupts.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert interrupts.count == 3


def test_several_signals_at_once_are_one_wish() -> None:
    """A terminal that closes sends SIGHUP to the shell, which sends it on, and the kernel sends one, too."""
    times = iter([5.0, 5.2, 5.4])
    interrupts = Interrupts(clock=lambda: next(times))
    for _ in range(3):
        interrupts.heard()
    assert interrupts.count == 1


def test_whoever_presses_again_and_again_is_heard() -> None:
    times = iter([5.0, 5.4, 5.8, 6.2])
    interrupts = Interrupts(clock=lambda: next(times))
    for _ in range(4):
        interrupts.heard()
    assert interrupts.count == 2


def test_what_was_done_with_a_signal_before_is_done_again_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Interrupts().counted():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    program = """
import os, signal
from nodepkg.images.interrupts import Interrupts
signal.signal(signal.SIGHUP, signal.SIG_IGN)
interrupts = Interrupts()
with interrupts.counted():
    os.kill(os.getpid(), signal.SIGHUP)
print(interrupts.count)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
