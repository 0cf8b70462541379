"""The help: every command has a page, its examples are real, and docs/commands.md is made from it."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from nodepkg.cli import commands
from nodepkg.cli.app import app
from tests.cli.conftest import Run

assert commands
GROUP: Any = get_command(app)
COMMANDS: dict[str, Any] = {name: command for name, command in GROUP.commands.items() if not command.hidden}
EXAMPLES = [
    line.removeprefix("package ").partition(" > ")[0]
    for command in COMMANDS.values()
    for line in command.epilog.splitlines()
    if not line.startswith("#")
]
# What the tests of the chain and of services run, or what starts with an empty folder.
REGISTRY = tuple(f"service:{what}" for what in ("list", "watch", "announce", "withdraw", "collect", "drift", "agent"))
ELSEWHERE = (
    "--wheels",
    "--sandbox",
    "--profile",
    "sandbox:",
    "config:init",
    "config:diff",
    "completion:install",
    *REGISTRY,
)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_a_line_a_paragraph_options_and_two_examples(name: str, run: Run) -> None:
    line, _, paragraph = COMMANDS[name].help.partition("\n\n")
    assert "\n" not in line
    assert line.endswith(".")
    assert len(line) <= 100
    assert len(paragraph) > 60
    page = run(name, "--help")
    assert page.code == 0
    for title in ("Usage: package " + name, "\nOptions:\n", "\nOutput:\n", "\nExamples:\n"):
        assert title in page.out
    explained = COMMANDS[name].epilog.splitlines()
    assert [entry.split()[0] for entry in explained] == ["#", "package"] * 2
    assert all(entry.startswith(f"package {name}") for entry in explained[1::2])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", ["60", "160"])
def test_no_line_of_a_page_is_wider_than_the_terminal(
    name: str, columns: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    page, _, examples = run(name, "--help").out.partition("\nExamples:\n")
    assert [line for line in page.splitlines() if len(line) > min(int(columns), 100)] == []
    assert [line for line in examples.splitlines() if line.startswith("  #") and len(line) > int(columns)] == []
    assert examples.endswith(COMMANDS[name].epilog.splitlines()[-1] + "\n")


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line)
    COMMANDS[name].make_context(name, arguments).close()


@pytest.mark.parametrize("line", [line for line in EXAMPLES if not any(word in line for word in ELSEWHERE)])
def test_an_example_works_in_the_example_project(line: str, run: Run, project: Path) -> None:
    shutil.copytree(project, project / "staging")
    assert run("group:create", "--quiet").code == 0
    done = run(*shlex.split(line))
    assert done.code == 0, done.err


def test_each_section_of_the_list_has_its_namespace_and_its_plural(run: Run) -> None:
    sections = dict(re.findall(r"^(\w+:)\n((?:  .*\n)+)", run("--help").out, re.MULTILINE))
    listed = {title: re.findall(r"^  (\w+):\w+", lines, re.MULTILINE) for title, lines in sections.items()}
    assert listed["role:"] == ["role", "roles"]
    for title, namespaces in listed.items():
        assert {f"{namespace.removesuffix('s')}:" for namespace in namespaces} <= {title}


def test_every_command_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    assert [name for name in COMMANDS if f"\n## {name}\n" not in page] == []
