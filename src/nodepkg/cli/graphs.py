"""What service:graph prints: the graph of services as lines, JSON, Graphviz and Mermaid."""

from collections.abc import Iterator

from nodepkg.cli.output import Output
from nodepkg.nodes.service_graph import Service, ServiceGraph, told_circle


def show_graph(out: Output, graph: ServiceGraph, form: str) -> None:
    """The graph in a language: text, json, graphviz or mermaid."""
    for circle in graph.circles:
        out.note(told_circle(circle))
    for service in graph.services:
        if service.is_missing:
            out.warning(f"nobody provides {service.name}, which {', '.join(service.consumers)} requires")
    if form == "json":
        out.document(_document(graph))
    elif form == "text":
        rows = [(one.name, _providers(one), ", ".join(one.consumers)) for one in graph.services]
        out.table(None, ("service", "provided by", "required by"), rows)
    else:
        out.result(None, _graphviz(graph) if form == "graphviz" else _mermaid(graph))


def _document(graph: ServiceGraph) -> dict[str, object]:
    services = [
        {
            "name": one.name,
            "providers": list(one.providers),
            "consumers": list(one.consumers),
            "external": one.external,
            "missing": one.is_missing,
        }
        for one in graph.services
    ]
    return {"services": services, "circles": [list(circle) for circle in graph.circles]}


def _providers(service: Service) -> str:
    return ", ".join([*service.providers, *(["(external)"] if service.external else [])])


def _graphviz(graph: ServiceGraph) -> Iterator[str]:
    """Names have only characters that need no escape in quotes."""
    yield "digraph services {"
    yield "    rankdir=LR;"
    for group in graph.groups:
        yield f'    "group {group}" [label="{group}", shape=box];'
    for one in graph.services:
        style = ", style=dashed" if one.external else ", color=red" if one.is_missing else ""
        yield f'    "service {one.name}" [label="{one.name}"{style}];'
        yield from (f'    "group {group}" -> "service {one.name}" [label="requires"];' for group in one.consumers)
        yield from (f'    "service {one.name}" -> "group {group}";' for group in one.providers)
    yield "}"


def _mermaid(graph: ServiceGraph) -> Iterator[str]:
    """Its ids are numbers, since a name may be one of its own words."""
    groups = {name: f"g{number}" for number, name in enumerate(graph.groups)}
    yield "flowchart LR"
    yield from (f'    {key}["{name}"]' for name, key in groups.items())
    for number, one in enumerate(graph.services):
        yield f'    s{number}("{one.name}{" (external)" if one.external else ""}")'
        yield from (f"    {groups[group]} -->|requires| s{number}" for group in one.consumers)
        yield from (f"    s{number} --> {groups[group]}" for group in one.providers)
