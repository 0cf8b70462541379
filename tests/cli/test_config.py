"""config:schema: what an editor is given."""

import json
from pathlib import Path

import pytest

from nodepkg.nodes.json_schema import document_schema
from tests.cli.conftest import Run


def test_config_schema_is_one_document_and_needs_no_nodes_json(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain, asked = run("config:schema"), run("config:schema", "--json")
    assert (plain.code, plain.err) == (0, "")
    assert json.loads(plain.out) == document_schema()
    assert asked == plain
