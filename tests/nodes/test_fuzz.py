"""A damaged nodes.json, through the program itself: an error that is foreseen, or success; never a bug."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodepkg.cli import commands
from nodepkg.cli.app import run
from tests.projects import EXAMPLE, copy_example

TEXT = (EXAMPLE / "nodes.json").read_text("utf-8")
FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def nodes_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nodes.json of a copy of the example."""
    assert commands
    return copy_example(tmp_path_factory.mktemp("fuzz") / "project").source.path


def answer(*arguments: str) -> tuple[int, str]:
    """Exit code and stderr of one command line."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(list(arguments))
    return int(code), err.getvalue()


def endures(nodes_json: Path, content: bytes) -> None:
    """No command meets a bug on this file, and none writes anything."""
    nodes_json.write_bytes(content)
    before = sorted(nodes_json.parent.rglob("*"))
    for command, codes in (("config:check", {0, 3}), ("group:create", {0, 3, 4})):
        code, said = answer(command, "--nodes", str(nodes_json), *(["--check"] if command == "group:create" else []))
        assert code in codes, said
        assert "Traceback" not in said
        assert bool(said) or code == 0
    code, said = answer("group:list", "12_04-bee", "--region", "us-east-1", "--nodes", str(nodes_json))
    assert code in {0, 2, 3}, said
    assert sorted(nodes_json.parent.rglob("*")) == before


OFFSETS = st.integers(0, len(TEXT))
SCRAPS = (
    st.sampled_from(
        [
            '"',
            "'",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\\",
            "\n",
            "\t",
            "//",
            "/*",
            "#",
            "null",
            "NaN",
            "1e999",
            "-",
            "\\ud800",
        ]
    )
    | st.sampled_from(
        [
            "\0",
            "\x1b",
            "\x7f",
            "é",
            "\u2028",
            "\ufeff",
            "😀",
            '"": 1,',
            '"a": {},',
            "{{",
            "{%",
            "__",
            "$",
            "../",
            "True",
        ]
    )
    | st.text(max_size=4)
)


@st.composite
def cut(draw: st.DrawFn, text: str) -> str:
    """Without a slice, or cut short."""
    start = draw(OFFSETS)
    return text[:start] + text[start + draw(st.integers(1, 40) | st.just(len(text))) :]


@st.composite
def stuffed(draw: st.DrawFn, text: str) -> str:
    start = draw(OFFSETS)
    return text[:start] + draw(SCRAPS) + text[start + draw(st.integers(0, 1)) :]


@st.composite
def doubled(draw: st.DrawFn, text: str) -> str:
    """With a slice of itself somewhere else."""
    start, place = draw(OFFSETS), draw(OFFSETS)
    return text[:place] + text[start : start + draw(st.integers(1, 300))] + text[place:]


@st.composite
def damaged_text(draw: st.DrawFn) -> str:
    text = TEXT
    for damage in draw(st.lists(st.sampled_from([cut, stuffed, doubled]), min_size=1, max_size=3)):
        text = draw(damage(text))
    return text


@FUZZ
@given(text=damaged_text())
def test_damaged_text_is_refused_or_right(nodes_json: Path, text: str) -> None:
    endures(nodes_json, text.encode("utf-8", errors="surrogatepass"))


@settings(FUZZ, max_examples=100)
@given(flips=st.lists(st.tuples(st.integers(0, len(TEXT.encode()) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_are_refused_or_right(nodes_json: Path, flips: list[tuple[int, int]]) -> None:
    content = bytearray(TEXT.encode("utf-8"))
    for offset, byte in flips:
        content[offset] = byte
    endures(nodes_json, bytes(content))


KEYS = st.sampled_from(
    ["inherits", "source_group", "source_ami_filter", "role_name", "packer", "chef", "builder", "tags", "autoscale"]
) | st.sampled_from(
    ["name", "owners", "device", "format", "x-note", "$ref", "zones", "install", "user_data", "template", "", "a.b"]
)
STRANGE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 10**400, 1e308, 0.1, [], {}, [[]], [{}], [None], {"": None}, {"a": [1]}])
    | st.sampled_from(["", "__base__", "__web__", "__none__", "12_04-bee", "ftp-listener", "role[role-12_04-bee]"])
    | st.sampled_from(["role[12_04-bee]", "{group}", "x", "../../x", "{{", "{{ .X }}", "hcl2", "web", "\0", "é\n"])
    | st.sampled_from([["__web__", "__web__"], ["role[role-ftp-listener]"], [{"device": "a"}, {"device": "a"}]])
    | st.dictionaries(KEYS, st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2))
)


def slots(document: Any) -> list[tuple[Any, Any]]:
    """Each container with each of its keys or indexes."""
    keys = list(document) if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    return [slot for key in keys for slot in [(document, key), *slots(document[key])]]


def replace(draw: st.DrawFn, document: Any) -> None:
    container, key = draw(st.sampled_from(slots(document)))
    container[key] = deepcopy(draw(STRANGE))  # a later damage may change it


def add(draw: st.DrawFn, document: Any) -> None:
    objects = [document, *(holder[key] for holder, key in slots(document) if isinstance(holder[key], dict))]
    draw(st.sampled_from(objects))[draw(KEYS | st.text(max_size=5))] = deepcopy(draw(STRANGE))


def remove(draw: st.DrawFn, document: Any) -> None:
    container, key = draw(st.sampled_from(slots(document)))
    del container[key]


def move(draw: st.DrawFn, document: Any) -> None:
    """The value of one place to another."""
    holder, name = draw(st.sampled_from(slots(document)))
    container, key = draw(st.sampled_from(slots(document)))
    container[key] = json.loads(json.dumps(holder[name]))


DAMAGES: list[Callable[[st.DrawFn, Any], None]] = [replace, add, remove, move]


@st.composite
def damaged_document(draw: st.DrawFn) -> str:
    document = json.loads(TEXT)
    for damage in draw(st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=4)):
        if slots(document):
            damage(draw, document)
    return json.dumps(document, indent=draw(st.sampled_from([None, 4])), ensure_ascii=draw(st.booleans()))


@settings(FUZZ, max_examples=300)
@given(text=damaged_document())
def test_a_damaged_document_is_refused_or_right(nodes_json: Path, text: str) -> None:
    endures(nodes_json, text.encode("utf-8", errors="surrogatepass"))
