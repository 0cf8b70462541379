"""git: at which commit the project stands, and what a repository holds at a commit."""

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from nodepkg.errors import RefusedError, ToolError, UsageError

SYMLINK, SUBMODULE = "120000", "160000"

# A temporary index is nobody's business: no hook, and no shared or cached part of it in the repository.
_QUIETLY = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.splitIndex=false", "-c", "core.fsmonitor=false"),
    *("-c", "core.sparseCheckout=false", "-c", "advice.detachedHead=false"),
)
_LOCAL = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


def commit(folder: Path) -> str:
    """The commit of HEAD, with `-dirty` if anything in the folder differs from it; "" outside of git."""
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    if not head:
        return ""
    return f"{head}-dirty" if _git(folder, "status", "--porcelain", "--", ".") else head


@dataclass(frozen=True)
class Repository:
    """The repository that a folder of a working tree is in, as the user's environment has it."""

    folder: Path
    environ: Mapping[str, str]

    @cached_property
    def top(self) -> Path:
        """The folder of the working tree; raises RefusedError outside of one."""
        done = self._try("rev-parse", "--show-toplevel")
        if done.returncode or not done.stdout.strip():
            reason, hint = _refusal(done.stderr)
            raise RefusedError(f"{self.folder}: no git repository to compare with: {reason}", hint=hint)
        return Path(_text(done.stdout).removesuffix("\n"))

    @cached_property
    def prefix(self) -> str:
        """The folder below the top: `staging/`, or nothing."""
        return self._run("rev-parse", "--show-prefix").removesuffix("\n")

    @cached_property
    def directory(self) -> str:
        return self._run("rev-parse", "--absolute-git-dir").removesuffix("\n")

    def commit_of(self, rev: str) -> str:
        """The commit that a revision means; raises UsageError with the nearest names if it means none."""
        top, found = self.top, None if rev.startswith("-") else self._object(rev)
        commit = self._object(f"{found}^{{commit}}") if found else None
        if not commit:
            raise UsageError(f"no revision {rev} in {top}", hint=self._revision_hint(rev))
        return commit

    def recorded(self, path: str) -> str | None:
        """The object that the index has at this path, seen from the top: of a submodule its commit."""
        return self._object(f":0:{path}")

    def has_commit(self, commit: str) -> bool:
        return self._try("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0

    def ignored(self, parts: Sequence[str]) -> list[str]:
        """The files, relative to the folder, that git ignores in these parts of it; a repository ends in `/`."""
        listing = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", *parts)
        return _paths(self._run("--literal-pathspecs", *listing))

    def tree(self, commit: str, folder: Path, index: Path) -> "Tree":
        """The commit, to be checked out into the folder by way of this index."""
        environ = {name: value for name, value in self.environ.items() if name != "GIT_PREFIX"}
        made = {"GIT_DIR": self.directory, "GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(index)}
        tree = Tree(Repository(folder, {**environ, **made}))
        tree.repository._run(*_QUIETLY, "read-tree", commit)
        return tree

    def inner(self, folder: Path) -> "Repository | None":
        """The repository of a submodule that is checked out there."""
        inside = Repository(folder, {name: value for name, value in self.environ.items() if name not in _LOCAL})
        if not (folder / ".git").exists() or inside._try("rev-parse", "--show-toplevel").returncode:
            return None
        return inside if inside.top.samefile(folder) else None

    def _object(self, name: str) -> str | None:
        said = _text(self._try("rev-parse", "--verify", "--quiet", name).stdout).strip()
        return said if re.fullmatch(r"[0-9a-f]{40,64}", said) else None

    def _revision_hint(self, rev: str) -> str:
        if self._try("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            return "this is a shallow clone: git fetch --unshallow"
        names = self._run(
            "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"
        ).split()
        nearest = get_close_matches(rev, names, n=3, cutoff=0.5)
        return (
            f"did you mean {', '.join(nearest)}?" if nearest else "what there is: git log --oneline, git branch --all"
        )

    def _run(self, *arguments: str, given: bytes = b"") -> str:
        done = self._try(*arguments, given=given)
        if done.returncode:
            action = next(argument for argument in arguments if re.fullmatch(r"[a-z]+-[a-z-]+", argument))
            raise ToolError(f"git {action} in {self.folder}: {_last_line(done.stderr)}")
        return _text(done.stdout)

    def _try(self, *arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(
                ["git", "-C", str(self.folder), *arguments],  # noqa: S607 - git is where PATH says
                env=dict(self.environ),
                input=given,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise ToolError("git is not an executable on PATH", hint="apt-get install git") from error
        except OSError as error:
            raise ToolError(f"git cannot be run: {error.strerror}") from error


@dataclass(frozen=True)
class Tree:
    """A commit in an index of its own, to be checked out below the repository's folder."""

    repository: Repository

    def entries(self, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
        """What the commit has at or below these paths: path -> mode and object."""
        listing = self.repository._run("--literal-pathspecs", *_QUIETLY, "ls-files", "-s", "-z", "--", *paths)
        found = {}
        for line in _paths(listing):
            about, _, path = line.partition("\t")
            mode, name, _ = about.split(" ")
            found[path] = (mode, name)
        return found

    def check_out(self, paths: Iterable[str]) -> None:
        """Writes these files, converted as a checkout of the commit would convert them."""
        given = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths)
        self.repository._run(*_QUIETLY, "checkout-index", "-z", "--force", "--stdin", given=given)


def repository(folder: Path, environ: Mapping[str, str]) -> Repository:
    """Of this folder. What the environment names relative to the current folder stays where it is."""
    named = {name: str(Path(environ[name]).absolute()) for name in _LOCAL if environ.get(name) and name != "GIT_PREFIX"}
    if "GIT_DIR" in named and "GIT_WORK_TREE" not in named:
        named["GIT_WORK_TREE"] = str(Path.cwd())  # as git takes it
    return Repository(folder, {**environ, **named, "GIT_OPTIONAL_LOCKS": "0"})


def _paths(listing: str) -> list[str]:
    return [path for path in listing.split("\0") if path]


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


def _last_line(output: bytes) -> str:
    lines = _text(output).strip().splitlines()
    return lines[-1] if lines else ""


def _refusal(said: bytes) -> tuple[str, str]:
    """Why git takes a folder for no repository, and what to do: its own advice, if the folder is somebody else's."""
    lines = [line.strip() for line in _text(said).splitlines() if line.strip()]
    command = next((line for line in lines if line.startswith("git ") and "safe.directory" in line), "")
    reason = next((line for line in lines if line.startswith("fatal: ")), "".join(lines[:1] if command else lines[-1:]))
    return reason.removeprefix("fatal: ") or "this is no working tree", command or "git init, git commit"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is where PATH says
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
