"""The project at a revision, from real repositories; nothing of the user's is touched."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodepkg.clients.snapshot import Snapshot, snapshot
from nodepkg.errors import RefusedError, ToolError, UsageError
from tests.gits import alone, commit_all, git, put

PARTS = ("cookbooks", "data_bags", "roles", "solo.rb", "templates/packer")


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a first commit, in a folder whose name wants quoting."""
    alone(monkeypatch)
    folder = tmp_path / 'it\'s a "repo"'
    put(folder / "nodes.json", "old")
    put(folder / "cookbooks/x/a b'\".rb", "old")
    commit_all(folder, first=True)
    return folder


@contextmanager
def at(folder: Path, rev: str = "HEAD", name: str = "nodes.json") -> Iterator[Snapshot]:
    with snapshot(folder / name, rev, PARTS, os.environ) as then:
        yield then


def files(then: Snapshot) -> dict[str, str]:
    """What is in the snapshot, through symbolic links."""
    root = then.file.parent
    found = {}
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = {*folders} - {".git"}
        for name in {*names} - {".git"}:
            path = Path(place, name)
            found[path.relative_to(root).as_posix()] = path.read_text() if path.exists() else "broken"
    return found


def test_the_files_are_those_of_the_revision(top: Path) -> None:
    put(top / "nodes.json", "new")
    put(top / "cookbooks/x/a b'\".rb", "new")
    put(top / "cookbooks/x/untracked.rb", "new")
    with at(top) as then:
        assert files(then) == {"nodes.json": "old", "cookbooks/x/a b'\".rb": "old"}
        assert then.commit == git(top, "rev-parse", "HEAD").strip()
        assert then.notes == []
        place = then.file
    assert not place.exists()


def test_index_status_and_files_stay_as_they_are(top: Path) -> None:
    git(top, "config", "core.splitIndex", "true")
    put(top / "staged", "x")
    git(top, "add", "staged")
    put(top / "nodes.json", "new")
    put(top / "untracked", "x")

    def state() -> tuple[str, bytes, list[str]]:
        inside = sorted(str(path) for path in top.rglob("*"))
        return git(top, "--no-optional-locks", "status", "--porcelain"), (top / ".git/index").read_bytes(), inside

    before = state()
    with at(top):
        assert state() == before
    assert state() == before


def test_no_hook_runs(top: Path) -> None:
    hook = top / ".git/hooks/post-index-change"
    put(hook, f"#!/bin/sh\ntouch '{top.parent}/ran'\n")
    hook.chmod(0o755)
    with at(top):
        assert not (top.parent / "ran").exists()


def test_a_project_in_a_subfolder_has_its_own_files_only(top: Path) -> None:
    put(top / "staging/main.json", "sub")
    put(top / "staging/cookbooks/y.rb", "sub")
    put(top / "staging/docs/big", "not exported")
    commit_all(top)
    with at(top / "staging", name="main.json") as then:
        assert files(then) == {"main.json": "sub", "cookbooks/y.rb": "sub"}


def test_what_git_ignores_counts_as_unchanged(top: Path) -> None:
    put(top / ".gitignore", "vendored/\n*.lock\n")
    commit_all(top)
    put(top / "cookbooks/vendored/deep/a.rb", "ignored")
    put(top / "cookbooks/x/b.lock", "ignored")
    with at(top) as then:
        assert files(then)["cookbooks/vendored/deep/a.rb"] == "ignored"
        assert files(then)["cookbooks/x/b.lock"] == "ignored"


def test_what_was_tracked_then_comes_before_what_is_ignored_now(top: Path) -> None:
    put(top / "cookbooks/v/a.rb", "tracked")
    commit_all(top)
    git(top, "rm", "--quiet", "-r", "--cached", "cookbooks/v")
    put(top / ".gitignore", "/cookbooks/v/\n")
    put(top / "cookbooks/v/a.rb", "vendored")
    with at(top) as then:
        assert files(then)["cookbooks/v/a.rb"] == "tracked"


def test_ignored_files_are_never_written_through_a_link_of_the_revision(top: Path) -> None:
    put(top / "shared/a.rb", "shared")
    (top / "cookbooks/link").symlink_to(top / "shared")
    commit_all(top)
    (top / "cookbooks/link").unlink()
    put(top / ".gitignore", "*.lock\n")
    put(top / "cookbooks/link/b.lock", "ignored")
    with at(top):
        assert list((top / "shared").iterdir()) == [top / "shared/a.rb"]


def test_an_ignored_repository_counts_as_unchanged(top: Path) -> None:
    put(top / ".gitignore", "clone\n")
    commit_all(top)
    put(top / "cookbooks/clone/a.rb", "clone")
    commit_all(top / "cookbooks/clone", first=True)
    with at(top) as then:
        assert files(then)["cookbooks/clone/a.rb"] == "clone"


def test_links_lead_where_the_revision_has_it_else_to_the_working_tree(top: Path) -> None:
    put(top / "shared/a.rb", "old")
    put(top.parent / "outside/o.rb", "outside")
    put(top / "sub/nodes.json", "{}")
    (top / "sub/cookbooks").mkdir()
    (top / "sub/cookbooks/inside").symlink_to("../../shared")
    (top / "sub/cookbooks/outside").symlink_to("../../../outside")
    (top / "sub/cookbooks/untracked").symlink_to("../later")
    commit_all(top)
    put(top / "shared/a.rb", "new")
    put(top / "sub/later/l.rb", "later")
    with at(top / "sub") as then:
        found = files(then)
    assert found["cookbooks/inside/a.rb"] == "old"
    assert found["cookbooks/outside/o.rb"] == "outside"
    assert found["cookbooks/untracked/l.rb"] == "later"


def test_a_folder_that_is_a_link_itself_is_followed(top: Path) -> None:
    put(top / "sub/nodes.json", "{}")
    (top / "sub/cookbooks").symlink_to("../cookbooks")
    commit_all(top)
    put(top / "cookbooks/x/a b'\".rb", "new")
    with at(top / "sub") as then:
        assert files(then)["cookbooks/x/a b'\".rb"] == "old"


@pytest.fixture
def with_submodule(top: Path) -> Path:
    """The repository with a submodule cookbooks/sub, whose file was changed in a second commit of both."""
    library = top.parent / "library"
    put(library / "s.rb", "old")
    commit_all(library, first=True)
    git(top, "submodule", "--quiet", "add", str(library), "cookbooks/sub")
    commit_all(top)
    put(top / "cookbooks/sub/s.rb", "new")
    commit_all(top / "cookbooks/sub")
    commit_all(top)
    return top


def test_a_submodule_has_its_own_commit_of_then(with_submodule: Path) -> None:
    with at(with_submodule, "HEAD~1") as then:
        assert files(then)["cookbooks/sub/s.rb"] == "old"
        assert then.notes == []
    with at(with_submodule) as then:
        assert files(then)["cookbooks/sub/s.rb"] == "new"
        assert (then.file.parent / "cookbooks/sub/.git").is_file()  # it is in the working tree, and would differ


def test_a_submodule_that_is_not_checked_out_counts_as_changed_if_its_commit_is_another(with_submodule: Path) -> None:
    git(with_submodule, "submodule", "deinit", "--force", "cookbooks/sub")
    for rev, is_changed in (("HEAD", False), ("HEAD~1", True)):
        with at(with_submodule, rev) as then:
            (note,) = then.notes
            assert note.startswith("cookbooks/sub: ")
            assert note.endswith("changed" if is_changed else "unchanged")
            assert any(path.startswith("cookbooks/sub/") for path in files(then)) == is_changed
    assert list((with_submodule / "cookbooks/sub").iterdir()) == []


def test_a_submodule_as_it_was_recorded_counts_as_unchanged_without_its_repository(with_submodule: Path) -> None:
    folder = with_submodule / "cookbooks/sub"
    (folder / ".git").unlink()
    put(folder / "s.rb", "here")
    with at(with_submodule) as then:
        assert files(then)["cookbooks/sub/s.rb"] == "here"
        assert len(then.notes) == 1


def test_a_submodule_that_has_not_fetched_that_commit_counts_as_changed(with_submodule: Path) -> None:
    clone = with_submodule.parent / "clone"
    git(with_submodule.parent, "clone", "--quiet", str(with_submodule), str(clone))
    (clone / "cookbooks/sub").rmdir()
    put(clone / "cookbooks/sub/s.rb", "own")
    commit_all(clone / "cookbooks/sub", first=True)
    with at(clone) as then:
        assert "cookbooks/sub/s.rb" not in files(then)
        assert [note.endswith(": all of it counts as changed") for note in then.notes] == [True]


@pytest.mark.parametrize("part", PARTS[:3])
def test_a_folder_without_files_counts_as_unchanged(top: Path, part: str) -> None:
    (top / part / "deep/down").mkdir(parents=True, exist_ok=True)
    git(top, "rm", "--quiet", "-r", "cookbooks/x")
    git(top, "commit", "--quiet", "--message", "x")
    (top / part).mkdir(exist_ok=True)
    with at(top) as then:
        assert [path.name for path in then.file.parent.iterdir() if path.is_dir()] == [part]


def test_files_are_converted_as_the_attributes_of_then_say(top: Path) -> None:
    put(top / ".gitattributes", "*.rb text eol=crlf\n")
    put(top / "cookbooks/c.rb", "a\nb\n")
    commit_all(top)
    put(top / ".gitattributes", "")
    commit_all(top)
    for rev, text in (("HEAD~1", b"a\r\nb\r\n"), ("HEAD", b"a\nb\n")):
        with at(top, rev) as then:
            assert (then.file.parent / "cookbooks/c.rb").read_bytes() == text


def test_export_ignore_and_sparse_checkouts_leave_nothing_out(top: Path) -> None:
    put(top / ".gitattributes", "cookbooks/** export-ignore\n")
    commit_all(top)
    git(top, "sparse-checkout", "set", "--no-cone", "/*", "!/cookbooks")
    assert not (top / "cookbooks").exists()
    with at(top) as then:
        assert files(then)["cookbooks/x/a b'\".rb"] == "old"


@pytest.mark.parametrize("rev", ["HEAD", "main", "v1", "@{0}", ":/x", "HEAD^{tree}~0", "linked"])
def test_a_revision_is_whatever_git_takes_for_a_commit(top: Path, rev: str) -> None:
    git(top, "tag", "-a", "v1", "-m", "x")
    git(top, "branch", "linked")
    if rev.startswith("HEAD^"):
        with pytest.raises(UsageError), at(top, rev):
            pass
    else:
        with at(top, rev) as then:
            assert files(then)["nodes.json"] == "old"


@pytest.mark.parametrize("rev", ["nope", "--help", "-n1", "", "HEAD..HEAD", "^HEAD", "HEAD:nodes.json", "HEAD\nHEAD"])
def test_what_is_no_revision_is_a_usage_error(top: Path, rev: str) -> None:
    with pytest.raises(UsageError) as error, at(top, rev):
        pass
    assert error.value.hint


def test_the_nearest_branches_and_tags_are_suggested(top: Path) -> None:
    git(top, "tag", "release-12")
    with pytest.raises(UsageError) as error, at(top, "release-13"):
        pass
    assert "release-12" in error.value.hint


def test_in_a_shallow_clone_the_way_to_more_history_is_told(top: Path) -> None:
    commit_all(top)
    clone = top.parent / "clone"
    git(top.parent, "clone", "--quiet", "--depth", "1", f"file://{top}", str(clone))
    with pytest.raises(UsageError) as error, at(clone, "HEAD~1"):
        pass
    assert "--unshallow" in error.value.hint


def test_a_revision_without_the_file_is_a_usage_error(top: Path) -> None:
    put(top / "other.json", "{}")
    with pytest.raises(UsageError) as error, at(top, name="other.json"):
        pass
    assert "git log --oneline -- other.json" in error.value.hint


def test_outside_of_a_repository_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    put(tmp_path / "nodes.json", "{}")
    with pytest.raises(RefusedError) as error, at(tmp_path):
        pass
    assert "git init" in error.value.hint


def test_somebody_elses_repository_is_refused_with_gits_own_advice(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(RefusedError, match="detected dubious ownership") as error, at(top):
        pass
    assert "\n" not in error.value.message
    assert error.value.hint.startswith("git config --global --add safe.directory ")


def test_without_git_it_says_so(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(top))
    with pytest.raises(ToolError, match="git"), snapshot(top / "nodes.json", "HEAD", PARTS, os.environ):
        pass


def test_a_failure_of_git_is_told_in_its_words(top: Path) -> None:
    name = git(top, "rev-parse", "HEAD:nodes.json").strip()
    (top / ".git/objects" / name[:2] / name[2:]).unlink()
    with pytest.raises(ToolError) as error, at(top):
        pass
    assert name in error.value.message


def test_a_git_dir_of_the_environment_is_heeded(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(top / "sub/nodes.json", "sub")
    commit_all(top)
    (top / ".git").rename(top / "elsewhere")
    monkeypatch.chdir(top)
    monkeypatch.setenv("GIT_DIR", "elsewhere")
    with at(Path("sub")) as then:
        assert files(then)["nodes.json"] == "sub"


def test_a_linked_working_tree_is_a_repository_too(top: Path) -> None:
    linked = top.parent / "linked"
    git(top, "worktree", "add", "--quiet", str(linked))
    put(linked / "nodes.json", "new")
    with at(linked) as then:
        assert files(then)["nodes.json"] == "old"


def test_text_names_the_revision_and_not_the_temporary_folder(top: Path) -> None:
    with at(top) as then:
        assert then.said(f"{then.file}:3: x") == "HEAD:nodes.json:3: x"


def test_nothing_is_left_where_git_writes_temporary_files(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = top.parent / "tmp"
    place.mkdir()
    done = subprocess.run(["git", "-C", str(top), "count-objects"], check=True, capture_output=True, text=True).stdout
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with at(top):
        assert len(list(place.iterdir())) == 1
    assert list(place.iterdir()) == []
    assert git(top, "count-objects") == done
