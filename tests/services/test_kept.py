"""What chef-solo keeps of a node: without what the registry gave, and with all that is the user's."""

import json
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ToolError
from nodepkg.services.kept import forget_deleted, forget_maps, without_deleted, without_maps

MAPS = ("services", "available")
TOLD = {"services": {"db": [{"host": "10.0.0.1", "port": 1}]}, "available": {"api": True, "worker": False}}


def saved(told: Any) -> dict[str, Any]:
    """As chef-solo writes it."""
    return {"name": "vm", "normal": {"nodepkg": told, "secret": "1f", "tags": []}, "automatic": {"fqdn": "é"}}


def test_of_the_maps_nothing_is_kept_and_of_all_else_everything() -> None:
    assert without_maps(saved({**TOLD, "mine": [1]}), "nodepkg", MAPS) == saved({"mine": [1]})
    assert without_maps(saved(TOLD), "other", MAPS) == saved(TOLD)


def test_what_was_deleted_is_not_kept() -> None:
    assert without_deleted(saved(TOLD), "nodepkg") == saved({**TOLD, "available": {"api": True}})


@pytest.mark.parametrize("odd", [{}, {"normal": None}, {"normal": {"nodepkg": 1}}, saved({"available": []})])
def test_what_has_no_maps_stays_as_it_is(odd: dict[str, Any]) -> None:
    assert without_maps(odd, "nodepkg", ("services",)) == without_deleted(odd, "nodepkg") == odd


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "nodes").mkdir()
    path = tmp_path / "nodes" / "vm.json"
    path.write_text(json.dumps(saved(TOLD)))
    path.chmod(0o640)
    return path


def test_the_file_keeps_its_mode_and_nothing_lies_beside_it(file: Path) -> None:
    folder = file.parents[1]
    forget_deleted(folder, "nodepkg")
    assert json.loads(file.read_text()) == saved({**TOLD, "available": {"api": True}})
    forget_maps(folder, "nodepkg", MAPS)
    assert json.loads(file.read_text()) == saved({})
    assert (file.stat().st_mode & 0o777, list(file.parent.iterdir())) == (0o640, [file])


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\udcff"])
def test_a_damaged_one_is_put_aside_since_chef_fails_with_it(file: Path, text: str) -> None:
    content = text.encode(errors="surrogateescape")
    file.write_bytes(content)
    forget_maps(file.parents[1], "nodepkg", MAPS)
    assert [(one.name, one.read_bytes()) for one in file.parent.iterdir()] == [("vm.json.damaged", content)]


def test_where_nothing_is_kept_nothing_is_written(tmp_path: Path) -> None:
    forget_maps(tmp_path, "nodepkg", MAPS)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_changed_is_told(tmp_path: Path) -> None:
    (tmp_path / "nodes" / "vm.json").mkdir(parents=True)
    with pytest.raises(ToolError, match=r"vm\.json, in which chef-solo keeps the node, cannot be changed: Is a dir"):
        forget_maps(tmp_path, "nodepkg", MAPS)
