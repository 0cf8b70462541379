"""The two digests: of what a node gets (bundle), and of what ends up in an image (image).

Stable across machines, key order and file times; neither holds the git commit or a time.
"""

from typing import Any

from nodepkg.render.bundle import Bundle, digest_content, sha256
from nodepkg.render.jsontext import canonical

# Keys of a builder that only drive the build: to change one makes no other image, so no rebuild is due.
# docs/digest.md lists them for the user.
DRIVING_KEYS = frozenset(
    [
        "ami_description",
        "ami_name",
        "associate_public_ip_address",
        "availability_zone",
        "aws_polling",
        "capacity_reservation_group_arn",
        "capacity_reservation_id",
        "capacity_reservation_preference",
        "communicator",
        "custom_endpoint_ec2",
        "decode_authorization_messages",
        "enable_unlimited_credits",
        "force_delete_snapshot",
        "force_deregister",
        "iam_instance_profile",
        "insecure_skip_tls_verify",
        "instance_type",
        "max_retries",
        "metadata_options",
        "pause_before_connecting",
        "pause_before_ssm",
        "placement",
        "profile",
        "assume_role",
        "region",
        "run_tag",
        "run_tags",
        "run_volume_tag",
        "run_volume_tags",
        "security_group_filter",
        "security_group_id",
        "security_group_ids",
        "session_manager_port",
        "shared_credentials_file",
        "shutdown_behavior",
        "skip_credential_validation",
        "skip_metadata_api_check",
        "skip_profile_validation",
        "skip_region_validation",
        "snapshot_tag",
        "snapshot_tags",
        "spot_allocation_strategy",
        "spot_instance_types",
        "spot_price",
        "spot_price_auto_product",
        "spot_tag",
        "spot_tags",
        "subnet_filter",
        "subnet_id",
        "tag",
        "tags",
        "temporary_iam_instance_profile_policy_document",
        "temporary_key_pair_bits",
        "temporary_key_pair_name",
        "temporary_key_pair_type",
        "temporary_security_group_source_cidrs",
        "temporary_security_group_source_public_ip",
        "tenancy",
        "vault_aws_engine",
        "vpc_filter",
        "vpc_id",
        "windows_password_timeout",
    ]
)
DRIVING_PREFIXES = ("ssh_", "winrm_")


def bundle_digest(bundle: Bundle) -> str:
    """SHA-256, in hex, over the files in the order of their paths: each path and what counts of its content."""
    own = {path: sha256(digest_content(path, content)) for path, content in bundle.own.items()}
    digests = {**bundle.shared_digests, **own}
    lines = "".join([f"{digests[path]}  {path}\n" for path in sorted(digests)])
    return sha256(lines.encode("utf-8", errors="surrogateescape"))


def image_digest(bundle: Bundle, template: dict[str, Any]) -> str:
    """SHA-256, in hex, of what an image is made from.

    `template` is the rendered Packer template: its provisioners count, and of its builders the source
    image, the block devices and every further key that does not only drive the build.
    """
    builders = [{key: value for key, value in made.items() if not _drives(key)} for made in template["builders"]]
    content: dict[str, Any] = {
        "bundle": bundle_digest(bundle),
        "builders": builders,
        "provisioners": template.get("provisioners", []),
    }
    if "values" in template:  # variables, locals and data sources of a template of the user's own, in HCL2
        content["values"] = template["values"]
    return sha256(canonical(content))


def _drives(key: str) -> bool:
    return key.lower() in DRIVING_KEYS or key.lower().startswith(DRIVING_PREFIXES)
