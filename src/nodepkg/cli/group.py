"""group:… the groups as a whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nodepkg.cli.artifacts import warn_of_leftovers, write_or_check
from nodepkg.cli.layout import age
from nodepkg.cli.options import AWS, NODES, REGION, Call, Check, Groups, command

if TYPE_CHECKING:
    from nodepkg.nodes.schema import Autoscale


@command(
    "group:list",
    NODES,
    REGION,
    examples={
        "group:list": "every group",
        "group:list '12_04-*' --region us-east-1": "those of a name and a region",
    },
)
def list_(call: Call, groups: Groups = None) -> None:
    """List the groups: layers, region, type and what they are for.

    What is listed is what nodes.json says; nothing is asked of AWS. The column nodes holds the smallest and the
    largest size of the group's Auto Scaling group, a dash if it has none.
    """
    nodes = call.load()
    found = nodes.groups(call.names(nodes, groups))
    document = [
        {
            "group": group.name,
            "layers": list(group.layers),
            "region": group.region,
            "instance_type": group.settings.instance_type,
            "autoscale": _nodes(group.settings.autoscale),
            "description": group.settings.description,
        }
        for group in found
    ]
    rows = [
        (
            group.name,
            _few(group.layers),
            group.region,
            group.settings.instance_type,
            _sizes(group.settings.autoscale),
            group.settings.description,
        )
        for group in found
    ]
    call.out.table(document, ("group", "layers", "region", "type", "nodes", "description"), rows)


def _nodes(autoscale: "Autoscale | None") -> dict[str, int] | None:
    if autoscale is None:
        return None
    return {"min": autoscale.node_min, "max": autoscale.most, "desired": autoscale.desired}


def _sizes(autoscale: "Autoscale | None") -> str:
    return f"{autoscale.node_min}-{autoscale.most}" if autoscale else "-"


def _few(names: Sequence[str]) -> str:
    return " ".join(names) if len(names) <= 4 else f"{names[0]} {names[1]} … {names[-1]} ({len(names)})"


@command(
    "group:create",
    NODES,
    REGION,
    examples={
        "group:create": "write what follows from nodes.json, for every group",
        "group:create --check": "for CI: write nothing, exit 4 if a file is not current",
    },
)
def create(call: Call, groups: Groups = None, check: Check = False) -> None:
    """Write role, Packer template and dna of each group: run it after every edit.

    The dna is that of the Auto Scaling group; a group without one gets none. A group with the key services also gets
    services/GROUP.json, which tells its nodes what they announce and need.
    """
    from nodepkg.render.bundle import Project
    from nodepkg.render.group import group_artifacts
    from nodepkg.render.packer import PackerTemplates

    nodes = call.load()
    found = nodes.buildable(call.names(nodes, groups))
    templates = PackerTemplates(Project(nodes))
    warn_of_leftovers(call.out, templates, found)
    artifacts = {made.path: made for group in found for made in group_artifacts(templates, group)}
    write_or_check(call.out, nodes.root, list(artifacts.values()), check=check, remedy="package group:create")


@command(
    "group:status",
    NODES,
    REGION,
    AWS,
    examples={
        "group:status --sandbox": "every group, as the embedded AWS has it",
        "group:status 12_04-bee --profile ops --json": "one group in the account of a profile",
    },
)
def status(call: Call, groups: Groups = None) -> None:
    """Show where each group stands: artefacts, newest image, running nodes, and the next command.

    An image is current if nodes.json and the cookbooks would give the same one now; if its base image has changed
    meanwhile, that is said instead. Without credentials only what is on disk is shown, and that is said.
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
        remote = chain.remote(cloud(call, nodes.root, found).account, templates, found)
    except CredentialsError as error:
        call.out.warning(f"only what is on disk is shown: {error.message}{error.hint and f' ({error.hint})'}")
    except AwsError as error:
        failed = error
    now = datetime.now(UTC)
    documents = [chain.document(group, local[group.name], remote.get(group.name), now) for group in found]
    columns = ("group", "artefacts", "image", "age", "digest", "running", "its image", "next")
    call.out.table(documents, columns, [_status_row(document) for document in documents])
    if failed:
        raise failed


def _digest(document: dict[str, Any]) -> str:
    if not document["image"]["current"]:
        return "stale"
    return "base changed" if document["due"] else "current"


def _status_row(document: dict[str, Any]) -> tuple[str, ...]:
    image = document.get("image")
    unknown = "?" if "image" not in document else "-"
    asgs = [asg for asg in document.get("asg", []) if asg["role"] != "kept"]
    running = [f"{asg['name']} {asg['in_service']}/{asg['desired']}" for asg in asgs]
    runs = [f"{asg['image']}{'' if asg['newest'] else ' (older)'}" for asg in asgs]
    return (
        document["group"],
        document["state"],
        image["id"] if image else unknown,
        age(image["age_seconds"]) if image else unknown,
        _digest(document) if image else unknown,
        ", ".join(running) or unknown,
        ", ".join(runs) or unknown,
        document["next"] or ("?" if unknown == "?" else ""),
    )
