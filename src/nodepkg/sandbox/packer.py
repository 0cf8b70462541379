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
# Of a login, which never happens; disable_stop_instance would wait for a provisioner that stops the machine.
_LOGIN = ("ssh_", "winrm_", "windows_password", "session_manager", "pause_before_", "disable_stop_instance")


# Template functions that ask another service, with whatever credentials Packer finds.
_OUTSIDE = re.compile(r"{{[^}]*\b(vault|consul_key|aws_secretsmanager\w*)\b")


def staged_template(template: dict[str, Any], endpoint: str) -> dict[str, Any]:
    """The template (parsed JSON) with its builders at `endpoint`; provisioners and post-processors are left out.

    Raises RefusedError for a builder that is not amazon-ebs or that names credentials, and for functions such as vault.
    """
    staged = {key: value for key, value in template.items() if key not in ("provisioners", "post-processors")}
    if outside := _OUTSIDE.search(json.dumps(staged)):
        raise RefusedError(f"the template asks {outside[1]}, which the sandbox has not")
    return staged | {"builders": [_staged_builder(builder, endpoint) for builder in template.get("builders", [])]}


def _staged_builder(builder: dict[str, Any], endpoint: str) -> dict[str, Any]:
    name = builder.get("name") or builder.get("type")
    if builder.get("type") != "amazon-ebs":
        raise RefusedError(f"builder {name}: the sandbox builds amazon-ebs only")
    for key, value in builder.items():
        if key.lower() in _CREDENTIALS and value:
            raise RefusedError(
                f"builder {name}: {key} is set, and the sandbox takes no credentials",
                hint=f"remove {key} from the template; credentials belong in the environment",
            )
    # Packer reads a key in whatever case it is written.
    kept = {key.lower(): value for key, value in builder.items()}
    kept = {key: value for key, value in kept.items() if key not in _CREDENTIALS and not key.startswith(_LOGIN)}
    return kept | {
        "communicator": "none",
        "custom_endpoint_ec2": endpoint,
        "skip_credential_validation": True,
        "skip_metadata_api_check": True,
        "skip_region_validation": True,
    }
