"""An interactive shell under a pseudo-terminal: keys go in, and what its screen shows is looked at."""

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pexpect
import pyte

# The first command of each: the shortest prompt, and nothing on the screen but what is asked for.
PREPARE = {
    "bash": "PS1='> '; bind 'set bell-style none'",
    "zsh": "PROMPT='> '; RPROMPT=; unsetopt beep",
    "fish": "function fish_prompt; echo -n '> '; end; set -g fish_autosuggestion_enabled 0",
}
SECONDS = 60  # for what takes a fraction of one, on a machine that has other things to do
COLUMNS, LINES = 160, 60


class Terminal:
    """One shell and its screen."""

    def __init__(self, shell: str, folder: Path, environ: Mapping[str, str]) -> None:
        self._runs = 0
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._process = pexpect.spawn(
            shell, ["-i"], cwd=str(folder), env={**environ, "TERM": "xterm"}, dimensions=(LINES, COLUMNS)
        )
        self._process.delaybeforesend = None
        self._process.ptyproc.delayafterterminate = 5  # seconds, on a machine that has other things to do
        self.run(PREPARE[shell])

    def run(self, command: str) -> None:
        """A command that prints nothing; the screen is empty after it."""
        self._runs += 1  # so that what is waited for cannot be what was there before
        self._process.send(f"{command}; clear; echo re''ady {self._runs}\r")
        self.until(rf"\Aready {self._runs}\n>\Z")

    def start_over(self) -> None:
        """Gives up the line that was begun."""
        self._process.send("\x05\x15")  # to the end of the line, and all of it away
        self.run(":")

    def type(self, keys: str) -> None:
        self._process.send(keys)

    def until(self, pattern: str) -> str:
        """The screen as soon as it shows the pattern; an AssertionError with the screen if it never does."""
        end = time.monotonic() + SECONDS
        while not re.search(pattern, self.shown, re.MULTILINE):
            if time.monotonic() > end or not self._process.isalive():
                raise AssertionError(f"the screen never showed {pattern}:\n{self.shown}")
            self._read()
        return self.shown

    def completed(self, line: str) -> str:
        """Types the line and a TAB; the lines that the screen then shows after the prompt, the typed one first.

        A blank that was added at the end is shown as `·`.
        """
        self.type(f"{line}\t·")
        shown = self.until("·")
        self.start_over()
        return shown.partition("> ")[2]

    def listed(self, line: str, words: Iterable[str]) -> str:
        """Types the line and TABs as one does to see what there is; the screen when it shows all the words."""
        self.type(f"{line}\t\t")
        shown = [self.until(re.escape(word)) for word in words][-1]
        self.start_over()
        return shown

    def _read(self) -> None:
        try:
            read = self._process.read_nonblocking(65536, timeout=0.2)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return
        self._stream.feed(read)
        if re.search(rb"\x1b\[0?c", read):  # fish 4 asks the terminal what it is, and waits for the answer
            self.type("\x1b[?62;22c")

    @property
    def shown(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def close(self) -> None:
        self._process.close(force=True)
