"""The project as it was at a git revision, in a temporary folder; the user's index and files are not touched."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nodepkg.clients.git import SUBMODULE, SYMLINK, Repository, repository
from nodepkg.errors import UsageError


@dataclass(frozen=True)
class Snapshot:
    """`file` is the nodes.json of the revision, with the project's other files beside it.

    What git ignores in the working tree is there, too, by symbolic links: it counts as unchanged, and so does a
    folder that is empty there, which git cannot hold. `notes` tell what could not be had as it was.
    """

    rev: str
    commit: str
    file: Path
    notes: list[str] = field(default_factory=list)

    def said(self, text: str) -> str:
        """The text with files of the snapshot named as git does: `v1.2:nodes.json`."""
        return text.replace(f"{self.file.parent}/", f"{self.rev}:").replace(str(self.file.parent), f"{self.rev}:")


@contextmanager
def snapshot(file: Path, rev: str, parts: Sequence[str], environ: Mapping[str, str]) -> Iterator[Snapshot]:
    """The file and those parts (files, folders) beside it at the revision, for as long as the context lasts.

    Raises UsageError for a revision that there is not or that has no such file, RefusedError outside of a
    git repository, ToolError if git is missing or fails.
    """
    found = repository(file.parent, environ)
    commit = found.commit_of(rev)
    with tempfile.TemporaryDirectory(prefix="nodepkg-") as temporary:
        root = Path(os.path.realpath(temporary))
        made = Snapshot(rev, commit, root / "tree" / found.prefix / file.name)
        export = _Export(root, made.notes)
        export.add(found, commit, root / "tree", [f"{found.prefix}{part}" for part in (file.name, *parts)])
        export.link_ignored(found, root / "tree" / found.prefix, parts)
        export.mend_links()
        export.add_empty(found.folder, root / "tree" / found.prefix, parts)
        if not made.file.is_file():
            told = f"{rev} has no {found.prefix}{file.name}"
            raise UsageError(told, hint=f"the revisions that have it: git log --oneline -- {file.name}")
        yield made


@dataclass
class _Export:
    """Files of commits in folders below a root that is ours alone."""

    root: Path
    notes: list[str]
    links: dict[Path, Path] = field(default_factory=dict)  # each symbolic link, and what it is in the working tree
    trees: int = 0

    def add(self, source: Repository, commit: str, target: Path, paths: Sequence[str]) -> None:
        """Checks the paths out into the target, and whatever their symbolic links lead to in the commit."""
        target.mkdir(parents=True, exist_ok=True)
        self.trees += 1
        tree = source.tree(commit, target, self.root / f"index-{self.trees}")
        seen: set[str] = set()
        while paths:
            entries = {path: entry for path, entry in tree.entries(paths).items() if path not in seen}
            seen |= entries.keys()
            tree.check_out(path for path, (mode, _) in entries.items() if mode != SUBMODULE)
            paths = []
            for path, (mode, name) in entries.items():
                if mode == SUBMODULE:
                    self._add_submodule(source, name, target, path)
                elif mode == SYMLINK and (target / path).is_symlink():  # where there are none, a file holds the text
                    self.links[target / path] = source.top / path
                    paths.extend(_goal_inside(target, path))

    def link_ignored(self, source: Repository, target: Path, parts: Sequence[str]) -> None:
        """Links to what git ignores in the source's folder."""
        for path in source.ignored(parts):
            self._link(target, path.rstrip("/"), source.folder.absolute() / path)

    def mend_links(self) -> None:
        """Lets symbolic links that lead out of the snapshot, or nowhere, lead where they do in the working tree."""
        for link, there in self.links.items():
            goal = link.readlink()
            leaves = not Path(os.path.normpath(link.parent / goal)).is_relative_to(self.root / "tree")
            if not goal.is_absolute() and (leaves or not link.exists()):
                link.unlink()
                link.symlink_to(there.parent / goal)

    def _add_submodule(self, source: Repository, commit: str, target: Path, path: str) -> None:
        there = source.top / path
        inner = source.inner(there)
        if inner and inner.has_commit(commit):
            self.add(inner, commit, target / path, ["."])
            self.link_ignored(inner, target / path, ["."])
            self._link(target, f"{path}/.git", there / ".git")
        elif inner or source.recorded(path) != commit:
            self.notes.append(f"{path}: a submodule without its commit {commit[:12]} here: all of it counts as changed")
            put = _free(target, f"{path}/{commit}")  # a file that the working tree does not have
            if put:
                put.touch()
        else:
            self.notes.append(f"{path}: a submodule without its commit {commit[:12]} here: it counts as unchanged")
            if there.is_dir():
                self._link(target, path, there)

    def add_empty(self, source: Path, target: Path, parts: Sequence[str]) -> None:
        """The folders among these parts that are in the source, and in which no file is."""
        for part in parts:
            there = source / part
            if there.is_dir() and all(path.is_dir() for path in there.rglob("*")):
                put = _free(target, part)
                if put:
                    put.mkdir()

    def _link(self, target: Path, path: str, goal: Path) -> None:
        put = _free(target, path)
        if put:
            put.symlink_to(goal)


def _free(target: Path, path: str) -> Path | None:
    """The place to put something, in a folder that is made; None if the commit has something there.

    Never below a link, which may lead to the user's files.
    """
    place = target / path
    real = next(above for above in place.parents if os.path.lexists(above))
    if os.path.lexists(place) or not real.is_dir() or Path(os.path.realpath(real)) != real:
        return None
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _goal_inside(target: Path, path: str) -> list[str]:
    """What a symbolic link leads to, if that may be in the same commit."""
    goal = Path(os.path.normpath(Path(path).parent / (target / path).readlink()))
    return [] if goal.is_absolute() or goal.parts[:1] == ("..",) else [goal.as_posix()]
