"""A group's Packer template, from the shipped Jinja2 template or the user's own."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files as package_files
from pathlib import Path
from shlex import quote
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from jinja2.exceptions import TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.meta import find_referenced_templates
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from nodepkg.errors import ConfigError
from nodepkg.nodes.findings import Finding
from nodepkg.nodes.group import Group
from nodepkg.render import hcltext
from nodepkg.render.bundle import Project
from nodepkg.render.files import Artifact
from nodepkg.render.packer_context import context
from nodepkg.render.packer_language import Language, Rendered, literal

USER_TEMPLATES = Path("templates", "packer")


_ENCODER = json.JSONEncoder(ensure_ascii=False)


@cache
def language_of(name: str) -> Language:
    """The language of packer.format; each is imported when it is asked for."""
    if name == "hcl2":
        from nodepkg.render.packer_hcl import PackerHcl

        return PackerHcl()
    from nodepkg.render.packer_json import PackerJson

    return PackerJson()


@dataclass
class PackerTemplates:
    """Renders Packer templates for the groups of one project."""

    project: Project
    _last: tuple[Group, Rendered] | None = None

    def document(self, group: Group) -> dict[str, Any]:
        """What the template says, as Packer's JSON has it: it is what digests are made of."""
        return self._rendered(group).document

    def template(self, group: Group) -> Artifact:
        """The template as it is written; raises ConfigError for one that is broken."""
        suffix = language_of(group.settings.packer.format).suffix
        return Artifact(group.name, f"packer/{group.name}{suffix}", self._rendered(group).text)

    def leftovers(self, groups: Iterable[Group]) -> list[str]:
        """Paths of templates in the language that their group had before: nothing keeps them as nodes.json is."""
        other = {"json": language_of("hcl2").suffix, "hcl2": language_of("json").suffix}
        paths = [f"packer/{group.name}{other[group.settings.packer.format]}" for group in groups]
        return [path for path in paths if (self.project.root / path).is_file()]

    def own_files(self, group: Group) -> list[str]:
        """The project's own files that the group's template is made of, relative to the project."""
        return self._own_files(_template_name(group))

    def _own_files(self, name: str) -> list[str]:
        if name not in self._made_of:
            folder, waiting, found = self.project.root / USER_TEMPLATES, [name], dict[str, None]()
            while waiting:
                name_of_one = waiting.pop()
                if name_of_one not in found and (folder / name_of_one).is_file():
                    found[name_of_one] = None
                    waiting += _mentioned(self._environment, folder, name_of_one)
            self._made_of[name] = [(USER_TEMPLATES / one).as_posix() for one in found]
        return self._made_of[name]

    @cached_property
    def _made_of(self) -> dict[str, list[str]]:
        return {}

    def _rendered(self, group: Group) -> Rendered:
        """Of the group that was asked for last it is kept: who wants the text mostly wants the document next."""
        if self._last is None or self._last[0] is not group:
            self._last = (group, self._read(group))
        return self._last[1]

    def _read(self, group: Group) -> Rendered:
        language, name = language_of(group.settings.packer.format), _template_name(group)
        self._refuse_the_others(group, name)
        text = self._render(name, group, language)
        try:
            return language.read(text)
        except ValueError as error:
            raise ConfigError(f"{self._shown(name)}: what it renders for {group.name} is {error}") from error

    def _refuse_the_others(self, group: Group, name: str) -> None:
        """A template of the user's own in the other language: what it adds would be gone without a word."""
        folder = self.project.root / USER_TEMPLATES
        other = name.removesuffix(".pkr.hcl.j2") + ".j2" if name.endswith(".pkr.hcl.j2") else f"{name[:-3]}.pkr.hcl.j2"
        if (folder / other).is_file() and not (folder / name).is_file():
            raise ConfigError(
                f"{folder / other}: is not for {group.name}, whose packer.format is {group.settings.packer.format}",
                hint=f'write templates/packer/{name}, too; to add nothing: {{% extends "nodepkg/{name}" %}}',
            )

    def _render(self, name: str, group: Group, language: Language) -> str:
        try:
            return self._environment.get_template(name).render(context(self.project, group, language))
        except TemplateNotFound as error:
            place = _template_line(error) or group.name
            raise ConfigError(
                f"{place}: no template {error.name} in {self.project.root / USER_TEMPLATES}",
                hint=f"nodepkg itself brings amazon-ebs{language.template_suffix} only",
            ) from error
        except TemplateSyntaxError as error:
            raise ConfigError(f"{self._shown(error.name or name)}:{error.lineno}: {error.message}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self._shown(name)}: is not UTF-8") from error
        except RecursionError as error:
            raise ConfigError(f"{self._shown(name)}: includes itself, or nests too deeply") from error
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            place = _template_line(error) or self._shown(name)
            raise ConfigError(f"{place}: {error} (rendered for {group.name})") from error

    def _shown(self, name: str) -> str:
        own = self.project.root / USER_TEMPLATES / name
        return str(own) if own.is_file() else f"nodepkg's own {name.removeprefix('nodepkg/')}"

    @cached_property
    def _environment(self) -> Environment:
        shipped = _Shipped()
        loader = ChoiceLoader(
            [FileSystemLoader(self.project.root / USER_TEMPLATES), shipped, PrefixLoader({"nodepkg": shipped})]
        )
        # The values go into JSON through tojson, not into HTML: there is nothing to escape automatically.
        environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701
        environment.filters["shell"] = quote
        environment.filters["literal"] = literal
        environment.filters["hcl"] = hcltext.value
        environment.filters["hcl_body"] = hcltext.body
        environment.filters["tojson"] = _tojson
        return environment


def _mentioned(environment: Environment, folder: Path, name: str) -> list[str]:
    """The templates that one extends, includes or imports; all that there are if it says which by an expression."""
    try:
        found = set(find_referenced_templates(environment.parse((folder / name).read_text("utf-8"))))
    except (OSError, UnicodeDecodeError, TemplateSyntaxError):
        return []
    return [path.name for path in folder.iterdir()] if None in found else [str(one) for one in found]


def _tojson(value: Any, indent: int | None = None) -> Markup:
    """Jinja2's own tojson, but quicker, since most of the time of many groups goes into it."""
    if indent is not None:
        return htmlsafe_json_dumps(value, indent=indent, ensure_ascii=False)
    return _text_to_json(value) if type(value) is str else htmlsafe_json_dumps(value, _ENCODER.encode)


@lru_cache(maxsize=1024)
def _text_to_json(text: str) -> Markup:
    """Most texts are the same for all groups."""
    return htmlsafe_json_dumps(text, _ENCODER.encode)


def broken_template(templates: PackerTemplates, group: Group) -> list[Finding]:
    """What config:check tells of a template that is missing or broken."""
    try:
        templates.document(group)
    except ConfigError as error:
        return [Finding(group.name, ("packer",), error.message, (group.name,))]
    return []


class _Shipped(BaseLoader):
    """The templates in the package, wherever it is installed."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Any]:  # noqa: ARG002
        file = package_files("nodepkg") / "templates" / template
        if "/" in template or not file.is_file():
            raise TemplateNotFound(template)
        return file.read_text("utf-8"), template, lambda: True


def _template_name(group: Group) -> str:
    packer = group.settings.packer
    return f"{packer.template or group.settings.type}{language_of(packer.format).template_suffix}"


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
