"""The terms of what is done with a group, and what its nodes are asked, as nodes.json says them."""

from nodepkg.autoscale.view import Terms
from nodepkg.nodes.schema import Autoscale
from nodepkg.ready import Health


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
    )


def health_of(settings: Autoscale) -> Health:
    return Health(settings.health_url or "", settings.health_timeout)
