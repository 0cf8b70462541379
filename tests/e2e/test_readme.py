"""The README's promises: its commands run, its example and its error message are real."""

import re
import shlex

import asyncssh

from tests.e2e.conftest import ROOT
from tests.e2e.program import Program

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def commands_in(text: str) -> list[str]:
    return [line.removeprefix("$ package ") for line in text.splitlines() if line.startswith("$ package ")]


def test_every_command_of_the_chain_runs(package: Program) -> None:
    (chain,) = [text for kind, text in BLOCKS if kind == "console" and "packer:clean" in text]
    for command in commands_in(chain):
        package(*shlex.split(command))


def test_every_command_of_instances_and_deploys_runs(package: Program) -> None:
    (commands,) = [text for kind, text in BLOCKS if kind == "console" and "instance:create" in text]
    package("group:create")
    package("packer:run", "12_04-base", "12_04-bee", "--sandbox")
    key = package.folder / "ops.pem"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
    key.chmod(0o600)
    for command in commands_in(commands):
        package(*shlex.split(command))


def test_the_demo_runs_the_commands_that_are_shown() -> None:
    demo = re.findall(r"^step (.*)$", (ROOT / "scripts" / "demo.sh").read_text(), re.MULTILINE)
    told = [text for kind, text in BLOCKS if kind == "console" and re.search(r"^\w+ +\w+ .*\n", text, re.MULTILINE)]
    assert len(told) == 2
    for text in told:
        shown = commands_in(text)
        assert [step for step in demo if step in shown] == shown


def test_the_example_is_right_and_its_mistakes_are_told_as_shown(package: Program) -> None:
    (text,) = [block for kind, block in BLOCKS if kind == "json"]
    path = package.folder / "nodes.json"
    path.write_text(text)
    package("config:check")
    wrong = text.replace('"run_list": ["recipe[nginx]"]', '"packer": {"ssh_source_cidr": []}').replace(
        '"node_min": 2', '"node_min": "2"'
    )
    path.write_text(wrong)
    told = package("config:check", code=3).stderr
    (shown,) = [block for kind, block in BLOCKS if "did you mean" in block]
    assert shown.split("\n", 1)[1] == told


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
