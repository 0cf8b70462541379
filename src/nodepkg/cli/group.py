"""group:… the groups as a whole."""

from typing import Any

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import AWS, NODES, REGION, Call, Check, Groups, command
from nodepkg.cli.output import age


@command("group:list", NODES, REGION)
def list_(call: Call, groups: Groups = None) -> None:
    """List the groups: layers, region, type and what they are for."""
    nodes = call.load()
    found = nodes.groups(call.names(nodes, groups))
    document = [
        {
            "group": group.name,
            "layers": list(group.layers),
            "region": group.region,
            "instance_type": group.settings.instance_type,
            "autoscale": group.settings.autoscale is not None,
            "description": group.settings.description,
        }
        for group in found
    ]
    rows = [
        (
            group.name,
            " ".join(group.layers),
            group.region,
            group.settings.instance_type,
            _sizes(group.settings.autoscale),
            group.settings.description,
        )
        for group in found
    ]
    call.out.table(document, ("group", "layers", "region", "type", "nodes", "description"), rows)


def _sizes(autoscale: object) -> str:
    from nodepkg.nodes.schema import Autoscale

    return f"{autoscale.node_min}-{autoscale.most}" if isinstance(autoscale, Autoscale) else "-"


@command("group:create", NODES, REGION)
def create(call: Call, groups: Groups = None, check: Check = False) -> None:
    """Write role, Packer template and dna of each group: run it after every edit.

    The dna is that of the Auto Scaling group; a group without one gets none.
    """
    from nodepkg.render.bundle import Project
    from nodepkg.render.group import group_artifacts
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    found = nodes.buildable(call.names(nodes, groups))
    templates = PackerTemplates(Project(nodes))
    artifacts = {made.path: made for group in found for made in group_artifacts(templates, group)}
    write_or_check(call.out, nodes.root, list(artifacts.values()), check=check, remedy="package group:create")


@command("group:status", NODES, REGION, AWS)
def status(call: Call, groups: Groups = None) -> None:
    """Show where each group stands: artefacts, newest image, running nodes, and the next command.

    Without credentials it shows what is on disk, and says so.
    """
    from datetime import UTC, datetime

    from nodepkg import status as chain
    from nodepkg.cli.account import cloud
    from nodepkg.errors import AwsError, CredentialsError
    from nodepkg.render.bundle import Project
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    found = nodes.buildable(call.names(nodes, groups))
    templates = PackerTemplates(Project(nodes))
    local = {group.name: chain.local(templates, group) for group in found}
    remote: dict[str, chain.Remote] = {}
    failed: AwsError | None = None
    try:
        remote = chain.remote(cloud(call, nodes.root, found).account, found)
    except AwsError as error:
        failed = error
        call.out.warning(f"only what is on disk is shown: {error.message}")
    now = datetime.now(UTC)
    documents = [chain.document(group, local[group.name], remote.get(group.name), now) for group in found]
    columns = ("group", "artefacts", "image", "age", "digest", "running", "next")
    call.out.table(documents, columns, [_status_row(document) for document in documents])
    if failed and not isinstance(failed, CredentialsError):
        raise failed


def _status_row(document: dict[str, Any]) -> tuple[str, ...]:
    image = document.get("image")
    unknown = "?" if "image" not in document else "-"
    running = [
        f"{asg['name']} {asg['in_service']}/{asg['desired']}{'' if asg['newest'] else ' (older image)'}"
        for asg in document.get("asg", [])
    ]
    return (
        document["group"],
        document["state"],
        image["id"] if image else unknown,
        age(image["age_seconds"]) if image else unknown,
        ("current" if image["current"] else "stale") if image else unknown,
        ", ".join(running) or unknown,
        document["next"] or "",
    )
