"""A group's Packer template, from the shipped Jinja2 template or the user's own."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from nodepkg.errors import ConfigError
from nodepkg.nodes.findings import Finding
from nodepkg.nodes.group import Group
from nodepkg.render import hcltext
from nodepkg.render.bundle import Project
from nodepkg.render.files import Artifact
from nodepkg.render.packer_context import context
from nodepkg.render.packer_language import Language, Rendered, literal
from nodepkg.render.templates import Templates

USER_TEMPLATES = Path("templates", "packer")


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
        return self._templates.own_files(_template_name(group))

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
            raise ConfigError(f"{self._templates.shown(name)}: what it renders for {group.name} is {error}") from error

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
        hint = f"nodepkg itself brings amazon-ebs{language.template_suffix} only"
        return self._templates.render(name, context(self.project, group, language), group=group.name, hint=hint)

    @cached_property
    def _templates(self) -> Templates:
        templates = Templates(self.project.root, USER_TEMPLATES)
        templates.environment.filters["literal"] = literal
        templates.environment.filters["hcl"] = hcltext.value
        templates.environment.filters["hcl_body"] = hcltext.body
        return templates


def broken_template(templates: PackerTemplates, group: Group) -> list[Finding]:
    """What config:check tells of a template that is missing or broken."""
    try:
        templates.document(group)
    except ConfigError as error:
        return [Finding(group.name, ("packer",), error.message, (group.name,))]
    return []


def _template_name(group: Group) -> str:
    packer = group.settings.packer
    return f"{packer.template or group.settings.type}{language_of(packer.format).template_suffix}"
