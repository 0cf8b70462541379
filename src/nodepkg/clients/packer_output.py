"""What `packer build -machine-readable` writes: its lines, a file of them that grows, and what they tell of a build."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of these the lines for people say the same.
_REPEATED = frozenset({"artifact", "artifact-count", "error", "error-count"})
_AT = re.compile(r"[0-9]{1,11}")  # Unix seconds, until the year 5138
_SOURCE = re.compile(r"(?:==> |    )(?P<builder>.+?): (?P<said>.*)", re.DOTALL)
_NAMED = {
    "Creating temporary keypair: ": "key_pair",
    "Creating temporary security group for this instance: ": "security_group",
    "Found Image ID: ": "source",
    "Prevalidating AMI Name: ": "image_name",
}
_MAKES = re.compile(r"Creating AMI (.*) from instance i-[0-9a-f]+", re.DOTALL)
_IMAGES = re.compile(r"[a-z0-9-]+:ami-[0-9a-z]+")
_MADE = re.compile(r"AMI: (ami-[0-9a-z]+)")


@dataclass(frozen=True)
class Line:
    """One line: `kind` is `ui` with its level and text as data, `artifact`, `error`, …; `at` is in Unix seconds.

    A line that is not of that form (a panic, a plugin's own print) has the kind "" and itself as data.
    """

    kind: str
    data: tuple[str, ...]
    target: str = ""
    at: int | None = None

    @property
    def text(self) -> str:
        """What it says to people, "" if another line says it."""
        return "" if self.kind in _REPEATED else self.whole

    @property
    def whole(self) -> str:
        """What it says, also if another line says it."""
        if self.kind == "ui" and len(self.data) > 1:
            return self.data[1]
        return f"{self.kind}: {', '.join(self.data)}" if self.kind else self.data[0]

    @property
    def is_step(self) -> bool:
        return self.kind == "ui" and self.text.startswith("==> ")


def parse(line: str) -> Line:
    """A line of machine-readable output: timestamp,target,type,data…"""
    line = line.removesuffix("\n").removesuffix("\r")
    fields = line.split(",", 3)
    if len(fields) < 3 or not _AT.fullmatch(fields[0]) or not re.fullmatch(r"[a-z0-9-]+", fields[2]):
        return Line("", (line,))
    data = fields[3].split(",") if len(fields) > 3 else []
    return Line(fields[2], tuple(map(_unescaped, data)), fields[1], int(fields[0]))


def _unescaped(text: str) -> str:
    return text.replace("%!(PACKER_COMMA)", ",").replace("\\r", "\r").replace("\\n", "\n")


class Tail:
    """The lines of a file that another process is writing, as they come; half a line waits for its rest."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._half = b""

    def read(self, *, ended: bool = False) -> list[Line]:
        """The lines that have come since the last call; with `ended` what is left counts as a line, too."""
        *whole, self._half = (self._half + self._file.read()).split(b"\n")
        if ended and self._half:
            whole.append(self._half)
            self._half = b""
        return [parse(line.decode("utf-8", errors="replace")) for line in whole]

    def close(self) -> None:
        self._file.close()


@dataclass
class Outcome:
    """What the lines of a build came to, as far as they were heard.

    `key_pair` and `security_groups` are the names of what Packer makes for the build, `source` is the image that it
    starts from. `image_name` is the name of the image to be, `makes` whether EC2 was asked for it, `image` its id as
    soon as EC2 has said it. `artifact` is what Packer reports in the end, `us-east-1:ami-1,…`.
    """

    key_pair: str | None = None
    security_groups: tuple[str, ...] = ()
    source: str | None = None
    image_name: str | None = None
    makes: bool = False
    image: str | None = None
    artifact: str | None = None
    error: str | None = None
    last_error_line: str | None = None
    last_line: str = "it said nothing"

    @property
    def reason(self) -> str:
        """Why it failed, in Packer's words, on one line."""
        return " ".join((self.error or self.last_error_line or self.last_line).split())

    def hear(self, line: Line) -> dict[str, Any]:
        """Takes the line in; gives those of key_pair, security_groups, source, image_name and image that it changed."""
        before = self._named()
        match line:
            case Line("ui", ("error", text, *_)) if text.strip():
                self.last_error_line = self.last_line = text
            case Line("ui", (_, text, *_)) if text.strip():
                self.last_line = text
                for part in text.split("\n"):
                    self._hear_of_a_step(part)
            case Line("artifact", (_, "id", artifact, *_)):
                # A post-processor's (a box, a manifest) comes after the image's own.
                if _IMAGES.match(artifact) or self.artifact is None:
                    self.artifact = artifact
            case Line("error", (text, *_)):
                self.error = text
            case Line("", (text,)) if text.strip():
                self.last_line = text
        return {name: value for name, value in self._named().items() if value != before[name]}

    def _named(self) -> dict[str, Any]:
        names = ("key_pair", "security_groups", "source", "image_name", "image")
        return {name: getattr(self, name) for name in names}

    def _hear_of_a_step(self, text: str) -> None:
        """The words are those of the amazon plugin's steps.

        A provisioner may print the same, so the first name counts (they come before any provisioner runs), and of
        images only the one that is made after them, with that name: one of another name is an intermediate step.
        """
        found = _SOURCE.fullmatch(text)
        said = found["said"] if found else ""
        for words, name in _NAMED.items():
            if said.startswith(words):
                self._name(name, said.removeprefix(words))
        if made := _MAKES.fullmatch(said):
            self.makes = True
            self.image = None
            self._awaits_id = made[1] == self.image_name
        elif (made := _MADE.fullmatch(said)) and self.makes and self._awaits_id:
            self.image, self._awaits_id = made[1], False

    _awaits_id = False

    def _name(self, name: str, value: str) -> None:
        if name == "security_group":
            self.security_groups = self.security_groups or (value,)
        elif getattr(self, name) is None:
            setattr(self, name, value)
