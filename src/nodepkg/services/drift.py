"""Where run list, node and registry say different things about services. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nodepkg.services.registry import Snapshot


@dataclass(frozen=True)
class Drift:
    """One service of one node: whether nodes.json, the node's own services.json and the registry have it.

    `wanted` is None where nodes.json is not asked.
    """

    group: str
    instance: str
    service: str
    wanted: bool | None
    on_node: bool
    announced: bool

    @property
    def why(self) -> str:
        """What is so, and what closes the gap."""
        if self.wanted is None:
            return "not announced: not well, or withdrawn" if self.on_node else "announced, and not in services.json"
        if self.wanted and not self.on_node:
            return "not on the node yet: package instance:deploy"
        if not self.wanted and self.on_node:
            return "still on the node: package instance:deploy"
        if self.wanted:
            return "not announced: not well, or withdrawn"
        return "announced, and nobody says that it runs there"


def drift(found: Snapshot, provides: Mapping[str, Iterable[str]] | None) -> list[Drift]:
    """What differs on nodes whose agent runs, and what is announced without one; by group, instance and service.

    `provides`: group -> the services of its run list in nodes.json, None if that is not asked; groups that it does not
    name are passed over.
    """
    shown: list[Drift] = []
    announced = {(name, instance): one for name, listed in found.providers.items() for instance, one in listed.items()}
    nodes = {
        **{one.instance: one.group for one in announced.values()},
        **{n.instance: n.group for n in found.nodes.values()},
    }
    for instance, group in nodes.items():
        if provides is not None and group not in provides:
            continue
        wanted = None if provides is None else set(provides[group])
        on_node = set(found.nodes[instance].services) if instance in found.nodes else set[str]()
        there = {name for name, at in announced if at == instance}
        for name in sorted((wanted or set()) | on_node | there):
            want = None if wanted is None else name in wanted
            states = {name in on_node, name in there, name in on_node if want is None else want}
            if len(states) > 1:
                shown.append(Drift(group, instance, name, want, name in on_node, name in there))
    return sorted(shown, key=lambda one: (one.group, one.instance, one.service))
