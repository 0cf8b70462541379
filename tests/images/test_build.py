"""Several builds at a time: their order, their output, and what becomes of those that fail, hang or are interrupted."""

import os
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nodepkg.clients.aws.buckets import Bucket
from nodepkg.clients.aws.images import Image
from nodepkg.errors import AwsError, NodepkgError, RefusedError, ToolError
from nodepkg.images.build import Loop
from nodepkg.images.build_log import BuildLog
from nodepkg.images.interrupts import SAME_SECONDS, Interrupts
from nodepkg.images.journal import BUILDS, Journal, Record, new_build_id
from nodepkg.images.staging import Templates
from nodepkg.images.workbench import Build, Order, Result, Workbench
from tests.stub_packer import stub, template

IDS = iter(range(1, 1_000_000))


def image(state: str = "available", name: str = "bee 1", **tags: str) -> Image:
    """Of the tags, `_` stands for `:`."""
    tagged = {key.replace("_", ":"): value for key, value in tags.items()}
    return Image("ami-1", name, datetime(2026, 1, 1, tzinfo=UTC), state, tagged)


@dataclass
class Images:
    """A registry in memory: what each look finds, the last for good. Every image is there by default, and tagged after
    `untagged` looks.
    """

    finds: list[Image | Exception | None] = field(default_factory=lambda: [image()])
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    adopted: list[tuple[str, Record]] = field(default_factory=list)
    untagged: int = 0
    adopts: NodepkgError | None = None

    def find(self, build: Build, image: str | None, name: str | None) -> Image | None:
        self.asked.append((image, name))
        found = self.finds.pop(0) if len(self.finds) > 1 else self.finds[0]
        if isinstance(found, Exception):
            raise found
        if found is None or len(self.asked) <= self.untagged:
            return found
        return replace(found, tags={"group": build.group, "nodepkg:managed": "true", **found.tags})

    def adopt(self, build: Build, image: Image, record: Record) -> None:
        if self.adopts:
            raise self.adopts
        self.adopted.append((image.id, record))


@dataclass
class Told:
    """A watcher that remembers."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    at_once: int = 0
    react: Callable[[str, str], None] = lambda _group, _line: None
    _running: set[str] = field(default_factory=set)

    def began(self, group: str, log: str) -> None:
        self.events.append(f"{group} began")
        self._running.add(group)
        self.at_once = max(self.at_once, len(self._running))

    def said(self, group: str, line: str, *, step: bool) -> None:
        self.lines.append((group, line))
        self.react(group, line)

    def ended(self, group: str, result: str, told: str) -> None:
        self.events.append(f"{group} {result}")
        self._running.discard(group)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def tick(self, waiting: int) -> None:
        pass


@dataclass
class Rig:
    """A project in a folder with a stub for Packer."""

    root: Path
    images: Images = field(default_factory=Images)
    told: Told = field(default_factory=Told)
    interrupts: Interrupts = field(default_factory=lambda: Interrupts(clock=_far_apart()))
    clock: Callable[[], float] = time.monotonic
    loop: Loop | None = None
    starts: Callable[[], Bucket] = lambda: Bucket(100, 100)

    def build(self, name: str, *does: tuple[Any, ...], visible: bool = True) -> Build:
        template(self.root / "packer" / f"{name}.json", *does)
        build_id = new_build_id(time.time(), next(IDS).to_bytes(4, "big"))
        return Build(name, "us-east-1", f"packer/{name}.json", "d1", "c1", build_id, "no image yet", visible)

    def run(
        self, *builds: Build, needs: dict[str, list[str]] | None = None, refused: tuple[str, ...] = (), **order: Any
    ) -> dict[str, Result]:
        bench = Workbench(
            self.root,
            stub(self.root),
            self.images,
            self.told,
            Templates(self.root, None).prepare,
            self.interrupts,
            poll=0.01,
            clock=self.clock,
            sleep=lambda _: time.sleep(0.01),
            starts=self.starts,
        )
        needs = {build.group: [] for build in builds} | {name: [] for name in refused} | (needs or {})
        self.loop = Loop(bench, Order(builds, needs, refused, **order))
        self.loop.run()
        return self.loop.results


def _far_apart() -> Callable[[], float]:
    times = iter(range(0, 10**9, int(10 * SAME_SECONDS)))
    return lambda: next(times)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.chdir(tmp_path)
    return Rig(tmp_path)


GOOD = (
    ("say", "Prevalidating AMI Name: bee 1"),
    ("say", "Creating AMI bee 1 from instance i-0a"),
    ("say", "AMI: ami-1"),
    ("made", "ami-1"),
)
LOST = (*GOOD[:3], ("fail", "Error waiting for AMI: ResourceNotReady: exceeded wait attempts"))


def test_a_build_gives_its_image(rig: Rig) -> None:
    build = rig.build("bee", *GOOD)
    result = rig.run(build)["bee"]
    log = f".nodepkg/logs/bee-{build.id}.log"
    assert result.document() | {"duration_seconds": 0} == {
        "group": "bee",
        "result": "built",
        "image": "ami-1",
        "name": "bee 1",
        "region": "us-east-1",
        "digest": "d1",
        "commit": "c1",
        "duration_seconds": 0,
        "log": log,
        "error": None,
    }
    assert Journal(rig.root).records() == []
    assert rig.told.lines[0] == ("bee", "==> amazon-ebs: Prevalidating AMI Name: bee 1")


def test_the_log_has_every_message_with_its_time_and_is_private(rig: Rig) -> None:
    build = rig.build("bee", ("raw", "1700000000,,ui,say,one\\ntwo\n"), ("raw", "oh \xff\n"), *GOOD)
    path = rig.root / str(rig.run(build)["bee"].log)
    lines = path.read_text().splitlines()
    assert lines[:2] == ["2023-11-14T22:13:20Z one", "2023-11-14T22:13:20Z two"]
    assert lines[2].endswith("Z oh �")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_the_log_has_also_what_is_shown_once_only(rig: Rig) -> None:
    for does, last in ((GOOD, "artifact: 0, id, us-east-1:ami-1"), ([("fail", "boom")], "error: boom")):
        path = rig.root / str(rig.run(rig.build("bee", *does))["bee"].log)
        assert path.read_text().splitlines()[-1].endswith(f"Z {last}")


def test_builds_run_side_by_side_but_not_more_than_were_asked_for(rig: Rig) -> None:
    """Each of two waits for the other to have begun; the third begins when a place is free."""
    one, two, three = (str(rig.root / name) for name in ("one", "two", "three"))
    results = rig.run(
        rig.build("a", ("touch", one), ("await", two), *GOOD),
        rig.build("b", ("touch", two), ("await", one), *GOOD),
        rig.build("c", ("touch", three), *GOOD),
        at_once=2,
    )
    assert {name: result.result for name, result in results.items()} == {"a": "built", "b": "built", "c": "built"}
    assert rig.told.at_once == 2
    assert rig.told.events.index("c began") > 2


def test_a_failed_base_skips_what_is_built_on_it_and_the_others_go_on(rig: Rig) -> None:
    results = rig.run(
        rig.build("base", ("fail", "Script exited with non-zero exit status: 3")),
        rig.build("leaf", *GOOD),
        rig.build("twig", *GOOD),
        rig.build("other", *GOOD),
        needs={"leaf": ["base"], "twig": ["leaf"]},
        at_once=1,
    )
    assert {name: result.result for name, result in results.items()} == {
        "base": "failed",
        "leaf": "skipped",
        "twig": "skipped",
        "other": "built",
    }
    assert isinstance(results["base"].error, ToolError)
    assert "Script exited with non-zero exit status: 3" in results["base"].error.message
    assert str(results["base"].log) in results["base"].error.hint
    assert results["twig"].document()["error"] == "skipped, since base failed"


def test_what_is_built_on_a_base_begins_when_the_base_is_there(rig: Rig) -> None:
    rig.run(rig.build("base", *GOOD), rig.build("leaf", *GOOD), needs={"leaf": ["base"]})
    assert rig.told.events == ["base began", "base built", "leaf began", "leaf built"]


def test_a_refused_base_skips_too(rig: Rig) -> None:
    results = rig.run(rig.build("leaf", *GOOD), needs={"leaf": ["base"]}, refused=("base",))
    assert results["leaf"].result == "skipped"
    assert rig.told.events == ["leaf skipped"]


def test_fail_fast_starts_nothing_more_but_finishes_what_runs(rig: Rig) -> None:
    failed = str(rig.root / "failed")
    results = rig.run(
        rig.build("slow", ("await", failed), *GOOD),
        rig.build("bad", ("touch", failed), ("fail", "no")),
        rig.build("never", *GOOD),
        at_once=2,
        fail_fast=True,
    )
    assert {name: result.result for name, result in results.items()} == {
        "slow": "built",
        "bad": "failed",
        "never": "skipped",
    }


def test_an_image_that_a_failed_build_left_is_adopted(rig: Rig) -> None:
    results = rig.run(rig.build("bee", ("say", "Found Image ID: ami-0"), *LOST))
    assert (results["bee"].result, results["bee"].image, results["bee"].error) == ("adopted", "ami-1", None)
    ((adopted, record),) = rig.images.adopted
    assert adopted == "ami-1"
    assert (record.digest, record.commit, record.source, record.image_name) == ("d1", "c1", "ami-0", "bee 1")
    assert any("exceeded wait attempts" in note and "adopted" in note for note in rig.told.notes)


def test_of_an_adopted_build_it_is_asked_what_it_left_behind(rig: Rig) -> None:
    build = rig.build("bee", *LOST)
    assert rig.run(build)["bee"].result == "adopted"
    assert rig.loop is not None
    assert [failed.id for failed in rig.loop.failed_builds] == [build.id]
    assert [record.build for record in Journal(rig.root).records()] == [build.id]


def test_an_image_that_appears_later_is_waited_for(rig: Rig) -> None:
    rig.images.finds = [None, image("pending"), image("pending"), image()]
    results = rig.run(rig.build("bee", *LOST))
    assert results["bee"].result == "adopted"
    assert rig.images.asked == [("ami-1", "bee 1")] * 5  # the last one for its tags


def test_an_image_of_which_packer_did_not_say_the_id_is_found_by_its_name(rig: Rig) -> None:
    rig.run(rig.build("bee", *LOST[:2], ("fail", "lost the connection")))
    assert set(rig.images.asked) == {(None, "bee 1")}
    assert [adopted for adopted, _ in rig.images.adopted] == ["ami-1"]


def test_nothing_is_adopted_that_was_there_before(rig: Rig) -> None:
    results = rig.run(rig.build("bee", LOST[0], ("fail", "AMI Name: 'bee 1' is used by an existing AMI: ami-1")))
    assert results["bee"].result == "failed"
    assert rig.images.asked == []


def test_nothing_is_adopted_that_another_build_has_made(rig: Rig) -> None:
    """Two runs that begin in the same second give their images one name; EC2 takes the first."""
    rig.images.finds = [image(nodepkg_build="0123456789abcdef")]
    duplicate = ("fail", "InvalidAMIName.Duplicate: AMI name bee 1 is already in use by AMI ami-1")
    assert rig.run(rig.build("bee", *LOST[:2], duplicate))["bee"].result == "failed"
    rig.images.finds = [image(nodepkg_digest="another")]
    assert rig.run(rig.build("bee", *LOST[:2], duplicate))["bee"].result == "failed"
    assert rig.images.adopted == []


@pytest.mark.parametrize("does", [GOOD, LOST], ids=["built", "adopted"])
def test_what_is_built_on_a_base_begins_when_its_tags_are_seen(rig: Rig, does: tuple[tuple[str, ...], ...]) -> None:
    """Packer finds the base by them, and takes an older one as long as it does not see those of the new one."""
    rig.images.untagged = 3
    looks: list[int] = []
    rig.told.react = lambda _, line: looks.append(len(rig.images.asked)) if "now" in line else None
    rig.run(rig.build("base", *does), rig.build("leaf", ("say", "now"), *GOOD), needs={"leaf": ["base"]})
    assert looks == [4]
    assert len(rig.images.adopted) == (does is LOST)


def test_an_image_that_cannot_be_adopted_now_can_be_later(rig: Rig) -> None:
    rig.images.adopts = AwsError("tag ami-1: no answer")
    build = rig.build("bee", *LOST)
    error = rig.run(build)["bee"].error
    assert isinstance(error, AwsError)
    assert error.hint == "package packer:adopt bee ami-1"
    assert [record.build for record in Journal(rig.root).records()] == [build.id]


def test_an_image_without_the_tags_of_its_group_is_not_waited_for_for_ever(rig: Rig) -> None:
    seconds = iter(range(10**6))
    rig.clock = lambda: float(next(seconds))
    rig.images.untagged = 10**6
    assert rig.run(rig.build("bee", *GOOD))["bee"].result == "built"
    assert any("does not count" in note for note in rig.told.notes)


def test_that_aws_does_not_answer_once_ends_no_waiting_for_an_image(rig: Rig) -> None:
    rig.images.finds = [AwsError("cut"), image("pending"), AwsError("cut"), AwsError("cut"), image()]
    assert rig.run(rig.build("bee", *LOST))["bee"].result == "adopted"
    assert rig.told.notes.count("bee: cut") == 1


def test_an_image_that_stays_pending_is_given_up_with_the_command_for_later(rig: Rig) -> None:
    minutes = iter(range(10**6))
    rig.clock = lambda: 60.0 * next(minutes)
    rig.images.finds = [image("pending")]
    error = rig.run(rig.build("bee", *LOST))["bee"].error
    assert isinstance(error, ToolError)
    assert "package packer:adopt bee ami-1" in error.hint


def test_an_image_that_packer_reports_and_that_is_not_there_is_no_success(rig: Rig) -> None:
    seconds = iter(range(10**6))
    rig.clock = lambda: float(next(seconds))
    rig.images.finds = [None]
    error = rig.run(rig.build("bee", *GOOD))["bee"].error
    assert error is not None
    assert "made ami-1 of bee, but it is not there" in error.message


def test_that_aws_cannot_be_asked_does_not_undo_a_build(rig: Rig) -> None:
    rig.images.finds = [AwsError("no answer")]
    assert rig.run(rig.build("bee", *GOOD))["bee"].result == "built"
    assert rig.told.notes == ["bee: no answer"]


def test_an_image_that_only_packer_can_see_is_taken_for_granted(rig: Rig) -> None:
    assert rig.run(rig.build("bee", *GOOD, visible=False))["bee"].result == "built"
    assert rig.images.asked == []


def test_a_build_that_says_nothing_of_an_artefact_has_failed(rig: Rig) -> None:
    error = rig.run(rig.build("bee", ("say", "nothing to do")))["bee"].error
    assert error is not None
    assert "nothing to do" in error.message


def test_an_image_of_another_region_is_no_success(rig: Rig) -> None:
    error = rig.run(rig.build("bee", ("raw", "1,x,artifact,0,id,eu-west-1:ami-1\n")))["bee"].error
    assert error is not None
    assert "no image in us-east-1" in error.message


def test_garbage_is_kept_and_shown_and_harms_nothing(rig: Rig) -> None:
    garbage = ("raw", "panic: runtime error\n\x00\xff,,,\n1700000000,,future,a,b\nno line end")
    assert rig.run(rig.build("bee", *GOOD, garbage))["bee"].result == "built"
    said = [line for _, line in rig.told.lines]
    assert said[-1] == "no line end"
    assert {"panic: runtime error", "future: a, b"} <= set(said)


def test_a_time_that_no_calendar_has_is_garbage_too(rig: Rig) -> None:
    assert rig.run(rig.build("bee", ("raw", "999999999999,,ui,say,late\n"), *GOOD))["bee"].result == "built"


def test_a_disk_that_is_full_ends_no_build(rig: Rig) -> None:
    """The log goes to a device on which there is no room; of that is told once."""
    build = rig.build("bee", *[("say", f"line {number}") for number in range(9)], *GOOD)
    path = rig.root / BuildLog.path("bee", build.id)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    results = rig.run(build, rig.build("other", *GOOD))
    assert {name: result.result for name, result in results.items()} == {"bee": "built", "other": "built"}
    assert [note for note in rig.told.notes if "No space left" in note] == [
        "bee: its log cannot be written: No space left on device"
    ]


def test_what_was_never_started_leaves_no_record(rig: Rig) -> None:
    build = rig.build("bee", *GOOD)
    (rig.root / BuildLog.path("bee", build.id)).mkdir(parents=True)
    result = rig.run(build)["bee"]
    assert isinstance(result.error, RefusedError)
    assert [path.name for path in (rig.root / BUILDS).iterdir()] == [".gitignore"]


def test_a_journal_that_cannot_be_written_starts_nothing(rig: Rig) -> None:
    (rig.root / ".nodepkg").write_text("a file")
    begun = rig.root / "begun"
    result = rig.run(rig.build("bee", ("touch", str(begun)), *GOOD))["bee"]
    assert isinstance(result.error, RefusedError)
    assert "cannot be written" in result.error.message
    assert not begun.exists()


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_template_that_is_none_fails_its_group_only(rig: Rig, text: str) -> None:
    build = rig.build("bee", *GOOD)
    (rig.root / build.template).write_bytes(text.encode("latin-1"))
    results = rig.run(build, rig.build("other", *GOOD))
    assert isinstance(results["bee"].error, RefusedError)
    assert results["other"].result == "built"


def test_a_child_that_holds_the_output_open_is_not_waited_for(rig: Rig) -> None:
    child = rig.root / "child"
    results = rig.run(rig.build("bee", *GOOD, ("leaves a child", str(child))))
    os.kill(int(child.read_text()), signal.SIGKILL)
    assert results["bee"].result == "built"


def test_the_child_of_a_packer_that_was_killed_cleans_up_first(rig: Rig) -> None:
    """Packer does its work in a child of its own."""
    build = rig.build("bee", ("cleans up",), ("dies, and its child goes on",), ("await", "/never"))
    result = rig.run(build)["bee"]
    assert rig.told.lines[-1] == ("bee", "==> amazon-ebs: Terminating the source AWS instance...")
    assert "ended by signal 9" in str(result.error)
    assert not Journal(rig.root).lives(build.id)


def test_a_child_that_does_not_end_is_killed(rig: Rig) -> None:
    minutes = iter(range(10**6))
    rig.clock = lambda: 60.0 * next(minutes)
    build = rig.build("bee", ("ignores SIGINT",), ("dies, and its child goes on",), ("await", "/never"))
    assert rig.run(build)["bee"].result == "failed"


def test_names_are_written_down_while_the_build_runs(rig: Rig) -> None:
    seen: list[Record] = []

    def react(_: str, line: str) -> None:
        if "go on" in line:
            seen.extend(Journal(rig.root).records())

    rig.told.react = react
    build = rig.build(
        "bee", ("say", "Creating temporary security group for this instance: packer_1"), ("say", "go on"), *GOOD
    )
    rig.run(build)
    (record,) = seen
    assert (record.build, record.key_pair, record.security_groups) == (build.id, f"nodepkg-{build.id}", ("packer_1",))


def test_the_record_of_a_failed_build_stays(rig: Rig) -> None:
    build = rig.build("bee", ("fail", "no"))
    rig.run(build)
    journal = Journal(rig.root)
    assert [record.build for record in journal.records()] == [build.id]
    assert not journal.lives(build.id)
    assert rig.loop is not None
    assert [failed.id for failed in rig.loop.failed_builds] == [build.id]


def test_one_interrupt_lets_packer_clean_up(rig: Rig) -> None:
    rig.told.react = lambda _, line: rig.interrupts.heard() if "up to here" in line else None
    results = rig.run(
        rig.build("bee", ("cleans up",), ("say", "up to here"), ("await", "/never")), rig.build("other"), at_once=1
    )
    assert {name: result.result for name, result in results.items()} == {"bee": "interrupted", "other": "skipped"}
    assert rig.told.lines[-1] == ("bee", "==> amazon-ebs: Terminating the source AWS instance...")
    assert rig.loop is not None
    assert rig.loop.interrupted


def test_a_second_interrupt_kills(rig: Rig) -> None:
    """Packer goes on for ever after the first."""
    interrupted = 0

    def react(_: str, line: str) -> None:
        nonlocal interrupted
        if "up to here" in line:
            interrupted += 1
            rig.interrupts.heard()

    rig.told.react = react
    rig.interrupts = Interrupts(clock=_far_apart())
    build = rig.build(
        "bee",
        ("ignores SIGINT",),
        ("say", "up to here"),
        ("await", str(rig.root / "told")),
        ("say", "up to here"),
        ("await", "/never"),
    )
    (rig.root / "told").touch()
    results = rig.run(build)
    assert interrupted == 2
    assert results["bee"].result == "interrupted"
    assert results["bee"].error is None


def test_waiting_for_an_image_ends_with_an_interrupt(rig: Rig) -> None:
    rig.images.finds = [image("pending")]
    rig.told.react = lambda _, line: rig.interrupts.heard() if "waiting for ami-1" in line else None
    result = rig.run(rig.build("bee", *LOST))["bee"]
    assert result.result == "interrupted"
    assert result.error is not None
    assert "package packer:adopt bee ami-1" in result.error.hint


def test_a_template_that_cannot_be_read_fails_its_group_only(rig: Rig) -> None:
    build = rig.build("bee", *GOOD)
    (rig.root / build.template).unlink()
    results = rig.run(build, rig.build("other", *GOOD))
    assert isinstance(results["bee"].error, RefusedError)
    assert results["other"].result == "built"


def test_starts_are_spread_as_ec2_takes_them(rig: Rig) -> None:
    """Its bucket of RunInstances gets two tokens a second."""
    rig.starts = Workbench.starts
    began: list[float] = []
    rig.told.react = lambda _, line: began.append(time.monotonic()) if "now" in line else None
    builds = [rig.build(name, ("say", "now"), *GOOD) for name in ("aaa", "bbb", "ccc")]
    rig.run(*builds)
    assert len(began) == 3
    assert began[2] - began[0] > 2 / 2


def test_nothing_of_a_name_reaches_a_shell(rig: Rig) -> None:
    hostile = "$(touch pwned)`touch pwned`;touch pwned"
    rig.run(rig.build(hostile, *GOOD))
    assert not (rig.root / "pwned").exists()
