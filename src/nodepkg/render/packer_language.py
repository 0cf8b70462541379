"""What a language of Packer templates has to say, and what both have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from nodepkg.nodes.group import Group


class Language(Protocol):
    """A language in which Packer reads templates."""

    @property
    def suffix(self) -> str:
        """How the name of a Packer template ends."""

    @property
    def template_suffix(self) -> str:
        """How the name of the Jinja2 template ends from which it is rendered."""

    def variable(self, name: str) -> Any:
        """The value of a user variable."""

    def beside(self, path: str) -> Any:
        """A path that is given relative to the template's folder; what Packer's engine would evaluate is escaped."""

    def build_defaults(self, group: Group) -> dict[str, Any]:
        """Keys of the builder that make the build machine safer, where the language's Packers know them."""

    def evaluated(self, value: Any) -> Any:
        """A value of packer.builder, in which Packer's own `{{…}}` are meant."""

    def read(self, text: str) -> "Rendered":
        """What was rendered, laid out and parsed; raises ValueError if it is not of this language."""


@dataclass(frozen=True)
class Rendered:
    """A template as it is written, and what it says: `builders` and `provisioners` as in Packer's JSON."""

    text: str
    document: dict[str, Any]


def literal(value: Any) -> Any:
    """The text (or all texts in the lists and dicts) so that Packer's own template engine gives it back as it is."""
    return each_text(value, lambda text: text.replace("{{", "{{`{{`}}"))


def each_text(value: Any, change: Callable[[str], Any]) -> Any:
    """The value with its text changed, or all texts in its lists and dicts, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {change(key): each_text(item, change) for key, item in value.items()}
    return value
