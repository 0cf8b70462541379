"""A Packer template for the sandbox: the same builders, but against its endpoint and with no machine to log in to."""

import json
import re
from typing import Any

from nodepkg.errors import RefusedError

_CREDENTIALS = (
    "access_key",
    "secret_key",
    "token",
    "profile",
    "shared_credentials_file",
    "assume_role",
    "mfa_code",
    "vault_aws_engine",
)
# The address of the caller would be asked of a service outside.
_DROPPED = frozenset({*_CREDENTIALS, "temporary_security_group_source_public_ip"})
# Of a login, which never happens; disable_stop_instance would wait for a provisioner that stops the machine.
_LOGIN = ("ssh_", "winrm_", "windows_password", "session_manager", "pause_before_", "disable_stop_instance")


# Template functions that ask another service, with whatever credentials Packer finds: in JSON, and in HCL2.
_OUTSIDE = re.compile(
    r"{{[^}]*\b(vault|consul_key|aws_secretsmanager\w*)\b|\b(vault|consul_key|aws_secretsmanager\w*)\("
)
# Blocks in HCL2 that speak to the machine, to whatever comes after it, or tell HashiCorp's registry of it.
_AFTER_LAUNCH = (
    "hcp_packer_registry",
    "provisioner",
    "error-cleanup-provisioner",
    "post-processor",
    "post-processors",
    "dynamic",
)


def staged_template(template: dict[str, Any], endpoint: str) -> dict[str, Any]:
    """The template with its builders at `endpoint`; provisioners and post-processors are left out.

    It is parsed JSON, or HCL2 in HCL's JSON syntax. Raises RefusedError for a builder that is not amazon-ebs or that
    names credentials, and for what asks another service: functions such as vault, and data sources.
    """
    staged = _staged_hcl(template, endpoint) if "source" in template else _staged_json(template, endpoint)
    if outside := _OUTSIDE.search(json.dumps(staged)):
        raise RefusedError(f"the template asks {outside[1] or outside[2]}, which the sandbox has not")
    return staged


def _staged_json(template: dict[str, Any], endpoint: str) -> dict[str, Any]:
    staged = {key: value for key, value in template.items() if key not in ("provisioners", "post-processors")}
    builders = [_staged_builder(builder.get("type"), builder, endpoint) for builder in template.get("builders", [])]
    return staged | {"builders": builders}


def _staged_hcl(template: dict[str, Any], endpoint: str) -> dict[str, Any]:
    asked = [kind for data in template.get("data", []) for kind in data]
    if asked:
        raise RefusedError(f"the template asks data source {asked[0]}, which the sandbox has not")
    sources = [
        {kind: {name: _staged_builder(kind, body, endpoint) for name, body in named.items()}}
        for source in template["source"]
        for kind, named in source.items()
    ]
    kept = {key: blocks for key, blocks in template.items() if key not in _AFTER_LAUNCH}
    return kept | {"source": sources, "build": [_staged_build(build) for build in template.get("build", [])]}


def _staged_build(build: dict[str, Any]) -> dict[str, Any]:
    """A build block may lay further keys over its sources."""
    staged = {key: value for key, value in build.items() if key not in _AFTER_LAUNCH}
    if "source" in staged:
        staged["source"] = [{name: _kept(name, body) for name, body in block.items()} for block in staged["source"]]
    return staged


def _staged_builder(kind: str | None, builder: dict[str, Any], endpoint: str) -> dict[str, Any]:
    name = builder.get("name") or kind
    if kind != "amazon-ebs":
        raise RefusedError(f"builder {name}: the sandbox builds amazon-ebs only")
    return _kept(name, builder) | {
        "communicator": "none",
        "custom_endpoint_ec2": endpoint,
        "skip_credential_validation": True,
        "skip_metadata_api_check": True,
        "skip_region_validation": True,
    }


def _kept(name: object, builder: dict[str, Any]) -> dict[str, Any]:
    for key, value in builder.items():
        if key.lower() in _CREDENTIALS and value:
            raise RefusedError(
                f"builder {name}: {key} is set, and the sandbox takes no credentials",
                hint=f"remove {key} from the template; credentials belong in the environment",
            )
    # Packer reads a key in whatever case it is written.
    lower = {key.lower(): value for key, value in builder.items()}
    return {key: value for key, value in lower.items() if key not in _DROPPED and not key.startswith(_LOGIN)}
