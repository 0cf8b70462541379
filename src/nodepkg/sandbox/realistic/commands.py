"""Commands of Run Command, in time: how many nodes have one at a time, after how many errors it ends, what expires."""

import math
from collections.abc import Collection, Iterator
from typing import Any

from nodepkg.sandbox.realistic.records import Agent, Command, Invocation
from nodepkg.sandbox.realistic.world import World

ENDED = frozenset(
    {
        "Success",
        "Failed",
        "Cancelled",
        "DeliveryTimedOut",
        "ExecutionTimedOut",
        "Undeliverable",
        "Terminated",
        "InvalidPlatform",
        "AccessDenied",
    }
)
_ERRORS = ("Failed", "ExecutionTimedOut")
AT_ONCE, DELIVERY_SECONDS, EXECUTION_SECONDS = "50", 3600, 3600
_WELL = Agent()


def agent(world: World, instance: str) -> Agent:
    return world.agents.get(instance, _WELL)


def managed(world: World) -> Iterator[tuple[Any, dict[str, str]]]:
    """moto's instances whose agent was ever heard of, each with its tags."""
    reservations, tags = world.ec2.reservations, world.ec2.tags
    for reservation in reservations.values():
        for instance in reservation.instances:
            if instance.state in ("running", "stopped") and agent(world, instance.id).ping:
                yield instance, tags.get(instance.id, {})


def online(world: World, instance: Any) -> bool:
    return bool(instance.state == "running" and agent(world, instance.id).ping == "Online")


def share(text: str, total: int) -> int:
    """`3`, or `25%` of all."""
    return int(text[:-1]) * total // 100 if text.endswith("%") else int(text)


def execution_seconds(command: Command) -> float:
    return float(command.given["Parameters"].get("executionTimeout", [EXECUTION_SECONDS])[0])


def begin(world: World, given: dict[str, Any], instances: Collection[str]) -> Command:
    """A new command, which the first nodes get at once."""
    delivery = given.get("TimeoutSeconds", DELIVERY_SECONDS)
    command = Command(world.id(), given, world.now, world.now)
    command.expires += delivery + execution_seconds(command)
    command.invocations = {name: Invocation(name) for name in sorted(instances)}
    world.state.commands[command.id] = command
    world.at(command.expires, _expire, command)
    _go_on(world, command)
    return command


def _go_on(world: World, command: Command) -> None:
    """The next nodes get it, or it has ended."""
    world.changes += 1
    total = len(command.invocations)
    most = share(command.given.get("MaxErrors", "0"), total)
    places = max(1, share(command.given.get("MaxConcurrency", AT_ONCE), total))
    every = list(command.invocations.values())
    while command.next < total and (command.failed > most or command.running < places):
        one = every[command.next]
        command.next += 1
        if one.status in ENDED:
            continue
        if command.failed > most:
            _ended(world, command, one, "Terminated")
        else:
            _deliver(world, command, one)
    _conclude(command, too_many=command.failed > most)


def _conclude(command: Command, *, too_many: bool) -> None:
    """What the whole command is, from what it is on its nodes."""
    words = (
        {one.status for one in command.invocations.values()} if command.completed == len(command.invocations) else None
    )
    if not command.invocations:
        command.status = "NoInstancesInTag"
    elif command.status in ("Cancelled", "Cancelling"):
        command.status = "Cancelled" if words else "Cancelling"
    elif not words:
        command.status = "InProgress"
    elif too_many:
        command.status = "Failed"
    else:
        command.status = "Success" if words == {"Success"} else "Incomplete"


def _ended(world: World, command: Command, one: Invocation, status: str) -> None:
    command.running -= one.began is not None
    command.completed += 1
    command.failed += status in _ERRORS
    one.status, one.ended = status, world.now


def _deliver(world: World, command: Command, one: Invocation) -> None:
    """The node gets it; one that is not online does so when it comes back (`arrive`), and keeps its place meanwhile."""
    command.running += one.began is None
    one.began = world.now
    instance = world.instance(one.instance)
    if instance is None or not online(world, instance):
        one.status = "Delayed"
        return
    one.status = "InProgress"
    there = agent(world, one.instance)
    seconds = world.realism.command_seconds if there.seconds is None else there.seconds
    if world.executor and there.seconds != math.inf:
        one.code, one.output, one.errors = world.executor(one.instance, "\n".join(_script(command)))
    else:
        one.code, one.output, one.errors = there.code, there.output, there.errors
    longest = execution_seconds(command)
    if seconds <= longest:
        world.after(seconds, _end, command, one, "Failed" if one.code else "Success")
    elif seconds != math.inf:
        world.after(longest, _end, command, one, "ExecutionTimedOut")


def _script(command: Command) -> list[str]:
    return list(command.given["Parameters"]["commands"])


def arrive(world: World, instance: str) -> None:
    """Its agent is online again, and gets what waits for it."""
    world.agents.pop(instance, None)
    for command in world.state.commands.values():
        one = command.invocations.get(instance)
        if one and one.status == "Delayed":
            _deliver(world, command, one)


def _end(world: World, command: Command, one: Invocation, status: str) -> None:
    if one.status not in ENDED:
        _ended(world, command, one, status)
        _go_on(world, command)


def _expire(world: World, command: Command) -> None:
    left = [one for one in command.invocations.values() if one.status not in ENDED]
    for one in left:
        _ended(world, command, one, "DeliveryTimedOut")
    if left:
        _go_on(world, command)


def cancel(world: World, command: Command, instances: Collection[str]) -> None:
    """On these nodes, or (none given) on all: it is not run where it has not begun; what runs is stopped."""
    for one in command.invocations.values():
        if one.status not in ENDED and (not instances or one.instance in instances):
            _ended(world, command, one, "Cancelled")
    if not instances and command.status not in ("Success", "Failed", "Incomplete", "NoInstancesInTag"):
        command.status = "Cancelled"
    _go_on(world, command)
