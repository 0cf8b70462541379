"""packer:run: several Packers side by side, followed by one loop without threads."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodepkg.clients.aws.account import CONSISTENCY_SECONDS
from nodepkg.clients.aws.images import Image
from nodepkg.clients.packer import Process
from nodepkg.clients.packer_output import Line, Outcome, Tail
from nodepkg.errors import AwsError, CredentialsError, NodepkgError, RefusedError
from nodepkg.images.build_log import BuildLog
from nodepkg.images.ended import Ended, Fate, failure, judge
from nodepkg.images.journal import Entry, Journal, Record
from nodepkg.images.leftovers import key_pair_name
from nodepkg.images.newest import belongs
from nodepkg.images.workbench import Build, Order, Result, Workbench
from nodepkg.pace import Pace, Progress, next_up, skipped

TICK_SECONDS = 0.1
WIND_DOWN_SECONDS = 60.0  # for the child of a Packer that was killed
KILLED_SECONDS = 5.0  # how long the system may take to end a process that was killed


@dataclass
class _Running:
    build: Build
    entry: Entry
    process: Process
    tail: Tail
    log: BuildLog
    since: float
    opened: ExitStack
    outcome: Outcome = field(default_factory=Outcome)
    ended: Ended | None = None
    ended_at: float = 0.0
    next_look: float = 0.0
    seen: Image | None = None
    adopted_at: float | None = None
    complaint: str = ""
    wound_down: float | None = None

    @property
    def image_name(self) -> str | None:
        return self.outcome.image_name


class Loop:
    """Carries out an order. `failed_builds` are those whose Packer failed, so that they may have left something behind:
    also those of which the image was adopted.
    """

    def __init__(self, bench: Workbench, order: Order) -> None:
        self._bench = bench
        self._order = order
        self._builds = {build.group: build for build in order.builds}
        self._journal = Journal(bench.root, warn=bench.watcher.note)
        self._starts = bench.starts()
        self._progress = Progress(failed=frozenset(order.refused))
        self._pace = Pace(order.at_once, max_errors=0 if order.fail_fast else None)
        self._running: dict[str, _Running] = {}
        self._heeded = 0
        self._kill_until = float("inf")
        self.results: dict[str, Result] = {}
        self.failed_builds: list[Build] = []
        self.killed: list[str] = []

    @property
    def interrupted(self) -> bool:
        return self._heeded > 0

    def run(self) -> None:
        """Returns when nothing runs any more; `results` has what was started or skipped."""
        with self._bench.interrupts.counted():
            try:
                self._tell_skipped()
                while self._step():
                    self._pause()
            finally:
                for running in self._running.values():  # after a bug: Packer still gets to clean up
                    if running.ended is None:
                        running.process.interrupt()
                    self._close(running)
        if self.interrupted:
            for name in self._builds:
                if name not in self.results:
                    self._keep(self._result(self._builds[name], "skipped", why="interrupted before it began"))

    def _step(self) -> bool:
        """One round; whether there is another one."""
        self._heed_interrupts()
        self._start_some()
        for running in list(self._running.values()):
            self._follow(running)
        waiting = 0 if self.interrupted else len(self._builds) - len(self.results) - len(self._running)
        self._bench.watcher.tick(waiting)
        return bool(self._running) or waiting > 0

    def _pause(self) -> None:
        try:
            with self._bench.interrupts.at_once():
                self._bench.sleep(TICK_SECONDS)
        except KeyboardInterrupt:
            return  # it is counted

    def _heed_interrupts(self) -> None:
        count = self._bench.interrupts.count
        if count == self._heeded:
            return
        self._heeded = count
        packing = [running for running in self._running.values() if running.ended is None]
        if count == 1 and packing:
            self._bench.watcher.note(
                "interrupted: Packer removes its temporary instance, key pair and security group; again Ctrl-C ends it"
            )
        elif packing:
            self._kill_until = min(self._kill_until, self._bench.clock() + KILLED_SECONDS)
        for running in packing:
            if count == 1:
                running.process.interrupt()
            else:
                running.process.kill()

    def _start_some(self) -> None:
        """One at a time, as EC2 takes them."""
        if self.interrupted:
            return
        ready = next_up(self._order.needs, self._progress, self._pace)
        if ready and self._starts.try_take():
            self._start(self._builds[ready[0]])

    def _start(self, build: Build) -> None:
        bench = self._bench
        log = _shown(bench.root, BuildLog.path(build.group, build.id))
        bench.watcher.began(build.group, log)
        with ExitStack() as opened:
            try:
                template, declared = bench.prepare(build, opened)
                variables = _variables(build, declared)
                entry = self._journal.begin(self._record(build, variables))
                opened.callback(entry.close)
                readable = opened.enter_context(BuildLog.open(bench.root, build.group, build.id))
                tail = Tail(self._journal.folder / f"{build.id}.out")
                opened.callback(tail.close)
                process = bench.packer.start(template, variables, entry.output)
                entry.output.close()  # from now on its lock says whether Packer has it open
            except (NodepkgError, OSError) as error:
                told = error if isinstance(error, NodepkgError) else _refused(build, error)
                self._journal.forget(build.id)
                self._fail(build, told, log=None, seconds=None)
                return
            running = _Running(build, entry, process, tail, readable, bench.clock(), opened.pop_all())
        self._running[build.group] = running
        self._progress = _with(self._progress, running=self._progress.running | {build.group})

    def _record(self, build: Build, variables: Mapping[str, str]) -> Record:
        return Record(
            build=build.id,
            group=build.group,
            region=build.region,
            template=build.template,
            digest=build.digest,
            commit=build.commit,
            started=self._bench.now(),
            log=str(BuildLog.path(build.group, build.id)),
            account=self._bench.account if build.visible else "",
            key_pair=variables.get("nodepkg_key_pair"),
        )

    def _follow(self, running: _Running) -> None:
        if running.ended is None:
            code = running.process.ended()
            if code is not None and code < 0 and self._goes_on(running):
                code = None
            if code is None and self._bench.clock() > self._kill_until:
                code = -9  # it was killed, and the system does not let go of it
            for line in running.tail.read(ended=code is not None):
                self._hear(running, line)
            if code is None:
                return
            running.ended = Ended.of(running.build, code, running.outcome)
            running.ended_at = running.next_look = self._bench.clock()
        self._look(running, running.ended)

    def _goes_on(self, running: _Running) -> bool:
        """Whether a Packer that somebody has killed works on in its child, which is told to end.

        Packer's child dies with its first word after that; a build that prints nothing might take hours until then.
        """
        build, now = running.build, self._bench.clock()
        if not self._journal.packs(build.id):
            return False
        if running.wound_down is None:
            running.wound_down = now + WIND_DOWN_SECONDS
            if not self.interrupted:
                self._bench.watcher.note(f"{build.group}: Packer was killed: its child is told to end")
                running.process.interrupt()
        elif now > running.wound_down:
            running.process.kill()
            return False
        return True

    def _hear(self, running: _Running, line: Line) -> None:
        changes = running.outcome.hear(line)
        try:  # a disk may be full: the build itself goes on
            if changes:
                running.entry.note(**changes)
        except NodepkgError as error:
            self._complain(running, error.message)
        try:
            running.log.write(line)
        except OSError as error:
            self._complain(running, f"its log cannot be written: {error.strerror}")
        for part in line.text.splitlines():
            if part.strip():
                self._bench.watcher.said(running.build.group, part, step=line.is_step)

    def _look(self, running: _Running, ended: Ended) -> None:
        """Asks AWS, from time to time, what became of the image."""
        now = self._bench.clock()
        if now < running.next_look and not self.interrupted:
            return
        try:
            image, seen = self._find(running, ended)
        except NodepkgError as error:  # Packer reports an image, but of another region
            self._end_failed(running, error)
            return
        running.seen = image
        fate = judge(ended, image, now - running.ended_at) if seen else _unseen(ended)
        if fate is Fate.WAIT and not self.interrupted:
            if image and image.state == "pending" and running.next_look == running.ended_at:
                self._bench.watcher.said(
                    running.build.group, f"waiting for {image.id}, which Packer gave up on", step=True
                )
            running.next_look = now + self._bench.poll
        elif fate in (Fate.WAIT, Fate.FAILED):
            # That a build was interrupted is no failure of its own; that an image may come is to be known.
            known = image is not None or not self.interrupted
            self._end_failed(running, failure(ended, image, self._log(running)) if known else None)
        elif fate is Fate.ADOPT and image:
            self._adopt(running, image, now)
        else:
            if image and not belongs(image, ended.group):
                told = f"{ended.group}: {image.id} does not count, since it is not tagged as one of the group"
                self._bench.watcher.note(f"{told}: package packer:adopt {ended.group} {image.id}")
            self._end(running, "built", ended.image, image.name if image else running.image_name)

    def _find(self, running: _Running, ended: Ended) -> tuple[Image | None, bool]:
        """The image, and whether it could be looked for."""
        wanted = ended.image
        if not running.build.visible:
            return None, False
        if not ended.may_have_made_one:
            return None, True
        try:
            with self._bench.interrupts.at_once():
                return self._bench.registry.find(running.build, wanted, running.image_name), True
        except KeyboardInterrupt:
            return running.seen, False
        except AwsError as error:
            self._complain(running, error.message)
            return running.seen, not (ended.succeeded or isinstance(error, CredentialsError))

    def _adopt(self, running: _Running, image: Image, now: float) -> None:
        """It ends when the tags can be seen: what is built on the image finds it by them."""
        build = running.build
        if running.adopted_at is None:
            try:
                self._bench.registry.adopt(build, image, running.entry.record)
            except AwsError as error:
                told = f"{build.group}: packer failed, but made {image.id}, which cannot be adopted: {error.message}"
                self._end_failed(running, type(error)(told, hint=f"package packer:adopt {build.group} {image.id}"))
                return
            except NodepkgError as error:
                self._end_failed(running, error)
                return
            running.adopted_at = now
            why = running.outcome.reason
            self._bench.watcher.note(f"{build.group}: packer failed ({why}), but made {image.id}: it is adopted")
        elif belongs(image, build.group) or now - running.adopted_at > CONSISTENCY_SECONDS or self.interrupted:
            self._end(running, "adopted", image.id, image.name)

    def _complain(self, running: _Running, text: str) -> None:
        """Once, of what comes again with every line, or look."""
        if text != running.complaint:
            running.complaint = text
            self._bench.watcher.note(f"{running.build.group}: {text}")

    def _end(self, running: _Running, result: str, image: str | None, name: str | None) -> None:
        build = running.build
        self._close(running)
        if result == "adopted":
            self.failed_builds.append(build)
        else:
            self._journal.forget(build.id)
        seconds = self._bench.clock() - running.since
        self._progress = _with(
            self._progress,
            running=self._progress.running - {build.group},
            done=self._progress.done | {build.group},
        )
        self._keep(
            self._result(build, result, image=image, name=name, seconds=seconds, log=self._log(running)),
            f"{result} {image}",
        )

    def _end_failed(self, running: _Running, error: NodepkgError | None) -> None:
        self._close(running)
        if error and not error.hint:
            error = type(error)(error.message, hint=f"its log: {self._log(running)}")
        self.failed_builds.append(running.build)
        if running.ended and running.ended.code < 0:
            self.killed.append(running.build.id)
        self._fail(running.build, error, log=self._log(running), seconds=self._bench.clock() - running.since)

    def _fail(self, build: Build, error: NodepkgError | None, *, log: str | None, seconds: float | None) -> None:
        result = "interrupted" if self.interrupted else "failed"
        self._progress = _with(
            self._progress,
            running=self._progress.running - {build.group},
            failed=self._progress.failed | {build.group},
        )
        told = f"{result}: {error.message.removeprefix(f'{build.group}: ')}" if error else result
        self._keep(self._result(build, result, error=error, log=log, seconds=seconds, why=result), told)
        if not self.interrupted:
            self._tell_skipped()

    def _tell_skipped(self) -> None:
        for name, because in skipped(self._order.needs, self._progress, self._pace).items():
            if name in self._builds and name not in self.results:
                why = f"skipped, since {because} failed"
                self._keep(self._result(self._builds[name], "skipped", why=why), why)

    def _keep(self, result: Result, told: str = "") -> None:
        self._running.pop(result.group, None)
        self.results[result.group] = result
        self._bench.watcher.ended(result.group, result.result, told or result.why)

    def _result(self, build: Build, result: str, **more: Any) -> Result:
        return Result(build.group, build.region, result, build.digest, build.commit, **more)

    def _log(self, running: _Running) -> str:
        return _shown(self._bench.root, BuildLog.path(running.build.group, running.build.id))

    def _close(self, running: _Running) -> None:
        try:
            running.opened.close()
        except OSError as error:  # all is closed; of the log the end may be missing
            self._complain(running, f"its log cannot be written: {error.strerror}")


def _refused(build: Build, error: OSError) -> RefusedError:
    return RefusedError(f"{build.group}: {error.filename or build.template}: {error.strerror}")


def _with(progress: Progress, **changes: frozenset[str]) -> Progress:
    return Progress(**{**vars(progress), **changes})


def _unseen(ended: Ended) -> Fate:
    """That it cannot be asked for does not undo a build."""
    return Fate.BUILT if ended.succeeded else Fate.FAILED


def _variables(build: Build, declared: frozenset[str]) -> dict[str, str]:
    ours = {
        "nodepkg_build": build.id,
        "nodepkg_commit": build.commit,
        "nodepkg_digest": build.digest,
        "nodepkg_key_pair": key_pair_name(build.id),
    }
    return {name: value for name, value in ours.items() if name in declared}


def _shown(root: Path, path: Path) -> str:
    return os.path.relpath(root / path)
