"""Who refers to an image: one complete picture of a region. What anything in it can reach must not be deleted."""

from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.clients.aws.clock import uptime
from nodepkg.clients.aws.ec2 import Ec2
from nodepkg.clients.aws.images import Image, Images, Snapshot
from nodepkg.clients.aws.ssm import Parameters
from nodepkg.clients.aws.templates import LaunchTemplates, TemplatePin, TemplateVersion
from nodepkg.errors import AwsError, CredentialsError
from nodepkg.images.referrers import ALIAS, Referrers, references

SNAPSHOT_TAG = "nodepkg:image-snapshot"
_AT_ONCE = 6

Read = TypeVar("Read")


@dataclass(frozen=True)
class Usage:
    """All that a region has of images, and what refers to them.

    `taken` is the clock's value when the reading began. `images` are all of the account's, disabled ones too, oldest
    first; `snapshots` are those that Packer made of images, oldest first. `references` has, for each image that
    anything refers to, what does, in words for people; `counts` tells how much was looked at.
    """

    region: str
    taken: float
    images: tuple[Image, ...]
    snapshots: tuple[Snapshot, ...]
    references: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]

    def __str__(self) -> str:
        return ", ".join(f"{number} {noun if number != 1 else noun[:-1]}" for noun, number in self.counts.items())


def picture(
    account: Account,
    region: str,
    *,
    keep_served: int = 2,
    all_versions: bool = False,
    clock: Callable[[], float] = uptime,
) -> Usage:
    """Reads every list to its end.

    Of launch templates, the default and the latest version count and those that a group pins; with `all_versions`
    every one. Of the images of each group that have served, the latest `keep_served` count as referred to. Raises
    AwsError, which says what is missing, if anything cannot be read: never a smaller picture.
    """
    taken = clock()
    images = Images(account, region)
    for service in ("ec2", "autoscaling"):  # what is wrong with the profile is no list that is missing
        account.client(service, region)
    with _Reading(region) as reading:
        owned = reading.start(images.owned)
        snapshots = reading.start(partial(images.snapshots, {SNAPSHOT_TAG: "true"}))
        known = _referrers(reading, account, region, all_versions=all_versions)
    resolved = _resolved(account, region, known)
    return Usage(
        region,
        taken,
        tuple(owned.result()),
        tuple(snapshots.result()),
        references(owned.result(), known, resolved, keep_served=keep_served),
        known.counts(),
    )


class _Reading:
    """Lists that are read at the same time, and of which all have to be read."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._started: list[Future[Any]] = []

    def __enter__(self) -> "_Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def start(self, read: Callable[[], Read]) -> "Future[Read]":
        future = self._pool.submit(read)
        self._started.append(future)
        return future

    def finish(self) -> None:
        """Waits for all that was started; raises AwsError with what could not be read."""
        failed = [_in_words(error) for future in self._started if (error := future.exception())]
        self._started.clear()
        wrong = [error for error in failed if isinstance(error, AwsError)]
        for error in failed:
            if not isinstance(error, AwsError) or isinstance(error, CredentialsError):
                raise error
        if wrong:
            raise _incomplete(self._region, dict.fromkeys(error.message for error in wrong), wrong[0])


def _in_words(error: BaseException) -> BaseException:
    if isinstance(error, KeyError | TypeError | ValueError):  # what every answer has is missing, or of another kind
        return AwsError(f"an answer of AWS that can be understood: {type(error).__name__}: {error}")
    return error


def _incomplete(region: str, missing: Iterable[str], error: AwsError | None = None) -> AwsError:
    told = list(missing)
    gap = " " if len(told) == 1 else "\n  "
    return AwsError(
        f"no image in {region} is deleted while it is not known what refers to it; missing:{gap}{gap.join(told)}",
        code=error.code if error else "",
        hint=error.hint if error else "",
    )


def _referrers(reading: _Reading, account: Account, region: str, *, all_versions: bool) -> Referrers:
    templates, autoscaling = LaunchTemplates(account, region), AutoScaling(account, region)
    running = reading.start(Ec2(account, region).instances)
    asked = reading.start(templates.default_and_latest)
    configured = reading.start(autoscaling.images_of_launch_configurations)
    grouped = reading.start(autoscaling.groups)
    reading.finish()
    groups, versions, configurations = grouped.result(), asked.result(), configured.result()
    if all_versions:
        versions = _all_versions(reading, templates, versions)
    if _lacking(groups, configurations):
        # A group came into being or went, with its configuration, between the one list and the other.
        again, later = reading.start(autoscaling.images_of_launch_configurations), reading.start(autoscaling.groups)
        reading.finish()
        configurations, groups = {**configurations, **again.result()}, later.result()
        if lacking := _lacking(groups, configurations):
            raise _incomplete(region, lacking)
    pinned = _pinned(reading, templates, groups, versions)
    return Referrers(running.result(), versions, pinned, configurations, groups)


def _lacking(groups: Iterable[AutoScalingGroup], configurations: Container[str]) -> list[str]:
    """The launch configurations that groups have and the list does not: AWS deletes none that is in use."""
    return [
        f"launch configuration {group.launch_configuration} of ASG {group.name}"
        for group in groups
        if group.launch_configuration and group.launch_configuration not in configurations
    ]


def _all_versions(
    reading: _Reading, templates: LaunchTemplates, seen: Iterable[TemplateVersion]
) -> list[TemplateVersion]:
    """Every version of the templates of which default and latest one were `seen`."""
    by_template: dict[str, dict[int, TemplateVersion]] = {}
    for version in seen:
        by_template.setdefault(version.template_id, {})[version.number] = version
    found, calls = list[TemplateVersion](), []
    for template, versions in by_template.items():
        found += versions.values()
        if len(versions) < max(versions):
            calls.append(reading.start(partial(templates.all_versions, template)))
    reading.finish()
    return list(dict.fromkeys([*found, *(version for call in calls for version in call.result())]))


def _pinned(
    reading: _Reading,
    templates: LaunchTemplates,
    groups: Iterable[AutoScalingGroup],
    seen: Iterable[TemplateVersion],
) -> list[TemplateVersion]:
    """The versions that groups pin and that were not `seen`: one call for each of their templates."""
    known = Referrers(versions=tuple(seen))
    unseen: dict[str | None, list[TemplatePin]] = {}
    for pin in dict.fromkeys(pin for group in groups for pin in group.pins):
        if known.version(pin) is None:
            unseen.setdefault(pin.id or pin.name, []).append(pin)
    calls = [reading.start(partial(templates.pinned, pins)) for pins in unseen.values()]
    reading.finish()
    return [version for call in calls for version in call.result()]


def _resolved(account: Account, region: str, known: Referrers) -> dict[str, str]:
    """The image of each `resolve:ssm:…`; raises AwsError with those that nobody can resolve."""
    aliases = known.aliases()
    if not aliases:
        return {}
    parameters = {alias: alias.removeprefix(ALIAS) for alias in aliases if alias.startswith(ALIAS)}
    values = Parameters(account, region).values(parameters.values())
    resolved = {alias: values.get(parameter, "") for alias, parameter in parameters.items()}
    templates = LaunchTemplates(account, region)
    for alias in aliases:
        if not resolved.get(alias, "").startswith("ami-"):
            resolved[alias] = _as_ec2_resolves(templates, known, alias)
    missing = [
        f"the image that {alias} stands for, in {by}"
        for alias in aliases
        if not resolved[alias]
        for by in aliases[alias]
    ]
    if missing:
        raise _incomplete(region, missing)
    return resolved


def _as_ec2_resolves(templates: LaunchTemplates, known: Referrers, alias: str) -> str:
    """By way of a version that names it: EC2 may read a parameter that we may not. "" if EC2 cannot either."""
    naming = next((one for one in (*known.versions, *known.pinned) if one.image == alias), None)
    with suppress(AwsError):
        return (naming and templates.resolved(naming)) or ""
    return ""
