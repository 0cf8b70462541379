"""Digests that are remembered: every change is noticed, and what did not change is not read again."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nodepkg.render.bundle import sha256
from nodepkg.render.memory import CACHE, COARSE_TICK, FINE_TICK, Memory, is_old
from nodepkg.render.tree import files_below

LATER = 10 * COARSE_TICK  # ns: when nothing that a test wrote is young any more


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cookbooks").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "cookbooks" / name).write_text(f"file {name}")
    return tmp_path


class Times:
    """A clock by which what is saved was digested `ago` nanoseconds before."""

    def __init__(self, ago: int) -> None:
        self._times = iter([0, ago])

    def __call__(self) -> int:
        return next(self._times)


def digests(root: Path, *, ago: int = -LATER) -> dict[str, str]:
    """What a process finds and saves; it digests long after the files were written, unless `ago` says otherwise."""
    memory = Memory(root, clock=Times(ago))
    found = memory.digests(files_below(root, "cookbooks"))
    memory.save()
    return found


def true_digests(root: Path) -> dict[str, str]:
    return {f"cookbooks/{one.name}": sha256(one.read_bytes()) for one in (root / "cookbooks").iterdir()}


def forge(root: Path) -> None:
    """Puts a word in place of each digest that is remembered, so that a test sees what is not read again."""
    file = root / CACHE / "digests"
    lines = file.read_bytes().split(b"\n")[1:]
    lines[2::3] = [b"remembered"] * (len(lines) // 3)
    content = b"\n".join(lines)
    file.write_bytes(sha256(content).encode() + b"\n" + content)


def read_again(root: Path) -> set[str]:
    found = Memory(root).digests(files_below(root, "cookbooks"))
    return {path[-1] for path, digest in found.items() if digest != "remembered"}


def test_what_did_not_change_is_not_read_again(root: Path) -> None:
    assert digests(root) == true_digests(root)
    forge(root)
    assert read_again(root) == set()


def same_size(file: Path) -> None:
    file.write_text("FILE a")


def same_size_and_times(file: Path) -> None:
    before = file.stat()
    file.write_text("FILE a")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_in_its_place(file: Path) -> None:
    before = file.stat()
    other = file.parent.parent / "other"
    other.write_text("FILE a")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def only_a_link(file: Path) -> None:
    other = file.parent.parent / "other"
    other.write_text("FILE a")
    file.unlink()
    file.symlink_to(other)


def longer(file: Path) -> None:
    file.write_text("file a and more")


@pytest.mark.parametrize("change", [same_size, same_size_and_times, another_in_its_place, only_a_link, longer])
def test_every_change_is_noticed(root: Path, change: Callable[[Path], None]) -> None:
    digests(root)
    forge(root)
    change(root / "cookbooks" / "a")
    assert read_again(root) == {"a"}
    assert digests(root)["cookbooks/a"] == true_digests(root)["cookbooks/a"]


def test_what_was_changed_right_before_is_read_again(root: Path) -> None:
    """Else a change in the same tick of the clock would never be noticed."""
    digests(root, ago=0)
    assert not (root / CACHE / "digests").exists()
    assert digests(root) == true_digests(root)


@pytest.mark.parametrize(("ago", "remembered"), [(FINE_TICK // 2, False), (-2 * FINE_TICK, True)])
def test_a_tick_of_the_file_system_decides_what_is_young(root: Path, ago: int, remembered: bool) -> None:
    for file in (root / "cookbooks").iterdir():
        file.write_text(file.read_text())
    digests(root, ago=ago)
    assert (root / CACHE / "digests").exists() == remembered


def test_times_in_whole_seconds_are_those_of_a_coarse_clock() -> None:
    second = 10**9
    assert not is_old(f"1 {5 * second} {5 * second} 1", 6 * second)
    assert is_old(f"1 {5 * second} {5 * second} 1", 7 * second + 1)
    assert is_old(f"1 {5 * second} {5 * second + 1} 1", 6 * second)
    assert not is_old(f"1 {9 * second} {5 * second} 1", 9 * second)


def test_new_files_are_digested_and_gone_ones_forgotten(root: Path) -> None:
    digests(root)
    (root / "cookbooks" / "d").write_text("new")
    (root / "cookbooks" / "a").unlink()
    assert digests(root) == true_digests(root)
    assert b"cookbooks/a" not in (root / CACHE / "digests").read_bytes()
    forge(root)
    assert read_again(root) == set()


def test_names_of_every_kind_are_remembered(root: Path) -> None:
    for name in ("an é", "a \udcff", "ш"):
        (root / "cookbooks" / name).write_text(name, errors="surrogateescape")
    found = digests(root)
    assert len(found) == 6
    forge(root)
    assert read_again(root) == set()


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\n\xff", b"half", sha256(b"{}").encode() + b"\n{}"])
def test_what_is_damaged_counts_as_nothing(root: Path, damage: bytes) -> None:
    digests(root)
    file = root / CACHE / "digests"
    file.write_bytes(file.read_bytes()[:-5] if damage == b"half" else damage)
    assert digests(root) == true_digests(root)
    forge(root)
    assert read_again(root) == set()


def test_it_is_private(root: Path) -> None:
    digests(root)
    assert (root / CACHE).stat().st_mode & 0o777 == 0o700
    assert (root / CACHE / ".gitignore").read_text() == "*\n"
    assert sorted(one.name for one in (root / CACHE).iterdir()) == [".gitignore", "digests"]


def test_where_nothing_can_be_written_nothing_is_remembered(root: Path) -> None:
    (root / ".nodepkg").write_text("in the way")
    assert digests(root) == true_digests(root)


def test_nothing_is_written_unless_it_is_asked_for(root: Path) -> None:
    Memory(root).digests(files_below(root, "cookbooks"))
    assert not (root / ".nodepkg").exists()
