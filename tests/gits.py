"""Real git repositories for tests, out of reach of anybody's configuration."""

import os
import subprocess
from pathlib import Path

import pytest

ENVIRON = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.com",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.com",
}


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git heeds nothing but the repositories of the test."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def git(folder: Path, *arguments: str) -> str:
    """What git says in the folder; its failure fails the test."""
    command = ["git", "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", "-C", str(folder)]
    return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout


def commit_all(folder: Path, *, first: bool = False) -> None:
    if first:
        git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "x")


def write(folder: Path, **files: str) -> None:
    """Files with these texts; in a name `__` is a `/`."""
    for name, text in files.items():
        put(folder / name.replace("__", "/"), text)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
