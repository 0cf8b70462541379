"""What is written down of a deploy, and read again after a crash."""

import json
from pathlib import Path
from typing import Any

import pytest

from nodepkg.errors import RefusedError, UsageError
from nodepkg.fleet.host import Host
from nodepkg.fleet.record import RETRIED, Entry, Part, Plan, Record, documents, find, is_deploy_id, new_deploy_id

HOST = Host("i-1", "bee", "us-east-1", "us-east-1a", "one", "", "10.0.0.1")
PART = Part("bee", "us-east-1", "d" * 64, "/opt/nodepkg", "true", "root", 22, strict=True)


def plan(id_: str = "20260101T000000-000000") -> Plan:
    return Plan(id_, "instance:deploy bee", 1.0, (PART,), (HOST,), {"n": "10"})


def begun(root: Path, id_: str = "20260101T000000-000000") -> Record:
    record = Record(root, plan(id_))
    record.begin()
    return record


def test_ids_sort_by_time_and_are_known_as_ids() -> None:
    ids = [new_deploy_id(now, b"\xff\x00\x01") for now in (0.0, 59.0, 1e9, 4e9)]
    assert ids == sorted(ids)
    assert all(map(is_deploy_id, ids))
    assert not is_deploy_id("12_04-bee")


def test_a_record_is_read_as_it_was_written_and_is_private(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.note(Entry("i-1", "succeeded", 2.0, 0, 1.5, over=True))
    record.wrote("i-1", b"hello\n")
    record.close()
    again = find(tmp_path, None)
    assert again.plan == plan()
    assert again.entries() == {"i-1": Entry("i-1", "succeeded", 2.0, 0, 1.5, over=True)}
    modes = {path.name: path.stat().st_mode & 0o777 for path in (record.folder, *record.folder.iterdir())}
    assert modes == {record.folder.name: 0o700, "deploy.json": 0o600, "states.jsonl": 0o600, "i-1.log": 0o600}


@pytest.mark.parametrize("torn", [b'{"instance": "i-1", "sta', b"\xff\xfe", b"[1]\n", b'{"instance": "i-1"}\n'])
def test_a_torn_line_does_not_count_and_spoils_no_later_one(tmp_path: Path, torn: bytes) -> None:
    record = begun(tmp_path)
    record.note(Entry("i-1", "converging", 2.0))
    record.close()
    with (record.folder / "states.jsonl").open("ab") as file:
        file.write(torn)
    assert find(tmp_path, None).entries()["i-1"].state == "converging"
    again = find(tmp_path, None)
    again.resume()
    again.note(Entry("i-1", "failed", 3.0, 1, over=True))
    again.close()
    assert find(tmp_path, None).entries()["i-1"].state == "failed"


def test_a_log_shows_where_a_retry_begins(tmp_path: Path) -> None:
    first = begun(tmp_path)
    first.wrote("i-1", b"half a li")
    first.close()
    again = find(tmp_path, None)
    again.resume()
    for instance in ("i-1", "i-1", "i-2"):
        again.wrote(instance, b"line\n")
    again.close()
    assert again.log("i-1").read_bytes() == b"half a li" + RETRIED + b"line\nline\n"
    assert again.log("i-2").read_bytes() == b"line\n"


def test_of_a_host_that_a_killed_process_left_it_is_not_known_how_it_ended(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.note(Entry("i-1", "converging", 2.0))
    record.close()
    assert documents([HOST], record.entries(), record)[0]["state"] == "unknown"
    assert documents([HOST], {}, record)[0]["state"] == "not started"


def test_the_newest_is_found_and_another_by_its_id(tmp_path: Path) -> None:
    for id_ in ("20260101T000000-000000", "20260102T000000-000000"):
        begun(tmp_path, id_).close()
    assert find(tmp_path, None).plan.id == "20260102T000000-000000"
    assert find(tmp_path, "20260101T000000-000000").plan.id == "20260101T000000-000000"
    with pytest.raises(UsageError, match="no deploy"):
        find(tmp_path, "20260103T000000-000000")
    with pytest.raises(UsageError):
        find(tmp_path, "../deploys/20260101T000000-000000")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"id": "x", "hosts": [{"instance": "../../x"}]}'])
def test_a_record_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    record = begun(tmp_path)
    record.close()
    (record.folder / "deploy.json").write_text(content)
    with pytest.raises(RefusedError, match=r"deploy\.json"):
        find(tmp_path, None)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("id", "20260102T000000-000000"),
        ("started", "x"),
        ("options", 5),
        ("parts", []),
        ("parts", 5),
        ("parts", {"digest": 7}),
        ("parts", {"command": None}),
        ("parts", {"group": "wasp"}),
        ("hosts", []),
        ("hosts", {"zone": 7}),
        ("hosts", {"instance": ["i-1"]}),
    ],
)
def test_a_damaged_record_is_refused_before_anybody_is_touched(tmp_path: Path, part: str, value: Any) -> None:
    record = begun(tmp_path)
    record.close()
    path = record.folder / "deploy.json"
    document = json.loads(path.read_bytes())
    document[part] = [{**document[part][0], **value}] if isinstance(value, dict) else value
    path.write_text(json.dumps(document))
    with pytest.raises(RefusedError, match=r"deploy\.json"):
        find(tmp_path, None)


def test_a_state_that_is_none_does_not_count(tmp_path: Path) -> None:
    record = begun(tmp_path)
    for line in ('{"instance": 5, "state": "failed", "at": 1}', '{"instance": "i-1"}', "[]", "null"):
        (record.folder / "states.jsonl").write_text(
            f'{line}\n{{"instance": "i-2", "state": 7, "at": 1, "seconds": ""}}\n'
        )
        assert record.entries() == {}
    record.close()


def test_the_last_lines_of_a_long_log_are_whole(tmp_path: Path) -> None:
    record = begun(tmp_path)
    record.wrote("i-1", b"".join(b"line %d\n" % n for n in range(9000)))
    assert record.last_lines("i-1", 2) == ["line 8998", "line 8999"]
    assert record.last_lines("i-2", 2) == []
