"""Which Packer will do, and how a build is started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodepkg.clients.packer import Packer, builds_on_this_machine, find
from nodepkg.errors import ToolError
from nodepkg.images.due import require_plugins


def script(folder: Path, text: str) -> str:
    path = folder / "packer"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_packer_that_is_too_old_is_refused(tmp_path: Path) -> None:
    packer = find({"NODEPKG_PACKER": script(tmp_path, "echo Packer v1.5.6")})
    with pytest.raises(ToolError, match=r"1\.5\.6 .* too old"):
        packer.require("amazon-ebs")


def test_the_version_is_found_among_other_words(tmp_path: Path) -> None:
    text = "echo; echo 'Packer v1.16.0-dev (abc)'; echo 'Your version of Packer is out of date!'"
    found = find({"NODEPKG_PACKER": script(tmp_path, text)})
    assert (found.version, found.version_text) == ((1, 16, 0), "1.16.0-dev")
    assert found.shown.startswith("Packer 1.16.0-dev (")


def test_another_program_of_this_name_is_told_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="is not HashiCorp's Packer: `packer version` says 'usage: packer FILE'"):
        find({"NODEPKG_PACKER": script(tmp_path, "echo usage: packer FILE >&2; exit 2")})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("echo no such folder >&2; exit 1", r"packer plugins installed failed \(exit 1\): no such folder"),
        ("exit 3", r"packer plugins installed failed \(exit 3\): it said nothing"),
        ("exec sleep 60", "packer plugins installed: no answer within 0.5 seconds"),
    ],
)
def test_plugins_that_packer_cannot_tell_are_not_taken_for_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, told: str
) -> None:
    text = f'case "$1" in version) echo Packer v1.16.0;; plugins) {answer};; esac'
    packer = find({"NODEPKG_PACKER": script(tmp_path, text), "PATH": "/usr/bin:/bin"})
    monkeypatch.setattr("nodepkg.clients.packer.ANSWER_SECONDS", 0.5)
    with pytest.raises(ToolError, match=told):
        packer.require("amazon-ebs")


def test_a_template_that_packer_cannot_read_is_told_before_the_build(tmp_path: Path) -> None:
    text = 'case "$1" in version) echo Packer v1.16.0;; plugins) echo Unclosed block; exit 1;; esac'
    packer = find({"NODEPKG_PACKER": script(tmp_path, text), "PATH": "/usr/bin:/bin"})
    with pytest.raises(ToolError, match=r"Unclosed block"):
        packer.missing_plugins(tmp_path / "bee.pkr.hcl")


def built(packer: Packer, tmp_path: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a build."""
    with (tmp_path / "out").open("wb") as output:
        process = packer.start(tmp_path / "bee.json", variables, output)
        code = process.wait()
    return code, (tmp_path / "out").read_text()


def test_variables_are_arguments_of_their_own(tmp_path: Path) -> None:
    build = 'case "$1" in version) echo Packer v1.6.6;; build) shift; printf "<%s>" "$@"; exit 3;; esac'
    packer = find({"NODEPKG_PACKER": script(tmp_path, build), "PATH": "/usr/bin:/bin"})
    hostile = "$(touch /tmp/never) ; `x`"
    code, told = built(packer, tmp_path, {"a": "1", "b": hostile})
    assert code == 3
    assert told == f"<-machine-readable><-var><a=1><-var><b={hostile}><{tmp_path}/bee.json>"


def test_a_packer_that_is_gone_by_now_is_told_in_its_output(tmp_path: Path) -> None:
    packer = find({"NODEPKG_PACKER": script(tmp_path, "echo Packer v1.6.6")})
    Path(packer.path).unlink()
    code, told = built(packer, tmp_path, {})
    assert code == 1
    assert told == f"{packer.path}: No such file or directory\n"


def test_packer_is_told_when_the_process_that_started_it_was_killed(tmp_path: Path) -> None:
    text = """case "$1" in version) echo Packer v1.6.6; exit;; esac
trap 'echo told; exit 0' TERM
echo begun
while :; do sleep 0.05; done"""
    environ, output = {"NODEPKG_PACKER": script(tmp_path, text), "PATH": "/usr/bin:/bin"}, str(tmp_path / "out")
    program = f"""
import os, signal
from pathlib import Path
from nodepkg.clients.packer import builds_on_this_machine, find
find({environ!r}).start(Path("bee.json"), {{}}, open({output!r}, "wb"))
while "begun" not in Path({output!r}).read_text():
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while "told" not in (tmp_path / "out").read_text():
        assert time.monotonic() < deadline, "it was never told"
        time.sleep(0.02)


PLUGINS = """case "$1 $2" in
version*) echo Packer v1.16.0;;
"plugins installed") cat <<'EOT'
/home/x/plugins/github.com/hashicorp/amazon/packer-plugin-amazon_v1.9.0_x5.0_linux_amd64
/home/x/plugins/github.com/hashicorp/amazon/packer-plugin-amazon_v1.10.1_x5.0_linux_amd64
EOT
;;
"plugins required") cat <<'EOT'
amazon github.com/hashicorp/amazon ">= 1.2.0" /home/x/packer-plugin-amazon_v1.10.1_x5.0_linux_amd64
git github.com/ethanmdavidson/git "~> 0.6"
EOT
;;
init*) echo "$@" >>init; exit $INIT;;
esac"""


def test_the_newest_of_each_plugin_counts(tmp_path: Path) -> None:
    packer = find({"NODEPKG_PACKER": script(tmp_path, PLUGINS), "PATH": "/usr/bin:/bin"})
    assert packer.plugins() == {"packer-plugin-amazon": "1.10.1"}


def test_what_a_template_requires_and_is_not_installed_is_named(tmp_path: Path) -> None:
    packer = find({"NODEPKG_PACKER": script(tmp_path, PLUGINS), "PATH": "/usr/bin:/bin"})
    assert packer.missing_plugins(tmp_path / "bee.pkr.hcl") == ["github.com/ethanmdavidson/git ~> 0.6"]


TEMPLATE = "packer {\n  required_plugins {}\n}\n"


def test_a_missing_plugin_is_an_error_with_the_command(tmp_path: Path) -> None:
    packer = find({"NODEPKG_PACKER": script(tmp_path, PLUGINS), "PATH": "/usr/bin:/bin"})
    path = tmp_path / "packer" / "bee.pkr.hcl"
    with pytest.raises(ToolError, match=r"no plugin github\.com/ethanmdavidson/git") as caught:
        require_plugins(packer, path, TEMPLATE, {}, install=False)
    assert caught.value.hint == f"{packer.path} init {os.path.relpath(path)}, which packer:run --yes does"


def test_a_missing_plugin_is_installed_when_that_was_agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "packer" / "bee.pkr.hcl"
    environ = {"NODEPKG_PACKER": script(tmp_path, PLUGINS), "PATH": "/usr/bin:/bin"}
    asked: dict[str, list[str]] = {}
    for template in (TEMPLATE, f'{TEMPLATE}variable "x" {{}}\n'):
        require_plugins(find({**environ, "INIT": "0"}), path, template, asked, install=True)
    assert (tmp_path / "init").read_text() == f"init {path}\n"
    with pytest.raises(ToolError, match=r"packer init bee\.pkr\.hcl failed \(exit 3\)"):
        require_plugins(find({**environ, "INIT": "3"}), path, TEMPLATE, {}, install=True)


def test_packer_is_asked_for_its_plugins_once(tmp_path: Path) -> None:
    answer = 'echo asked >>"$ASKED"; echo packer-plugin-amazon_v1.9.0_x5'
    text = f'case "$1" in version) echo Packer v1.16.0;; *) {answer};; esac'
    asked = tmp_path / "asked"
    environ = {"NODEPKG_PACKER": script(tmp_path, text), "PATH": "/usr/bin:/bin", "ASKED": str(asked)}
    packer = find(environ)
    for _ in range(3):
        packer.require("amazon-ebs")
    assert asked.read_text() == "asked\n"


def test_hcl2_wants_a_packer_that_knows_it(tmp_path: Path) -> None:
    packer = find({"NODEPKG_PACKER": script(tmp_path, "echo Packer v1.6.6")})
    packer.require("amazon-ebs")
    with pytest.raises(ToolError, match=r"hcl2, which wants 1\.7"):
        packer.require("amazon-ebs", hcl2=True)


@contextmanager
def running(*arguments: str | bytes) -> Iterator[None]:
    """A process with these arguments, which has begun: right after it was started Linux may show none yet."""
    command = [sys.executable, "-c", "print(flush=True); input()", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        yield
        process.communicate(b"\n")


def test_the_builds_of_this_machine_are_seen_whoever_started_them() -> None:
    with running("-var", "nodepkg_build=6b01c7bd973eb170"):
        assert "6b01c7bd973eb170" in builds_on_this_machine()
    assert "6b01c7bd973eb170" not in builds_on_this_machine()


def test_what_others_run_may_have_any_bytes_in_it() -> None:
    with running(b"nodepkg_build=\xff"):
        assert "\ufffd" in builds_on_this_machine()
