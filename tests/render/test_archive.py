"""The archive of a bundle: the same bytes everywhere, exactly what the digest saw, and whole."""

import gzip
import os
import shutil
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest

from nodepkg.errors import RefusedError
from nodepkg.nodes.load import load
from nodepkg.render.archive import BUNDLES, KEPT, archive
from nodepkg.render.bundle import Bundle, Project, bundle
from nodepkg.render.digest import bundle_digest
from tests.projects import make_project

FILES = {
    "cookbooks/a/recipes/default.rb": "log 'a'\n",
    "cookbooks/a/files/run.sh": "#!/bin/sh\ntrue\n",
    f"cookbooks/a/{'long/' * 30}{'x' * 120}": "long\n",
    "cookbooks/a/empty.rb": "",
    "data_bags/users/ann.json": '{"id": "ann"}\n',
}
NODES = {"bee": {"run_list": ["recipe[a]"]}, "ant": {"run_list": ["recipe[b]"]}}


def made(root: Path, name: str = "bee") -> tuple[Project, Bundle]:
    nodes = load(root / "nodes.json")
    project = Project(nodes)
    return project, bundle(project, nodes.group(name))


def pack(root: Path, name: str = "bee", keep: frozenset[str] = frozenset()) -> Path:
    project, its = made(root, name)
    return archive(project, its, root / BUNDLES, keep=keep)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_project(tmp_path / "project", NODES, FILES)
    odd = os.fsdecode(os.fsencode(tmp_path / "project" / "cookbooks" / "a") + b"/\xff\xc3\xa9.rb")
    Path(odd).write_text("odd")
    return tmp_path / "project"


def test_it_is_named_by_the_digest_and_holds_exactly_the_bundle(root: Path) -> None:
    _, its = made(root)
    path = pack(root)
    assert path == root / BUNDLES / f"{bundle_digest(its)}.tar.gz"
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]
    assert files == {**{name: Path(file).read_bytes() for name, file in its.shared.items()}, **its.own}


def test_another_tar_unpacks_it(root: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run(["tar", "xzf", pack(root), "-C", there], check=True)
    assert not subprocess.run(["diff", "-r", root / "cookbooks", there / "cookbooks"], check=False).returncode
    assert sorted(one.name for one in there.iterdir()) == ["cookbooks", "data_bags", "dna.json", "roles", "solo.rb"]


def test_it_has_the_three_folders_of_chef_even_if_they_are_empty(tmp_path: Path) -> None:
    make_project(tmp_path, NODES)
    with tarfile.open(pack(tmp_path, "ant")) as tar:
        assert {one.name for one in tar if one.isdir()} == {"cookbooks", "data_bags", "roles"}


def test_no_entry_tells_of_the_machine_it_was_made_on(root: Path) -> None:
    with tarfile.open(pack(root)) as tar:
        told = {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in tar}
    assert told == {(0, 0, 0, "", "")}


def test_programs_are_executable_whatever_the_modes_of_the_checkout(root: Path) -> None:
    (root / "cookbooks/a/empty.rb").chmod(0o777)
    (root / "cookbooks/a/files/run.sh").chmod(0o600)
    with tarfile.open(pack(root)) as tar:
        modes = {one.name: one.mode for one in tar if one.name.endswith((".rb", ".sh"))}
    assert modes.pop("cookbooks/a/files/run.sh") == 0o755
    assert set(modes.values()) == {0o644}


def test_the_same_bytes_whatever_order_times_and_modes(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    before = os.umask(0o077)
    try:
        for name in sorted(FILES, reverse=True):
            (other / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, other / name)
            os.utime(other / name, (1, 1))
        shutil.copyfile(root / "nodes.json", other / "nodes.json")
        for one in (root / "cookbooks" / "a").iterdir():
            if one.is_file():
                shutil.copyfile(one, other / "cookbooks" / "a" / one.name)
        first, second = pack(root), pack(other)
    finally:
        os.umask(before)
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_the_header_of_gzip_holds_no_name_and_no_time(root: Path) -> None:
    assert pack(root).read_bytes()[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])


def test_links_are_followed(root: Path) -> None:
    (root / "cookbooks" / "b").symlink_to("a")
    with tarfile.open(pack(root)) as tar:
        assert "cookbooks/b/recipes/default.rb" in tar.getnames()
        assert not any(one.issym() for one in tar)


def test_more_than_a_block_comes_out_as_it_went_in(tmp_path: Path) -> None:
    content = os.urandom(1_300_001).hex()
    make_project(tmp_path, NODES, {"cookbooks/a/big": content, "cookbooks/a/more": content[:300_000]})
    with tarfile.open(pack(tmp_path)) as tar:
        found = tar.extractfile("cookbooks/a/big")
        assert found
        assert found.read().decode() == content


def test_a_file_that_changes_after_its_digest_was_taken_is_noticed(root: Path) -> None:
    project, its = made(root)
    (root / "cookbooks/a/recipes/default.rb").write_text("log 'b'\n")
    with pytest.raises(RefusedError, match=r"default\.rb: has changed while the bundle was made"):
        archive(project, its, root / BUNDLES)
    assert [one.name for one in (root / BUNDLES).iterdir()] == [".gitignore"]


def test_a_file_that_goes_after_its_digest_was_taken_is_noticed(root: Path) -> None:
    project, its = made(root)
    (root / "cookbooks/a/recipes/default.rb").unlink()
    with pytest.raises(RefusedError, match=r"default\.rb: cannot be read"):
        archive(project, its, root / BUNDLES)


def test_it_is_for_its_owner_only(root: Path) -> None:
    path = pack(root)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_one_that_is_there_is_not_made_again(root: Path) -> None:
    before = pack(root).stat().st_ino
    assert pack(root).stat().st_ino == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "sum", "no sum"])
def test_one_that_is_not_whole_is_made_again(root: Path, damage: str) -> None:
    path = pack(root)
    content = path.read_bytes()
    told = next(path.parent.glob("*.sha256"))
    if damage == "no sum":
        told.unlink()
    elif damage == "sum":
        told.write_bytes(b"\xff")
    else:
        flipped = bytes([*content[:99], content[99] ^ 1, *content[100:]])
        path.write_bytes({"cut": content[:-9], "flipped": flipped, "empty": b""}[damage])
    assert pack(root) == path
    assert path.read_bytes() == content
    assert not subprocess.run(["sha256sum", "-c", "--quiet", told.name], cwd=path.parent, check=False).returncode


def test_many_at_once_all_get_a_whole_one(root: Path) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(gzip.decompress(pack(root).read_bytes()))) for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert not list((root / BUNDLES).glob(".*.tmp"))


def old_archives(root: Path, number: int) -> list[str]:
    """Archives that were last used ever earlier: the digests, the last used first."""
    folder = root / BUNDLES
    folder.mkdir(parents=True, exist_ok=True)
    digests = [f"{one:064x}" for one in range(number)]
    for age, digest in enumerate(digests):
        for suffix in (".tar.gz", ".sha256"):
            path = folder / f"{digest}{suffix}"
            path.write_text("")
            os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return digests


def test_the_newest_stay_and_those_that_are_needed(root: Path) -> None:
    digests = old_archives(root, KEPT + 10)
    path = pack(root, keep=frozenset({digests[-1]}))
    there = {one.name.removesuffix(".tar.gz") for one in path.parent.glob("*.tar.gz")}
    assert there == {path.name.removesuffix(".tar.gz"), *digests[: KEPT - 1], digests[-1]}
    assert {one.stem for one in path.parent.glob("*.sha256")} == there


def test_what_was_used_within_a_day_stays_however_many_there_are(root: Path) -> None:
    digests = old_archives(root, KEPT + 10)
    for one in (root / BUNDLES).glob("*.tar.gz"):
        os.utime(one, (time.time() - 80_000,) * 2)
    path = pack(root)
    assert {one.name.removesuffix(".tar.gz") for one in path.parent.glob("*.tar.gz")} >= set(digests)


def test_one_that_is_used_again_counts_as_new(root: Path) -> None:
    path = pack(root)
    os.utime(path, (1, 1))
    old_archives(root, KEPT)
    assert pack(root).exists()
    old = pack(root, "ant")
    assert path.exists()
    assert old.exists()


def test_what_a_killed_process_left_goes_in_the_end(root: Path) -> None:
    folder = pack(root).parent
    left, busy = folder / ".left.tmp", folder / ".busy.tmp"
    left.write_text(""), busy.write_text("")
    os.utime(left, (time.time() - 100_000,) * 2)
    pack(root)
    assert not left.exists()
    assert busy.exists()


def test_where_nothing_can_be_written_it_says_so(root: Path) -> None:
    (root / ".nodepkg").write_text("in the way")
    with pytest.raises(RefusedError, match=r"\.nodepkg.*: cannot be written"):
        pack(root)
