"""What dna.json is told for one converge, and that it is as before afterwards."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import ToolError
from nodepkg.services.dna import Dna, DnaFile, changed, restored

BUNDLE: dict[str, Any] = {"id": "bee", "run_list": ["role[bee]"], "mine": {"é": [1, 2.5]}}


def dna(*deleted: str, host: str = "10.0.0.1") -> Dna:
    available = {**dict.fromkeys(deleted, False), "api": True}
    return Dna("nodepkg", "svc", {"services": {"db": [{"host": host, "port": 1}]}, "available": available})


def test_the_maps_go_under_the_attribute_and_other_keys_stay() -> None:
    document = changed({**BUNDLE, "nodepkg": {"mine": 1, "services": {"old": []}}}, dna())
    assert document == {**BUNDLE, "nodepkg": {"mine": 1, **dna().maps}}
    assert list(document) == ["id", "run_list", "mine", "nodepkg"]


def test_what_is_deleted_is_appended_to_the_run_list_for_one_converge() -> None:
    document = changed(BUNDLE, dna("worker", "mail"))
    assert document["run_list"] == ["role[bee]", "recipe[svc::delete-worker]", "recipe[svc::delete-mail]"]
    assert document["nodepkg"] == dna("worker", "mail").maps
    assert restored(document, dna("worker", "mail")) == {**BUNDLE, "nodepkg": dna().maps}


def test_what_a_crash_left_is_taken_out_before_the_next_converge() -> None:
    left = changed(BUNDLE, dna("worker"))
    assert changed(left, dna("mail"))["run_list"] == ["role[bee]", "recipe[svc::delete-mail]"]
    assert changed(left, dna("worker")) == left
    assert changed(left, dna()) == {**BUNDLE, "nodepkg": dna().maps}


def test_the_user_s_own_recipe_stays() -> None:
    own = {**BUNDLE, "run_list": ["recipe[svc::delete-worker]", "role[bee]"]}
    during = changed(own, dna("worker"))
    assert during["run_list"] == [*own["run_list"], "recipe[svc::delete-worker]"]
    after = restored(during, dna("worker"))
    assert after["run_list"] == own["run_list"]
    assert changed(after, dna())["run_list"] == own["run_list"]


def test_a_document_without_a_run_list_gets_none_that_it_does_not_need() -> None:
    assert restored(changed({}, dna("worker")), dna())["run_list"] == []
    assert restored({"id": "bee"}, dna()) == {"id": "bee"}


@pytest.fixture
def file(tmp_path: Path) -> DnaFile:
    (tmp_path / "dna.json").write_text(json.dumps(BUNDLE))
    (tmp_path / "dna.json").chmod(0o640)
    os.utime(tmp_path / "dna.json", ns=(10**18, 10**18 + 1))
    return DnaFile(tmp_path)


def test_the_file_keeps_its_mode_and_time_and_nothing_lies_beside_it(file: DnaFile) -> None:
    file.change(dna("worker"))
    during = json.loads(file.path.read_text())
    assert during == changed(BUNDLE, dna("worker"))
    found = file.path.stat()
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o640, 10**18 + 1)
    file.restore(dna("worker"))
    assert json.loads(file.path.read_text()) == restored(during, dna("worker"))
    assert (file.path.stat().st_mtime_ns, list(file.path.parent.iterdir())) == (10**18 + 1, [file.path])


def test_values_of_the_registry_are_data(file: DnaFile) -> None:
    odd = "$(reboot) '\"; \n \\ \ud800"
    file.change(dna(host=odd))
    assert json.loads(file.path.read_text())["nodepkg"]["services"]["db"][0]["host"] == odd


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run_list": "role[bee]"}', "[" * 100_000, "\udcff"])
def test_a_damaged_file_is_told_with_the_remedy_and_stays(file: DnaFile, text: str) -> None:
    file.path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ToolError, match="is damaged: ") as caught:
        file.change(dna())
    assert caught.value.hint == "remove it, and package instance:deploy brings the bundle again"
    assert file.path.read_bytes() == text.encode(errors="surrogateescape")


def test_a_missing_file_is_told_with_the_remedy(file: DnaFile) -> None:
    file.path.unlink()
    with pytest.raises(ToolError, match="is not there") as caught:
        file.change(dna())
    assert caught.value.hint == "package instance:deploy brings the bundle again"
