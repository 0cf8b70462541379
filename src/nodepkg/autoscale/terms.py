"""The terms of what is done with a group, and what its nodes are asked, as nodes.json says them."""

from nodepkg.autoscale.registered import Membership
from nodepkg.autoscale.view import Terms
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.schema import Autoscale
from nodepkg.nodes.service_graph import provides
from nodepkg.ready import Health
from nodepkg.services.terms import location


def terms_of(settings: Autoscale, window: float) -> Terms:
    """`window` is the consistency window in seconds."""
    return Terms(
        min=settings.node_min,
        max=settings.most,
        ready_timeout=settings.ready_timeout,
        bake_time=settings.bake_time,
        timeout=settings.timeout,
        unhealthy_after=settings.unhealthy_after,
        keep_old=settings.keep_old,
        window=window,
        wait_full=settings.wait == "full",
    )


def health_of(settings: Autoscale) -> Health:
    return Health(settings.health_url or "", settings.health_timeout)


def membership_of(nodes: Nodes, group: Group) -> Membership | None:
    """None for a group without services."""
    settings = group.settings.services
    if settings is None:
        return None
    found = location({**settings.model_dump(), "tls": settings.tls.model_dump()})
    return Membership(found, tuple(provides(nodes, group)), settings.ttl)
