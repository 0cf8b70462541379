"""Packer's machine-readable output, line by line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepkg.clients.packer_output import Line, Outcome, Tail, parse


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "1700000000,,ui,say,==> amazon-ebs: Waiting\\nfor it",
            Line("ui", ("say", "==> amazon-ebs: Waiting\nfor it"), "", 1700000000),
        ),
        ("1700000000,,ui,error,one%!(PACKER_COMMA) two", Line("ui", ("error", "one, two"), "", 1700000000)),
        (
            "1700000000,amazon-ebs,artifact,0,id,us-east-1:ami-1",
            Line("artifact", ("0", "id", "us-east-1:ami-1"), "amazon-ebs", 1700000000),
        ),
        ("1700000000,amazon-ebs,error,it broke", Line("error", ("it broke",), "amazon-ebs", 1700000000)),
        ("1700000000,,error-count,1", Line("error-count", ("1",), "", 1700000000)),
        ("1700000000,,future-kind,a,b", Line("future-kind", ("a", "b"), "", 1700000000)),
        ("1700000000,,ui", Line("ui", (), "", 1700000000)),
        ("panic: runtime error, oh", Line("", ("panic: runtime error, oh",))),
        ("999999999999,,ui,say,x", Line("", ("999999999999,,ui,say,x",))),
        ("²,,ui,say,x", Line("", ("²,,ui,say,x",))),
        ("1,2,3 files copied, one left", Line("", ("1,2,3 files copied, one left",))),
        ("", Line("", ("",))),
    ],
)
def test_a_line_is_read_or_kept(text: str, line: Line) -> None:
    assert parse(text + "\n") == line


@given(st.text())
def test_no_text_is_fatal_and_none_is_lost(text: str) -> None:
    outcome, line = Outcome(), parse(text)
    outcome.hear(line)
    assert line.kind or line.data == (text.removesuffix("\n").removesuffix("\r"),)
    assert isinstance(line.text, str)


@given(st.text(alphabet=st.characters(exclude_characters="\\", exclude_categories=["Cs"])))
def test_what_packer_escapes_comes_back(text: str) -> None:
    escaped = text.replace(",", "%!(PACKER_COMMA)").replace("\r", "\\r").replace("\n", "\\n")
    if "%!(PACKER_COMMA)" not in text:
        assert parse(f"1,,ui,say,{escaped}\n").data == ("say", text)


@given(st.binary(), st.lists(st.integers(min_value=0, max_value=40)))
def test_a_file_that_grows_gives_the_same_lines_however_it_grows(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, steps: list[int]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "out"
    path.touch()
    tail, found = Tail(path), []
    with path.open("ab", buffering=0) as file:
        for step in steps:
            file.write(content[:step])
            content_left, content = content[step:], content[step:]
            found += tail.read()
            del content_left
        file.write(content)
    found += tail.read(ended=True)
    tail.close()
    whole = path.read_bytes().split(b"\n")
    assert found == [parse(line.decode("utf-8", errors="replace")) for line in (whole if whole[-1] else whole[:-1])]


def test_half_a_line_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"1,,ui,say,one\n1,,ui,say,tw")
    tail = Tail(path)
    assert [line.text for line in tail.read()] == ["one"]
    assert tail.read() == []
    with path.open("ab") as file:
        file.write("o é".encode()[:-1])
    assert tail.read() == []
    assert [line.text for line in tail.read(ended=True)] == ["two �"]
    tail.close()


def heard(*texts: str, kind: str = "say") -> tuple[Outcome, list[dict[str, object]]]:
    outcome = Outcome()
    changes = [outcome.hear(Line("ui", (kind, text))) for text in texts]
    return outcome, [change for change in changes if change]


BEGIN = (
    "==> amazon-ebs: Prevalidating AMI Name: bee 1700000000",
    "    amazon-ebs: Found Image ID: ami-0",
    "==> amazon-ebs: Creating temporary keypair: nodepkg-1",
    "==> amazon-ebs: Creating temporary security group for this instance: packer_1",
)
MAKE = "==> amazon-ebs: Creating AMI bee 1700000000 from instance i-0a"


def test_each_name_is_told_as_soon_as_packer_says_it() -> None:
    outcome, changes = heard(*BEGIN, MAKE, "    amazon-ebs: AMI: ami-1")
    assert changes == [
        {"image_name": "bee 1700000000"},
        {"source": "ami-0"},
        {"key_pair": "nodepkg-1"},
        {"security_groups": ("packer_1",)},
        {"image": "ami-1"},
    ]
    assert outcome.makes


def test_names_are_told_in_hcl2_and_by_current_packers_too() -> None:
    outcome, _ = heard(
        "==> bee.amazon-ebs.image: Prevalidating AMI Name: bee 1",
        "==> bee.amazon-ebs.image: Creating AMI bee 1 from instance i-0a",
        "==> bee.amazon-ebs.image: AMI: ami-1",
    )
    assert (outcome.image_name, outcome.image) == ("bee 1", "ami-1")


def test_a_provisioner_that_prints_the_same_words_changes_nothing() -> None:
    outcome, _ = heard(
        *BEGIN,
        "    amazon-ebs: AMI: ami-bad",
        "    amazon-ebs: Prevalidating AMI Name: bad",
        "    amazon-ebs: Creating temporary keypair: bad",
        "    amazon-ebs: Creating AMI bad from instance i-0b",
        "    amazon-ebs: AMI: ami-bad",
        MAKE,
        "    amazon-ebs: AMI: ami-1",
        "    amazon-ebs: AMI: ami-bad",
    )
    assert (outcome.image_name, outcome.key_pair, outcome.image) == ("bee 1700000000", "nodepkg-1", "ami-1")


def test_an_intermediate_image_is_not_the_one_that_counts() -> None:
    """With encrypt_boot the plugin first makes one of a random name."""
    outcome, _ = heard(*BEGIN, "==> amazon-ebs: Creating AMI Xyz123 from instance i-0a", "    amazon-ebs: AMI: ami-2")
    assert outcome.makes
    assert outcome.image is None


def test_the_reason_is_the_error_then_the_last_complaint_then_the_last_line() -> None:
    outcome = Outcome()
    assert outcome.reason == "it said nothing"
    outcome.hear(parse("1,,ui,say,begins\n"))
    assert outcome.reason == "begins"
    outcome.hear(parse("panic: oh\n"))
    assert outcome.reason == "panic: oh"
    outcome.hear(parse("1,,ui,error,==> amazon-ebs: it\\nbroke\n"))
    outcome.hear(parse("1,,ui,say,cleaning up\n"))
    assert outcome.reason == "==> amazon-ebs: it broke"
    outcome.hear(parse("1,amazon-ebs,error,because\n"))
    assert outcome.reason == "because"


def test_what_a_post_processor_makes_is_not_the_image() -> None:
    outcome = Outcome()
    for artifact in ("us-east-1:ami-1", "packer.box"):
        outcome.hear(parse(f"1700000000,amazon-ebs,artifact,0,id,{artifact}"))
    assert outcome.artifact == "us-east-1:ami-1"
