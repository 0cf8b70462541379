"""service:… what nodes announce to each other, and need of each other."""

from enum import StrEnum
from typing import Annotated

import typer

from nodepkg.cli.options import NODES, Call, Groups, command


class GraphFormat(StrEnum):
    """In which language service:graph tells the graph."""

    TEXT = "text"
    JSON = "json"
    GRAPHVIZ = "graphviz"
    MERMAID = "mermaid"


@command(
    "service:graph",
    NODES,
    examples={
        "service:graph": "who provides what, and who needs it",
        "service:graph '12_04-*' --format graphviz": "what some groups provide and require, for dot -Tsvg",
    },
)
def graph(
    call: Call,
    groups: Groups = None,
    form: Annotated[GraphFormat, typer.Option("--format", help="The language of the graph.")] = GraphFormat.TEXT,
) -> None:
    """Show which groups provide each service and which require it.

    What a group provides follows from its run list: each recipe of services.cookbook, but for default and delete-….
    A service that no group provides and no external names is told as missing, and groups that need each other in a
    circle are told: that is allowed. With GROUP: what these provide and require. With --json: services (name,
    providers, consumers, external, missing), circles.
    """
    from nodepkg.cli.graphs import show_graph
    from nodepkg.nodes.service_graph import graph as graph_of
    from nodepkg.nodes.service_graph import members

    nodes = call.load()
    chosen = set(call.names(nodes, groups))
    found = graph_of(members(nodes))
    show_graph(call.out, found.of(chosen), "json" if call.out.json else form.value)
