"""EC2's metadata service: what an instance knows of itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodepkg.errors import ToolError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.exceptions import HTTPError

# The address and the variables are those of AWS's SDKs.
_ENDPOINT = "http://169.254.169.254"
_SECONDS = 2.0


@dataclass(frozen=True)
class Identity:
    """Who this instance is; "" for what it does not have."""

    instance_id: str
    private_ip: str
    public_ip: str
    private_dns: str
    zone: str


def identity(environ: Mapping[str, str]) -> Identity:
    """Asks with a token (IMDSv2). Raises ToolError if nothing answers as EC2 does."""
    from urllib3 import PoolManager, Retry
    from urllib3.exceptions import HTTPError

    endpoint = (environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _ENDPOINT).rstrip("/")
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise ToolError("EC2's metadata is switched off (AWS_EC2_METADATA_DISABLED)", hint=_HINT)
    with PoolManager(timeout=_SECONDS, retries=Retry(2, redirect=0, backoff_factor=0.2)) as pool:
        try:
            wanted = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            answer = pool.request("PUT", f"{endpoint}/latest/api/token", headers=wanted)
            token = {"X-aws-ec2-metadata-token": _text(answer, endpoint)}
            document = json.loads(
                _text(
                    pool.request("GET", f"{endpoint}/latest/dynamic/instance-identity/document", headers=token),
                    endpoint,
                )
            )
            names = ("public-ipv4", "local-hostname")
            told = [pool.request("GET", f"{endpoint}/latest/meta-data/{name}", headers=token) for name in names]
        except HTTPError as error:
            raise ToolError(f"EC2's metadata at {endpoint} does not answer: {_reason(error)}", hint=_HINT) from error
        except ValueError as error:
            raise ToolError(f"EC2's metadata at {endpoint} answers with something else", hint=_HINT) from error
    public, dns = (answer.data.decode(errors="replace") if answer.status == 200 else "" for answer in told)
    own = [document.get(name) if isinstance(document, dict) else None for name in _OWN]
    if not all(isinstance(value, str) and value for value in own):
        raise ToolError(f"EC2's metadata at {endpoint} does not say {', '.join(_OWN)}", hint=_HINT)
    instance, private, zone = map(str, own)
    return Identity(instance, private, public, dns, zone)


_OWN = ("instanceId", "privateIp", "availabilityZone")
_HINT = "elsewhere than on EC2, --instance and --address say who this node is"


def _text(answer: "BaseHTTPResponse", endpoint: str) -> str:
    if answer.status != 200:
        raise ToolError(f"EC2's metadata at {endpoint} answers {answer.status}", hint=_HINT)
    return answer.data.decode()


def _reason(error: "HTTPError") -> str:
    cause = getattr(error, "reason", None) or error
    return str(cause).rpartition(": ")[2] or type(cause).__name__
