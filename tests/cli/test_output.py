"""What is printed, and what commands are suggested."""

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pexpect
import pytest
from rich.cells import cell_len

from nodepkg.cli.account import _environ
from nodepkg.cli.layout import age, aligned, count, folded, records, wrapped
from nodepkg.cli.output import Output
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ("package packer:run bee", "package packer:run bee --sandbox --nodes 'a b'"),
        (
            "no image (package packer:run bee, then again)",
            "no image (package packer:run bee --sandbox --nodes 'a b', then again)",
        ),
        ("package group:create bee wasp", "package group:create bee wasp --nodes 'a b'"),
        ("the package is here", "the package is here"),
    ],
)
def test_a_suggested_command_means_the_same_place(text: str, suggested: str) -> None:
    out = Output(given={"sandbox": " --sandbox", "nodes": " --nodes 'a b'"})
    assert out.suggested(text) == suggested


def test_columns_are_aligned() -> None:
    assert list(aligned([("a", "bcd"), ("efg", "h")])) == ["a    bcd", "efg  h"]


def test_a_table_that_is_too_wide_becomes_records() -> None:
    rows = [("web", "-", "ami-1"), ("bee", "packages that are installed", "ami-2")]
    assert list(records(("group", "what for", "image"), rows, 30)) == [
        "web",
        "  image     ami-1",
        "bee",
        "  what for  packages that are",
        "            installed",
        "  image     ami-2",
    ]


def test_words_of_the_last_column_go_on_below_themselves() -> None:
    rows = [("ami-1", "in use by i-1 (running), launch template web version 1"), ("ami-2", "newest")]
    assert folded([("image", "why"), *rows], 40) == [
        "image  why",
        "ami-1  in use by i-1 (running), launch",
        "         template web version 1",
        "ami-2  newest",
    ]


# Prints the table once for every width of the terminal, which it is on.
AT_EVERY_WIDTH = """
import json, sys, termios
from nodepkg.cli.output import Output
for width in range(40, 181):
    termios.tcsetwinsize(1, (24, width))
    print(f"@{width}")
    Output().table(None, *json.loads(sys.argv[1]))
"""
STATUS = ("group", "artefacts", "image", "age", "running", "its image", "next")
IMAGES = ("ami-4b2d500a177fcf2d1", "ami-0e1c49f0b2a7d3358")
STATUS_ROW = ("12_04-bee", "stale", IMAGES[0], "2d", "12_04-bee-v001 2/2", IMAGES[1], "package autoscale:run 12_04-bee")
LISTED = ("group", "layers", "region", "type", "nodes", "description")
LISTED_ROW = ("ftp-processor", "__base__", "us-east-1", "m1.large", "1-4")


def on_terminals(columns: Sequence[str], row: Sequence[str], term: str = "dumb") -> dict[int, str]:
    """What a terminal of each width shows of a table with this row."""
    shown = pexpect.run(
        shlex.join([sys.executable, "-c", AT_EVERY_WIDTH, json.dumps([columns, [row]])]),
        env={**{key: value for key, value in os.environ.items() if key != "COLUMNS"}, "TERM": term, "NO_COLOR": "1"},
        encoding="utf-8",
    )
    blocks = (block.partition("\n") for block in shown.replace("\r", "").split("@")[1:])
    return {int(width): block for width, _, block in blocks}


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_ids_are_whole_in_every_terminal(term: str) -> None:
    shown = on_terminals(STATUS, STATUS_ROW, term)
    assert len(shown) == 141
    assert [width for width, text in shown.items() if "…" in text or not all(image in text for image in IMAGES)] == []
    assert "  its image  " in shown[40]
    for width in (140, 180):
        assert set(STATUS_ROW[2:6:3]) <= set(shown[width].split("\n")[2].split())


@pytest.mark.parametrize(
    "description",
    ["abcdefghijklmnop", "https://example.org/" + 40 * "12345", "画像を処理する機械" * 9, "a b " * 20],
    ids=["one word", "an address", "wide characters", "short words"],
)
def test_nothing_of_the_last_column_is_lost(description: str) -> None:
    """It is whole in a table, or else in a record, but for the places where lines break."""
    for width, text in on_terminals(LISTED, (*LISTED_ROW, description)).items():
        assert "".join(description.split()) in "".join(text.split()), (width, text)
        assert "…" not in text
        if text.startswith("group"):
            assert max(map(cell_len, text.splitlines())) <= width, text


def test_columns_are_aligned_and_lines_broken_by_what_the_terminal_shows() -> None:
    assert list(aligned([("画像", "x"), ("web", "y"), ("ka\u0308se", "z")])) == ["画像  x", "web   y", "ka\u0308se  z"]
    assert wrapped("画像 画像 画像 画像 画像", 20) == ["画像 画像 画像 画像", "  画像"]


def test_lines_break_between_words_and_leave_what_can_be_copied_whole() -> None:
    text = "it is not there (package packer:run 12_04-bee --sandbox), and /a/long/path/without/a/space-in-it is"
    assert wrapped(text, 30) == [
        "it is not there",
        "  (package packer:run 12_04-bee --sandbox),",
        "  and",
        "  /a/long/path/without/a/space-in-it",
        "  is",
    ]


def test_ages_and_counts_read_well() -> None:
    assert [age(seconds) for seconds in (-1, 59, 60, 7200, 200_000)] == ["0s", "59s", "1m", "2h", "2d"]
    assert [count(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_a_description_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text('{"bee": {"run_list": ["a"], "description": "\\u001b[31mred\\nline"}}')
    told = run("group:list", "--nodes", str(tmp_path / "nodes.json"))
    assert "\x1b" not in told.out
    assert r"\x1b[31mred\nline" in told.out


def test_what_another_program_said_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.error("packer failed: \x1b[31mred\n  \tstatus code: 403", "", 6)
    out.warning("\x1b]0;title\x07")
    out.note("12_04-bee: \x1b[2Jfailed")
    assert capsys.readouterr().err.splitlines() == [
        r"error: packer failed: \x1b[31mred",
        "   status code: 403",
        r"warning: \x1b]0;title\x07",
        r"12_04-bee: \x1b[2Jfailed",
    ]


def test_a_profile_comes_before_the_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    environ = _environ("production")
    assert environ["AWS_PROFILE"] == "production"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & environ.keys()
    assert _environ(None) == dict(os.environ)


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m nodepkg group:list | true; echo done"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["group:list", "config:schema"])
def test_a_reader_that_is_gone_makes_no_failure_of_it(command: str) -> None:
    """Of a long result the writing fails in the midst of the command, of a short one at its end."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as pipe:
        line = [sys.executable, "-m", "nodepkg", command]
        done = subprocess.run(line, stdout=pipe, stderr=subprocess.PIPE, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nodepkg", "group:list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    assert done.returncode == 6
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_streams_are_no_bug() -> None:
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        command = f"{sys.executable} -m nodepkg group:list {closed}"
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=Path(__file__).parents[2], check=False, capture_output=True
        )
        assert done.returncode == 0, (closed, done)


def test_json_is_valid_in_every_locale(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text('{"bee": {"run_list": ["a"], "description": "käse \U0001f9c0"}}', "utf-8")
    environ = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "nodepkg", "group:list", "--json"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)[0]["description"] == "käse \U0001f9c0"


def test_ctrl_c_at_the_very_start_is_no_traceback() -> None:
    program = "import os, signal, sys; import nodepkg.__main__ as m; sys.modules['nodepkg.cli'] = None\n"
    program += "class Loader:\n    def find_spec(self, *a):\n        raise KeyboardInterrupt\n"
    program += "sys.modules.pop('nodepkg.cli'); sys.meta_path.insert(0, Loader()); m.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_painted_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NO_COLOR", ""), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    assert Output().painted("+ a", "green") == "+ a"
    monkeypatch.setattr("sys.stdout", Terminal())
    assert Output().painted("+ a", "green") == "\033[32m+ a\033[0m"
    assert Output().painted("\x1b[31m", "") == r"\x1b[31m"
    assert Output(color=False).painted("+ a", "green") == "+ a"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Output().painted("+ a", "green") == "+ a"


def test_words_of_the_result_are_wrapped_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    text = "  => artefacts to refresh: roles/bee.json, \x1b[31m"
    assert Output().paragraph(text) == [text.replace("\x1b", r"\x1b")]
    monkeypatch.setattr("sys.stdout", Terminal())
    assert Output().paragraph(text, indent=5) == [
        "  => artefacts to",
        "     refresh:",
        "     roles/bee.json,",
        r"     \x1b[31m",
    ]


@pytest.mark.parametrize("tell", [Output().note, Output().warning, lambda text: Output().error(text, text, 6)])
def test_nothing_that_is_quoted_steers_the_terminal(
    tell: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    tell("packer said \x1b[2J\x9b1A\r\n\x07:\n    ^ here")
    said = capsys.readouterr().err
    assert "\\x1b[2J\\x9b1A" in said
    assert not set(said) & set("\x1b\x9b\r\x07")
    assert "\n    ^ here" in said
