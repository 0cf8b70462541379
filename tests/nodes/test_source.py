"""nodes.json as text: each way in which it can be broken, and where in it something stands."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodepkg.errors import ConfigError
from nodepkg.nodes.nearest import find
from nodepkg.nodes.source import DEEPEST, WIDEST_LINE, KeyPath, Source, line_of, places, read, show_path
from tests.projects import complaint


def refused(folder: Path, content: str | bytes) -> str:
    """What is said of a nodes.json with this content."""
    path = folder / "nodes.json"
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as error:
        read(path)
    return complaint(error).replace(f"{path}", "nodes.json")


SLIPS = [
    pytest.param("{'a': 1}", "1:2", "double quotes, not single", id="single quotes around a key"),
    pytest.param("{\"a\": 'b'}", "1:7", "double quotes, not single", id="single quotes around a value"),
    pytest.param('{"a": ["b", \'c\']}', "1:13", "double quotes, not single", id="single quotes in a list"),
    pytest.param('{"a": 1,}', "1:9", "trailing comma", id="a trailing comma in an object"),
    pytest.param('{"a": [1,]}', "1:10", "trailing comma", id="a trailing comma in a list"),
    pytest.param('{"a": [1,\n\n]}', "3:1", "trailing comma", id="a trailing comma some lines above"),
    pytest.param('{"a": 1 // one\n}', "1:9", "no comments", id="a comment after a value"),
    pytest.param('{\n// one\n"a": 1}', "2:1", "no comments", id="a comment before a key"),
    pytest.param('{"a": 1, // one\n"b": 2}', "1:10", "no comments", id="a comment after a comma"),
    pytest.param('{"a": /* one */ 1}', "1:7", "no comments", id="a comment before a value"),
    pytest.param('# one\n{"a": 1}', "1:1", "no comments", id="a comment at the top"),
    pytest.param('{"a": 1}\n# one', "2:1", "no comments", id="a comment at the end"),
    pytest.param('{"a": [1 # one\n]}', "1:10", "no comments", id="a comment in a list"),
    pytest.param('{"a": 1\n"b": 2}', "2:1", "comma is probably missing", id="a missing comma between keys"),
    pytest.param('{"a": [1 2]}', "1:10", "comma is probably missing", id="a missing comma in a list"),
    pytest.param('{"a": ["b" "c"]}', "1:12", "comma is probably missing", id="a missing comma between strings"),
    pytest.param('{"a": True}', "1:7", "true, false and null", id="True"),
    pytest.param('{"a": False}', "1:7", "true, false and null", id="False"),
    pytest.param('{"a": None}', "1:7", "true, false and null", id="None"),
    pytest.param('{"a": {"b": 1}', "1:15", "closing bracket", id="a missing bracket at the end"),
    pytest.param('{"a": [1, 2', "1:12", "closing bracket", id="a half-written list"),
    pytest.param('{"a":', "1:6", "ends too early", id="a half-written file"),
    pytest.param('{"a": [1, 2}', "1:12", "bracket", id="a missing bracket before another"),
    pytest.param('{"a": [1, "b": 2}', "1:14", "bracket", id="a list that is not closed before a key"),
    pytest.param('{"a": {"b": 1]}', "1:14", "bracket", id="an object that a list's bracket closes"),
    pytest.param('{"a": 1}}', "1:9", "bracket too many", id="a bracket too many"),
    pytest.param('{"a": "b', "1:7", "quote", id="a missing quote at the end of the file"),
    pytest.param('{"a": "b\n}', "1:9", "ends on its line", id="a missing quote"),
    pytest.param('{"a": "b\tc"}', "1:9", r"\t", id="a tab in a string"),
    pytest.param("{a: 1}", "1:2", "written in double quotes", id="a bare key"),
]


@pytest.mark.parametrize(("text", "place", "hint"), SLIPS)
def test_a_syntax_error_says_where_and_what_to_do(tmp_path: Path, text: str, place: str, hint: str) -> None:
    said = refused(tmp_path, text)
    assert said.startswith(f"nodes.json:{place}: ")
    assert hint in said


def caret_points_at(said: str) -> str:
    """The character above the caret, and all after it."""
    _, line, caret, *_ = said.split("\n")
    assert caret.strip() == "^"
    return line[caret.index("^") :]


@pytest.mark.parametrize(
    ("text", "place", "pointed"),
    [
        pytest.param('{\n    "a": nope\n}', "2:10", "nope", id="a short line"),
        pytest.param(
            '{"long": "' + "x" * 5000 + '", "a": nope, "b": 1}', "1:5019", "nope", id="far right in a long line"
        ),
        pytest.param('{"a": nope, "long": "' + "x" * 5000 + '"}', "1:7", "nope", id="far left in a long line"),
        pytest.param('{\r\n    "a": nope\r\n}\r\n', "2:10", "nope", id="CRLF"),
        pytest.param('{\n\t\t"a": nope\n}', "2:8", "nope", id="tabs"),
        pytest.param('{"a": "ünï→漢", "b": nope}', "1:21", "nope", id="characters of many bytes"),
    ],
)
def test_the_caret_stands_below_the_column(tmp_path: Path, text: str, place: str, pointed: str) -> None:
    said = refused(tmp_path, text)
    assert said.startswith(f"nodes.json:{place}: ")
    assert caret_points_at(said).startswith(pointed)


def test_a_long_line_is_cut_around_the_error(tmp_path: Path) -> None:
    said = refused(tmp_path, '{"a": "' + "x" * 100_000 + '", nope}')
    assert max(len(line) for line in said.split("\n")) <= WIDEST_LINE + len("    ")


def test_no_control_character_reaches_the_terminal(tmp_path: Path) -> None:
    said = refused(tmp_path, '{"a": "\x1b[31m\x07"}')
    assert "\x1b" not in said
    assert "\x07" not in said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            '{"a": {},\n"a": {}}', ['nodes.json:2: duplicate key "a": it stands on line 1 already'], id="at the top"
        ),
        pytest.param(
            '{"a": {"b": 1,\n\n"b": 2}}',
            ['nodes.json:3: duplicate key "b" in a: it stands on line 1 already'],
            id="in a group",
        ),
        pytest.param(
            '{"a": {"b": [0, {"c": {\n"d": 1,\n"d": 1}}]}}',
            ['nodes.json:3: duplicate key "d" in a.b[1].c: it stands on line 2 already'],
            id="at any depth",
        ),
        pytest.param(
            '{"a": {},\n"\\u0061": {}}',
            ['nodes.json:2: duplicate key "a": it stands on line 1 already'],
            id="spelled otherwise",
        ),
        pytest.param(
            '{"a": {"b": 1, "b": 2},\n"c": {"d": 1,\n"d": 2}}',
            [
                'nodes.json:1: duplicate key "b" in a: it stands on line 1 already',
                'nodes.json:3: duplicate key "d" in c: it stands on line 2 already',
            ],
            id="all of them",
        ),
        pytest.param('{"": 1,\n"": 2}', ['nodes.json:2: duplicate key "": it stands on line 1 already'], id="empty"),
    ],
)
def test_a_duplicate_key_is_told_with_both_lines(tmp_path: Path, text: str, told: list[str]) -> None:
    assert refused(tmp_path, text).split("\n")[:-1] == told


@pytest.mark.parametrize(
    "text", ['{"a": {"b": 1}, "c": {"b": 1}}', '{"a": [{"b": 1}, {"b": 1}]}', '{"a": "a", "b": "a"}']
)
def test_the_same_key_in_two_places_is_no_duplicate(tmp_path: Path, text: str) -> None:
    (tmp_path / "nodes.json").write_text(text)
    assert read(tmp_path / "nodes.json").document == json.loads(text)


BROKEN_FILES = [
    pytest.param(b'\xef\xbb\xbf{"a": {}}', "nodes.json:1: begins with a byte order mark", id="BOM"),
    pytest.param('{"a": {}}'.encode("utf-16"), "is UTF-16", id="UTF-16 with BOM"),
    pytest.param('{"a": {}}'.encode("utf-16-le"), "nodes.json:1:2: ", id="UTF-16 without"),
    pytest.param(b'{"a":\n\n"\xff"}', "nodes.json:3: is not UTF-8: byte 0xff at offset 8", id="no UTF-8"),
    pytest.param('{"a": "é"}'.encode("latin-1"), "nodes.json:1: is not UTF-8: byte 0xe9", id="Latin-1"),
    pytest.param(b'{"a": "\xed\xa0\x80"}', "nodes.json:1: is not UTF-8", id="a surrogate as bytes"),
    pytest.param(b"", "nodes.json: is empty", id="empty"),
    pytest.param(b" \n\t\r\n", "nodes.json: is empty", id="white space"),
    pytest.param(b"\0" * 100, "nodes.json:1:1: ", id="zeros"),
    pytest.param(b"[]", "nodes.json:1: has to be an object of groups, {…}, and is a list", id="a list"),
    pytest.param(b'"a"', "and is a string", id="a string"),
    pytest.param(b"null", "and is null", id="null"),
    pytest.param(b"1", "and is a number", id="a number"),
    pytest.param(b"true", "and is true or false", id="true"),
    pytest.param(b'{"a":\nNaN}', "nodes.json:2: NaN is not a number", id="NaN"),
    pytest.param(b'{"a":\nInfinity}', "nodes.json:2: Infinity is not a number", id="Infinity"),
    pytest.param(b'{"a":\n[-Infinity]}', "nodes.json:2: -Infinity is not a number", id="-Infinity"),
    pytest.param(b'{"a":\n1e999}', "nodes.json:2: 1e999 is not a number", id="1e999"),
    pytest.param(b'{"NaN": "NaN",\n"a": NaN}', "nodes.json:2: NaN", id="NaN after a string that says so"),
    pytest.param(b'{"a":\n' + b"1" * 5000 + b"}", "nodes.json:2: ", id="a number of thousands of digits"),
    pytest.param(b'{"a": 0,\n"b": ["\\ud800"]}', r"nodes.json:2: b[0]: half of a character, \ud800", id="a half"),
    pytest.param(b'{"a":\n"\\udc00\\ud800"}', r"nodes.json:2: a: half of a character, \udc00", id="two halves"),
    pytest.param(b'{"\\ud800": {}}', "half of a character", id="a half in a key"),
    pytest.param(b'{"a": ' * 100_000, "is nested deeper than 100 levels", id="100,000 objects, not closed"),
    pytest.param(
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested deeper than 100 levels", id="100,000 lists"
    ),
    pytest.param(b"[" * 100_000, "is nested deeper than 100 levels", id="brackets and nothing else"),
]


@pytest.mark.parametrize(("content", "told"), BROKEN_FILES)
def test_a_broken_file_is_a_clear_error(tmp_path: Path, content: bytes, told: str) -> None:
    assert told in refused(tmp_path, content)


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def test_nesting_is_fine_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text(nested(DEEPEST))
    assert read(tmp_path / "nodes.json").document["a"]


def test_nesting_is_refused_beyond_the_limit(tmp_path: Path) -> None:
    assert "nested deeper than 100 levels" in refused(tmp_path, nested(DEEPEST + 1))


def test_a_pair_of_halves_is_a_character(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text(r'{"a": "\ud83d\ude00", "b": "\\ud800"}')
    assert read(tmp_path / "nodes.json").document == {"a": "😀", "b": r"\ud800"}


def test_a_directory_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: No such file"):
        read(tmp_path / "none.json")


def test_an_unreadable_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    path.symlink_to("/proc/self/mem")  # the one file that even root cannot read from the start
    with pytest.raises(ConfigError, match=r"nodes\.json: cannot be read: Input/output error"):
        read(path)


def test_a_good_file_gives_its_document_in_order(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text('{"b": {}, "a": {"é": [1.5, null]}}')
    document = read(tmp_path / "nodes.json").document
    assert document == {"b": {}, "a": {"é": [1.5, None]}}
    assert list(document) == ["b", "a"]


TEXT = '{\n  "a": {\n    "b": [\n      1,\n      {"c": 2}\n    ]\n  }\n}\n'


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 2),
        (("a", "b"), 3),
        (("a", "b", 0), 4),
        (("a", "b", 1), 5),
        (("a", "b", 1, "c"), 5),
        (("a", "x"), 2),
        (("a", "b", 7), 3),
        (("x",), 1),
        ((), 1),
    ],
)
def test_a_path_has_the_line_of_its_key_or_of_its_nearest_parent(path: KeyPath, line: int) -> None:
    assert Source(Path("nodes.json"), TEXT, json.loads(TEXT)).lines([path]) == {path: line}


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(["a", "{", '"', "\\", ",:", "1"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def values(document: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    yield path, document
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inside:
        yield from values(value, (*path, key))


@settings(max_examples=300, deadline=None)
@given(VALUES, st.sampled_from([None, 0, 1, "\t"]), st.booleans())
def test_every_value_is_found_once_at_its_place(document: Any, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    expected = dict(values(document))
    found = list(places(text))
    assert [place.path for place in found] == list(expected)
    decoder = json.JSONDecoder()
    for place in found:
        there, _ = decoder.raw_decode(text, place.offset)
        in_object = place.path and isinstance(place.path[-1], str)
        assert there == (place.path[-1] if in_object else expected[place.path])


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_holds_a_value_is_its_container(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1)
    for place in places(text):
        assert place.container == -1 if not place.path else text[place.container] in "{["


def test_a_line_is_counted_from_one() -> None:
    assert [line_of("a\nb\n", offset) for offset in range(4)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("autoscale", "target_groups", 0), "autoscale.target_groups[0]"),
        (("a",), "a"),
        ((), ""),
        ((0, "a"), "[0].a"),
    ],
)
def test_a_path_is_shown_with_dots_and_brackets(path: KeyPath, shown: str) -> None:
    assert show_path(path) == shown


def test_the_named_file_goes_before_the_environment(tmp_path: Path) -> None:
    assert find(tmp_path, {"NODEPKG_NODES": "env.json"}, Path("given.json")) == Path("given.json")
    assert find(tmp_path, {"NODEPKG_NODES": "env.json"}) == Path("env.json")


def test_the_nearest_nodes_json_is_used(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "nodes.json").write_text("{}")
    assert find(deep, {"NODEPKG_NODES": ""}) == Path("../../nodes.json")
    (deep / "nodes.json").write_text("{}")
    assert find(deep, {}) == Path("nodes.json")


def test_no_nodes_json_is_an_error_that_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        find(tmp_path, {})
    assert "--nodes PATH" in complaint(error)
