"""The layout of HCL: what `packer fmt` makes of the same text, word for word."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodepkg.render.hclformat import formatted
from tests.packers import packers

SAMPLES = {
    "alignment": 'a {\n b=1\nccc = "x" # one\n\n dd= 2 # two\n e = [\n1,2\n]\n  f = 3\n g {\n h = {}\n i = [ ]\n}\n}\n',
    "objects": 'tags = { a = 1\n  "b:c" = var.d\n (var.e) = 2\n}\nsingle = {a=1,b=2}\nempty = { }\nblock {x=1}\n',
    "expressions": (
        'locals {\na = -1+2-  -3\nb = var.a?"x" :"y"\nc = foo( 1,[2 ] ... )\nd = var.l [0].x[ 1 ]\n'
        'e = [for s in [var.a] : upper( s ) if s!=""]\nf = {for k , v in var.m : k=>v...}\n'
        "g = (1+2)*3 >= 4 && var.x || var . y == 1.5e3\n}\n"
    ),
    "comments": "# first\n  // second\na = 1 /* inside */\n/* a\n   b */\nb = 2 # behind\nlonger = 3 // behind\n",
    "heredocs": "a {\nb = <<EOT\n keep   this = {\nEOT\ncc = <<-EOT\n  and   [this\n    EOT\nddd = 1\n}\n",
    "strings": 'a = "x ${foo("}", "\\"")} }" # y\nbb = "$${x %%{y {"\n',
    "brackets": "a = foo([\n1,\n2,\n])\nb = [[\n1\n], [2]]\nc {\n d { e = 1 }\n}\n",
    "windows": 'a = 1\r\nbb = "x"\r\n',
    "empty": "",
}


def packer_fmt(folder: Path, text: str) -> str:
    path = folder / "made.pkr.hcl"
    path.write_bytes(text.encode())
    subprocess.run([packers()[0], "fmt", str(path)], check=True, capture_output=True, timeout=60)
    return path.read_bytes().decode()


@pytest.mark.parametrize("name", SAMPLES)
def test_the_layout_is_that_of_packer_fmt(tmp_path: Path, name: str) -> None:
    text = SAMPLES[name].replace("\r\n", "\n")
    assert formatted(text) == packer_fmt(tmp_path, text)


@pytest.mark.parametrize("name", SAMPLES)
def test_packer_fmt_has_nothing_to_add(tmp_path: Path, name: str) -> None:
    made = formatted(SAMPLES[name])
    assert packer_fmt(tmp_path, made) == made
    assert formatted(made) == made


def test_empty_lines_are_kept_but_not_at_the_ends_of_a_block_and_not_two_in_a_row() -> None:
    assert formatted("\n\na {\n\nb = 1\n\n\nc = 2\n\n}\n\n\nd = 3\n\n") == "a {\n  b = 1\n\n  c = 2\n}\n\nd = 3\n"


_VALUES = st.recursive(
    st.sampled_from(["1", "-2", "true", "null", '"x"', '"é ${var.a} $${b} #"', "var.a.b[0]"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.lists(inner, max_size=3).map(lambda items: f"[\n{''.join(f'{item},' for item in items)}\n]"),
        st.lists(inner, max_size=3).map(
            lambda items: "{\n" + "\n".join(f"k{index}={item}" for index, item in enumerate(items)) + "\n}"
        ),
    ),
    max_leaves=6,
)
_ATTRIBUTES = st.tuples(_VALUES, st.sampled_from(["", " # note", "  // note"])) | st.just(("<<EOT\n a = {\nEOT", ""))


def _block(bodies: list[Any]) -> str:
    """Attributes and blocks, each attribute with a name of its own, of differing lengths."""
    lines = [
        f"{'n' * (index + 1)}={body[0]}{body[1]}\n" if isinstance(body, tuple) else f'b "label" {{\n{_block(body)}}}\n'
        for index, body in enumerate(bodies)
    ]
    return "".join(lines)


_BODIES = st.recursive(_ATTRIBUTES, lambda inner: st.lists(inner, max_size=4), max_leaves=10)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(_BODIES, min_size=1, max_size=4))
def test_packer_fmt_has_nothing_to_add_whatever_is_written(tmp_path: Path, bodies: list[Any]) -> None:
    made = formatted(_block(bodies))
    assert packer_fmt(tmp_path, made) == made
