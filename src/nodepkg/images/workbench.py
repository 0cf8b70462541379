"""What a run of builds is given, and what it gives."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nodepkg.clients.aws.buckets import Bucket
from nodepkg.clients.aws.images import Image
from nodepkg.clients.packer import Packer
from nodepkg.errors import NodepkgError
from nodepkg.images.interrupts import Interrupts
from nodepkg.images.journal import Record
from nodepkg.plan import Report

# EC2 takes 5 RunInstances at once, then 2 a second; when Packer makes its call varies by about 2 s.
STARTS_A_SECOND = 1.8


@dataclass(frozen=True)
class Build:
    """One build to be. `id` is what its temporary resources are known by, `why` why it is due.

    `visible`: whether its image can be looked for, with the credentials that we have.
    """

    group: str
    region: str
    template: str
    digest: str
    commit: str
    id: str
    why: str
    visible: bool = True

    def __str__(self) -> str:
        return f"build an image of {self.group} from {self.template}: {self.why}"


@dataclass(frozen=True)
class Result:
    """What became of a group: `result` is built, adopted, up to date, failed, skipped or interrupted."""

    group: str
    region: str
    result: str
    digest: str = ""
    commit: str = ""
    image: str | None = None
    name: str | None = None
    seconds: float | None = None
    log: str | None = None
    error: NodepkgError | None = None
    why: str = ""

    def document(self) -> Report:
        return {
            "group": self.group,
            "result": self.result,
            "image": self.image,
            "name": self.name,
            "region": self.region,
            "digest": self.digest or None,
            "commit": self.commit,
            "duration_seconds": None if self.seconds is None else round(self.seconds, 1),
            "log": self.log,
            "error": self.error.message if self.error else self.why or None,
        }


class Registry(Protocol):
    """Where images are looked for, and taken over; each may raise AwsError."""

    def find(self, build: Build, image: str | None, name: str | None) -> Image | None:
        """The account's own image of this id, or else of this name."""

    def adopt(self, build: Build, image: Image, record: Record) -> None:
        """Makes an image count that a failed build has left; raises RefusedError for one that must not."""


class Watcher(Protocol):
    """Who is told of what happens."""

    def began(self, group: str, log: str) -> None:
        """A build has been started, or was going to be."""

    def said(self, group: str, line: str, *, step: bool) -> None:
        """One line of Packer's; `step`: it begins a step of the build."""

    def ended(self, group: str, result: str, told: str) -> None:
        """A group is dealt with; `told` is what is to be said of it."""

    def note(self, text: str) -> None: ...

    def tick(self, waiting: int) -> None:
        """Time has passed; `waiting` groups have not begun."""


@dataclass(frozen=True)
class Workbench:
    """Where images are built, and what the loop needs for it.

    `prepare` gives the template that Packer reads and those of our variables that it declares, for a build and for as
    long as it takes. `poll` is how often AWS is asked, in seconds; `account` the id of the account that is asked.
    """

    root: Path
    packer: Packer
    registry: Registry
    watcher: Watcher
    prepare: Callable[[Build, ExitStack], tuple[Path, frozenset[str]]]
    interrupts: Interrupts = field(default_factory=Interrupts)
    poll: float = 5.0
    account: str = ""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    starts: Callable[[], Bucket] = lambda: Bucket(1, STARTS_A_SECOND)


@dataclass(frozen=True)
class Order:
    """What is to be built. `needs` has, for each group that is due, those that come before it; `refused` those of them
    that cannot be built. `at_once` builds run side by side; with `fail_fast` none begins after a failure.
    """

    builds: Sequence[Build]
    needs: Mapping[str, Sequence[str]]
    refused: Collection[str] = ()
    at_once: int = 4
    fail_fast: bool = False
