"""HCL values: what is written is read again, and text stays text."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodepkg.render.hclformat import formatted
from nodepkg.render.hcltext import Expression, HclError, body, parts, read, value


def read_back(given: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a block that was written and read, with the escapes of templates undone."""
    (block,) = read(formatted(f"x {{\n{body(given)}}}\n"))["x"]
    made = _plain(block)
    assert isinstance(made, dict)
    return made


def _plain(given: Any) -> Any:
    if isinstance(given, str):
        assert not [part for evaluated, part in parts(given) if evaluated]
        return given.replace("$${", "${").replace("%%{", "%{")
    if isinstance(given, list):
        return [_plain(item) for item in given]
    if isinstance(given, dict):
        return {_plain(key): _plain(item) for key, item in given.items()}
    return given


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ['${a("}")}', "%{ if x }", "$${", "$", "\\", '"', "\n\r\t\x00", "{{ .Vars }}", "<<EOT\nx\nEOT", "é漢\U0001f600"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=8)


@settings(max_examples=200, deadline=None)
@given(given=st.dictionaries(st.sampled_from(["a", "b_c", "d-e"]), VALUES), tags=st.dictionaries(TEXT, TEXT))
def test_what_is_written_is_read_again(given: dict[str, Any], tags: dict[str, str]) -> None:
    assert read_back({**given, "tags": tags}) == {**given, "tags": tags}


def test_an_object_is_a_block_and_a_map_an_attribute() -> None:
    made = formatted(
        body({"placement": {"tenancy": "default"}, "tags": {"a": "b"}, "tag": [{"key": "a"}, {"key": "b"}]})
    )
    assert made == (
        'placement {\n  tenancy = "default"\n}\n\ntags = {\n  a = "b"\n}\n\n'
        'tag {\n  key = "a"\n}\n\ntag {\n  key = "b"\n}\n'
    )


def test_the_filters_within_a_block_are_a_map() -> None:
    made = formatted(body({"source_ami_filter": {"filters": {"tag:group": "bee"}, "owners": ["self"]}}))
    assert '  filters = {\n    "tag:group" = "bee"\n  }\n' in made


def test_an_expression_is_written_as_it_is() -> None:
    assert value({"a": Expression("var.x"), "b": "var.x"}) == '{\na = var.x\nb = "var.x"\n}'


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ('a = "x\\n\\"\\u00e9\\\\"', 'x\n"é\\'),
        ('a = "${join("\\n", x)}\\n"', '${join("\\n", x)}\n'),
        ("a = var.x", "${var.x}"),
        ("a = x", "${x}"),
        ("a = <<EOT\n  x ${y}\nEOT\n", "  x ${y}\n"),
        ("a = <<-EOT\n    x\n      y\n    EOT\n", "x\n  y\n"),
        ('a = f(<<-EOT\n    x "${b("c")}"\n    EOT\n)', '${f("x \\"${b("c")}\\"\\n")}'),
        ("a = [1, true, null, 1.5]", [1, True, None, 1.5]),
        ('a = {"b" = 1, c = "d"}', {"b": 1, "c": "d"}),
    ],
)
def test_a_value_is_read_in_the_words_of_hcls_json(text: str, read_as: Any) -> None:
    assert read(text + "\n") == {"a": read_as}


def test_a_variable_names_a_type() -> None:
    given = 'variable "a" {\n  type = list(string)\n}\nvariable "b" {\n  type = string\n}\n'
    assert read(given) == {"variable": [{"a": {"type": "list(string)"}}, {"b": {"type": "string"}}]}


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = [1\n", 2), ("a {\n", 1), ('a = "x\n', 1), ("a = = 1\n", 1)])
def test_what_is_no_hcl_is_an_error_with_its_line(text: str, line: int) -> None:
    with pytest.raises(HclError) as caught:
        read(text)
    assert caught.value.line >= line or caught.value.line == 0
