"""What nodes do when they boot for the first time: the script is run by real shells, with a stub in place of Chef."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ConfigError
from nodepkg.nodes.schema import MOST_USER_DATA
from nodepkg.render.dna import asg_dna
from nodepkg.render.templates import Templates
from nodepkg.render.user_data import USER_DATA_TEMPLATES, UserData, broken_user_data, context, program
from tests.projects import make_project

BASE = {"run_list": ["recipe[x]"], "source_ami": "ami-1", "autoscale": {}}
OWN = "templates/user_data/default.j2"
SHELLS = [name for name in ("sh", "dash", "bash", "busybox") if shutil.which(name)]
LOG = "/var/log/nodepkg.log"
TOOLS = ("mkdir", "rm", "mv", "date", "id", "sh", "cat")


@dataclass(frozen=True)
class Ran:
    code: int
    said: str
    log: str


@dataclass
class Node:
    """A folder that stands for a machine: the bundle is in `path`, and nothing but TOOLS and `programs` is on PATH."""

    root: Path

    def __post_init__(self) -> None:
        self.programs.mkdir(parents=True)
        for name in TOOLS:
            (self.programs / name).symlink_to(str(shutil.which(name)))

    @property
    def programs(self) -> Path:
        return self.root / "bin"

    @property
    def path(self) -> Path:
        return self.root / "opt" / "nodepkg"

    @property
    def dna(self) -> Path:
        return self.path / "dna.json"

    def chef(self, body: str, name: str = "chef-solo") -> None:
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)

    def boot(self, script: str, shell: str = "sh") -> Ran:
        """As cloud-init does it, but for the places of the log and of programs."""
        log, file = self.root / "nodepkg.log", self.root / "user-data"
        script = script.replace(LOG, str(log)).replace(
            ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ""
        )
        file.write_bytes(script.encode("utf-8", errors="surrogateescape"))
        command = [str(shutil.which(shell)), *(["sh"] if shell == "busybox" else []), str(file)]
        done = subprocess.run(
            command, env={"PATH": str(self.programs)}, cwd=self.root, capture_output=True, text=True, check=False
        )
        return Ran(done.returncode, done.stdout + done.stderr, log.read_text("utf-8") if log.exists() else "")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def rendered(node: Node, *, files: dict[str, str] | None = None, **keys: Any) -> str:
    folder = node.root.parent / "project"
    chef = {"path": str(node.path)} | keys.pop("chef", {})
    nodes = make_project(folder, {"bee": {**BASE, **keys, "packer": {"chef": chef}}}, files)
    return UserData(folder).text(nodes.group("bee"))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_node_writes_its_dna_and_converges_by_it(node: Node, shell: str) -> None:
    node.chef(f'echo "ran with $*"; cat {node.dna}')
    ran = node.boot(rendered(node), shell)
    assert ran.code == 0
    assert json.loads(node.dna.read_text()) == {"id": "bee", "run_list": ["role[role-bee]"]}
    assert f"ran with --chef-license accept-silent -c {node.path}/solo.rb -j {node.dna}" in ran.log
    assert '"role[role-bee]"' in ran.log
    assert "Chef is done" in ran.said


def test_the_dna_is_that_of_the_artefact_and_for_root_alone(node: Node) -> None:
    node.chef("umask")
    nodes = make_project(node.root.parent / "project", {"bee": {**BASE, "packer": {"chef": {"path": str(node.path)}}}})
    node.path.mkdir(parents=True)
    node.dna.write_text("that of the image")
    node.dna.chmod(0o644)
    ran = node.boot(UserData(nodes.root).text(nodes.group("bee")))
    assert node.dna.read_text() == asg_dna(nodes.group("bee")).text
    assert node.dna.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in node.path.iterdir()) == ["dna.json"]
    assert (node.root / "nodepkg.log").stat().st_mode & 0o777 == 0o600
    assert f"{oct(os.umask(os.umask(0o022)))[2:]:0>4}" in ran.log  # what Chef creates has the modes that it always has


@pytest.mark.parametrize("code", [1, 42, 255])
def test_a_chef_that_fails_fails_the_script_and_is_told(node: Node, code: int) -> None:
    node.chef(f"echo oh dear >&2; exit {code}")
    ran = node.boot(rendered(node))
    assert ran.code == code
    assert f"bee: Chef failed with exit code {code}: see " in ran.said
    assert "oh dear" in ran.log
    assert "Chef is done" not in ran.said + ran.log


def test_without_chef_the_dna_is_there_and_that_is_all(node: Node) -> None:
    ran = node.boot(rendered(node))
    assert (ran.code, node.dna.exists()) == (0, True)
    assert "there is no chef-solo here: Chef is not run" in ran.said


def test_the_command_of_nodes_json_runs_as_it_is_written(node: Node) -> None:
    node.chef('echo "$HELLO, $*"', "cinc-solo")
    ran = node.boot(rendered(node, chef={"command": "HELLO='it''s me' cinc-solo -c {path}/solo.rb; false; echo never"}))
    assert ran.code == 1
    assert f"its me, -c {node.path}/solo.rb" in ran.log
    assert "never" not in ran.log


def test_a_dna_that_cannot_be_written_is_told(node: Node) -> None:
    node.chef("echo ran")
    node.path.parent.mkdir(parents=True)
    node.path.write_text("a file in place of the folder")
    ran = node.boot(rendered(node))
    assert ran.code == 1
    assert f"{node.dna} cannot be written" in ran.said
    assert "ran" not in ran.log.split()


def test_where_no_log_can_be_written_chef_is_heard_all_the_same(node: Node) -> None:
    node.chef("echo converging; exit 3")
    (node.root / "nodepkg.log.d").mkdir()
    ran = node.boot(rendered(node).replace(LOG, str(node.root / "gone" / "log")))
    assert ran.code == 3
    assert "converging" in ran.said
    assert "Chef failed with exit code 3" in ran.said


HOSTILE = [
    "'; touch {root}/owned; '",
    "$(touch {root}/owned)`touch {root}/owned`${{IFS}}",
    "\nNODEPKG\nEOF\ntouch {root}/owned\n",
    '"\\" \\\\ \\n %s %d \\c !! # * ? ~ & | < > ( ) ; \t',
    "ünï 😀 \x01\x7f",
    "-n -e -E",
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("text", HOSTILE)
def test_no_value_becomes_a_command(node: Node, shell: str, text: str) -> None:
    """The shipped template, given a dna in which every value is hostile."""
    text = text.format(root=node.root)
    nodes = make_project(node.root.parent / "project", {"bee": {**BASE, "packer": {"chef": {"path": str(node.path)}}}})
    dna = json.dumps({"id": text, "run_list": [text], text: {"description": text}}, indent=4, ensure_ascii=False)
    given = {**context(nodes.group("bee")), "dna": dna, "program": f"no{text}", "command": text}
    script = Templates(nodes.root, USER_DATA_TEMPLATES, "user_data").render("default.j2", given, group="bee")
    ran = node.boot(script, shell)
    assert ran.code == 0
    assert node.dna.read_bytes() == dna.encode() + b"\n"
    assert not (node.root / "owned").exists()
    assert "Chef is not run" in ran.said


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_template_of_the_users_own_quotes_what_it_takes_from_nodes_json(node: Node, shell: str, text: str) -> None:
    text = text.format(root=node.root)
    own = """{% extends "nodepkg/default.j2" %}
{% block before %}
printf %s {{ merged["x-note"] | shell }} > {{ path | shell }}/note
printf %s {{ settings.default_attributes | tojson | shell }} > {{ path | shell }}/attributes
{% endblock %}"""
    keys = {"x-note": text, "default_attributes": {"a": {text: [text]}}, "description": text}
    ran = node.boot(rendered(node, files={OWN: own}, **keys), shell)
    assert ran.code == 0
    assert (node.path / "note").read_bytes() == text.encode()
    assert json.loads((node.path / "attributes").read_text("utf-8")) == {"a": {text: [text]}}
    assert not (node.root / "owned").exists()


def test_nodes_jsons_own_user_data_counts_as_it_is(node: Node) -> None:
    assert rendered(node, user_data="#cloud-config\n{{ x }}") == "#cloud-config\n{{ x }}"


def test_the_projects_own_template_takes_the_place_of_the_shipped_one(node: Node) -> None:
    assert rendered(node, files={OWN: "#!/bin/sh\n: {{ group }}\n"}) == "#!/bin/sh\n: bee\n"


def test_what_ec2_would_refuse_is_refused_with_the_groups_name(node: Node) -> None:
    assert rendered(node, files={OWN: "x" * (MOST_USER_DATA - 1)}).startswith("xxx")
    with pytest.raises(
        ConfigError, match=r"bee: its user data has 16,385 bytes, and EC2 takes at most 16,384"
    ) as error:
        rendered(node, files={OWN: "é" * (MOST_USER_DATA // 2)})
    assert "templates/user_data/default.j2" in error.value.hint
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n{{ nobody }}", f"{OWN}:2: 'nobody' is undefined"),
        ("{% if %}", f"{OWN}:1: "),
        ("{% include 'x' %}", "no template x"),
    ],
)
def test_a_broken_template_is_told_with_its_line(node: Node, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        rendered(node, files={OWN: text})
    assert told in error.value.message


def test_config_check_tells_it_of_groups_that_have_nodes(tmp_path: Path) -> None:
    wasp = {**BASE, "autoscale": False}
    nodes = make_project(tmp_path, {"bee": BASE, "wasp": wasp}, {OWN: "{{ nobody }}"})
    user_data = UserData(tmp_path)
    told = {name: [found.text() for found in broken_user_data(user_data, nodes.group(name))] for name in nodes.names}
    assert told["wasp"] == []
    assert "'nobody' is undefined" in told["bee"][0]


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("chef-solo -c x", "chef-solo"),
        ("A=1 B='x y' /opt/cinc/bin/cinc-solo", "/opt/cinc/bin/cinc-solo"),
        ("'/opt/my chef/solo' -x", "/opt/my chef/solo"),
        ("it's", "it's"),
        ("A=1", "sh"),
    ],
)
def test_the_program_of_a_command_is_its_first_word(command: str, first: str) -> None:
    assert program(command) == first
