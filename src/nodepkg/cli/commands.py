"""Every namespace, in the order in which the help lists them."""

from nodepkg.cli import config, group, role, packer, autoscale, instance, service, iam, sandbox, completion, version  # noqa: F401, I001 - the order is the help's
