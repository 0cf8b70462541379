"""One converge of this node, as its agent runs it: never two at a time, those of instance:deploy included.

The protocol of the folder is that of a deploy's script (fleet/node.py, templates/deploy): whoever has the lock, and
finds that what its last line names does not live, is alone. The supervisor that is started holds the lock and outlives
the agent; while the agent lives it holds the lock as well, until dna.json is as it was.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from nodepkg.clients import processes, supervised
from nodepkg.clients.processes import Process
from nodepkg.clients.supervised import AGENT, Supervisor
from nodepkg.errors import NodepkgError, ToolError
from nodepkg.services import kept
from nodepkg.services.dna import Dna, DnaFile

# The supervisor gives a command that is past its time 30 s more, and has to write down how it ended.
GRACE_SECONDS = 40.0
KEPT_LOGS = 10
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Result(StrEnum):
    """How a converge ended. `LOST`: nobody saw how, as after a crash of the machine."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    LOST = "lost"


@dataclass(frozen=True)
class Ended:
    """`code` is the command's exit code, None if nobody knows it. `problem`: why dna.json is not as it was before."""

    result: Result
    code: int | None
    token: str
    problem: str = ""


@dataclass(frozen=True)
class Claim:
    """A line of `lock` or of a record, as far as it names who runs."""

    deploy: str
    token: str
    process: Process

    def lives(self, boot: str) -> bool:
        return self.process.boot == boot and not processes.is_gone(self.process)


@dataclass(frozen=True)
class Converge:
    """How this node is converged. `timeout` is in seconds, and so are `retry` and `grace`, which are for tests.

    `clock` is one that goes on while the machine is suspended, as the registry's leases do.
    """

    home: Path
    path: str
    command: str
    timeout: float
    retry: float = 1.0
    grace: float = GRACE_SECONDS
    clock: Callable[[], float] = processes.seconds_since_boot

    @property
    def folder(self) -> Path:
        """Where the record is, and the output of each run as `<token>.log`."""
        return self.home / "deploys" / AGENT

    async def start(self, token: str, dna: Dna) -> "Running":
        """Begins a converge as soon as no other one runs here. `token` names it, and is unlike any other.

        Whoever starts one asks for its result, since until then the node is not free. Raises ToolError if dna.json is
        not what a bundle has, or nothing can be written; then nothing was run.
        """
        if not _WORD.fullmatch(token):
            raise ValueError(f"not the token of a converge: {token!r}")
        lock = await self._claim()
        try:
            DnaFile(Path(self.path)).change(dna)
            try:
                kept.forget_maps(Path(self.path), dna.attribute, dna.maps)
                supervisor = self._supervise(token, lock)
            except ToolError:
                self.restore(dna)
                raise
        except BaseException:
            lock.close()
            raise
        return Running(self, token, dna, supervisor, lock)

    def last(self) -> Ended | None:
        """How the last converge of this node's agent ended; None if there was none, or it runs. Ask after `idle`."""
        words = _last(self.folder / "record").split()
        if len(words) == 5 and words[0] == "running":
            claim = _claim(AGENT, *words[1:])
            return None if claim and claim.lives(_this_boot()) else Ended(Result.LOST, None, words[1])
        return _ended(words)

    async def idle(self) -> None:
        """Returns when nothing converges on this node. What an agent that was killed has left is ended past its time.

        Raises ToolError if the folder cannot be written.
        """
        (await self._claim()).close()

    async def settle(self, dna: Dna) -> str:
        """`idle`, and then `restore`: for the converge of an agent that was killed."""
        with await self._claim():
            return self.restore(dna)

    def restore(self, dna: Dna) -> str:
        """For who has the lock, after a converge: nothing is to be deleted any more. Why not, "" if so."""
        try:
            DnaFile(Path(self.path)).restore(dna)
            kept.forget_deleted(Path(self.path), dna.attribute)
        except NodepkgError as error:  # the next converge meets it, too, and cannot begin
            return error.message
        return ""

    async def _claim(self) -> BinaryIO:
        """The lock, when nobody else converges."""
        while True:
            with ExitStack() as held:
                if lock := self._take():
                    held.enter_context(lock)
                claim = _claimed(_last(self.home / "lock"))
                lives = claim is not None and claim.lives(_this_boot())
                if lock and not lives:
                    held.pop_all()
                    return lock
                if claim and lives:
                    self._end_late(claim)
            await asyncio.sleep(self.retry)

    def _take(self) -> BinaryIO | None:
        try:
            for folder in (self.home, self.folder.parent, self.folder):
                folder.mkdir(mode=0o700, exist_ok=True)
            return supervised.lock(self.home / "lock")
        except OSError as error:
            raise self._unwritable(error) from error

    def _end_late(self, claim: Claim) -> None:
        """Ends what an agent started that is no more, if its time is long over."""
        if claim.deploy == AGENT and self.clock() > processes.started_at(claim.process) + self.timeout + self.grace:
            session = processes.session_of(claim.process.pid)
            if session and session != os.getsid(0):
                supervised.kill_session(session)

    def _supervise(self, token: str, lock: BinaryIO) -> Supervisor:
        boot = _this_boot()
        try:
            self._forget_logs()
            # As a deploy's script does: what stands in them is done with.
            for path in (self.folder / "record", self.home / "lock", self.folder / f"{token}.log"):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            return Supervisor(self.home, token, self.command, boot=boot, timeout=self.timeout, lock=lock)
        except OSError as error:
            raise self._unwritable(error) from error

    def _forget_logs(self) -> None:
        logs = sorted(self.folder.glob("*.log"), key=lambda log: log.stat().st_mtime)
        for log in logs[: -(KEPT_LOGS - 1)]:
            log.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> ToolError:
        return ToolError(
            f"a converge cannot be started: {error.filename or self.home}: {error.strerror}",
            hint="the agent runs as root, and needs room on the disk",
        )


class Running:
    """A converge that was started. It goes on whatever becomes of who waits for it."""

    def __init__(self, converge: Converge, token: str, dna: Dna, supervisor: Supervisor, lock: BinaryIO) -> None:
        self.token = token
        self._converge, self._dna = converge, dna
        self._supervisor, self._lock = supervisor, lock
        self._until = converge.clock() + converge.timeout + converge.grace
        self._killed = False

    @property
    def log(self) -> Path:
        """The file that has what it wrote."""
        return self._converge.folder / f"{self.token}.log"

    async def result(self) -> Ended:
        """How it ended. Afterwards another one may begin, and dna.json does not say any more that something is to go.

        Raises ToolError if the command could not be begun. Whoever is cancelled here leaves it running.
        """
        with self._lock:
            for pause in _pauses():
                if self._is_over():
                    break
                await asyncio.sleep(pause)
            problem = self._converge.restore(self._dna)
            return replace(self._ended(), problem=problem)

    def _is_over(self) -> bool:
        """Whether neither supervisor nor command runs; what is long past its time is ended."""
        ended = self._supervisor.code is not None
        claim = _claimed(_last(self._converge.home / "lock"))
        lives = claim is not None and claim.token == self.token and claim.lives(_this_boot())
        if ended and not lives:
            return True
        if self._converge.clock() > self._until:
            self._killed = True
            supervised.kill_session(self._supervisor.session)
        return False

    def _ended(self) -> Ended:
        record = self._converge.folder / "record"
        words = _last(record).split()
        if (ended := _ended(words)) and ended.token == self.token:
            return ended
        if self._killed:
            with suppress(OSError), record.open("a") as file:
                file.write(f"timeout {self.token} 137 .\n")
            return Ended(Result.TIMED_OUT, 137, self.token)
        if not words and (self._supervisor.code or 0) > 0:
            raise ToolError(f"the converge {self.token} could not be begun", hint=f"has {record} room on its disk?")
        return Ended(Result.LOST, None, self.token)


_RESULTS = {"succeeded": Result.SUCCEEDED, "failed": Result.FAILED, "timeout": Result.TIMED_OUT}


def _ended(words: Sequence[str]) -> Ended | None:
    """What a line of a record says, if it is one of the end."""
    if len(words) != 3 or words[0] not in _RESULTS or not words[2].isdigit():
        return None
    return Ended(_RESULTS[words[0]], int(words[2]), words[1])


def _claim(deploy: str, token: str, boot: str, pid: str, started: str) -> Claim | None:
    if not (pid.isdigit() and started.isdigit()):
        return None
    # A node's script does not say of which namespace they are: that of whoever reads it.
    return Claim(deploy, token, Process(boot, processes.this_process().namespace, int(pid), started))


def _claimed(line: str) -> Claim | None:
    """What a line of the lock says: deploy, token, stage, boot, process, its start."""
    words = line.split()
    return _claim(*words[:2], *words[3:]) if len(words) == 6 else None


def _last(path: Path) -> str:
    """The last line that was written whole, without its mark; "" if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}", hint="the agent runs as root") from error
    return next((line.removesuffix(" .") for line in reversed(lines) if line.endswith(" .")), "")


def _this_boot() -> str:
    boot = processes.this_process().boot
    if not boot:
        raise ToolError(
            "this machine does not tell who its processes are", hint="a converge needs Linux, and its /proc"
        )
    return boot


def _pauses() -> Iterator[float]:
    """Short ones for what ends at once, then such that cost nothing."""
    pause = 0.02
    while True:
        yield pause
        pause = min(pause * 1.5, 0.5)
