"""What runs on a node: the text of its script, how a shell is told to run it, and how its lines are read.

The script is templates/deploy/node.sh, with its variables set in front of it; nothing of it is in the arguments of a
process. Over SSH `command(text)` is what the session runs, and `text` the first that goes to its standard input; the
archive follows if the node asks for it (SEND). Where there is no standard input (Run Command of SSM), `text` is the
script itself: give `url`, from where the node fetches the archive (a signed address stays out of arguments), and
`follow=False`: then it writes nothing before the end of the converge, and then its last lines. Its exit code is that
of the command; 0 also where the deploy had succeeded before, 75 busy, 70 broken (nothing was run).

On the node lie, in /var/lib/nodepkg (root only): `lock`, which is held while a bundle is received or a command runs,
and its last line says which (deploy, token, stage, boot id, process, its start); `bundle`, the digest of what lies in
the path; `deploys/<id>/record`, the last line of which is how that deploy stands, and `deploys/<id>/<token>.log`, the
output. A line counts if it ends in " .": so one that was torn is as if it had not been written. `token` names one run
by one client: whoever comes back with it follows that run, and is told how it ended; with another token a deploy that
failed is run again, one that runs is followed, and one that succeeded is not. A deploy of the id `services` is a
converge of the node's own agent (services/converge.py), which any other one waits for, up to its own timeout.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from nodepkg.clients.supervised import HOME, shipped
from nodepkg.fleet.transport import Result

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

SEND = "send"
BEGAN = "began"
ENDED = "ended"


@dataclass(frozen=True)
class Run:
    """What the script is told.

    `token` is of letters and digits, unlike any other; `offset` is how much of this run's output the client has.
    `home` and `boot` are for tests: the folder of the state, and the id of the system's boot.
    """

    deploy: str
    token: str
    digest: str
    path: str
    command: str
    timeout: float
    dna: bytes | None = None
    offset: int = 0
    url: str = ""
    follow: bool = True
    lines: int = 100
    home: str = HOME
    boot: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the script's: SEND, BEGAN or ENDED, and what it says beside."""

    word: str
    rest: str = ""


@dataclass(frozen=True)
class End:
    """How it ended. `again`: nothing was run, it had succeeded before. `rerun`: it is to be asked once more."""

    result: Result
    code: int | None
    why: str
    again: bool = False
    rerun: bool = False


def script(run: Run) -> bytes:
    """The whole text. Raises ValueError for a deploy id or a token that is none."""
    for word in (run.deploy, run.token):
        if not _WORD.fullmatch(word):
            raise ValueError(f"not the id of a deploy: {word!r}")
    values = {
        "home": run.home,
        "boot": run.boot,
        "deploy": run.deploy,
        "token": run.token,
        "digest": run.digest,
        "path": run.path.rstrip("/"),
        "command": run.command.replace("{path}", quote(run.path)),
        "timeout": f"{run.timeout:.3f}",
        "dna": base64.b64encode(run.dna).decode() if run.dna is not None else "",
        "from": str(run.offset),
        "url": run.url,
        "follow": "yes" if run.follow else "",
        "lines": str(run.lines),
        "supervise": shipped("supervise.sh"),
    }
    front = "".join(f"np_{name}={quote(value)}\n" for name, value in values.items())
    return (front + shipped("node.sh")).encode("utf-8", errors="surrogateescape")


def command(text: bytes, *, root: bool) -> str:
    """What a session runs, whatever its shell: it reads the script from its standard input, and no byte more.

    `root`: whether the login user is; anybody else has to be allowed to become it without a password.
    """
    shell = f"sh -c 'eval \"$(head -c {len(text)})\"'"
    return f"exec {shell}" if root else f"exec sudo -n {shell}"


class Lines:
    """Takes the script's lines out of what comes on standard error; the rest is kept, since it may say why not."""

    def __init__(self, token: str) -> None:
        self._mark = f"nodepkg-{token} ".encode()
        self._rest = b""
        self._noise = b""

    def read(self, data: bytes) -> Iterator[Line]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            noise, mark, told = line.partition(self._mark)
            if mark:
                word, _, rest = told.decode(errors="replace").partition(" ")
                yield Line(word, rest)
            else:
                self._noise = (self._noise + noise + b"\n")[-2000:]

    @property
    def noise(self) -> str:
        """The last line that was none of the script's."""
        lines = (self._noise + self._rest).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Output:
    """Takes the converge's output out of standard output, on which a shell's start-up files may write before."""

    def __init__(self, token: str) -> None:
        self._mark = f"nodepkg-{token} output ".encode()
        self._head: bytes | None = b""
        self.offset: int | None = None
        """From which byte of the log on it comes; None until that is known."""

    def read(self, data: bytes) -> bytes:
        """The output in it."""
        if self._head is None:
            return data
        self._head += data
        before, mark, behind = self._head.partition(self._mark)
        number, newline, output = behind.partition(b"\n")
        if not mark or not newline:
            self._head = (before + mark + behind)[-200:] if not mark else mark + behind
            return b""
        self._head = None
        self.offset = int(number)
        return output


_RESULTS = {
    "succeeded": Result.SUCCEEDED,
    "again": Result.SUCCEEDED,
    "timeout": Result.TIMED_OUT,
    "busy": Result.REFUSED,
}


def end(line: Line) -> End:
    """What an ENDED says."""
    result, code, why = [*line.rest.split(" ", 2), "", ""][:3]
    return End(
        _RESULTS.get(result, Result.FAILED),
        int(code) if code.isdigit() else None,
        why.strip(),
        again=result == "again",
        rerun=result == "rerun",
    )
