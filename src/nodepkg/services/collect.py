"""The attributes that chef-solo is given: who provides what this node needs, and what it runs itself. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

from nodepkg.services.entries import Provider
from nodepkg.services.terms import Terms, Where


def wanted(terms: Terms) -> list[str]:
    """The services whose lists this node gets: what it requires, and what it provides itself."""
    return list(dict.fromkeys((*terms.requires, *terms.names)))


def maps(
    terms: Terms,
    used: Mapping[str, Mapping[str, Provider]],
    own: Mapping[str, Where],
    retiring: Collection[str] = (),
) -> dict[str, Any]:
    """The two maps: `services` (name -> list of host and port) and `available` (name -> whether this node runs it).

    `used`: of each service the providers that count; `own`: where this node runs its services, which are listed even
    before they are announced; `retiring`: what it ran, and is to be deleted. The order of a list follows from what is
    in it, so that the same providers are the same attributes.
    """
    services = {name: _listed(terms, name, used.get(name, {}), own.get(name)) for name in wanted(terms)}
    available = {**dict.fromkeys(retiring, False), **dict.fromkeys(terms.names, True)}
    return {"services": services, "available": available}


def attributes(terms: Terms, found: Mapping[str, Any]) -> dict[str, Any]:
    """The maps under the attribute that services.attribute names."""
    return {terms.attribute: dict(found)}


def _listed(terms: Terms, name: str, used: Mapping[str, Provider], own: Where | None) -> list[dict[str, Any]]:
    found = {(one.host, one.port) for one in terms.external.get(name, ())}
    found |= {(one.address, one.port) for one in used.values()}
    if own:
        found.add((own.host, own.port))
    return [{"host": host, "port": port} for host, port in sorted(found, key=lambda one: (one[0], one[1] or 0))]
