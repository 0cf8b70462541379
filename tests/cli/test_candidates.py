"""What the program answers to a shell that completes a command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodepkg.cli.candidates import FILES, VARIABLE, answer, bash_line
from tests.cli.conftest import ROOT
from tests.cli.test_program import all_commands

GROUPS = ["12_04-base", "12_04-bee", "12_04-www", "ftp-listener", "ftp-processor"]


def bash(before: str, after: str = "", replaced: str | None = None) -> list[str]:
    """The replies when the cursor stands between the two; readline replaces what follows the last blank, : or =."""
    if replaced is None:
        replaced = before.replace(":", " ").replace("=", " ").rpartition(" ")[2]
    return answer("bash", [before, after, replaced]).splitlines()


def fish(*words: str) -> list[str]:
    return [line.partition("\t")[0] for line in answer("fish", [str(len(words) - 1), *words]).splitlines()]


@pytest.mark.parametrize(
    ("before", "replies"),
    [
        ("package ro", ["role:create", "roles:update"]),
        ("package role:", ["create"]),
        ("package role:cr", ["create"]),
        ("package 'role:cr", ["create"]),
        ("/usr/bin/package sandbox:st", ["start", "stop", "status"]),
        ("package role:create --js", ["--json"]),
        ("package role:create -q --q", []),
        ("package --v", ["--version"]),
        ("package role:create --yes", []),
        ("package packer:clean -n 3 --keep 4 --ke", ["--keep-served"]),
        ("package completion:install z", ["zsh"]),
        ("package packer:clean --keep ", []),
        ("package packer:clean --keep=", []),
        ("package packer:run --profile ", []),
        ("package role:create --nodes ", [FILES]),
        ("package role:create --nodes=some", [FILES]),
        ("package nosuch:command ", []),
        ("package ../x:y ", []),
        ("package role:create --nosuch ftp-p", ["ftp-processor"]),
        ("package role:create ftp-", ["ftp-listener", "ftp-processor"]),
        ("package role:create ftp-listener ftp-", ["ftp-processor"]),
        ("package role:create -- ftp-p", ["ftp-processor"]),
        ("package role:create -- --js", []),
        ("package config:show ftp-l", ["ftp-listener"]),
        ("package config:show ftp-listener ", []),
        ("package role:update ftp-p", ["ftp-processor"]),
        ("package config:diff ", []),
        ("package config:diff HEAD ftp-p", ["ftp-processor"]),
        ("package config:init ", [FILES]),
        ("package vers", ["version"]),
        ("package version ", []),
    ],
)
def test_bash_gets_what_it_puts_in_place_of_the_last_piece(project: Path, before: str, replies: list[str]) -> None:
    assert bash(before) == replies


def test_the_piece_is_that_of_the_users_word_breaks(project: Path) -> None:
    assert bash("package role:cr", replaced="role:cr") == ["role:create"]
    assert bash(r"package role\:cr", replaced=r"role\:cr") == ["role:create"]


def test_what_follows_the_cursor_counts(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other nodes.json"
    other.write_text('{"lonely": {}, "second": {}}')
    assert bash("package role:create ", f" --nodes '{other}'") == ["lonely", "second"]
    assert bash("package role:create ", f" second --nodes='{other}'") == ["lonely"]
    assert bash("package role:cr", "eate ftp-listener") == ["create"]
    assert bash_line("package a b", "c d 'e") == bash_line("package a b", "xyz d 'e")


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("package 'vers", ["version"]),
        ('package "role:cr', ["role:create"]),
        ("package vers\\", ["version"]),
        ("package 'role:create' \"--js", ["--json"]),
        ("package 'a\"", []),
        ("package \"a 'b", []),
    ],
)
def test_an_unfinished_line_is_no_error(project: Path, line: str, replies: list[str]) -> None:
    assert bash(line, replaced=line.rsplit(" ", maxsplit=1)[-1]) == replies


@pytest.mark.parametrize("line", ["package '", 'package "', "", "'"])
def test_where_no_word_was_begun_there_is_every_command(project: Path, line: str) -> None:
    assert set(bash(line, replaced=line.rsplit(" ", maxsplit=1)[-1])) == set(all_commands())


def test_zsh_and_fish_match_themselves_and_show_what_is_what(project: Path) -> None:
    assert set(fish("x")) == set(all_commands())
    assert fish("role:create", "www") == GROUPS
    assert "--check" in fish("role:create", "-")
    assert answer("fish", ["0", "ro"]).splitlines()[0].count("\t") == 1
    described = answer("zsh", ["0", ""]).splitlines()
    assert r"role\:create:Write the Chef role of each group to roles/GROUP.json" in described
    assert answer("zsh", ["1", "role:create", ""]).splitlines() == GROUPS


def test_the_environment_names_the_nodes_json(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.json").write_text('{"lonely": {}}')
    monkeypatch.setenv("NODEPKG_NODES", str(tmp_path / "other.json"))
    assert bash("package role:create ") == ["lonely"]
    monkeypatch.setenv("HOME", str(project))
    assert bash("package role:create --nodes ~/nodes.json ") == GROUPS


def completed(
    folder: Path, *arguments: str, shell: str = "bash", program: str = "-m nodepkg"
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *program.split(" ", 1), *arguments],
        cwd=folder,
        env={**os.environ, VARIABLE: shell},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_whatever_goes_wrong_is_not_said(project: Path) -> None:
    for shell, *arguments in (["bash"], ["bash", "x"], ["zsh", "9", "a"], ["zsh", "x"], ["tcsh", "0", "a"]):
        done = completed(project, *arguments, shell=shell)
        assert (done.stdout, done.stderr) == ("", "")


def test_a_folder_without_nodes_json_has_no_groups(tmp_path: Path) -> None:
    done = completed(tmp_path, "package role:create ", "", "")
    assert (done.stdout, done.stderr) == ("", "")


def test_a_completion_imports_little() -> None:
    program = (
        "import sys; from nodepkg.cli.candidates import answer;"
        "assert answer('fish', ['1', 'packer:run', '']); print(*sys.modules)"
    )
    done = completed(ROOT, program=f"-c {program}")
    modules = set(done.stdout.split())
    assert not modules & {"boto3", "botocore", "pydantic", "pydantic_core", "jinja2", "rich", "nodepkg.nodes.load"}
