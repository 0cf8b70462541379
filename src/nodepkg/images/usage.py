"""Which images anything can reach: they must not be deleted."""

from collections.abc import Mapping

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.images import Image
from nodepkg.clients.aws.templates import LaunchTemplates

Usage = Mapping[str, list[str]]


def images_in_use(account: Account, region: str, images: list[Image]) -> Usage:
    """Image id -> what refers to it: instances, launch templates, launch configurations, groups, other images.

    `images` are the account's images: one that another was built from is in use. Every list is read
    to its end; an error in one of them is an error here, never a smaller answer.
    """
    usage: dict[str, list[str]] = {}
    autoscaling, templates = AutoScaling(account, region), LaunchTemplates(account, region)

    def used(image: str | None, by: str) -> None:
        if image:
            usage.setdefault(image, []).append(by)

    for instance, image in Ec2(account, region).images_of_instances().items():
        used(image, instance)
    for name, image in autoscaling.images_of_launch_configurations().items():
        used(image, f"launch configuration {name}")
    pins = {pin for group in autoscaling.groups() for pin in group.templates}
    pinned = [version for pin in pins if (version := templates.pinned_version(pin))]
    for version in {*templates.default_and_latest(), *pinned}:
        used(templates.resolved_image(version), f"launch template {version.template} version {version.number}")
    for made in images:
        used(made.tags.get("nodepkg:source_ami"), f"base of {made.id}")
    return usage
