"""The environment of programs that work against the sandbox: no way to real credentials, and no way out."""

import os
from collections.abc import Mapping

# Credentials, and services that Packer asks for them (Vault, Consul) or tells of its builds (HCP) when these are set.
_PREFIXES = ("AWS_", "VAULT_", "CONSUL_", "HCP_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that leads to credentials or through a proxy, in whatever case it is written."""
    return {
        name: value
        for name, value in environ.items()
        if not name.upper().startswith(_PREFIXES) and name.upper() not in _PROXIES
    }


def child_environment(environ: Mapping[str, str], endpoint: str) -> dict[str, str]:
    """The environment for Packer or any AWS SDK against the sandbox at `endpoint`.

    There is no default region: a template without one must fail here as it would in AWS.
    """
    return without_credentials(environ) | {
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint,
        # The sandbox does at once what Packer otherwise waits 15 s for.
        "AWS_POLL_DELAY_SECONDS": "1",
        "CHECKPOINT_DISABLE": "1",
    }
