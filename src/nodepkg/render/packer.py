"""A group's Packer template, from the shipped Jinja2 template or the user's own."""

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files as package_files
from pathlib import Path
from shlex import quote
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from jinja2.exceptions import TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.meta import find_referenced_templates

from nodepkg.errors import ConfigError
from nodepkg.nodes.findings import Finding
from nodepkg.nodes.group import Group
from nodepkg.nodes.schema import BlockDevice
from nodepkg.nodes.source import finite, no_constant
from nodepkg.render.bundle import Project, RoleFile
from nodepkg.render.dna import dna_document
from nodepkg.render.files import Artifact
from nodepkg.render.jsontext import pretty

USER_TEMPLATES = Path("templates", "packer")

# Root's rights where they are needed and there is sudo; `env` since sudo drops the variables.
AS_ROOT = (
    'if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then sudo -n env {{ .Vars }} sh -e {{ .Path }};'
    " else env {{ .Vars }} sh -e {{ .Path }}; fi"
)


def literal(value: Any) -> Any:
    """The text (or all texts in the lists and dicts) so that Packer's own template engine gives it back as it is."""
    if isinstance(value, str):
        return value.replace("{{", "{{`{{`}}")
    if isinstance(value, list):
        return [literal(item) for item in value]
    if isinstance(value, dict):
        return {literal(key): literal(item) for key, item in value.items()}
    return value


@dataclass
class PackerTemplates:
    """Renders Packer templates for the groups of one project."""

    project: Project

    def document(self, group: Group) -> dict[str, Any]:
        """The template as Packer will read it; raises ConfigError for a template that is broken."""
        if group.settings.packer.format != "json":
            raise ConfigError(f"{group.name}: packer.format: this version writes json only, not hcl2 yet")
        name = group.settings.packer.template or group.settings.type
        text = self._render(f"{name}.j2", group)
        try:
            document = json.loads(text, object_pairs_hook=_unique, parse_constant=no_constant, parse_float=finite)
            pretty(document).encode("utf-8")  # half of a character is JSON, and no text
        except (ValueError, RecursionError) as error:
            raise ConfigError(_not_json(self._shown(f"{name}.j2"), group, text, error)) from error
        builders = document.get("builders") if isinstance(document, dict) else None
        if not isinstance(builders, list) or not all(isinstance(builder, dict) for builder in builders):
            raise ConfigError(f"{self._shown(f'{name}.j2')}: renders no Packer template for {group.name}: no builders")
        return dict(document)

    def template(self, group: Group) -> Artifact:
        return Artifact(group.name, f"packer/{group.name}.json", pretty(self.document(group)))

    def own_files(self, group: Group) -> list[str]:
        """The project's own files that the group's template is made of, relative to the project."""
        return self._own_files(f"{group.settings.packer.template or group.settings.type}.j2")

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

    def _render(self, name: str, group: Group) -> str:
        try:
            return self._environment.get_template(name).render(context(self.project, group))
        except TemplateNotFound as error:
            place = _template_line(error) or group.name
            raise ConfigError(
                f"{place}: no template {error.name} in {self.project.root / USER_TEMPLATES}",
                hint="nodepkg itself brings amazon-ebs.j2 only",
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
        environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
        return environment


def _mentioned(environment: Environment, folder: Path, name: str) -> list[str]:
    """The templates that one extends, includes or imports; all that there are if it says which by an expression."""
    try:
        found = set(find_referenced_templates(environment.parse((folder / name).read_text("utf-8"))))
    except (OSError, UnicodeDecodeError, TemplateSyntaxError):
        return []
    return [path.name for path in folder.iterdir()] if None in found else [str(one) for one in found]


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


def context(project: Project, group: Group) -> dict[str, Any]:
    """What a template is given; docs/templates.md tells the user."""
    settings = group.settings
    packer = settings.packer
    tags = literal(settings.tags)
    image_tags = {
        **tags,
        "group": group.name,
        "nodepkg:managed": "true",
        "nodepkg:source_ami": "{{ .SourceAMI }}",
        "nodepkg:commit": "{{user `nodepkg_commit`}}",
        "nodepkg:digest": "{{user `nodepkg_digest`}}",
    }
    build = {
        "instance_type": settings.instance_type,
        "ssh_username": settings.ssh_username,
        "temporary_security_group_source_cidrs": literal(packer.ssh_source_cidrs),
    }
    build |= {key: value for key, value in packer.builder.items() if key in build}
    return {
        "group": group.name,
        "settings": settings,
        "merged": group.merged,
        "source_filter": source_filter(group),
        "build": build,
        "builder": {key: value for key, value in packer.builder.items() if key not in build},
        "block_devices": literal([block_device(device) for device in group.block_devices]),
        "image_tags": image_tags,
        "snapshot_tags": {**image_tags, "nodepkg:image-snapshot": "true"},
        "run_tags": {**tags, "nodepkg:managed": "true", "nodepkg:build": "{{user `nodepkg_build`}}"},
        "as_root": AS_ROOT,
        **_provisioning(project, group),
    }


def source_filter(group: Group) -> dict[str, Any] | None:
    """Packer's source_ami_filter; None for a source image given by its id."""
    settings = group.settings
    if settings.source_group:
        # Not by nodepkg:managed: an image that was built by hand and tagged counts as the group's, too.
        return {
            "filters": {"tag:group": settings.source_group, "state": "available"},
            "owners": ["self"],
            "most_recent": True,
        }
    if settings.source_ami_filter:
        wanted = settings.source_ami_filter
        return {
            "filters": {"name": literal(wanted.name), "state": "available"},
            "owners": literal(wanted.owners),
            "most_recent": True,
        }
    return None


def block_device(device: BlockDevice) -> dict[str, Any]:
    """A volume in Packer's words; what is not set is left out.

    Packer 1.6.6 refuses a gp3 volume without operations and throughput, so AWS's own defaults are written.
    """
    named = {
        "device_name": device.device,
        "volume_size": device.size_gb,
        "volume_type": device.type,
        "iops": device.iops or (3000 if device.type == "gp3" else None),
        "throughput": device.throughput or (125 if device.type == "gp3" else None),
        "encrypted": device.encrypted,
        "kms_key_id": device.kms_key_id,
        "delete_on_termination": device.delete_on_termination,
    }
    return {key: value for key, value in named.items() if value is not None}


def _provisioning(project: Project, group: Group) -> dict[str, Any]:
    """How the bundle comes to the build machine, and Chef with it. Paths are relative to the template's folder."""
    chef = group.settings.packer.chef
    path = quote(chef.path)
    folders = " ".join(f"{path}/{folder}" for folder in ("cookbooks", "data_bags", "roles"))
    dna = pretty(dna_document(group)).rstrip("\n")
    files = {"dna.json": dna} if project.has_solo_rb else {"solo.rb": project.solo_rb.rstrip("\n"), "dna.json": dna}
    return {
        "prepare": [
            f"rm -rf {folders} {path}/solo.rb {path}/dna.json",  # those of the image that this one is built on
            f"mkdir -p {folders}",
            f'chown -R "${{SUDO_UID:-$(id -u)}}" {path}',
        ],
        "uploads": _uploads(project, project.roles(group), chef.path),
        "write_files": [literal(f"printf '%s\\n' {quote(text)} > {path}/{name}") for name, text in files.items()],
        "chef": {
            "install": literal(chef.install) if chef.install else None,
            "command": literal(chef.command.replace("{path}", path)),
        },
    }


def _uploads(project: Project, roles: list[RoleFile], path: str) -> list[dict[str, str]]:
    pairs = [(f"{folder}/", folder) for folder in project.folders]
    if project.has_solo_rb:
        pairs.append(("solo.rb", "solo.rb"))
    pairs += [(role.path, role.bundle_path) for role in roles]
    return [
        {"source": f"{{{{template_dir}}}}/../{literal(source)}", "destination": literal(f"{path}/{destination}")}
        for source, destination in pairs
    ]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)} stands twice in an object")
    return made


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


def _not_json(name: str, group: Group, text: str, error: Exception) -> str:
    told = f"{name}: what it renders for {group.name} is not JSON: "
    if not isinstance(error, json.JSONDecodeError):
        return told + str(error)
    shown = text.split("\n")[error.lineno - 1].strip()[:100]
    return f"{told}{error.msg} on line {error.lineno} of it: {shown}"
