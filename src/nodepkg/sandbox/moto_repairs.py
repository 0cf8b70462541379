"""What moto refuses, or lets pass, and the chain depends on: mended in the process that serves it."""

from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError
from moto.autoscaling.models import AutoScalingBackend

from nodepkg.sandbox import (
    moto_filters,
    moto_groups,
    moto_images,
    moto_lists,
    moto_parameters,
    moto_snapshots,
    moto_templates,
)

_create_auto_scaling_group = AutoScalingBackend.create_auto_scaling_group


class _AlreadyExistsError(AutoscalingClientError):
    code = "AlreadyExists"


def _create_uniquely_named_group(self: AutoScalingBackend, *positional: Any, **named: Any) -> Any:
    """The name of a group is the claim of whoever makes it: moto lets the second one replace the first."""
    name = named.get("name", positional[0] if positional else None)
    if name in self.autoscaling_groups:
        raise _AlreadyExistsError(f"AutoScalingGroup by this name already exists - {name}")
    return _create_auto_scaling_group(self, *positional, **named)


def install() -> None:
    """May be called more than once."""
    for repair in (
        moto_filters,
        moto_snapshots,
        moto_images,
        moto_lists,
        moto_templates,
        moto_groups,
        moto_parameters,
    ):
        repair.install()
    AutoScalingBackend.create_auto_scaling_group = _create_uniquely_named_group  # type: ignore[method-assign]
