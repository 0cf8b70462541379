"""Where bash, zsh and fish look for completions, and what has to lie there."""

import errno
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from nodepkg.errors import RefusedError
from nodepkg.render import files
from nodepkg.render.files import Artifact, Outcome, State

# What each of our files says of itself; one without it is somebody else's.
_OURS = "nodepkg"


@dataclass(frozen=True)
class Script:
    """A file that is ours as a whole."""

    path: Path
    text: str

    def state(self) -> State:
        """What is in its place; raises RefusedError if that is not ours, or cannot be read."""
        _refuse_what_blocks(self.path)
        before = files.current(self.path.parent, self._artifact)
        if before is not None and _OURS not in before:
            raise RefusedError(f"{self.path} is no file of nodepkg: it would be lost", hint="move it away")
        return files.state(self.path.parent, self._artifact)

    def write(self) -> None:
        files.write(self.path.parent, [self._artifact])

    @property
    def _artifact(self) -> Artifact:
        """Where a symbolic link points, so that it stays one."""
        return Artifact("", os.path.realpath(self.path), self.text)


@dataclass(frozen=True)
class StartUpLine:
    """A line at the end of a start-up file, which is the user's: no other byte of it is touched."""

    path: Path
    line: str

    def state(self) -> State:
        _refuse_what_blocks(self.path)
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return State.MISSING
        except OSError as error:
            raise RefusedError(f"{self.path}: cannot be read: {error.strerror}") from error
        return State.FRESH if os.fsencode(self.line) in lines else State.STALE

    def write(self) -> None:
        try:
            Path(os.path.realpath(self.path)).parent.mkdir(parents=True, exist_ok=True)
            self._append()
        except OSError as error:
            told = f"{self.path}: cannot be written: {error.strerror}"
            raise RefusedError(told, hint=f"add this line to it yourself: {self.line}") from error

    def _append(self) -> None:
        """In place, and not through a new file: that would lose its owner, its mode and what links to it."""
        with self.path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            begin = "" if file.read(1) in (b"", b"\n") else "\n"
            added = os.fsencode(f"{begin}{self.line}\n")
            try:
                if file.write(added) != len(added):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(size)
                raise


Piece = Script | StartUpLine


@dataclass(frozen=True)
class Install:
    """Writes one piece; `state` is what was in its place."""

    piece: Piece
    state: State

    def __str__(self) -> str:
        return f"{'create' if self.state is State.MISSING else 'update'} {self.piece.path}"

    def run(self, _: None) -> dict[str, Any]:
        self.piece.write()
        outcome = Outcome.CREATED if self.state is State.MISSING else Outcome.UPDATED
        return {"path": str(self.piece.path), "state": str(outcome)}


def plan_install(states: Iterable[tuple[Piece, State]]) -> list[Install]:
    return [Install(piece, state) for piece, state in states if state is not State.FRESH]


def pieces(shell: str, environ: Mapping[str, str]) -> list[Piece]:
    """What `shell` (bash, zsh or fish) needs, for the commands `package` and `nodepkg`.

    Raises RefusedError if there is no home for it.
    """
    home = _home(environ)
    text = (package_files("nodepkg") / "templates" / "completion" / f"package.{shell}").read_text(encoding="utf-8")
    data = _folder(environ, "XDG_DATA_HOME", home / ".local" / "share")
    if shell == "fish":
        folder = _folder(environ, "XDG_CONFIG_HOME", home / ".config") / "fish" / "completions"
        other = "# Written by `package completion:install fish`.\ncomplete -c nodepkg -w package\n"
        return [Script(folder / "package.fish", text), Script(folder / "nodepkg.fish", other)]
    if shell == "zsh":
        path = data / "zsh" / "site-functions" / "_package"
        return [Script(path, text), StartUpLine(_folder(environ, "ZDOTDIR", home) / ".zshrc", _source(path, home))]
    # Where the package bash-completion looks, for a name that it does not know yet. Bash alone reads ~/.bashrc only.
    own = environ.get("BASH_COMPLETION_USER_DIR", "").partition(":")[0]
    folder = (Path(own) if own.startswith("/") else data / "bash-completion") / "completions"
    other = '# Written by `package completion:install bash`, for nodepkg.\n. "${BASH_SOURCE[0]%/*}/package"\n'
    path = folder / "package"
    return [Script(path, text), Script(folder / "nodepkg", other), StartUpLine(home / ".bashrc", _source(path, home))]


def _home(environ: Mapping[str, str]) -> Path:
    try:
        home = Path(environ["HOME"]) if "HOME" in environ else Path.home()
    except RuntimeError:
        raise RefusedError("there is no home folder: HOME is not set", hint="set HOME") from None
    if not home.is_absolute() or not home.is_dir():
        raise RefusedError(f"there is no home folder: HOME is {environ.get('HOME', str(home))!r}", hint="set HOME")
    return home


def _folder(environ: Mapping[str, str], variable: str, default: Path) -> Path:
    """The XDG specification: a path that is not absolute is to be ignored."""
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else default


def _source(path: Path, home: Path) -> str:
    """The line that reads a file if it is there; below the home folder in such a way that it suits another machine."""
    if path.is_relative_to(home):
        word = f'"$HOME"/{shlex.quote(str(path.relative_to(home)))}'
    else:
        word = shlex.quote(str(path))
    return f"if [ -r {word} ]; then . {word}; fi # nodepkg: package completion:install"


def _refuse_what_blocks(path: Path) -> None:
    """A pipe in the place of a file would be waited for."""
    try:
        blocks = path.exists() and not path.is_file()
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error
    if blocks:
        raise RefusedError(f"{path} is no plain file", hint="move it away")
