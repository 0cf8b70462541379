"""Agents as processes, each a node with files of its own, and what they converge with."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services.nodes import write

SECONDS = 60.0  # what is waited for comes long before, on a machine that has nothing else to do


def eventually(what: Callable[[], object], why: Callable[[], object] = lambda: "") -> Any:
    """The first true value of it."""
    until = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < until, why()
        time.sleep(0.02)
    return found


@dataclass
class AgentNode:
    """A node whose converge writes into `ran`: a line with start and end of each, and the maps that it was given."""

    folder: Path
    name: str
    said: dict[str, Any]
    environ: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.file, self.home = self.folder / "services.json", self.folder / "home"

    @property
    def ran(self) -> Path:
        return self.folder / "ran"

    def write(self, **said: Any) -> None:
        """services.json, with what is said anew."""
        self.said = {**self.said, **said}
        command = self.said.get("command") or self.recording()
        write(self.file, **{**self.said, "path": str(self.folder), "command": command})

    def recording(self, seconds: float = 0.0, code: int = 0, shared: Path | None = None) -> str:
        """A command that records, in `ran` and, as start and end, in a file that nodes share."""
        both = f"tee -a {shared} >/dev/null" if shared else "cat >/dev/null"
        return (
            f"echo start {self.name} | {both}; sleep {seconds}; tr -d '\\n' <{self.folder}/dna.json >>{self.ran};"
            f" echo >>{self.ran}; echo end {self.name} | {both}; exit {code}"
        )

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = self._run("service:agent", stderr=log)

    def command(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Another command on this node, and its end."""
        process = self._run(name, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out.decode(), err.decode())

    def _run(self, name: str, *arguments: str, **streams: Any) -> "subprocess.Popen[bytes]":
        node = ["--services", str(self.file), "--instance", self.name, "--address", f"host-{self.name}"]
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nodepkg",
                name,
                *arguments,
                *node,
                "--zone",
                "a",
                "--home",
                str(self.home),
            ],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.environ},
            **streams,
        )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after this signal."""
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        self.process = None
        return code

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What it has logged."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if not name or event["event"] == name]

    def said_that(self, name: str, count: int = 1, **facts: Any) -> dict[str, Any]:
        """Waits for an event of the log, with these facts, that comes so many times; the last of them."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events(name) if facts.items() <= event.items()]

        eventually(lambda: len(found()) >= count, lambda: (name, facts, (self.folder / "log").read_text()))
        return found()[count - 1]

    @property
    def given(self) -> list[dict[str, list[str]]]:
        """Of each converge: the hosts of each service."""
        lines = self.ran.read_text().splitlines() if self.ran.exists() else []
        return [
            {name: [one["host"] for one in listed] for name, listed in json.loads(line)["nodepkg"]["services"].items()}
            for line in lines
        ]

    def was_given(self, **services: list[str]) -> None:
        """Waits until a converge, the last, was given just these."""
        eventually(
            lambda: self.given and self.given[-1] == services, lambda: (self.given, (self.folder / "log").read_text())
        )


@contextmanager
def agents(folder: Path, *endpoints: str) -> Iterator[Callable[..., AgentNode]]:
    """Makes nodes that know these endpoints of etcd; their agents end with the block."""
    made: list[AgentNode] = []

    def node(name: str, *, run: bool = True, environ: Mapping[str, str] | None = None, **said: Any) -> AgentNode:
        one = AgentNode(folder / name, name, {"endpoints": endpoints, **said}, environ or {})
        one.write()
        (one.folder / "dna.json").write_text(json.dumps({"id": name, "run_list": [f"role[{name}]"]}))
        made.append(one)
        if run:
            one.start()
        return one

    try:
        yield node
    finally:
        for one in made:
            if one.process:
                one.process.kill()
                one.process.wait()
