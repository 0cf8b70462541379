"""The user data of a group's nodes: the script that they run when they boot for the first time."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from shlex import quote, split
from typing import Any

from nodepkg.errors import ConfigError
from nodepkg.nodes.findings import Finding
from nodepkg.nodes.group import Group
from nodepkg.nodes.schema import MOST_USER_DATA
from nodepkg.render.dna import dna_document
from nodepkg.render.jsontext import pretty
from nodepkg.render.templates import Templates

USER_DATA_TEMPLATES = Path("templates", "user_data")
_NAME = "default.j2"
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass
class UserData:
    """Renders the user data for the groups of the project in this folder."""

    root: Path

    def text(self, group: Group) -> str:
        """nodes.json's own `user_data` as it is, else the template's; raises ConfigError for one that EC2 refuses."""
        if group.settings.user_data is not None:
            return group.settings.user_data
        text = self._templates.render(_NAME, context(group), group=group.name) + "\n"
        size = len(text.encode("utf-8", errors="surrogateescape"))
        if size > MOST_USER_DATA:
            raise ConfigError(
                f"{group.name}: its user data has {size:,} bytes, and EC2 takes at most {MOST_USER_DATA:,}",
                hint=f"it is rendered from {self._templates.shown(_NAME)}",
            )
        return text

    def own_files(self, group: Group) -> list[str]:
        """The project's own files that the group's user data is made of, relative to the project."""
        return [] if group.settings.user_data is not None else self._templates.own_files(_NAME)

    @cached_property
    def _templates(self) -> Templates:
        return Templates(self.root, USER_DATA_TEMPLATES, "user_data")


def context(group: Group) -> dict[str, Any]:
    """What a template is given; docs/templates.md tells the user."""
    chef = group.settings.packer.chef
    command = chef.command.replace("{path}", quote(chef.path))
    return {
        "group": group.name,
        "settings": group.settings,
        "merged": group.merged,
        "path": chef.path,
        "dna": pretty(dna_document(group)).removesuffix("\n"),
        "command": command,
        "program": program(command),
    }


@lru_cache(maxsize=64)
def program(command: str) -> str:
    """The first word of a shell command that is no assignment: what has to be there to run it."""
    # Kept, since most groups have the same command, and to split one takes as long as to render the whole.
    try:
        words = split(command)
    except ValueError:  # a quotation mark without its other one: the shell will say so
        words = command.split()
    return next((word for word in words if not _ASSIGNMENT.match(word)), "sh")


def broken_user_data(user_data: UserData, group: Group) -> list[Finding]:
    """What config:check tells of a template of user data that is broken; only nodes of Auto Scaling groups have any."""
    if group.settings.autoscale:
        try:
            user_data.text(group)
        except ConfigError as error:
            return [Finding(group.name, ("autoscale",), error.message, (group.name,))]
    return []
