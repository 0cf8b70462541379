"""The key `deploy`: how `instance:deploy` reaches running nodes, and what it runs there."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nodepkg.nodes.model import Model, Text
from nodepkg.nodes.names import anchored

HOST_FIELDS = ("private_ip", "public_ip", "private_dns", "instance_id", "name", "zone")
_TAG_FIELD = r"\{tag:[^{}]{1,128}\}"
_HOST_FIELD = rf"\{{(?:{'|'.join(HOST_FIELDS)})\}}|{_TAG_FIELD}"
HOST_ADDRESS = re.compile(rf"(?:[A-Za-z0-9._:-]|{_HOST_FIELD})+")
SHARE = re.compile(r"(?:100|[0-9]{1,2})%")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def _host_address(template: str) -> str:
    if re.search(r"[{}]", re.sub(_HOST_FIELD, "", template)):
        allowed = " ".join(f"{{{name}}}" for name in HOST_FIELDS)
        raise ValueError(f"in braces it may have {allowed} {{tag:KEY}}, as they stand here, and nothing else")
    if not HOST_ADDRESS.fullmatch(template):
        raise ValueError("besides fields it may have letters, digits and . _ : -")
    return template


class Deploy(Model):
    """How running nodes are converged."""

    transport: Literal["ssh", "ssm"] = Field(
        "ssh",
        description="How nodes are reached: `ssh` from here, or `ssm`, AWS's Run Command, with the bundle in `bucket`.",
        examples=["ssm"],
    )
    command: Text | None = Field(
        None,
        description="Shell command, run as root, that converges; `{path}` is the bundle's folder; default: "
        "`packer.chef.command`.",
        examples=["cinc-solo -c {path}/solo.rb -j {path}/dna.json"],
    )
    address: Annotated[
        str, AfterValidator(_host_address), Field(json_schema_extra={"pattern": anchored(HOST_ADDRESS)})
    ] = Field(
        "{private_ip}",
        description="Address of a node for SSH; `{private_ip}`, `{public_ip}`, `{private_dns}`, `{instance_id}`, "
        "`{name}`, `{zone}` and `{tag:KEY}` stand for the node's own. With `{instance_id}` ~/.ssh/config decides.",
        examples=["{public_ip}"],
    )
    user: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")] | None = Field(
        None, description="User to log in as; default: `ssh_username`.", examples=["deploy"]
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Port of the SSH server; default: what ~/.ssh/config says, or 22.", examples=[2222]
    )
    host_keys: Literal["accept-new", "strict"] = Field(
        "accept-new",
        description="Host keys: `accept-new` takes a node's key on first sight and refuses another one later; `strict` "
        "takes only keys that your known_hosts or the instance's console output vouch for.",
        examples=["strict"],
    )
    bucket: Annotated[str, Field(pattern=anchored(_BUCKET))] | None = Field(
        None, description="S3 bucket of yours through which `ssm` hands out bundles.", examples=["example-deploys"]
    )
    min_healthy: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=anchored(SHARE))] = Field(
        "90%",
        description="Floor per group, a number of nodes or a percentage: no further node is started while fewer are "
        "healthy. It is never more than all nodes but one.",
        examples=["75%"],
    )
    drain: bool = Field(
        False,
        description="Each node leaves its target groups before it converges, and comes back after.",
        examples=[True],
    )
