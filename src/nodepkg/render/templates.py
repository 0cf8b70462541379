"""Jinja2 templates: those of the project, and behind them the ones that nodepkg brings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files as package_files
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from jinja2.exceptions import TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.meta import find_referenced_templates
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from nodepkg.errors import ConfigError

_ENCODER = json.JSONEncoder(ensure_ascii=False)


@dataclass
class Templates:
    """Those of one kind. `folder`, relative to `root`, has the project's own; `shipped` is nodepkg's below templates/.

    A template of the project's takes the place of nodepkg's of that name, which it can extend as `nodepkg/NAME`.
    """

    root: Path
    folder: Path
    shipped: str = ""

    @property
    def place(self) -> Path:
        return self.root / self.folder

    def own_files(self, name: str) -> list[str]:
        """The project's own files that a template is made of, relative to the project."""
        if name not in self._made_of:
            waiting, found = [name], dict[str, None]()
            while waiting:
                name_of_one = waiting.pop()
                if name_of_one not in found and (self.place / name_of_one).is_file():
                    found[name_of_one] = None
                    waiting += self._mentioned(name_of_one)
            self._made_of[name] = [(self.folder / one).as_posix() for one in found]
        return self._made_of[name]

    @cached_property
    def _made_of(self) -> dict[str, list[str]]:
        return {}

    def render(self, name: str, context: Mapping[str, Any], *, group: str, hint: str = "") -> str:
        """The template's text for a group; raises ConfigError, with the line, for one that is broken.

        `hint` is what to say where there is no such template.
        """
        try:
            return self.environment.get_template(name).render(context)
        except TemplateNotFound as error:
            place = _template_line(error) or group
            raise ConfigError(f"{place}: no template {error.name} in {self.place}", hint=hint) from error
        except TemplateSyntaxError as error:
            raise ConfigError(f"{self.shown(error.name or name)}:{error.lineno}: {error.message}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.shown(name)}: is not UTF-8") from error
        except RecursionError as error:
            raise ConfigError(f"{self.shown(name)}: includes itself, or nests too deeply") from error
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            place = _template_line(error) or self.shown(name)
            raise ConfigError(f"{place}: {error} (rendered for {group})") from error

    def shown(self, name: str) -> str:
        """Where the template is, for people."""
        own = self.place / name
        return str(own) if own.is_file() else f"nodepkg's own {name.removeprefix('nodepkg/')}"

    @cached_property
    def environment(self) -> Environment:
        shipped = _Shipped(self.shipped)
        loader = ChoiceLoader([FileSystemLoader(self.place), shipped, PrefixLoader({"nodepkg": shipped})])
        # The values go into JSON through tojson, to shells through shell, not into HTML: nothing is escaped by itself.
        environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701
        environment.filters["shell"] = _shell
        environment.filters["tojson"] = _tojson
        return environment

    def _mentioned(self, name: str) -> list[str]:
        """The templates that one extends, includes or imports; all that there are if it says which by an expression."""
        try:
            found = set(find_referenced_templates(self.environment.parse((self.place / name).read_text("utf-8"))))
        except (OSError, UnicodeDecodeError, TemplateSyntaxError):
            return []
        return [path.name for path in self.place.iterdir()] if None in found else [str(one) for one in found]


def _shell(text: str) -> str:
    """Quoted for a shell. What tojson gives is Markup, whose own methods would escape the quotation marks as HTML."""
    if not isinstance(text, str):
        raise TypeError(f"the filter shell takes a text, and got {text!r}")
    return quote(str(text))


def _tojson(value: Any, indent: int | None = None) -> Markup:
    """Jinja2's own tojson, but quicker, since most of the time of many groups goes into it."""
    if indent is not None:
        return htmlsafe_json_dumps(value, indent=indent, ensure_ascii=False)
    return _text_to_json(value) if type(value) is str else htmlsafe_json_dumps(value, _ENCODER.encode)


@lru_cache(maxsize=1024)
def _text_to_json(text: str) -> Markup:
    """Most texts are the same for all groups."""
    return htmlsafe_json_dumps(text, _ENCODER.encode)


class _Shipped(BaseLoader):
    """The templates in a folder of the package, wherever it is installed."""

    def __init__(self, folder: str) -> None:
        self._folder = PurePosixPath("templates", folder)

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Any]:  # noqa: ARG002
        file = package_files("nodepkg").joinpath(*self._folder.parts, template)
        if "/" in template or not file.is_file():
            raise TemplateNotFound(template)
        return file.read_text("utf-8"), template, lambda: True


def _template_line(error: BaseException) -> str | None:
    """Where in a template an error arose: Jinja2 rewrites tracebacks so that they hold template lines."""
    place = None
    traceback = error.__traceback__
    while traceback:
        filename = traceback.tb_frame.f_code.co_filename
        if filename.endswith(".j2"):
            place = f"{filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
