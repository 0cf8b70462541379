"""service:… what nodes announce to each other, and need of each other."""

import os
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nodepkg.cli.options import DRY_RUN, NODES, Call, Check, Groups, command, duration

if TYPE_CHECKING:
    from nodepkg.services.agent import Place
    from nodepkg.services.registry import ThisNode
    from nodepkg.services.state import State
    from nodepkg.services.terms import Terms

Names = Annotated[list[str] | None, typer.Argument(metavar="SERVICE", help="Services, by name; none: all.")]
ServicesFile = Annotated[
    Path | None,
    typer.Option("--services", envvar="NODEPKG_SERVICES", metavar="PATH", help="A node's services.json."),
]
THIS_NODE = {
    "services": Annotated[
        Path | None,
        typer.Option("--services", envvar="NODEPKG_SERVICES", metavar="PATH", help="The node's services.json."),
    ],
    "instance": Annotated[
        str | None,
        typer.Option("--instance", envvar="NODEPKG_INSTANCE", metavar="ID", help="This node's id; none: EC2 says it."),
    ],
    "address": Annotated[
        str | None,
        typer.Option("--address", envvar="NODEPKG_ADDRESS", metavar="HOST", help="Its address; none: EC2 says it."),
    ],
    "zone": Annotated[
        str | None, typer.Option("--zone", envvar="NODEPKG_ZONE", metavar="ZONE", help="Its zone; none: EC2 says it.")
    ],
    "home": Annotated[
        Path | None,
        typer.Option("--home", envvar="NODEPKG_HOME", metavar="DIR", help="Its state; none: /var/lib/nodepkg."),
    ],
}


def _place(call: Call) -> "Place":
    """Where the node has its files, and what is said of it."""
    from nodepkg.services.agent import Place
    from nodepkg.services.identity import Said
    from nodepkg.services.state import HOME
    from nodepkg.services.terms import DEFAULT_FILE

    said = Said(call.instance or "", call.address or "", call.zone or "")
    # What runs for the agent runs in another folder.
    return Place((call.services or DEFAULT_FILE).absolute(), said, (call.home or HOME).absolute(), os.environ)


def _node(call: Call) -> "tuple[Terms, State, ThisNode]":
    """Its services.json, what it remembers, and who it is."""
    from nodepkg.services.identity import this_node
    from nodepkg.services.state import StateFile
    from nodepkg.services.terms import read

    place = _place(call)
    terms, state = read(place.file), StateFile(place.home).read()
    return terms, state, this_node(terms, place.said, state.agent, place.home, place.environ)


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


@command(
    "service:list",
    NODES,
    examples={
        "service:list": "who announces what, in the registries of nodes.json",
        "service:list api-workers --services /opt/nodepkg/services.json": "on a node, by its own file",
    },
)
def list_(call: Call, names: Names = None, services: ServicesFile = None) -> None:
    """List who announces which service: instance, group, address, zone, since when.

    A provider is leaving when it, or a rollout, has announced that it will go: those that use it stop doing so. With
    --json: service, instance, group, address, port, zone, since, digest (of the bundle there), state.
    """
    from nodepkg.cli.services import locations, run, show_list, snapshots

    show_list(call, run(snapshots(locations(call, services))), names or [])


@command(
    "service:watch",
    NODES,
    examples={
        "service:watch": "each change as it comes, until Ctrl-C",
        "service:watch api-workers --json": "of one service, a JSON document a line",
    },
)
def watch(call: Call, names: Names = None, services: ServicesFile = None) -> None:
    """Watch services: a line for each that is announced, changes, leaves or is gone.

    Goes on until Ctrl-C; where the registry is lost it goes on when it is back, and says what was missed.
    """
    from nodepkg.cli.services import locations, run
    from nodepkg.cli.services import watch as follow
    from nodepkg.errors import UsageError

    found = locations(call, services)
    if len(found) > 1:
        raise UsageError("the groups of nodes.json have several registries", hint="--services names a node's file")
    run(follow(call, found[0], names or []))


@command(
    "service:announce",
    THIS_NODE,
    examples={
        "service:announce": "put this node back after service:withdraw",
        "service:announce --instance i-0123 --address 10.0.0.7": "where EC2 cannot say who this node is",
    },
)
def announce(call: Call) -> None:
    """Announce what this node runs, or that it stays after all.

    Its agent does that by itself, for what is well; this is for the way back from service:withdraw, and for nodes
    without an agent: then it has to be repeated within services.ttl. What another node announces under the same id is
    not overwritten (4).
    """
    from nodepkg.cli.services import announce as put
    from nodepkg.cli.services import run
    from nodepkg.services import registry
    from nodepkg.services.state import StateFile

    terms, state, me = _node(call)
    StateFile(_place(call).home).write(state)  # by it the node is known again as whose announcement it is

    async def work() -> tuple[list[str], str]:
        async with registry.connect(terms.location, os.environ) as etcd:
            return await put(etcd, terms, me)

    there, how_long = run(work())
    for name in terms.names:
        if name not in there:
            call.out.warning(f"{name}: this node's agent does not announce it: its check says that it is not well")
    document = {"instance": me.instance, "services": there, "announced": how_long}
    call.out.result(document, [f"announced {name} on {me.address} {how_long}" for name in there])


@command(
    "service:withdraw",
    THIS_NODE,
    examples={
        "service:withdraw": "take this node out of use, before it is worked on",
        "service:withdraw --timeout 5m": "give those that use it so long",
    },
)
def withdraw(
    call: Call,
    timeout: Annotated[
        timedelta, typer.Option("--timeout", parser=duration, metavar="TIME", help="How long consumers may take.")
    ] = "60s",  # type: ignore[assignment]
) -> None:
    """Take this node out of use: say that it leaves, wait for those that use it, take its services away.

    Waits until all that need one of its services have acknowledged that it leaves, or --timeout has passed: then it is
    told who has not, and it is taken away all the same. service:announce puts it back.
    """
    from nodepkg.cli.services import run
    from nodepkg.clients.processes import user_and_host
    from nodepkg.services import registry
    from nodepkg.services.entries import Keys, Leaving

    terms, _, me = _node(call)
    told = Leaving(me.instance, "@".join(user_and_host()), registry.now())

    async def work() -> registry.Withdrawn:
        async with registry.connect(terms.location, os.environ) as etcd:
            keys = Keys(terms.location.prefix)
            return await registry.withdraw(etcd, keys, me, told, terms.names, seconds=timeout.total_seconds())

    done = run(work())
    for name, consumers in done.unacknowledged.items():
        call.out.warning(f"{name}: {', '.join(consumers)} did not acknowledge within {timeout.total_seconds():g} s")
    told_of = {name: "withdrew" if name in done.services else "was not announced:" for name in terms.names}
    document = {"instance": me.instance, "services": list(done.services), "unacknowledged": done.unacknowledged}
    call.out.result(document, [f"{what} {name}" for name, what in told_of.items()])


@command(
    "service:collect",
    THIS_NODE,
    examples={
        "service:collect": "the attributes that this node converges with",
        "service:collect --services services.json --instance i-0123 --address 127.0.0.1": "without asking EC2",
    },
)
def collect(call: Call) -> None:
    """Print this node's JSON attributes for chef-solo: who provides what it needs, and what it runs.

    Two maps under the attribute that services.attribute names: services (name -> list of host and port, of what the
    group requires and provides; what this node runs lists this node, too) and available (name -> true for what it runs,
    false for what is to be deleted). If the registry does not answer, or most of a list has vanished at once, it is
    what was believed last, with a warning; if there is nothing to believe, it fails (6).
    """
    from nodepkg.cli.services import collected, run
    from nodepkg.services.collect import attributes

    terms, state, me = _node(call)
    call.out.document(attributes(terms, run(collected(terms, state, me, call))))


@command(
    "service:drift",
    NODES,
    examples={
        "service:drift": "where nodes.json, nodes and registry differ",
        "service:drift '12_04-*' --json": "of some groups, for a machine",
    },
)
def drift(call: Call, groups: Groups = None, services: ServicesFile = None) -> None:
    """Show where run lists, nodes and registry differ: what is not announced, or announced and not to be.

    Of each node: whether the run list of its group in nodes.json has a service, whether its own services.json has, and
    whether the registry has. With --services nodes.json is not asked. Exit 0 also if something differs.
    """
    from nodepkg.cli.services import locations, run, show_drift, snapshots
    from nodepkg.nodes.service_graph import provides

    found = run(snapshots(locations(call, services)))
    if services is not None:
        show_drift(call, found, None)
        return
    nodes = call.load()
    chosen = [group for group in nodes.groups(call.names(nodes, groups)) if group.settings.services]
    show_drift(call, found, {group.name: provides(nodes, group) for group in chosen})


@command(
    "service:agent",
    THIS_NODE,
    examples={
        "service:agent": "on a node, as its systemd unit does",
        "service:agent --metrics 9180": "with figures for Prometheus on 127.0.0.1:9180",
    },
)
def agent(
    call: Call,
    metrics: Annotated[
        int, typer.Option("--metrics", min=0, max=65535, metavar="PORT", help="Serve figures on this loopback port.")
    ] = 0,
) -> None:
    """Announce what this node runs, watch what it needs, and converge when that changes.

    Runs until SIGTERM: it says that the node leaves, waits for those that use it, and ends with 0. SIGHUP reads
    services.json anew, as happens also when that changes. Its log is a JSON document a line, on stderr.
    """
    from nodepkg.cli.services import log, serve
    from nodepkg.services.agent import Agent

    serve(Agent(_place(call), log), metrics)


@command(
    "service:cookbook",
    NODES,
    DRY_RUN,
    examples={
        "service:cookbook": "the cookbook; nodes fetch what it needs",
        "service:cookbook --wheels wheels": "ship all that it needs, too",
    },
)
def cookbook(
    call: Call,
    cookbooks: Annotated[
        Path | None, typer.Option("--cookbooks", metavar="DIR", help="Where cookbooks are; none: beside nodes.json.")
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option("--wheels", metavar="DIR", help="Wheels of all that nodepkg[agent] requires.")
    ] = None,
    check: Check = False,
) -> None:
    """Write the Chef cookbook that installs the agent on nodes.

    cookbooks/nodepkg-services has the recipes default (the agent and its systemd unit), collect, notify and
    decommission, and the wheel of this nodepkg. Its files are nodepkg's: change attributes, not files. Wheels there of
    an earlier version are removed. To fill DIR: pip download --only-binary=:all: 'nodepkg[agent]' -d DIR
    """
    from nodepkg.cli.cookbooks import write_cookbook
    from nodepkg.render.cookbook import cookbook as cookbook_of

    folder = cookbooks or call.load().root / "cookbooks"
    write_cookbook(call, folder, cookbook_of(folder, wheels), check=check)
