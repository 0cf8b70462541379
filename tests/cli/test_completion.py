"""completion:install: what it writes, and what it leaves alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodepkg.cli.shells import StartUpLine
from nodepkg.errors import RefusedError
from nodepkg.render.files import State
from tests.cli.conftest import Run

VARIABLES = ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR", "SHELL")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some 'home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PLACES = {
    "bash": [".bashrc", *(f".local/share/bash-completion/completions/{name}" for name in ("nodepkg", "package"))],
    "zsh": [".local/share/zsh/site-functions/_package", ".zshrc"],
    "fish": [".config/fish/completions/nodepkg.fish", ".config/fish/completions/package.fish"],
}


@pytest.mark.parametrize("shell", PLACES)
def test_it_writes_where_the_shell_looks_and_says_so(run: Run, home: Path, shell: str) -> None:
    dry = run("completion:install", shell, "--dry-run")
    assert files_in(home) == {}
    first = run("completion:install", shell)
    assert (dry.code, first.code) == (0, 0)
    written = files_in(home)
    assert sorted(written) == PLACES[shell]
    for place in PLACES[shell]:
        assert f"created   {home / place}\n" in first.out
        assert f"would create {home / place}\n" in dry.err
    assert shell in first.err.splitlines()[-1]
    again = json.loads(run("completion:install", shell, "--json").out)
    assert [entry["state"] for entry in again["files"]] == ["unchanged"] * len(written)
    assert files_in(home) == written


def test_the_variables_of_the_shells_are_heeded(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES[:-1]:
        monkeypatch.setenv(variable, str(home / variable))
    for shell in PLACES:
        assert run("completion:install", shell).code == 0
    assert sorted(files_in(home)) == [
        ".bashrc",
        "BASH_COMPLETION_USER_DIR/completions/nodepkg",
        "BASH_COMPLETION_USER_DIR/completions/package",
        "XDG_CONFIG_HOME/fish/completions/nodepkg.fish",
        "XDG_CONFIG_HOME/fish/completions/package.fish",
        "XDG_DATA_HOME/zsh/site-functions/_package",
        "ZDOTDIR/.zshrc",
    ]


@pytest.mark.parametrize("text", [b"alias ll='ls -l'  # \xe4", b"alias ll='ls -l'\n", b""])
def test_a_start_up_file_keeps_every_byte_its_mode_and_its_links(run: Run, home: Path, text: bytes) -> None:
    kept = home / "dotfiles" / "bashrc"
    kept.parent.mkdir()
    kept.write_bytes(text)
    kept.chmod(0o600)
    (home / ".bashrc").symlink_to(kept)
    assert f"updated   {home / '.bashrc'}" in run("completion:install", "bash").out
    assert run("completion:install", "bash").out.count("unchanged") == 3
    now = kept.read_bytes()
    assert (home / ".bashrc").is_symlink()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert now.startswith(text.removesuffix(b"\n"))
    assert now.removeprefix(text).strip(b"\n").count(b"\n") == 0
    assert now.endswith(b"\n")


def test_the_line_reads_the_file_and_is_quiet_without_it(run: Run, home: Path) -> None:
    run("completion:install", "bash")
    command = ["bash", "--norc", "-c", "set -eu; . ~/.bashrc; complete -p package nodepkg || echo none"]
    sourced = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sourced.stdout.splitlines() == ["complete -F _package package", "complete -F _package nodepkg"]
    (home / PLACES["bash"][2]).unlink()
    without = subprocess.run(command, capture_output=True, text=True, check=True)
    assert without.stdout == "none\n"


def test_an_older_file_of_ours_is_updated_and_a_foreign_one_refused(run: Run, home: Path) -> None:
    path = home / ".config/fish/completions/package.fish"
    run("completion:install", "fish")
    path.write_text("# Completion of nodepkg, an older one\n")
    assert f"updated   {path}" in run("completion:install", "fish").out
    path.write_text("complete -c package -f\n")
    (path.parent / "nodepkg.fish").unlink()
    refused = run("completion:install", "fish")
    assert refused.code == 4
    assert str(path) in refused.err
    assert sorted(files_in(home)) == [".config/fish/completions/package.fish"]


@pytest.mark.parametrize("value", ["", "relative", "/nowhere/at/all"])
def test_without_a_home_nothing_is_written(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", value)
    done = run("completion:install", "bash")
    assert done.code == 4
    assert "HOME" in done.err
    assert files_in(tmp_path) == {}


def test_what_cannot_be_written_is_refused_and_leaves_no_rest(run: Run, home: Path) -> None:
    (home / ".local").write_text("a file where a folder should be")
    os.mkfifo(home / ".zshrc")
    for shell in ("bash", "zsh"):
        done = run("completion:install", shell)
        assert done.code == 4
        assert str(home) in done.err
    assert sorted(files_in(home)) == [".local"]


def test_a_start_up_file_that_cannot_be_written_is_not_called_unchanged(run: Run, home: Path) -> None:
    run("completion:install", "bash")
    (home / PLACES["bash"][1]).unlink()
    (home / ".bashrc").unlink()
    (home / ".bashrc").symlink_to("/proc/no-file-can-be-made-here")
    done = run("completion:install", "bash")
    assert done.code == 4
    states = {line.split()[1]: line.split()[0] for line in done.out.replace(str(home), "~").splitlines()}
    assert sorted(states.values()) == ["created", "failed", "unchanged"]
    assert states["~/.bashrc"] == "failed"


def test_a_full_disk_leaves_no_half_line() -> None:
    full = Path("/dev/full")
    with pytest.raises(RefusedError, match=r"/dev/full: cannot be written") as refused:
        StartUpLine(full, "a line").write()
    assert "a line" in refused.value.hint


def test_a_line_that_stands_there_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rc"
    path.write_bytes(b"\xff\n  # a line\nthe line")
    assert StartUpLine(path, "the line").state() is State.FRESH
    assert StartUpLine(path, "a line").state() is State.STALE


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_it_is_the_shell_that_calls(home: Path, shell: str) -> None:
    called = [shell, "-c", f"'{sys.executable}' -m nodepkg completion:install --dry-run --json; exit $?"]
    done = subprocess.run(called, capture_output=True, text=True, check=True, env={**os.environ, "SHELL": "/bin/fish"})
    assert f".{shell}rc" in done.stdout


def test_an_unknown_shell_is_a_usage_error_that_names_the_known(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for done in (run("completion:install", "tcsh"), run("completion:install", "")):
        assert done.code == 2
        assert all(shell in done.err for shell in PLACES)
