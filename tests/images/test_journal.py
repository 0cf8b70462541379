"""The record of builds: what it holds after a crash, and whether a build lives, with real processes."""

import fcntl
import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepkg.errors import RefusedError
from nodepkg.images.journal import Entry, Journal, Record, new_build_id, started_at
from tests.gits import alone, git

NOW = 1_790_000_000.9
BUILD = new_build_id(NOW, b"\x00\xab\xcd\xef")


def record(build: str = BUILD) -> Record:
    return Record(build, "bee", "us-east-1", "packer/bee.json", "d1", "c1", NOW, f".nodepkg/logs/bee-{build}.log")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


@pytest.fixture
def entry(journal: Journal) -> Iterator[Entry]:
    made = journal.begin(record())
    yield made
    made.close()


def test_an_id_tells_when_its_build_began() -> None:
    assert BUILD == "6ab13b8000abcdef"
    assert started_at(BUILD) == datetime.fromtimestamp(int(NOW), UTC)


@pytest.mark.parametrize("text", ["", "00000000deadbeef", "6ab13b80", "6AB13B8000ABCDEF", BUILD + "\n", "g" * 16])
def test_what_is_no_id_of_ours_tells_no_time(text: str) -> None:
    assert started_at(text) is None


@given(st.floats(1_750_000_000, 4_000_000_000), st.binary(min_size=4, max_size=8))
def test_every_id_tells_its_second(now: float, random: bytes) -> None:
    started = started_at(new_build_id(now, random))
    assert started is not None
    assert started.timestamp() == int(now)


def test_a_record_is_read_as_it_was_written(journal: Journal, entry: Entry) -> None:
    assert journal.records() == [record()]
    entry.note(key_pair=f"nodepkg-{BUILD}", security_groups=("sg-1", "sg-2"), image="ami-1")
    wanted = replace(record(), key_pair=f"nodepkg-{BUILD}", security_groups=("sg-1", "sg-2"), image="ami-1")
    assert journal.records() == [wanted] == [entry.record]


def test_nobody_else_may_read_it(journal: Journal, entry: Entry) -> None:
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in journal.folder.glob(f"{BUILD}.*")}
    assert modes == {".json": 0o600, ".out": 0o600, ".lock": 0o600}


def test_git_does_not_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    git(tmp_path, "init", "--quiet")
    Journal(tmp_path).begin(record()).close()
    assert git(tmp_path, "status", "--porcelain") == ""


def test_a_build_lives_until_its_process_lets_go(journal: Journal, entry: Entry) -> None:
    assert journal.lives(BUILD)
    assert not journal.orphaned(BUILD)
    entry.close()
    assert not journal.lives(BUILD)


def test_two_builds_at_once_do_not_meet(journal: Journal, entry: Entry) -> None:
    other = journal.begin(record(new_build_id(NOW, b"2222")))
    entry.close()
    assert [journal.lives(known.build) for known in journal.records()] == [False, True]
    other.close()


def test_one_build_is_begun_once(journal: Journal, entry: Entry) -> None:
    with pytest.raises(RefusedError, match="File exists"):
        journal.begin(record())
    assert journal.lives(BUILD)


STARTS = """
import subprocess, sys
from pathlib import Path
from nodepkg.images.journal import Journal, Record
entry = Journal(Path(sys.argv[1])).begin(Record(sys.argv[2], "bee", "us-east-1", "t", "d", "c", 1.0, "l"))
packer = subprocess.Popen(["sh", "-c", "echo began; read line; echo ended"], stdin=0, stdout=entry.output)
print(packer.pid, flush=True)
packer.wait()
"""


@contextmanager
def program(root: Path) -> Iterator["tuple[subprocess.Popen[str], int]"]:
    """A process that runs a build, and the process id of the child which stands for Packer: it waits for a line."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, str(root), BUILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as ours:
        assert ours.stdout is not None
        yield ours, int(ours.stdout.readline())
        ours.kill()


def until_gone(pid: int) -> None:
    """Waits for a process that is not ours to collect."""
    with os.fdopen(os.pidfd_open(pid)) as process:
        assert select.select([process], [], [], 60)[0], "it did not end"


def test_a_build_lives_as_long_as_either_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with program(tmp_path) as (ours, packer):
        assert (journal.lives(BUILD), journal.orphaned(BUILD)) == (True, False)
        ours.kill()
        ours.wait()
        assert (journal.lives(BUILD), journal.orphaned(BUILD)) == (True, True)
        with os.fdopen(os.pidfd_open(packer)) as process:
            signal.pidfd_send_signal(process.fileno(), signal.SIGKILL)
            assert select.select([process], [], [], 60)[0], "it did not end"
    assert (journal.lives(BUILD), journal.orphaned(BUILD)) == (False, False)
    assert [known.build for known in journal.records()] == [BUILD]


def test_a_build_that_ended_lives_no_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with program(tmp_path) as (ours, _):
        ours.communicate("go on\n", timeout=60)
    assert not journal.lives(BUILD)
    assert (journal.folder / f"{BUILD}.out").read_text() == "began\nended\n"


SAID = """\
1795273785,,ui,say,==> amazon-ebs: Prevalidating AMI Name: bee 1795273785
1795273785,,ui,say,==> amazon-ebs: Found Image ID: ami-1ebb2077
1795273785,,ui,say,==> amazon-ebs: Creating temporary security group for this instance: packer_6b01
1795273786,,ui,say,==> amazon-ebs: Creating AMI bee 1795273785 from instance i-1
1795273786,,ui,message,    amazon-ebs: AMI: ami-4301e024
1795273786,,ui,say,==> amazon-ebs: Waiting for AMI to beco"""


def test_what_was_not_written_down_any_more_is_read_from_packers_output(journal: Journal, entry: Entry) -> None:
    entry.output.write(SAID.encode())
    assert journal.records() == [record()]  # who runs it writes it down
    entry.close()
    assert journal.records() == [
        replace(
            record(),
            security_groups=("packer_6b01",),
            source="ami-1ebb2077",
            image_name="bee 1795273785",
            image="ami-4301e024",
        )
    ]


def test_what_was_written_down_counts_more_than_the_output(journal: Journal, entry: Entry) -> None:
    entry.output.write(SAID.encode())
    entry.note(security_groups=("sg-1",), source="ami-0", image_name="x", image="ami-1")
    entry.close()
    assert journal.records() == [entry.record]


def test_those_who_ask_do_not_make_each_other_wait(journal: Journal) -> None:
    journal.begin(record()).close()
    with (journal.folder / f"{BUILD}.lock").open() as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)  # another who asks, at this moment
        assert not journal.lives(BUILD)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        json.dumps(asdict(record(new_build_id(NOW, b"2222")))).encode(),
        *(json.dumps({**asdict(record()), **wrong}).encode() for wrong in ({"started": "x"}, {"log": None})),
        json.dumps({**asdict(record()), "security_groups": "sg-1"}).encode(),
        json.dumps(asdict(record())).encode()[:-20],
    ],
)
def test_a_damaged_record_is_told_and_hides_no_other(tmp_path: Path, text: bytes) -> None:
    told: list[str] = []
    journal = Journal(tmp_path, warn=told.append)
    other = record(new_build_id(NOW, b"1111"))
    journal.begin(other).close()
    with closing(journal.begin(record())):
        (journal.folder / f"{BUILD}.json").write_bytes(text)
        assert journal.records() == [other]
        assert [f"{BUILD}.json" in line for line in told] == [True]
        assert journal.knows(BUILD)
        assert journal.lives(BUILD)


def test_a_record_of_a_newer_version_is_read(journal: Journal, entry: Entry) -> None:
    path = journal.folder / f"{BUILD}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weather": "fine"}))
    assert journal.records() == [record()]


def test_files_of_others_are_left_alone(journal: Journal, entry: Entry) -> None:
    for name in ("notes.json", f".{BUILD}.json", f"{BUILD}.tmp", f"{BUILD}.json.orig"):
        (journal.folder / name).write_text("{")
    assert journal.records() == [record()]


def test_what_is_forgotten_is_gone(journal: Journal) -> None:
    journal.begin(record()).close()
    journal.forget(BUILD)
    assert [path.name for path in journal.folder.iterdir()] == [".gitignore"]
    assert not journal.knows(BUILD)
    journal.forget(BUILD)


@pytest.mark.parametrize("build", ["../../nodes", "", "x", f"{BUILD}/../{BUILD}"])
def test_an_id_that_somebody_made_up_reaches_no_file(tmp_path: Path, build: str) -> None:
    (tmp_path / "nodes.json").write_text("{}")
    journal = Journal(tmp_path)
    journal.begin(record()).close()
    journal.forget(build)
    assert (journal.lives(build), journal.knows(build)) == (False, False)
    assert (tmp_path / "nodes.json").exists()
    assert journal.records() == [record()]


def test_without_a_folder_there_are_no_builds(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nothing")
    assert journal.records() == []
    assert not journal.lives(BUILD)
    journal.forget(BUILD)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".nodepkg").write_text("a file in its place")
    with pytest.raises(RefusedError, match="cannot be written: Not a directory") as error:
        Journal(tmp_path).begin(record())
    assert str(tmp_path / ".nodepkg") in error.value.message
    assert Journal(tmp_path).records() == []


def test_what_cannot_be_asked_counts_as_living(journal: Journal) -> None:
    journal.begin(record()).close()
    lock = journal.folder / f"{BUILD}.lock"
    lock.unlink()
    lock.symlink_to(lock)  # not even root can open this
    assert journal.lives(BUILD)


def test_a_change_that_cannot_be_written_is_told_and_still_known(journal: Journal, entry: Entry) -> None:
    (journal.folder / f"{BUILD}.tmp").mkdir()
    with pytest.raises(RefusedError, match=r"\.json: cannot be written"):
        entry.note(image="ami-1")
    assert entry.record.image == "ami-1"
    assert journal.records() == [record()]


READ_ONLY = """
import sys
from pathlib import Path
from nodepkg.errors import RefusedError
from nodepkg.images.journal import Journal, Record
journal = Journal(Path(sys.argv[1]))
(known,) = journal.records()
journal.forget(known.build)
print(journal.lives(known.build), len(journal.records()))
try:
    journal.begin(Record("0" * 16, "bee", "us-east-1", "t", "d", "c", 1.0, "l"))
except RefusedError as error:
    print(error.message)
"""


def test_a_read_only_file_system_can_be_asked(tmp_path: Path) -> None:
    Journal(tmp_path).begin(record()).close()
    mounts = f'mount --bind "{tmp_path}" "{tmp_path}" && mount -o remount,bind,ro "{tmp_path}" && exec "$@"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounts, "-"]
    program = [sys.executable, "-c", READ_ONLY, str(tmp_path)]
    done = subprocess.run([*alone, *program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "False 1"
    assert second.endswith("cannot be written: Read-only file system")
