"""What each state of an invocation, and each last line of the script, is for us."""

import pytest

from nodepkg.clients.aws.run_command import Invocation, _invocation
from nodepkg.fleet.ssm_words import outcome, written

TOKEN = "t0"


def told(status: str, *, code: int | None = None, output: str = "", began: bool = False) -> tuple[str, int | None]:
    found = outcome(Invocation("i-1", status, code, output, started=began), output, TOKEN, began=began).ended
    return str(found.result), found.code


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ("Success", "succeeded"),
        ("TimedOut", "timed out"),
        ("ExecutionTimedOut", "timed out"),
        ("DeliveryTimedOut", "unreachable"),
        ("Undeliverable", "unreachable"),
        ("AccessDenied", "unreachable"),
        ("InvalidPlatform", "failed"),
        ("Terminated", "not started"),
        ("Cancelled", "not started"),
        ("SomethingNew", "unknown"),
    ],
)
def test_states_without_a_word_of_the_script(status: str, result: str) -> None:
    assert told(status)[0] == result


@pytest.mark.parametrize("status", ["DeliveryTimedOut", "Cancelled"])
def test_what_had_begun_may_still_run(status: str) -> None:
    assert told(status, began=True) == ("unknown", None)


@pytest.mark.parametrize(("code", "result"), [(1, "failed"), (75, "refused"), (124, "timed out"), (None, "failed")])
def test_the_exit_code_alone_tells_something_too(code: int | None, result: str) -> None:
    assert told("Failed", code=code) == (result, code)


@pytest.mark.parametrize(
    ("line", "status", "result"),
    [
        ("again 0 ", "Success", ("succeeded", 0)),
        ("timeout 124 it took longer", "Failed", ("timed out", 124)),
        ("busy - deploy x runs there", "Failed", ("refused", None)),
        ("broken - no room", "Failed", ("failed", None)),
        ("failed 3 exit code 3", "Failed", ("failed", 3)),
    ],
)
def test_the_scripts_last_line_says_more(line: str, status: str, result: tuple[str, int | None]) -> None:
    output = f"nodepkg-{TOKEN} began fresh\nnodepkg-{TOKEN} ended {line}\nconverging\n"
    assert told(status, code=1, output=output) == result
    assert written(output, TOKEN) == b"converging\n"


def test_a_line_that_the_converge_wrote_is_not_the_scripts() -> None:
    assert told("Failed", code=1, output="nodepkg-t1 ended succeeded 0 \n") == ("failed", 1)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ({"Status": "TimedOut", "StatusDetails": "Execution Timed Out"}, "ExecutionTimedOut"),
        ({"Status": "Cancelled", "StatusDetails": "Canceled"}, "Cancelled"),
        ({"Status": "Success", "StatusDetails": "Details placeholder"}, "Success"),
        ({"Status": "InProgress", "StatusDetails": "In Progress"}, "InProgress"),
        ({"Status": "Failed"}, "Failed"),
    ],
)
def test_states_are_read_however_they_are_written(raw: dict[str, str], status: str) -> None:
    assert _invocation({"InstanceId": "i-1", **raw}).status == status
