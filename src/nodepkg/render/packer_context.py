"""What a Packer template is given: the group's values, in the words of the template's language."""

from functools import lru_cache
from shlex import quote
from typing import Any

from nodepkg.nodes.group import Group
from nodepkg.nodes.schema import BlockDevice
from nodepkg.render.bundle import Project
from nodepkg.render.dna import dna_document
from nodepkg.render.jsontext import pretty
from nodepkg.render.packer_language import Language, literal
from nodepkg.render.services import SERVICES, services_artifact

# Root's rights where they are needed and there is sudo; `env` since sudo drops the variables.
AS_ROOT = (
    'if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then sudo -n env {{ .Vars }} sh -e {{ .Path }};'
    " else env {{ .Vars }} sh -e {{ .Path }}; fi"
)


def context(project: Project, group: Group, language: Language) -> dict[str, Any]:
    """What a template is given; docs/templates.md tells the user."""
    settings = group.settings
    packer = settings.packer
    tags = settings.tags
    image_tags = {
        **tags,
        "group": group.name,
        "nodepkg:managed": "true",
        "nodepkg:source_ami": "{{ .SourceAMI }}",
        "nodepkg:commit": language.variable("nodepkg_commit"),
        "nodepkg:digest": language.variable("nodepkg_digest"),
    }
    build = {
        "instance_type": settings.instance_type,
        "ssh_username": settings.ssh_username,
        "temporary_security_group_source_cidrs": literal(packer.ssh_source_cidrs),
        **language.build_defaults(group),
    }
    build |= {key: _over(build[key], value) for key, value in packer.builder.items() if key in build}
    return {
        "group": group.name,
        "settings": settings,
        "merged": group.merged,
        "source_filter": source_filter(group),
        "build": build,
        "builder": language.evaluated({key: value for key, value in packer.builder.items() if key not in build}),
        "block_devices": literal([block_device(device) for device in group.block_devices]),
        "image_tags": image_tags,
        "snapshot_tags": {**image_tags, "nodepkg:image-snapshot": "true"},
        "run_tags": {**tags, "nodepkg:managed": "true", "nodepkg:build": language.variable("nodepkg_build")},
        "key_pair": language.variable("nodepkg_key_pair"),
        "as_root": AS_ROOT,
        **_provisioning(project, group, language),
    }


def _over(default: Any, given: Any) -> Any:
    """What the builder says in place of a default; of an object it may say a part."""
    return {**default, **given} if isinstance(default, dict) and isinstance(given, dict) else given


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


def _provisioning(project: Project, group: Group, language: Language) -> dict[str, Any]:
    """How the bundle comes to the build machine, and Chef with it. Paths are relative to the template's folder."""
    chef = group.settings.packer.chef
    path = quote(chef.path)
    folders = " ".join(f"{path}/{folder}" for folder in ("cookbooks", "data_bags", "roles"))
    dna = pretty(dna_document(group)).rstrip("\n")
    written = {"dna.json": dna} if project.has_solo_rb else {"solo.rb": project.solo_rb.rstrip("\n"), "dna.json": dna}
    files = [(role.path, role.bundle_path) for role in project.roles(group)]
    services = services_artifact(project.nodes, group)
    if services:
        files.append((services.path, SERVICES))
    return {
        "prepare": [
            # Those of the image that this one is built on.
            f"rm -rf {folders} {path}/solo.rb {path}/dna.json {path}/{SERVICES}",
            f"mkdir -p {folders}",
            f'chown -R "${{SUDO_UID:-$(id -u)}}" {path}',
        ],
        "uploads": _uploads(project, files, chef.path, language),
        "write_files": [_write_file(text, f"{path}/{name}") for name, text in written.items()],
        "chef": {
            "install": literal(chef.install) if chef.install else None,
            "command": literal(chef.command.replace("{path}", path)),
        },
    }


@lru_cache(maxsize=64)
def _write_file(text: str, path: str) -> Any:
    return literal(f"printf '%s\\n' {quote(text)} > {path}")


def _uploads(project: Project, files: list[tuple[str, str]], path: str, language: Language) -> list[dict[str, Any]]:
    pairs = [(f"{folder}/", folder) for folder in project.folders]
    if project.has_solo_rb:
        pairs.append(("solo.rb", "solo.rb"))
    pairs += files
    return [
        {"source": language.beside(f"../{source}"), "destination": literal(f"{path}/{destination}")}
        for source, destination in pairs
    ]
