"""What Run Command says of a node, and what the script wrote there, as the end of a job."""

from dataclasses import dataclass

from nodepkg.clients.aws.run_command import Invocation
from nodepkg.fleet import node
from nodepkg.fleet.transport import Ended, Result

_SLOW = (Result.TIMED_OUT, "Systems Manager ended it, since it took too long")
# StatusDetails of an invocation that has ended without success -> what it is for us, and why.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
_WORDS = {
    "TimedOut": _SLOW,
    "ExecutionTimedOut": _SLOW,
    "DeliveryTimedOut": (Result.UNREACHABLE, "its agent did not answer Systems Manager in time"),
    "Undeliverable": (Result.UNREACHABLE, "Systems Manager could not hand it the command"),
    "InvalidPlatform": (Result.FAILED, "Systems Manager says that it is no Linux machine"),
    "AccessDenied": (Result.UNREACHABLE, "Systems Manager says that you may not send commands to it"),
    "Terminated": (Result.NOT_STARTED, "Systems Manager stopped before its turn: too many had failed"),
    "Cancelled": (Result.NOT_STARTED, "the command was cancelled before its turn"),
}
# Where Systems Manager stopped looking, and the node may be at it all the same.
_LOST = ("DeliveryTimedOut", "Cancelled")
# What the script ends with (fleet/node.py), if all that is known is its exit code.
_CODES = {
    124: (Result.TIMED_OUT, "it took too long and was ended"),
    75: (Result.REFUSED, "another deploy has the node"),
}
# Between stdout and stderr where Systems Manager shows them as one.
_SEAM = "\n----------ERROR-------\n"


@dataclass(frozen=True)
class Outcome:
    """`rerun`: the node is to be asked once more, since the run that it was following was lost."""

    ended: Ended
    rerun: bool = False


def outcome(one: Invocation, output: str, token: str, *, began: bool) -> Outcome:
    """How it ended there; `output` is as much as is known, `began` whether it was seen to run."""
    told = [line for line in node.Lines(token).read(output.encode() + b"\n") if line.word == node.ENDED]
    if told and one.status in ("Success", "Failed"):
        end = node.end(told[-1])
        why = end.why or ("" if end.result is Result.SUCCEEDED else _coded(end.code))
        return Outcome(Ended(one.instance, end.result, end.code, why, again=end.again), rerun=end.rerun)
    if one.status == "Success":
        return Outcome(Ended(one.instance, Result.SUCCEEDED, 0))
    if one.status == "Failed":
        result, why = _CODES.get(one.code or 0, (Result.FAILED, _coded(one.code)))
        return Outcome(Ended(one.instance, result, one.code, why))
    if one.status in _LOST and began:
        return Outcome(Ended(one.instance, Result.UNKNOWN, None, "it had begun when Systems Manager lost sight of it"))
    result, why = _WORDS.get(one.status, (Result.UNKNOWN, f"Systems Manager says {one.status}"))
    return Outcome(Ended(one.instance, result, None, why))


def _coded(code: int | None) -> str:
    return "its agent could not run the script" if code is None else f"exit code {code}"


def written(output: str, token: str) -> bytes:
    """What the converge wrote, without the lines that are the script's own."""
    mark = f"nodepkg-{token} "
    kept = [line for line in output.replace(_SEAM, "\n").splitlines(keepends=True) if not line.startswith(mark)]
    return "".join(kept).encode(errors="surrogateescape")
