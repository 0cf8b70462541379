"""Completion as somebody meets it: after completion:install, at the prompt of bash, zsh and fish."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_program import all_commands
from tests.e2e.conftest import ROOT
from tests.e2e.terminal import Terminal

SHELLS = ("bash", "zsh", "fish")
EXAMPLE = ROOT / "nodes.json"
Open = Callable[..., Terminal]

HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    ";touch pwned;",
    "two words",
    "*",
    "~root",
    "--yes",
    "\x1b[31mred",
    "new\nline",
    "tab\tname",
    "quo'te\"",
    "$HOME",
    "a:b:c",
    "<files>",
    "__layer__",
    "web-v001",
    "x" * 101,
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def environ(tmp_path: Path, home: Path) -> dict[str, str]:
    """A user's environment with nothing of the developer's in it, and both names of the program on its PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("package", "nodepkg"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nodepkg "$@"\n')
        program.chmod(0o755)
    python = {"PYTHONPATH": str(ROOT / "src")}
    return {"HOME": str(home), "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", **python}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def install(shell: str, environ: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "nodepkg", "completion:install", shell], env=environ, check=True, capture_output=True
    )


@pytest.fixture
def at_prompt(shell: str, environ: dict[str, str], tmp_path: Path) -> Iterator[Open]:
    """Opens a shell that has the completion, in a folder with the files (name -> text) that are given."""
    opened = []

    def start(files: dict[str, str] | None = None) -> Terminal:
        folder = tmp_path / "project"
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        folder.mkdir(exist_ok=True)
        opened.append(Terminal(shell, folder, environ))
        return opened[-1]

    install(shell, environ)
    yield start
    for terminal in opened:
        terminal.close()


def test_commands_are_completed_with_their_colon(at_prompt: Open) -> None:
    terminal = at_prompt()
    for typed in ("role:cr", "role:", "'role:cr", '"role:cr'):
        quote = typed[0] if typed[0] in "'\"" else ""
        assert terminal.completed(f"package {typed}") == f"package {quote}role:create{quote} ·"
    assert terminal.completed("nodepkg roles:") == "nodepkg roles:update ·"
    assert terminal.completed("package r").startswith("package role·")
    assert terminal.completed("package nosuch:c") == "package nosuch:c·"


def test_all_commands_are_listed_but_for_hidden_ones(at_prompt: Open) -> None:
    shown = at_prompt().listed("package ", sorted(all_commands()))
    assert "role:update" not in shown.replace("roles:update", "")


def test_groups_come_from_the_nearest_nodes_json(at_prompt: Open) -> None:
    terminal = at_prompt({"nodes.json": EXAMPLE.read_text(), "deep/down/file": "", "nodes file.json": '{"other": {}}'})
    terminal.run("cd deep/down")
    assert terminal.completed("package packer:run ftp-p") == "package packer:run ftp-processor ·"
    shown = terminal.listed("package packer:run 12_04-bee 12_04-", ["12_04-base", "12_04-www"])
    assert "12_04-bee" not in shown.replace("12_04-bee 12_04-", "")  # it stands on the line
    assert "__base__" not in shown
    assert terminal.completed("package config:show ftp-listener ") == "package config:show ftp-listener ·"
    named = "package group:list --nodes '../../nodes file.json' "
    assert terminal.completed(named) == f"{named}other ·"


def test_options_and_their_values_are_completed(at_prompt: Open) -> None:
    terminal = at_prompt({"nodes.json": EXAMPLE.read_text(), "sub dir/my.json": "{}"})
    assert terminal.completed("package packer:clean --js") == "package packer:clean --json ·"
    assert terminal.completed("package packer:run --nodes sub") == r"package packer:run --nodes sub\ dir/·"
    named = r"package packer:run --nodes=sub\ dir/my"
    assert terminal.completed(named) == f"{named}.json ·"
    for nothing in ("packer:clean --keep ", "packer:clean --profile ", "role:create --profile"):
        assert terminal.completed(f"package {nothing}") == f"package {nothing}·"
    terminal.listed("package completion:install ", ["bash", "fish", "zsh"])


def test_a_word_in_the_middle_of_the_line_is_completed(at_prompt: Open) -> None:
    terminal = at_prompt({"nodes.json": EXAMPLE.read_text()})
    left = "\x1b[D" * len(" --json ftp-listener")
    shown = terminal.completed(f"package role:cr --json ftp-listener{left}")
    assert shown.replace(" ", "") == "packagerole:create·--jsonftp-listener"


def test_of_a_broken_nodes_json_nothing_is_seen(at_prompt: Open, tmp_path: Path) -> None:
    terminal = at_prompt({"half.json": '{"web-one": {"run_list": [', "list.json": '["web-one"]', "empty.json": ""})
    folder = tmp_path / "project"
    (folder / "latin.json").write_bytes(b'{"web-one": {"description": "\xe4"}}')
    (folder / "deep.json").write_text('{"web-one": ' + "[" * 100_000)
    os.mkfifo(folder / "pipe.json")
    for name in ("half", "list", "empty", "latin", "deep", "pipe", "absent"):
        line = f"package packer:run --nodes {name}.json web"
        assert terminal.completed(line) == f"{line}·"
    assert terminal.completed("package packer:run --nodes /dev/zero web") == "package packer:run --nodes /dev/zero web·"


def test_hostile_names_never_reach_the_line(at_prompt: Open, tmp_path: Path) -> None:
    terminal = at_prompt({"nodes.json": json.dumps({name: {} for name in [*HOSTILE, "good-one"]})})
    assert terminal.completed("package packer:run ") == "package packer:run good-one ·"
    assert terminal.completed("package packer:run $") == "package packer:run $·"
    assert [path.name for path in (tmp_path / "project").iterdir()] == ["nodes.json"]


def test_ten_thousand_groups_are_no_obstacle(at_prompt: Open) -> None:
    entry = {"inherits": "__web__", "run_list": ["recipe[service::web]"], "autoscale": {"node_min": 2, "node_max": 4}}
    groups = {f"group-{number:05}": entry for number in range(10_000)}
    terminal = at_prompt({"nodes.json": json.dumps(groups, indent=4)})
    tens = [f"roup-0123{digit}" for digit in range(10)]  # fish writes …roup-01239
    terminal.listed("package packer:run group-0123", tens)


def test_a_program_that_is_gone_is_not_talked_about(at_prompt: Open, tmp_path: Path) -> None:
    terminal = at_prompt({"nodes.json": EXAMPLE.read_text()})
    shutil.rmtree(tmp_path / "bin")
    assert terminal.completed("package role:cr") == "package role:cr·"


@pytest.mark.parametrize("shell", ["bash"], indirect=True)
def test_bash_may_break_words_as_it_likes(at_prompt: Open) -> None:
    terminal = at_prompt({"nodes.json": EXAMPLE.read_text(), "other.json": "{}"})
    terminal.run("set -u -f; COMP_WORDBREAKS=${COMP_WORDBREAKS//:/}")
    assert terminal.completed("package role:cr") == "package role:create ·"
    assert terminal.completed("package packer:run --nodes=oth") == "package packer:run --nodes=other.json ·"
    assert terminal.completed("package group:list --json >oth") == "package group:list --json >other.json ·"


# What bash-completion does for the command that stands behind sudo: it passes on the last word, a break as well.
BEHIND_SUDO = (
    "_behind() { COMP_LINE=${COMP_LINE#sudo }; ((COMP_POINT -= 5, COMP_CWORD -= 1)); COMP_WORDS=(${COMP_WORDS[@]:1}); "
    '_package package "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; }; complete -F _behind sudo'
)


@pytest.mark.parametrize("shell", ["bash"], indirect=True)
def test_behind_sudo_no_colon_is_doubled(at_prompt: Open) -> None:
    terminal = at_prompt({"other.json": "{}"})
    terminal.run(BEHIND_SUDO)
    assert terminal.completed("sudo package roles:") == "sudo package roles:update ·"
    assert terminal.completed("sudo package role:cr") == "sudo package role:create ·"
    shown = terminal.listed("sudo package packer:run --nodes=", ["other.json"])
    assert "==" not in shown


RC = [
    "{compinit}\n{ours}",
    "{ours}\n{compinit}",
    "{compinit}\n{ours}\n{compinit}",
    "setopt ksh_arrays\n{ours}",
    "setopt ksh_arrays\n{compinit}\n{ours}",
]


@pytest.mark.parametrize("shell", ["zsh"], indirect=True)
@pytest.mark.parametrize("rc", RC)
def test_zsh_may_start_its_completion_where_it_likes(at_prompt: Open, home: Path, rc: str) -> None:
    path = home / ".zshrc"
    path.write_text(rc.format(ours=path.read_text(), compinit="autoload -Uz compinit && compinit -i"))
    assert at_prompt().completed("package role:cr") == "package role:create ·"
