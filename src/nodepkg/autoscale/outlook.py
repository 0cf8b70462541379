"""Gathers what autoscale:status tells, and what operations on a group decide on: few calls for many groups."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nodepkg.asked import Web, web_of
from nodepkg.autoscale.generations import rollout, serving
from nodepkg.autoscale.listing import Generation, Standing
from nodepkg.autoscale.observe import Observation, Subject, observed, readiness
from nodepkg.autoscale.registered import Membership, Reading, Registries
from nodepkg.autoscale.terms import terms_of
from nodepkg.autoscale.view import Goal, Node, Terms, View
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.clients.aws.images import Image, Images
from nodepkg.clients.aws.templates import LaunchTemplates, TemplateVersion
from nodepkg.images.newest import managed_images, newest_available
from nodepkg.launch import MANAGED
from nodepkg.lease.claim import Holder, holders
from nodepkg.nodes.group import Group
from nodepkg.ready import Health
from nodepkg.services.blocking import EtcdRegistries
from nodepkg.services.terms import Location

_ETCD = EtcdRegistries()


@dataclass(frozen=True)
class Wanted:
    """Of which groups the standing is asked: their homes (name -> region), in the order in which they are told.

    `groups` are those of which the settings are known, `memberships` of those with services. Of the regions
    `everywhere` all groups are told.
    """

    homes: Mapping[str, str]
    groups: Mapping[str, Group]
    everywhere: Collection[str] = ()
    memberships: Mapping[str, Membership] = field(default_factory=dict)

    @property
    def regions(self) -> list[str]:
        return sorted({*self.homes.values(), *self.everywhere})


@dataclass(frozen=True)
class Seen:
    """What one region shows: the groups' ASGs by the tag `group`, the image of each ASG, the newest of each group."""

    asgs: Mapping[str, Sequence[AutoScalingGroup]]
    images: Mapping[str, str | None]
    newest: Mapping[str, Image]
    nodes: Mapping[str, Sequence[Node]]
    holders: Mapping[str, Holder]


def look(account: Account, subjects: Sequence[Subject], *, web: Web) -> dict[str, Observation]:
    """The groups of these subjects as their sights have it, by group: one listing for each region."""
    found = dict[str, Observation]()
    for region in sorted({one.region for one in subjects}):
        sights = {one.group: (one, one.sight) for one in subjects if one.region == region and one.sight}
        asgs = by_group(AutoScaling(account, region).groups_tagged("group", list(sights)))
        close = {name: sight.watched(asgs.get(name, ())) for name, (_, sight) in sights.items()}
        health = {asg.name: one.health for name, (one, _) in sights.items() for asg in asgs.get(name, ())}
        listed = [asg for ones in asgs.values() for asg in ones]
        nodes = _nodes(account, region, listed, close, health, web=web)
        for name, (_, sight) in sights.items():
            seen = [observed(asg, nodes[asg.name]) for asg in asgs.get(name, ())]
            found[name] = Observation(sight.view(seen), tuple(asgs.get(name, ())))
    return found


def _nodes(
    account: Account,
    region: str,
    asgs: Sequence[AutoScalingGroup],
    close: Mapping[str, Collection[str] | None],
    health: Mapping[str, Health],
    *,
    web: Web,
) -> Mapping[str, Sequence[Node]]:
    """The nodes of each ASG; in target groups, and whether they are ready, only where `close` has the group."""
    looked_at = [asg for asg in asgs if close[asg.tags["group"]] is not None]
    also = {asg.name: close[asg.tags["group"]] or () for asg in looked_at}
    seen = readiness(account, region, looked_at, health=health, web=web, also=also) if looked_at else {}
    return {asg.name: seen.get(asg.name) or listed_nodes(asg) for asg in asgs}


def standings(account: Account, wanted: Wanted, *, window: float, registries: Registries = _ETCD) -> list[Standing]:
    """How the groups stand; behind them those that nodes.json does not have there."""
    found = list[Standing]()
    for region in wanted.regions:
        asgs = by_group(AutoScaling(account, region).groups())
        ours = [name for name, ones in sorted(asgs.items()) if any(one.tags.get(MANAGED) == "true" for one in ones)]
        names = [name for name, home in wanted.homes.items() if home == region]
        shown = list(dict.fromkeys([*names, *(ours if region in wanted.everywhere else ())]))
        seen = _see(account, region, {name: asgs.get(name, ()) for name in shown})
        here = [_standing(name, region, wanted, seen, window) for name in shown]
        found += _registered(account, here, wanted.memberships, registries)
    places = {name: place for place, name in enumerate(wanted.homes)}
    return sorted(found, key=lambda one: (places.get(one.group, len(places)), one.group, one.region))


def _registered(
    account: Account, found: Sequence[Standing], memberships: Mapping[str, Membership], registries: Registries
) -> list[Standing]:
    """With what the registries show of rollouts that are under way: each is asked once."""
    views = {one.group: one.view for one in found if one.view and one.in_nodes and one.group in memberships}
    asked: dict[Location, dict[str, list[str]]] = {}
    for name, view in views.items():
        asked.setdefault(memberships[name].location, {})[name] = [one.id for one in view.old.nodes] if view.old else []
    pictures = registries.look(asked) if asked else {}
    now = account.now()
    for name, view in views.items():
        membership = memberships[name]
        reading = Reading(name, "", membership, registries, pictures[membership.location], now)
        views[name] = reading.shown_in(view)
    return [replace(one, view=views.get(one.group, one.view)) for one in found]


def _see(account: Account, region: str, asgs: Mapping[str, Sequence[AutoScalingGroup]]) -> Seen:
    listed = [asg for ones in asgs.values() for asg in ones]
    also = {name: left for ones in asgs.values() for name, left in _left(ones).items()}
    newest = {name: newest_available(made) for name, made in managed_images(Images(account, region)).items()}
    return Seen(
        asgs,
        images_of(LaunchTemplates(account, region), listed),
        {name: image for name, image in newest.items() if image},
        readiness(account, region, listed, health={}, web=web_of(account), also=also),
        holders(account, region, set(asgs)),
    )


def _left(asgs: Sequence[AutoScalingGroup]) -> dict[str, frozenset[str]]:
    """The target groups that nodes of a rollout's groups may have left, and where only it shows that they drain."""
    under_way = rollout(asgs)
    if under_way is None:
        return {}
    new, record = under_way
    return {new.name: record.targets, record.old: record.old_targets}


def _standing(name: str, region: str, wanted: Wanted, seen: Seen, window: float) -> Standing:
    here = wanted.homes.get(name) == region
    group = wanted.groups.get(name) if here else None
    settings = group.settings.autoscale if group else None
    generations = [
        Generation(asg, observed(asg, seen.nodes[asg.name]), seen.images.get(asg.name)) for asg in seen.asgs[name]
    ]
    return Standing(
        group=name,
        region=region,
        in_nodes=here,
        scales=settings is not None,
        generations=tuple(generations),
        newest=seen.newest.get(name),
        holder=seen.holders.get(name),
        view=view_of(generations, terms_of(settings, window) if settings else Terms(window=window)),
    )


def view_of(generations: Iterable[Generation], terms: Terms) -> View | None:
    """What a rollout that is under way is decided on; None if none is."""
    by_name = {one.listed.name: one for one in generations}
    listed = [one.listed for one in by_name.values()]
    under_way = rollout(listed)
    if under_way is None:
        return None
    new, record = under_way
    old = by_name.get(record.old)
    kept = [one.observed for one in by_name.values() if one.listed not in (new, *serving(listed))]
    return View(Goal.UPDATE, terms, old.observed if old else None, by_name[new.name].observed, tuple(kept))


def images_of(templates: LaunchTemplates, asgs: Sequence[AutoScalingGroup]) -> dict[str, str | None]:
    """The image of each ASG's launch template version, by the ASG's name; None if that version is gone.

    Most run the default or the latest version: those of all templates are one list.
    """
    pins = {asg.name: asg.template for asg in asgs if asg.template}
    if not pins:
        return {}
    known = {_place(version): version for version in templates.default_and_latest()}
    latest = {version.template: version for version in sorted(known.values(), key=lambda version: version.number)}
    default = {version.template: version for version in known.values() if version.default}
    found = dict[str, str | None]()
    for name, pin in pins.items():
        by_word = {"$Latest": latest, "$Default": default}.get(pin.version)
        version = by_word.get(pin.name or "") if by_word is not None else known.get((pin.name or "", pin.version))
        version = version or templates.pinned_version(pin)
        found[name] = version.image if version else None
    return found


def _place(version: TemplateVersion) -> tuple[str, str]:
    return version.template, str(version.number)


def by_group(asgs: Iterable[AutoScalingGroup]) -> dict[str, list[AutoScalingGroup]]:
    """Those that carry the tag `group`, whoever made them."""
    found: dict[str, list[AutoScalingGroup]] = {}
    for asg in asgs:
        if "group" in asg.tags:
            found.setdefault(asg.tags["group"], []).append(asg)
    return found


def listed_nodes(asg: AutoScalingGroup) -> list[Node]:
    """Its nodes as far as the listing of groups shows them."""
    return [
        Node(member.id, member.lifecycle, member.health.lower() == "healthy", protected=member.protected)
        for member in asg.members
    ]
