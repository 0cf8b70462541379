"""Which images anything can reach: they must not be deleted."""

from collections.abc import Mapping

from nodepkg.clients.aws.autoscaling import AutoScaling
from nodepkg.clients.aws.ec2 import Ec2, Image

Usage = Mapping[str, list[str]]


def images_in_use(ec2: Ec2, autoscaling: AutoScaling, images: list[Image]) -> Usage:
    """Image id -> what refers to it: instances, launch templates, launch configurations, groups, other images.

    `images` are the account's images: one that another was built from is in use. Every list is read
    to its end; an error in one of them is an error here, never a smaller answer.
    """
    usage: dict[str, list[str]] = {}

    def used(image: str | None, by: str) -> None:
        if image:
            usage.setdefault(image, []).append(by)

    for instance, image in ec2.images_of_instances().items():
        used(image, instance)
    for name, image in autoscaling.images_of_launch_configurations().items():
        used(image, f"launch configuration {name}")
    pins = {pin for group in autoscaling.groups() for pin in group.templates}
    pinned = [version for pin in pins if (version := ec2.pinned_version(pin))]
    for version in {*ec2.default_and_latest_versions(), *pinned}:
        used(ec2.resolved_image(version), f"launch template {version.template} version {version.number}")
    for made in images:
        used(made.tags.get("nodepkg:source_ami"), f"base of {made.id}")
    return usage
