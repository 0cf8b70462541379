"""Packer: finding it, whether it fits a template, and starting a build."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from nodepkg.clients import tethered
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

_BUILD = b"nodepkg_build="


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
        return self._plugins

    @cached_property
    def _plugins(self) -> dict[str, str]:
        """It is asked once: a run may have hundreds of groups."""
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

    def start(self, template: Path, variables: Mapping[str, str], output: BinaryIO) -> "Process":
        """Starts to build the template, with these user variables, its output into the file.

        Raises ToolError if it cannot be started.
        """
        settings = [part for key, value in variables.items() for part in ("-var", f"{key}={value}")]
        tether = [sys.executable, "-I", "-S", tethered.__file__, str(os.getpid())]
        try:
            process = subprocess.Popen(
                [*tether, self.path, "build", "-machine-readable", *settings, str(template)],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C on a terminal is for us: we tell Packer.
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"{self.path}: {error.strerror}") from error
        return Process(process)


class Process:
    """A Packer that builds, with all that it has started."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def ended(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs. Somebody else may still hold its output open."""
        return self._process.poll()

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        return self._process.wait()

    def interrupt(self) -> None:
        """Tells it to remove its temporary instance, key pair and security group, and to end.

        It also reaches its child, which does the work, if it was itself killed.
        """
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


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


def builds_on_this_machine() -> frozenset[str]:
    """The ids of all builds whose Packer runs here, whoever started it; none where there is no /proc as on Linux."""
    found = set[str]()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is not for us to see
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            found |= {one.removeprefix(_BUILD).decode(errors="replace") for one in arguments if one.startswith(_BUILD)}
    return frozenset(found)


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
