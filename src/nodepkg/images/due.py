"""Which groups need a new image, why, and what forbids to build one."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.packer import Packer
from nodepkg.errors import AwsError, NodepkgError, RefusedError, ToolError
from nodepkg.images.newest import belongs, newest_available
from nodepkg.nodes.group import Group
from nodepkg.render import files
from nodepkg.render.bundle import bundle
from nodepkg.render.digest import image_digest
from nodepkg.render.packer import PackerTemplates
from nodepkg.render.packer_context import source_filter
from nodepkg.render.role import role
from nodepkg.render.services import services_artifact

# Keys of a builder with which Packer finds credentials that boto would not find.
OWN_CREDENTIALS = {"profile", "shared_credentials_file", "assume_role", "vault_aws_engine"}


@dataclass(frozen=True)
class Shown:
    """What AWS shows of a group: the newest image that counts, and the one that a build would start from.

    `base` is None where the template decides that itself. `missing` says why no build could start.
    """

    newest: Image | None = None
    base: str | None = None
    missing: NodepkgError | None = None


@dataclass(frozen=True)
class Need:
    """Whether a group needs a build: `why` is "" if it is up to date with `newest`, `forbids` what stands against it.

    `base` is the group that has to be built before it, in the same run.
    """

    group: Group
    digest: str
    why: str
    newest: Image | None = None
    forbids: NodepkgError | None = None
    base: str | None = None

    @property
    def builds(self) -> bool:
        return bool(self.why) and self.forbids is None


def has_own_credentials(group: Group) -> bool:
    """Whether its images are made with credentials that only Packer finds: then they cannot be seen."""
    return bool(OWN_CREDENTIALS & group.settings.packer.builder.keys())


def needs(
    templates: PackerTemplates, groups: Sequence[Group], shown: Mapping[str, Shown], *, force: bool = False
) -> list[Need]:
    """What each group needs, those that others are built on before them. `shown` has those that can be seen."""
    decided: dict[str, Need] = {}
    for group in bases_first(groups):
        decided[group.name] = _need(templates, group, shown.get(group.name), decided, force=force)
    return list(decided.values())


def _need(
    templates: PackerTemplates, group: Group, seen: Shown | None, decided: Mapping[str, Need], *, force: bool
) -> Need:
    if stale := stale_inputs(templates, group):
        told = f"{group.name}: not what nodes.json says (stale or missing): {', '.join(stale)}"
        refused = StaleError(told, hint=f"package group:create {group.name}")
        return Need(group, "", "it cannot be told", forbids=refused, base=_base_in(decided, group))
    digest = current_digest(templates, group)
    base = decided.get(group.settings.source_group or "")
    rebuilt = base.group.name if base and base.why else None
    newest = seen.newest if seen else None
    why = "--force" if force else reason_to_build(seen, digest, rebuilt)
    return Need(group, digest, why, newest, _forbids(seen, rebuilt) if why else None, rebuilt)


def _base_in(decided: Mapping[str, Need], group: Group) -> str | None:
    base = decided.get(group.settings.source_group or "")
    return base.group.name if base and base.why else None


def reason_to_build(seen: Shown | None, digest: str, rebuilt: str | None) -> str:
    """Why a group is due; "" if it is up to date."""
    if seen is None:
        return "with credentials of its own it cannot be told whether it is up to date"
    if seen.newest is None:
        return "no image yet"
    tags = seen.newest.tags
    if tags.get("nodepkg:digest") != digest:
        return "the digest has changed" if tags.get("nodepkg:digest") else "the newest image has no digest"
    if rebuilt:
        return f"its base {rebuilt} is rebuilt"
    if seen.base and tags.get("nodepkg:source_ami") != seen.base:
        return "its base image has changed" if tags.get("nodepkg:source_ami") else "its base image is not known"
    return ""


def _forbids(seen: Shown | None, rebuilt: str | None) -> NodepkgError | None:
    """A base that is built in this run will be there."""
    return seen.missing if seen and not (rebuilt and isinstance(seen.missing, NoBaseError)) else None


class StaleError(RefusedError):
    """What Packer would read of a group is not what nodes.json says."""


class NoBaseError(RefusedError):
    """The group that another is built on has no image."""


def show(account: Account, templates: PackerTemplates, groups: Sequence[Group]) -> dict[str, Shown]:
    """What AWS shows of the groups that can be seen: for each region one listing of the account's own images, one call
    for all source_ami, and one for each source_ami_filter. What cannot be read counts as missing, for its groups.
    """
    found: dict[str, Shown] = {}
    visible = [group for group in groups if not has_own_credentials(group)]
    for region in sorted({group.region for group in visible}):
        here = [group for group in visible if group.region == region]
        try:
            account.require_credentials()
            images = Images(account, region)
            found |= show_region(images, templates, here, images.owned())
        except AwsError as error:
            found |= {group.name: Shown(missing=error) for group in here}
    return found


def show_region(
    images: Images, templates: PackerTemplates, groups: Sequence[Group], owned: Sequence[Image]
) -> dict[str, Shown]:
    """What a region shows of its groups, of which all can be seen; `owned` are its images. Raises AwsError."""
    own = {group.name: newest_available(image for image in owned if belongs(image, group.name)) for group in groups}
    bases = _named(images, templates, groups) | _filtered(images, templates, groups) | _groups(groups, owned)
    return {name: replace(bases.get(name, Shown()), newest=newest) for name, newest in own.items()}


def _named(images: Images, templates: PackerTemplates, groups: Sequence[Group]) -> dict[str, Shown]:
    """Those with a source_ami: whether it is there."""
    wanted = {
        group.name: group.settings.source_ami
        for group in groups
        if group.settings.source_ami and _is_ours(templates, group)
    }
    there = images.existing(wanted.values()) if wanted else set()
    found = {}
    for name, ami in wanted.items():
        missing = _no_source(name, f"source_ami {ami}", images.region, "there is no such image")
        found[name] = Shown(base=ami) if ami in there else Shown(missing=missing)
    return found


def _filtered(images: Images, templates: PackerTemplates, groups: Sequence[Group]) -> dict[str, Shown]:
    """Those with a source_ami_filter: the newest image that it matches."""
    matched: dict[tuple[tuple[str, ...], str], Image | None] = {}
    found = {}
    for group in groups:
        wanted = group.settings.source_ami_filter
        if not wanted or not _is_ours(templates, group):
            continue
        key = (tuple(wanted.owners), wanted.name)
        if key not in matched:
            matched[key] = images.newest(list(wanted.owners), wanted.name)
        what = f"source_ami_filter {wanted.name!r} of {', '.join(wanted.owners)}"
        image = matched[key]
        found[group.name] = (
            Shown(base=image.id)
            if image
            else Shown(missing=_no_source(group.name, what, images.region, "no image matches"))
        )
    return found


def _groups(groups: Sequence[Group], owned: Sequence[Image]) -> dict[str, Shown]:
    """Those that are built on another group's newest image, as Packer's filter finds it."""
    found = {}
    for group in groups:
        base = group.settings.source_group
        if base:
            newest = newest_available(image for image in owned if image.tags.get("group") == base)
            told = f"{group.name} is built on {base}, which has no image in {group.region}"
            none = NoBaseError(told, hint=f"package packer:run {base}")
            found[group.name] = Shown(base=newest.id) if newest else Shown(missing=none)
    return found


def _is_ours(templates: PackerTemplates, group: Group) -> bool:
    """Whether the template takes the source image from nodes.json: one of the user's own may name another."""
    settings, wanted = group.settings, source_filter(group)
    try:
        builders = templates.document(group)["builders"]
    except NodepkgError:
        return False
    return all(
        builder.get("source_ami") == settings.source_ami
        if wanted is None
        else builder.get("source_ami_filter") == wanted
        for builder in builders
    )


def _no_source(group: str, what: str, region: str, why: str) -> AwsError:
    return AwsError(
        f"{group}: {what}: {why} in {region}",
        code="InvalidAMIID.NotFound",
        hint=f"package config:explain {group} shows where it is from",
    )


def forbid(decided: Iterable[Need], check: Callable[[Group], None]) -> list[Need]:
    """The needs, those of them forbidden whose build `check` raises an error for."""
    return [_checked(need, check) if need.builds else need for need in decided]


def _checked(need: Need, check: Callable[[Group], None]) -> Need:
    try:
        check(need.group)
    except NodepkgError as error:
        return replace(need, forbids=error)
    return need


def packer_fits(
    packer: Packer, templates: PackerTemplates, *, in_sandbox: bool, install: bool
) -> Callable[[Group], None]:
    """A check that raises ToolError or RefusedError if this Packer cannot build a group, or would do it elsewhere.

    With `install` it downloads plugins that a template in HCL2 requires.
    """
    asked: dict[str, list[str]] = {}

    def check(group: Group) -> None:
        keys = {key for builder in templates.document(group)["builders"] for key in builder}
        keys |= {"custom_endpoint_ec2"} if in_sandbox else set()  # there every template gets the endpoint
        hcl2 = group.settings.packer.format == "hcl2"
        packer.require(group.settings.type, keys, hcl2=hcl2)
        if hcl2:
            template = templates.template(group)
            require_plugins(packer, templates.project.root / template.path, template.text, asked, install=install)

    return check


def require_plugins(packer: Packer, path: Path, text: str, asked: dict[str, list[str]], *, install: bool) -> None:
    """Sees to the plugins that a template in HCL2 requires: with `install` they are downloaded.

    `asked` remembers the answers, since most templates require the same. Raises ToolError, with the command to run, if
    one is missing otherwise.
    """
    block = _requirements(text)
    if block not in asked:
        asked[block] = packer.missing_plugins(path)
        if asked[block] and install:
            packer.init(path)
            asked[block] = []
    if asked[block]:
        shown = os.path.relpath(path)
        raise ToolError(
            f"{shown}: {packer.shown} has no plugin {', '.join(asked[block])}",
            hint=f"{quote(packer.path)} init {quote(shown)}, which packer:run --yes does",
        )


def _requirements(text: str) -> str:
    """The packer block of a template as it is laid out; all of it where there is none that is plain to see."""
    begin = text.find("packer {\n")
    end = text.find("\n}\n", begin)
    return text[begin:end] if begin >= 0 and end >= 0 else text


def bases_first(groups: Sequence[Group]) -> list[Group]:
    """The groups in an order in which each comes after the group whose image it is built on."""
    by_name = {group.name: group for group in groups}
    ordered: dict[str, Group] = {}

    def add(group: Group) -> None:
        base = by_name.get(group.settings.source_group or "")
        if base and base.name not in ordered:
            add(base)
        ordered[group.name] = group

    for group in groups:
        if group.name not in ordered:
            add(group)
    return list(ordered.values())


@dataclass(frozen=True)
class StaleImage:
    """An image that is not what nodes.json and the cookbooks give now: the digests, `has` is "" if it tells none."""

    group: str
    image: str
    has: str
    wants: str

    def __str__(self) -> str:
        has = f"its digest is {self.has[:12]}" if self.has else "it has no digest"
        return f"{self.group}: {self.image} is not what nodes.json gives now: {has}, nodes.json's is {self.wants[:12]}"


def stale_images(templates: PackerTemplates, groups: Sequence[Group], images: Mapping[str, Image]) -> list[StaleImage]:
    """Those of the groups' images (by the group's name) that are stale, in the order of the groups.

    Raises what the rendering of a group raises.
    """
    found = []
    for group in groups:
        if image := images.get(group.name):
            has, wants = image.tags.get("nodepkg:digest", ""), current_digest(templates, group)
            if has != wants:
                found.append(StaleImage(group.name, image.id, has, wants))
    return found


def stale_inputs(templates: PackerTemplates, group: Group) -> list[str]:
    """The artefacts that a build of the group reads from disk and that are not what they should be."""
    wanted = [templates.template(group), *(role(owner) for owner in templates.project.groups_of_roles(group))]
    services = services_artifact(templates.project.nodes, group)
    wanted += [services] if services else []
    return [made.path for made in wanted if files.state(templates.project.root, made) is not files.State.FRESH]


def current_digest(templates: PackerTemplates, group: Group) -> str:
    """The digest that an image of the group would have if it were built now."""
    return image_digest(bundle(templates.project, group), templates.document(group))
