"""Packer's machine-readable output, and which Packer will do."""

import os
from pathlib import Path

import pytest

from nodepkg.clients.packer import Line, find, parse
from nodepkg.errors import ToolError
from nodepkg.images.build import BuildImage, image_in, require_plugins


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1700000000,,ui,say,==> amazon-ebs: Waiting\\nfor it", Line("ui", ("say", "==> amazon-ebs: Waiting\nfor it"))),
        ("1700000000,,ui,error,one%!(PACKER_COMMA) two", Line("ui", ("error", "one, two"))),
        ("1700000000,amazon-ebs,artifact,0,id,us-east-1:ami-1", Line("artifact", ("0", "id", "us-east-1:ami-1"))),
        ("1700000000,amazon-ebs,error,it broke", Line("error", ("it broke",))),
        ("1700000000,,error-count,1", Line("error-count", ("1",))),
        ("panic: runtime error, oh", Line("", ("panic: runtime error, oh",))),
        ("", Line("", ("",))),
    ],
)
def test_a_line_is_read_or_kept(text: str, line: Line) -> None:
    assert parse(text + "\n") == line


def test_the_image_of_the_region_is_taken() -> None:
    assert image_in("us-east-1:ami-1,eu-west-1:ami-2", "eu-west-1") == "ami-2"
    with pytest.raises(ToolError, match="ap-south-1"):
        image_in("us-east-1:ami-1", "ap-south-1")


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


def test_a_build_that_says_nothing_of_an_artefact_has_failed(tmp_path: Path) -> None:
    build = 'case "$1" in version) echo Packer v1.6.6;; build) echo "1,,ui,say,nothing to do";; esac'
    packer = find({"NODEPKG_PACKER": script(tmp_path, build), "PATH": "/usr/bin:/bin"})
    said: list[str] = []
    with pytest.raises(ToolError, match="nothing to do"):
        packer.build(tmp_path / "bee.json", {}, said.append)
    assert said == ["nothing to do"]


def test_variables_are_arguments_of_their_own(tmp_path: Path) -> None:
    build = 'case "$1" in version) echo Packer v1.6.6;; build) echo "1,x,artifact,0,id,$5";; esac'
    packer = find({"NODEPKG_PACKER": script(tmp_path, build), "PATH": "/usr/bin:/bin"})
    hostile = "$(touch /tmp/never) ; `x`"
    artifact = packer.build(tmp_path / "bee.json", {"a": "1", "b": hostile}, lambda _: None)
    assert artifact == "-var"  # the fifth argument: build -machine-readable -var a=1 -var b=…


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


def build_of(name: str) -> BuildImage:
    return BuildImage("bee", "us-east-1", f"packer/{name}", "", "", "")


def test_a_missing_plugin_is_an_error_with_the_command(tmp_path: Path) -> None:
    packer = find({"NODEPKG_PACKER": script(tmp_path, PLUGINS), "PATH": "/usr/bin:/bin"})
    with pytest.raises(ToolError, match=r"no plugin github\.com/ethanmdavidson/git") as caught:
        require_plugins(packer, [build_of("bee.pkr.hcl")], tmp_path, install=False)
    path = os.path.relpath(tmp_path / "packer" / "bee.pkr.hcl")
    assert caught.value.hint == f"{packer.path} init {path}, which packer:run --yes does"
    require_plugins(packer, [build_of("bee.json")], tmp_path, install=False)


def test_a_missing_plugin_is_installed_when_that_was_agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"NODEPKG_PACKER": script(tmp_path, PLUGINS), "PATH": "/usr/bin:/bin"}
    require_plugins(find({**environ, "INIT": "0"}), [build_of("bee.pkr.hcl")], tmp_path, install=True)
    assert (tmp_path / "init").read_text() == f"init {tmp_path}/packer/bee.pkr.hcl\n"
    with pytest.raises(ToolError, match=r"packer init bee\.pkr\.hcl failed \(exit 3\)"):
        require_plugins(find({**environ, "INIT": "3"}), [build_of("bee.pkr.hcl")], tmp_path, install=True)


def test_hcl2_wants_a_packer_that_knows_it(tmp_path: Path) -> None:
    packer = find({"NODEPKG_PACKER": script(tmp_path, "echo Packer v1.6.6")})
    packer.require("amazon-ebs")
    with pytest.raises(ToolError, match=r"hcl2, which wants 1\.7"):
        packer.require("amazon-ebs", hcl2=True)
