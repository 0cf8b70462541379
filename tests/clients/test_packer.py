"""Packer's machine-readable output, and which Packer will do."""

from pathlib import Path

import pytest

from nodepkg.clients.packer import Line, find, parse
from nodepkg.errors import ToolError
from nodepkg.images.build import image_in


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
    assert find({"NODEPKG_PACKER": script(tmp_path, text)}).version == (1, 16, 0)


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
