"""Systems Manager's calls about Run Command, and about the nodes whose agent it hears of."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from nodepkg.sandbox.paging import BadTokenError, page
from nodepkg.sandbox.realistic import commands
from nodepkg.sandbox.realistic.errors import AwsRefusalError
from nodepkg.sandbox.realistic.protocol import moment
from nodepkg.sandbox.realistic.records import Command, Invocation
from nodepkg.sandbox.realistic.world import World

Arguments = Mapping[str, Any]
DOCUMENT, PLUGIN = "AWS-RunShellScript", "aws:runShellScript"
_PARAMETERS = ("commands", "workingDirectory", "executionTimeout")
_MOST_IDS, _MOST_TARGETS, _MOST_VALUES = 50, 5, 50
_LONGEST_DOCUMENT, _LONGEST_OUTPUT, _LONGEST_STDOUT, _LONGEST_STDERR = 65536, 2500, 24000, 8000
_SHARES = {
    "MaxConcurrency": re.compile(r"[1-9][0-9]*|[1-9][0-9]%|[1-9]%|100%"),
    "MaxErrors": re.compile(r"[1-9][0-9]*|0|[1-9][0-9]%|[0-9]%|100%"),
}
# StatusDetails -> Status, where they are not the same.
_STATUS = {
    "DeliveryTimedOut": "TimedOut",
    "ExecutionTimedOut": "TimedOut",
    "Undeliverable": "Failed",
    "InvalidPlatform": "Failed",
    "AccessDenied": "Failed",
    "Terminated": "Cancelled",
    "Incomplete": "Failed",
    "NoInstancesInTag": "Success",
}


def _invalid(message: str) -> AwsRefusalError:
    return AwsRefusalError("ValidationException", message)


def send(world: World, arguments: Arguments) -> dict[str, Any]:
    _check(arguments)
    ids, targets = arguments.get("InstanceIds") or [], arguments.get("Targets") or []
    if bool(ids) == bool(targets):
        raise _invalid("Either InstanceIds or Targets has to be given")
    chosen = _by_id(world, ids) if ids else _by_target(world, targets)
    return {"Command": _told(commands.begin(world, dict(arguments), chosen))}


def _check(arguments: Arguments) -> None:
    if arguments.get("DocumentName") != DOCUMENT:
        raise AwsRefusalError("InvalidDocument", f"The sandbox has the document {DOCUMENT} alone")
    parameters = arguments.get("Parameters", {})
    unknown = [name for name in parameters if name not in _PARAMETERS]
    if unknown or not parameters.get("commands"):
        raise AwsRefusalError("InvalidParameters", f"{DOCUMENT} takes {', '.join(_PARAMETERS)}")
    if any("{{" in line for line in parameters["commands"]):
        raise AwsRefusalError("InvalidParameters", "Parameter names in {{ }} are replaced, and the sandbox has none")
    if not 1 <= int(parameters.get("executionTimeout", ["3600"])[0]) <= 172800:
        raise AwsRefusalError("InvalidParameters", "executionTimeout is from 1 to 172800")
    if sum(len(line) for line in parameters["commands"]) > _LONGEST_DOCUMENT:
        raise AwsRefusalError("MaxDocumentSizeExceeded", "The size limit of a document is 64 KB.")
    if len(arguments.get("Comment", "")) > 100 or not 30 <= arguments.get("TimeoutSeconds", 3600) <= 2592000:
        raise _invalid("Comment has at most 100 characters, TimeoutSeconds is from 30 to 2592000")
    for name, pattern in _SHARES.items():
        if name in arguments and (len(arguments[name]) > 7 or not pattern.fullmatch(arguments[name])):
            raise _invalid(f"{name} failed to satisfy constraint: {pattern.pattern}")


def _by_id(world: World, ids: Sequence[str]) -> list[str]:
    if len(ids) > _MOST_IDS:
        raise _invalid(f"InstanceIds has at most {_MOST_IDS} members")
    if len(set(ids)) < len(ids):
        raise AwsRefusalError("DuplicateInstanceId", "You can't specify an instance ID in more than one association.")
    known = {instance.id for instance, _ in commands.managed(world) if commands.online(world, instance)}
    bad = [name for name in ids if name not in known]
    if bad:
        raise AwsRefusalError("InvalidInstanceId", f"Instances [[{', '.join(bad)}]] not in a valid state for account")
    return list(ids)


def _by_target(world: World, targets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those that meet every target; one that meets any of a target's values meets it."""
    if len(targets) > _MOST_TARGETS or any(len(target["Values"]) > _MOST_VALUES for target in targets):
        raise _invalid(f"Targets has at most {_MOST_TARGETS} keys, each with {_MOST_VALUES} values")
    found = []
    for instance, tags in commands.managed(world):
        if instance.state == "running" and all(_meets(instance, tags, one["Key"], one["Values"]) for one in targets):
            found.append(str(instance.id))
    return found


def _meets(instance: Any, tags: Mapping[str, str], key: str, values: Sequence[str]) -> bool:
    if key.lower() == "instanceids":
        return instance.id in values
    if key == "tag-key":
        return any(value in tags for value in values)
    if not key.startswith("tag:"):
        raise AwsRefusalError("InvalidFilterKey", f"The specified key is not valid: {key}")
    return tags.get(key.removeprefix("tag:")) in values


def _told(command: Command) -> dict[str, Any]:
    named = ("Comment", "DocumentName", "Parameters", "InstanceIds", "Targets", "MaxConcurrency", "MaxErrors")
    return {
        **{name: command.given[name] for name in (*named, "TimeoutSeconds") if name in command.given},
        "CommandId": command.id,
        "RequestedDateTime": moment(command.requested),
        "ExpiresAfter": moment(command.expires),
        "Status": _STATUS.get(command.status, command.status),
        "StatusDetails": command.status,
        "TargetCount": len(command.invocations),
        "CompletedCount": command.completed,
        "ErrorCount": command.failed,
    }


def _named(world: World, name: str) -> Command:
    command = world.state.commands.get(name)
    if command is None:
        raise AwsRefusalError("InvalidCommandId", "The specified command ID isn't valid. Verify the ID and try again.")
    return command


def _paged(
    arguments: Arguments, items: Sequence[Any], key: Callable[[Any], Any], *, least: int = 1, ordered: bool = False
) -> Any:
    size = arguments.get("MaxResults", 50)
    if not least <= size <= 50:
        raise _invalid(f"MaxResults is from {least} to 50")
    try:
        return page(items, key, token=arguments.get("NextToken"), size=size, ordered=ordered)
    except BadTokenError as error:
        raise AwsRefusalError("InvalidNextToken", "The specified token isn't valid.") from error


def _kept(command: Command, status: str, filters: Sequence[Mapping[str, str]]) -> bool:
    asked = {one["key"]: one["value"] for one in filters}
    after, before = asked.get("InvokedAfter"), asked.get("InvokedBefore")
    running = status in ("Pending", "InProgress", "Delayed", "Cancelling")
    return (
        (after is None or command.requested >= datetime.fromisoformat(after).timestamp())
        and (before is None or command.requested < datetime.fromisoformat(before).timestamp())
        and asked.get("Status") in (None, _STATUS.get(status, status))
        and asked.get("DocumentName") in (None, command.given["DocumentName"])
        and asked.get("ExecutionStage") in (None, "Executing" if running else "Complete")
    )


def list_commands(world: World, arguments: Arguments) -> dict[str, Any]:
    """The newest first."""
    name, instance = arguments.get("CommandId"), arguments.get("InstanceId")
    every = [_named(world, name)] if name else list(world.state.commands.values())
    filters = arguments.get("Filters", [])
    found = [one for one in every if instance in (None, *one.invocations) and _kept(one, one.status, filters)]
    some, token = _paged(arguments, found, lambda one: (-one.requested, one.id))
    return {"Commands": [_told(one) for one in some], "NextToken": token}


def list_invocations(world: World, arguments: Arguments) -> dict[str, Any]:
    """Of nodes that had their turn, by their ids."""
    name, wanted = arguments.get("CommandId"), arguments.get("InstanceId")
    every = [_named(world, name)] if name else list(world.state.commands.values())
    filters = arguments.get("Filters", [])
    found = [
        (command, one)
        for command in sorted(every, key=lambda one: (-one.requested, one.id))
        for one in command.invocations.values()
        if (one.began is not None or one.ended is not None)
        and wanted in (None, one.instance)
        and (not filters or _kept(command, one.status, filters))
    ]
    some, token = _paged(arguments, found, lambda one: (-one[0].requested, one[0].id, one[1].instance), ordered=True)
    details = arguments.get("Details", False)
    return {
        "CommandInvocations": [_invocation(command, one, details=details) for command, one in some],
        "NextToken": token,
    }


def _invocation(command: Command, one: Invocation, *, details: bool) -> dict[str, Any]:
    told = {
        "CommandId": command.id,
        "InstanceId": one.instance,
        "Comment": command.given.get("Comment", ""),
        "DocumentName": command.given["DocumentName"],
        "RequestedDateTime": command.requested,
        "Status": _STATUS.get(one.status, one.status),
        "StatusDetails": one.status,
        "CommandPlugins": [],
    }
    if details and one.began is not None:
        output = one.output + (f"\n----------ERROR-------\n{one.errors}" if one.errors else "")
        ended = {"Success", "Failed"} & {one.status}
        told["CommandPlugins"] = [
            {
                "Name": PLUGIN,
                "Status": _STATUS.get(one.status, one.status),
                "StatusDetails": one.status,
                "ResponseCode": one.code if ended else -1,
                "ResponseStartDateTime": one.began,
                "ResponseFinishDateTime": one.ended or 0,
                "Output": output[:_LONGEST_OUTPUT] if ended else "",
            }
        ]
    return told


def get_invocation(world: World, arguments: Arguments) -> dict[str, Any]:
    command = _named(world, arguments["CommandId"])
    one = command.invocations.get(arguments["InstanceId"])
    if one is None or (one.began is None and one.ended is None) or arguments.get("PluginName", PLUGIN) != PLUGIN:
        raise AwsRefusalError(
            "InvocationDoesNotExist", "The command ID and managed node ID didn't match any invocation."
        )
    ended = one.status in ("Success", "Failed")
    return {
        "CommandId": command.id,
        "InstanceId": one.instance,
        "Comment": command.given.get("Comment", ""),
        "DocumentName": command.given["DocumentName"],
        "PluginName": PLUGIN,
        "ResponseCode": one.code if ended else -1,
        "Status": _STATUS.get(one.status, one.status),
        "StatusDetails": one.status,
        "StandardOutputContent": one.output[:_LONGEST_STDOUT] if ended else "",
        "StandardErrorContent": one.errors[:_LONGEST_STDERR] if ended else "",
    }


def cancel(world: World, arguments: Arguments) -> dict[str, Any]:
    command, names = _named(world, arguments["CommandId"]), arguments.get("InstanceIds") or []
    if len(names) > _MOST_IDS:
        raise _invalid(f"InstanceIds has at most {_MOST_IDS} members")
    if any(name not in command.invocations for name in names):
        raise AwsRefusalError("InvalidInstanceId", "The command has no such managed node")
    commands.cancel(world, command, names)
    return {}


def describe_nodes(world: World, arguments: Arguments) -> dict[str, Any]:
    """All whose agent was ever heard of."""
    asked = [(one["Key"], one["Values"]) for one in arguments.get("Filters", [])]
    asked += [(one["key"], one["valueSet"]) for one in arguments.get("InstanceInformationFilterList", [])]
    found = []
    for instance, tags in commands.managed(world):
        ping = "Online" if commands.online(world, instance) else "ConnectionLost"
        if all(ping in values if key == "PingStatus" else _meets(instance, tags, key, values) for key, values in asked):
            found.append((str(instance.id), ping))
    some, token = _paged(arguments, found, lambda one: one[0], least=5)
    about = {"PlatformType": "Linux", "ResourceType": "EC2Instance", "AgentVersion": "3.3.1345.0"}
    told = [{"InstanceId": name, "PingStatus": ping, "LastPingDateTime": world.now, **about} for name, ping in some]
    return {"InstanceInformationList": told, "NextToken": token}


CALLS: dict[str, Callable[[World, Arguments], dict[str, Any]]] = {
    "SendCommand": send,
    "ListCommands": list_commands,
    "ListCommandInvocations": list_invocations,
    "GetCommandInvocation": get_invocation,
    "CancelCommand": cancel,
    "DescribeInstanceInformation": describe_nodes,
}
