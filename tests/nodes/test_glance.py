"""The group names that shell completion offers."""

import json
import os
from pathlib import Path

import pytest

from nodepkg.nodes import glance
from nodepkg.nodes.glance import group_names
from nodepkg.nodes.load import load
from tests.projects import EXAMPLE


def test_they_are_those_of_the_program() -> None:
    assert group_names(EXAMPLE / "nodes.json") == load(EXAMPLE / "nodes.json").names


def test_what_no_group_can_be_called_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    names = ["fine-1", "__base__", "$schema", "ab", "web-v001", "a b", "$(x)", "-rf", "new\nline", "fine-1\n", "ümlaut"]
    path.write_text(json.dumps({name: {"nested-name": {}} for name in names}))
    assert group_names(path) == ["fine-1"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b'{"web-1": {',
        b'["web-1"]',
        b'"web-1"',
        b'{"web-1": {"a": "\xe4"}}',
        b'\xef\xbb\xbf{"web-1": {}}',
        '{"web-1": {}}'.encode("utf-16"),
        b'{"web-1": ' + b"[" * 100_000,
        b'{"web-1": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_broken_file_has_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nodes.json"
    path.write_bytes(content)
    assert group_names(path) == []


def test_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_text('{"web-1": {}}')
    os.truncate(tmp_path / "long", glance.LONGEST + 1)
    for name in (".", "pipe", "long", "absent", os.devnull, "/dev/zero"):
        assert group_names(tmp_path / name) == []
