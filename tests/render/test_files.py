"""Artefacts on disk: whole or not at all, and only when something changes."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from nodepkg.errors import RefusedError
from nodepkg.render.files import Artifact, Outcome, State, add, create, current, state, write

Link = Callable[[Path, Path], None]
BEE = Artifact("bee", "roles/bee.json", "{}\n")
NEWER = Artifact("bee", "roles/bee.json", '{"a": 1}\n')


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_an_artefact_is_created_then_unchanged_then_updated(tmp_path: Path) -> None:
    outcomes = [write(tmp_path, [artifact])[0][1] for artifact in (BEE, BEE, NEWER, NEWER)]
    assert outcomes == [Outcome.CREATED, Outcome.UNCHANGED, Outcome.UPDATED, Outcome.UNCHANGED]
    assert (tmp_path / "roles" / "bee.json").read_text() == NEWER.text


def test_the_folder_is_made_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, [Artifact("bee", "dna/asg/bee.json", "{}\n")])
    assert everything_in(tmp_path) == ["dna", "dna/asg", "dna/asg/bee.json"]


def test_each_artefact_is_told_in_order(tmp_path: Path) -> None:
    other = Artifact("ant", "roles/ant.json", "{}\n")
    write(tmp_path, [other])
    assert write(tmp_path, [BEE, other]) == [(BEE, Outcome.CREATED), (other, Outcome.UNCHANGED)]


def test_an_unchanged_file_is_not_touched(tmp_path: Path) -> None:
    write(tmp_path, [BEE])
    before = (tmp_path / BEE.path).stat()
    write(tmp_path, [BEE])
    after = (tmp_path / BEE.path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_update_is_another_file_so_that_no_reader_meets_half_of_it(tmp_path: Path) -> None:
    write(tmp_path, [BEE])
    with (tmp_path / BEE.path).open() as reader:
        write(tmp_path, [NEWER])
        assert reader.read() == BEE.text


def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path, [BEE])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / BEE.path).stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, State.MISSING),
        (b"{}\n", State.FRESH),
        (b"{}", State.STALE),
        (b"{}\r\n", State.STALE),
        (b"\xff\xfe", State.STALE),
        (b"", State.STALE),
    ],
)
def test_the_state_is_what_is_on_disk(tmp_path: Path, content: bytes | None, expected: State) -> None:
    if content is not None:
        (tmp_path / "roles").mkdir()
        (tmp_path / BEE.path).write_bytes(content)
    assert state(tmp_path, BEE) is expected


def test_what_is_missing_has_no_text(tmp_path: Path) -> None:
    assert current(tmp_path, BEE) is None


def a_folder(root: Path) -> None:
    (root / BEE.path).mkdir(parents=True)


def a_file_for_the_folder(root: Path) -> None:
    (root / "roles").write_text("")


def a_broken_link_for_the_folder(root: Path) -> None:
    (root / "roles").symlink_to("nowhere")


def a_link_to_itself(root: Path) -> None:
    (root / "roles").mkdir()
    (root / BEE.path).symlink_to("bee.json")


IN_THE_WAY = [a_folder, a_file_for_the_folder, a_broken_link_for_the_folder, a_link_to_itself]


@pytest.mark.parametrize("put", IN_THE_WAY)
def test_what_is_in_the_way_is_refused_by_name_and_stays(tmp_path: Path, put: object) -> None:
    assert callable(put)
    put(tmp_path)
    before = everything_in(tmp_path)
    with pytest.raises(RefusedError, match=r"roles/bee\.json: cannot be"):
        write(tmp_path, [BEE])
    assert everything_in(tmp_path) == before


def test_no_temporary_file_is_left_when_the_write_fails(tmp_path: Path) -> None:
    long = Artifact("bee", f"roles/{'b' * 255}", "{}\n")  # the name is legal, that of the temporary file is too long
    with pytest.raises(RefusedError, match="cannot be written"):
        write(tmp_path, [BEE, long])
    assert everything_in(tmp_path) == ["roles", "roles/bee.json"]


def test_a_failure_tells_how_many_files_were_written_before_it(tmp_path: Path) -> None:
    long = Artifact("bee", f"roles/{'b' * 255}", "{}\n")
    with pytest.raises(RefusedError, match=r"\(1 files? (was|were) written before it\)"):
        write(tmp_path, [BEE, long])


def test_a_text_that_no_file_can_hold_leaves_the_old_one(tmp_path: Path) -> None:
    write(tmp_path, [BEE])
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path, [Artifact("bee", BEE.path, "\ud800")])
    assert everything_in(tmp_path) == ["roles", "roles/bee.json"]
    assert (tmp_path / BEE.path).read_text() == BEE.text


def no_link(temporary: Path, path: Path) -> None:
    """What a file system without hard links answers."""
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("link", [os.link, no_link])
def test_a_new_file_is_added_whole(tmp_path: Path, link: Link) -> None:
    assert add(tmp_path / "a" / "file", b"new", link)
    assert (tmp_path / "a" / "file").read_bytes() == b"new"
    assert everything_in(tmp_path) == ["a", "a/file"]


@pytest.mark.parametrize("link", [os.link, no_link])
def test_what_is_there_is_never_overwritten(tmp_path: Path, link: Link) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    assert [add(tmp_path / name, b"new", link) for name in ("file", "link", "folder")] == [False] * 3
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert everything_in(tmp_path) == ["file", "folder", "link"]


@pytest.mark.parametrize("link", [os.link, no_link])
def test_what_comes_at_the_last_moment_is_not_overwritten(tmp_path: Path, link: Link) -> None:
    def late(temporary: Path, path: Path) -> None:
        path.write_bytes(b"theirs")
        link(temporary, path)

    assert not add(tmp_path / "file", b"new", late)
    assert (tmp_path / "file").read_bytes() == b"theirs"
    assert everything_in(tmp_path) == ["file"]


def test_artefacts_are_created_or_kept(tmp_path: Path) -> None:
    assert create(tmp_path, [BEE]) == [(BEE, Outcome.CREATED)]
    assert create(tmp_path, [NEWER]) == [(NEWER, Outcome.KEPT)]
    assert (tmp_path / BEE.path).read_text() == BEE.text


def test_a_file_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "roles").write_text("in the way")
    with pytest.raises(RefusedError, match=r"roles/bee\.json: cannot be written"):
        create(tmp_path, [BEE])
    (tmp_path / "roles").unlink()
    (tmp_path / "roles").symlink_to("nowhere")
    with pytest.raises(RefusedError, match=r"roles/bee\.json: cannot be written"):
        create(tmp_path, [BEE])
    assert everything_in(tmp_path) == ["roles"]
