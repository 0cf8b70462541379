"""packer:run: building a group's image with Packer, from artefacts that are what nodes.json says."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from nodepkg.clients.aws.account import Account, wait_for
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.packer import Packer
from nodepkg.errors import AwsError, RefusedError, ToolError
from nodepkg.images.newest import newest_available
from nodepkg.nodes.group import Group
from nodepkg.plan import Report
from nodepkg.render import files, hcltext
from nodepkg.render.bundle import bundle
from nodepkg.render.digest import image_digest
from nodepkg.render.packer import PackerTemplates
from nodepkg.render.role import role

# Keys of a builder with which Packer finds credentials that boto would not find.
OWN_CREDENTIALS = {"profile", "shared_credentials_file", "assume_role", "vault_aws_engine"}

Stage = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Workbench:
    """Where images are built.

    `stage` rewrites the template for the embedded AWS; None: it is built as it is. `exists` tells whether there is
    an image in a region.
    """

    root: Path
    packer: Packer
    say: Callable[[str], None]
    exists: Callable[[str, str], bool]
    stage: Stage | None = None


@dataclass(frozen=True)
class BuildImage:
    """One build. `build` is the id by which its temporary resources are known."""

    group: str
    region: str
    template: str
    digest: str
    commit: str
    build: str

    def __str__(self) -> str:
        return f"build an image of {self.group} from {self.template}"

    def run(self, bench: Workbench, /) -> Report:
        path = bench.root / self.template
        variables = {"nodepkg_build": self.build, "nodepkg_commit": self.commit, "nodepkg_digest": self.digest}
        if path.suffix == ".hcl":  # there a variable that is not declared is an error
            declared = {name for block in packer_template(path).get("variable", []) for name in block}
            variables = {name: value for name, value in variables.items() if name in declared}
        if bench.stage is None:
            artifact = bench.packer.build(path, variables, bench.say)
        else:
            # Private, since it holds the endpoint of a process of ours; packer/ is not touched.
            with tempfile.TemporaryDirectory(prefix="nodepkg-") as folder:
                staged = Path(folder, path.name.replace(".pkr.hcl", ".pkr.json"))
                staged.write_text(json.dumps(bench.stage(packer_template(path))), "utf-8")
                artifact = bench.packer.build(staged, variables, bench.say)
        image = image_in(artifact, self.region)
        if not bench.exists(self.region, image):
            # Packer lists, and exits 0 for, an image whose tags or description it could not set, and then deregistered.
            raise ToolError(f"Packer made {image} of {self.group}, but it is not there", hint="what it said is above")
        return {
            "group": self.group,
            "image": image,
            "region": self.region,
            "digest": self.digest,
            "commit": self.commit,
        }


def packer_template(path: Path) -> dict[str, Any]:
    """A template on disk as JSON: one in HCL2 in HCL's JSON syntax, which Packer reads as well."""
    text = path.read_text("utf-8")
    return dict(json.loads(text)) if path.suffix == ".json" else hcltext.read(text)


def plan_builds(
    templates: PackerTemplates, groups: Sequence[Group], *, commit: str, new_id: Callable[[], str]
) -> list[BuildImage]:
    """One build for each group. Raises RefusedError if what Packer would read is stale or missing."""
    due = {group.name: paths for group in groups if (paths := stale_inputs(templates, group))}
    if due:
        told = "\n".join(f"{name}: {', '.join(paths)}" for name, paths in due.items())
        raise RefusedError(
            f"not what nodes.json says (stale or missing):\n{told}", hint=f"package group:create {' '.join(due)}"
        )
    return [
        BuildImage(
            group.name, group.region, templates.template(group).path, current_digest(templates, group), commit, new_id()
        )
        for group in groups
    ]


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


def image_exists(account: Account, groups: Sequence[Group]) -> Callable[[str, str], bool]:
    """Whether an image can be seen; what is new may be invisible for some seconds.

    With credentials that only Packer finds it cannot be asked, and is taken for granted.
    """
    own = {group.region for group in groups if OWN_CREDENTIALS & group.settings.packer.builder.keys()}

    def exists(region: str, image: str) -> bool:
        try:
            return region in own or wait_for(lambda: Images(account, region).image(image)) is not None
        except AwsError:  # that it cannot be asked does not undo the build
            return True

    return exists


def require_packer(packer: Packer, templates: PackerTemplates, groups: Sequence[Group], *, in_sandbox: bool) -> None:
    """Raises ToolError or RefusedError if this Packer cannot build one of the groups, or would do it elsewhere."""
    for group in groups:
        keys = {key for builder in templates.document(group)["builders"] for key in builder}
        # In the sandbox every template gets the endpoint.
        keys |= {"custom_endpoint_ec2"} if in_sandbox else set()
        packer.require(group.settings.type, keys, hcl2=group.settings.packer.format == "hcl2")


def require_plugins(packer: Packer, plan: Sequence[BuildImage], root: Path, *, install: bool) -> None:
    """Sees to the plugins that templates in HCL2 require: with `install` they are downloaded.

    Raises ToolError, with the command to run, if one is missing otherwise.
    """
    for build in plan:
        path = root / build.template
        missing = packer.missing_plugins(path) if path.name.endswith(".pkr.hcl") else []
        if missing and install:
            packer.init(path)
        elif missing:
            raise ToolError(
                f"{build.template}: {packer.shown} has no plugin {', '.join(missing)}",
                hint=f"{quote(packer.path)} init {quote(os.path.relpath(path))}, which packer:run --yes does",
            )


def require_bases(account: Account, groups: Sequence[Group]) -> None:
    """Raises RefusedError if a group is built on one that has no image, and that is not built in this run either.

    Raises CredentialsError here, where it can be told in plain words, rather than from within Packer.
    """
    built = {group.name for group in groups}
    for group in groups:
        if not OWN_CREDENTIALS & group.settings.packer.builder.keys():
            account.require_credentials()
        base = group.settings.source_group
        if base and base not in built and not newest_available(Images(account, group.region).owned({"group": base})):
            raise RefusedError(
                f"{group.name} is built on {base}, which has no image in {group.region}",
                hint=f"package packer:run {base}",
            )


def built_from_older(templates: PackerTemplates, groups: Sequence[Group], images: Mapping[str, Image]) -> list[str]:
    """The groups whose image is not what nodes.json and the cookbooks would give now."""
    return [
        group.name
        for group in groups
        if group.name in images and images[group.name].tags.get("nodepkg:digest") != current_digest(templates, group)
    ]


def stale_inputs(templates: PackerTemplates, group: Group) -> list[str]:
    """The artefacts that a build of the group reads from disk and that are not what they should be."""
    wanted = [templates.template(group), *(role(owner) for owner in templates.project.groups_of_roles(group))]
    return [made.path for made in wanted if files.state(templates.project.root, made) is not files.State.FRESH]


def current_digest(templates: PackerTemplates, group: Group) -> str:
    """The digest that an image of the group would have if it were built now."""
    return image_digest(bundle(templates.project, group), templates.document(group))


def image_in(artifact: str, region: str) -> str:
    """The image of this region from Packer's `us-east-1:ami-1,us-west-2:ami-2`."""
    images: Mapping[str, str] = dict(part.split(":", 1) for part in artifact.split(",") if ":" in part)
    if region not in images:
        raise ToolError(f"Packer reports no image in {region}, but {artifact}")
    return images[region]
