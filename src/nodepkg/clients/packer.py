"""Packer: finding it, whether it fits a template, and one build with its output as it comes."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nodepkg.errors import RefusedError, ToolError

OLDEST = (1, 6, 0)
# Packer 1.10 was the first without builders built in (its CHANGELOG).
FIRST_WITHOUT_BUILDERS = (1, 10, 0)
# Packer 1.7 was the first with required_plugins and `packer init`, 1.8 with `packer plugins` (its CHANGELOG).
FIRST_WITH_INIT = (1, 7, 0)
FIRST_WITH_PLUGINS = (1, 8, 0)
AMAZON_PLUGIN = "packer-plugin-amazon"
ANSWER_SECONDS = 20  # for a question, such as which version it is
INSTALL = "apt-get install packer, or see developer.hashicorp.com/packer/install; NODEPKG_PACKER names another one"


@dataclass(frozen=True)
class Packer:
    """A Packer binary, and the environment in which it is started.

    `version` is for comparing; `version_text` is the version as this Packer says it, such as `1.17.0-dev`.
    """

    path: str
    version: tuple[int, int, int]
    version_text: str
    environ: Mapping[str, str]

    @property
    def shown(self) -> str:
        return f"Packer {self.version_text} ({self.path})"

    def require(self, builder: str, keys: Collection[str] = (), *, hcl2: bool = False) -> None:
        """Raises ToolError, with what to do, if this Packer cannot build templates with this builder, in JSON or HCL2.

        Raises RefusedError if it would build in another place than the one where everything else looks.
        """
        if self.version < OLDEST:
            raise ToolError(f"{self.shown} is too old: 1.6.0 is the oldest that will do", hint=INSTALL)
        if hcl2 and self.version < FIRST_WITH_INIT:
            raise ToolError(
                f"{self.shown} is too old for packer.format hcl2, which wants 1.7 or newer",
                hint='NODEPKG_PACKER names a newer one; with "format": "json" this one will do',
            )
        elsewhere = [name for name in ("AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL") if self.environ.get(name)]
        if elsewhere and self.version < FIRST_WITHOUT_BUILDERS and "custom_endpoint_ec2" not in keys:
            raise RefusedError(
                f"{elsewhere[0]} is set, and {self.shown} does not heed it: it would build in the real account",
                hint="set packer.builder.custom_endpoint_ec2 in nodes.json, or use a current Packer",
            )
        if hcl2 or not builder.startswith("amazon-") or self.version < FIRST_WITHOUT_BUILDERS:
            return
        if self.amazon_plugin() is None:
            raise ToolError(
                f"{self.shown} has no amazon plugin", hint="packer plugins install github.com/hashicorp/amazon"
            )

    def plugins(self) -> dict[str, str]:
        """The plugins that are installed, `packer-plugin-amazon`, each with its newest version; none before 1.8.

        Raises ToolError if Packer cannot say.
        """
        if self.version < FIRST_WITH_PLUGINS:
            return {}
        listed = _output([self.path, "plugins", "installed"], self.environ)
        found = re.findall(r"(packer-plugin-[a-z0-9-]+)_v(\d+\.\d+\.\d+\S*?)_x", listed)
        return dict(sorted(found, key=lambda plugin: [int(part) for part in re.findall(r"\d+", plugin[1])]))

    def amazon_plugin(self) -> str | None:
        """The version of the amazon plugin that is installed, or `built in`; None if there is none.

        Raises ToolError if Packer cannot say.
        """
        built_in = "built in" if self.version < FIRST_WITHOUT_BUILDERS else None
        return self.plugins().get(AMAZON_PLUGIN, built_in)

    def missing_plugins(self, template: Path) -> list[str]:
        """What the template's required_plugins want and is not installed, as `github.com/hashicorp/amazon >= 1.2.0`.

        Packer 1.7 cannot be asked; its build fails with the same words.
        """
        if self.version < FIRST_WITH_PLUGINS:
            return []
        listed = _output([self.path, "plugins", "required", str(template)], self.environ)
        missing = re.findall(r'^\S+ (\S+) "(.*)"[ \t]*$', listed, re.MULTILINE)
        return [f"{source} {version}".strip() for source, version in missing]

    def init(self, template: Path) -> None:
        """Downloads the plugins that the template requires. Raises ToolError with Packer's own words."""
        done = _run([self.path, "init", str(template)], self.environ, timeout=None)
        if done.returncode:
            told = " ".join((done.stdout + done.stderr).split())
            raise ToolError(f"packer init {template.name} failed (exit {done.returncode}): {told}")

    def build(self, template: Path, variables: Mapping[str, str], say: Callable[[str], None]) -> str:
        """Builds the template, tells each line of its output, and returns the artefact as Packer names it.

        That is `REGION:IMAGE` for an image. Raises ToolError with Packer's own reason. On Ctrl-C
        Packer is told, and gets the time to remove its temporary instance; a second one ends it.
        """
        settings = [part for key, value in variables.items() for part in ("-var", f"{key}={value}")]
        with subprocess.Popen(
            [self.path, "build", "-machine-readable", *settings, str(template)],
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        ) as process:
            outcome = Outcome()
            try:
                outcome = _follow(process, say)
            except BaseException:
                _wind_down(process, say)
                raise
        if process.returncode or not outcome.artifact:
            raise ToolError(f"packer build {template.name} failed (exit {process.returncode}): {outcome.reason}")
        return outcome.artifact


@dataclass(frozen=True)
class Line:
    """One line of `packer build -machine-readable`: `kind` is `ui` with its level, `artifact`, `error`, …

    A line that is not of that form (a panic, a plugin's own print) has the kind "" and itself as data.
    """

    kind: str
    data: tuple[str, ...]


@dataclass
class Outcome:
    """What a build's output came to: the artefact's id, and why it failed, as Packer says it."""

    artifact: str | None = None
    error: str | None = None
    last_error_line: str | None = None
    last_line: str = "it said nothing"

    @property
    def reason(self) -> str:
        return " ".join((self.error or self.last_error_line or self.last_line).split())


def find(environ: Mapping[str, str]) -> Packer:
    """The Packer that NODEPKG_PACKER or else PATH names; raises ToolError if there is none, or it does not answer."""
    named = environ.get("NODEPKG_PACKER")
    path = shutil.which(named or "packer", path=environ.get("PATH"))
    if not path:
        raise ToolError(f"no Packer: {named or 'packer'} is not an executable on PATH", hint=INSTALL)
    # Some distributions have another program of this name, which would wait for its standard input.
    done = _asked([path, "version"], environ)
    said = done.stdout + done.stderr
    found = re.search(r"Packer v((\d+)\.(\d+)\.(\d+)(?:[-+][\w.+-]*\w)?)", said)
    if not found:
        raise ToolError(f"{path} is not HashiCorp's Packer: `packer version` says {said.strip()[:80]!r}", hint=INSTALL)
    text, *parts = found.groups()
    major, minor, patch = map(int, parts)
    return Packer(path, (major, minor, patch), text, environ)


def parse(line: str) -> Line:
    """A line of machine-readable output: timestamp,target,type,data…"""
    fields = line.rstrip("\n").split(",", 3)
    if len(fields) < 3 or not fields[0].isdigit():
        return Line("", (line.rstrip("\n"),))
    data = fields[3].split(",") if len(fields) > 3 else []
    return Line(fields[2], tuple(_unescape(part) for part in data))


def _unescape(text: str) -> str:
    return text.replace("%!(PACKER_COMMA)", ",").replace("\\r", "\r").replace("\\n", "\n")


def _follow(process: "subprocess.Popen[str]", say: Callable[[str], None]) -> Outcome:
    outcome = Outcome()
    for line in _lines(process):
        match line:
            case Line("ui", (level, text, *_)):
                say(text)
                if text.strip():
                    outcome.last_line = text
                if level == "error" and text.strip():
                    outcome.last_error_line = text
            case Line("artifact", (_, "id", artifact, *_)):
                outcome.artifact = artifact
            case Line("error", (text, *_)):
                outcome.error = text
            case Line("", (text,)) if text.strip():
                outcome.last_line = text
                say(text)
    process.wait()
    return outcome


def _lines(process: "subprocess.Popen[str]") -> Iterator[Line]:
    if process.stdout is not None:
        for line in process.stdout:
            yield parse(line)


def _wind_down(process: "subprocess.Popen[str]", say: Callable[[str], None]) -> None:
    """Packer cleans up after SIGINT; what it does meanwhile is told like the rest."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGINT)
        say("interrupted: Packer removes its temporary instance, key pair and security group; again Ctrl-C ends it")
        _follow(process, say)
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    except ProcessLookupError:
        return


def _output(command: list[str], environ: Mapping[str, str]) -> str:
    """What a question to Packer answers; raises ToolError with Packer's own words if it fails."""
    done = _asked(command, environ)
    if done.returncode:
        told = " ".join((done.stderr + done.stdout).split()) or "it said nothing"
        raise ToolError(f"{' '.join(command)} failed (exit {done.returncode}): {told}")
    return done.stdout + done.stderr


def _asked(command: list[str], environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Packer is kept from looking for a newer Packer meanwhile."""
    return _run(command, {**environ, "CHECKPOINT_DISABLE": "1"}, timeout=ANSWER_SECONDS)


def _run(
    command: list[str], environ: Mapping[str, str], *, timeout: float | None
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{' '.join(command)}: no answer within {timeout} seconds") from error
    except OSError as error:
        raise ToolError(f"{' '.join(command)}: {error}") from error
