"""Systems Manager's Run Command: one shell script on many nodes, and which nodes it can reach."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nodepkg.clients.aws.account import aws_errors
from nodepkg.clients.aws.regional import Regional, in_parts, unless
from nodepkg.clients.aws.tags import Tags
from nodepkg.errors import AwsError

DOCUMENT = "AWS-RunShellScript"
IDS_OF_ONE = 50  # the most that one SendCommand or CancelCommand may name
LONGEST_COMMENT = 100
ONLINE = "Online"
SHORTEST_DELIVERY, LONGEST_DELIVERY, LONGEST_EXECUTION = 30, 2592000, 172800
_PAGE = {"PageSize": 50}
_FILTER_VALUES = 100
# After these nobody can tell whether the request was carried out.
_UNCLEAR = ("", "InternalServerError", "InternalError", "InternalFailure", "ServiceUnavailable", "RequestTimeout")
_UNCLEAR_STATUS = ("500", "502", "503", "504")
# How long ago a command may have been sent that is looked for, and how often it is.
_LATELY, _EACH = 900.0, 2.0

# StatusDetails of a command, or of an invocation, that is not going to change.
ENDED = frozenset(
    {
        "Success",
        "Failed",
        "Cancelled",
        "TimedOut",
        "DeliveryTimedOut",
        "ExecutionTimedOut",
        "Undeliverable",
        "Terminated",
        "Incomplete",
        "InvalidPlatform",
        "AccessDenied",
        "RateExceeded",
        "NoInstancesInTag",
    }
)


@dataclass(frozen=True)
class Order:
    """What SendCommand is asked for: the script, and where: on all nodes with the tags, or on up to 50 instances.

    `comment` is its own, so that the command can be found by it. `max_errors` None: however many. A node has
    `execution` seconds for it; what has no node after `delivery` more is given up.
    """

    comment: str
    script: str
    tags: Tags
    instances: Sequence[str]
    at_once: int
    max_errors: int | None
    delivery: float
    execution: float


@dataclass(frozen=True)
class Command:
    """A command as it is told. `status` in StatusDetails' words without blanks; `requested` aware (UTC)."""

    id: str
    comment: str
    status: str
    targets: int
    completed: int
    errors: int

    @property
    def ended(self) -> bool:
        return self.status in ENDED or 0 < self.targets <= self.completed


@dataclass(frozen=True)
class Invocation:
    """A command on one node; `code` is None until there is one, `output` both streams, cut at 2,500 characters."""

    instance: str
    status: str
    code: int | None
    output: str
    started: bool

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class RunCommand(Regional):
    """Run Command in one region. What was just sent may be unknown to the next read."""

    service = "ssm"

    def pings(self, *, tags: Tags | None = None, instances: Collection[str] = ()) -> dict[str, str]:
        """Instance -> Online, ConnectionLost, Inactive: of those instances, or of those with the tags.

        Those whose agent never registered are not in it.
        """
        wanted: list[list[dict[str, Any]]] = [
            [{"Key": "InstanceIds", "Values": list(part)}] for part in in_parts(sorted(instances), _FILTER_VALUES)
        ]
        if tags:
            wanted = [[{"Key": f"tag:{key}", "Values": [value]} for key, value in tags.items()]]
        found = [
            one
            for filters in wanted
            for one in self.pages(
                "describe_instance_information", "InstanceInformationList", Filters=filters, PaginationConfig=_PAGE
            )
        ]
        return {one["InstanceId"]: one.get("PingStatus", "") for one in found}

    def send(self, order: Order, *, window: float, sleep: Callable[[float], None]) -> Command:
        """Sends it once, also if a reply is lost: before any further try it is looked for, for `window` seconds.

        Raises AwsError; after one without a code nobody knows whether it was sent.
        """
        tries = 0

        def look_first(operation: str) -> None:
            nonlocal tries
            tries += operation == "SendCommand"
            if operation == "SendCommand" and tries > 1:
                found = self._sent(order.comment, window, sleep)
                if found:
                    raise _SentError(found)

        try:
            with aws_errors(f"send a command in {self.region}"), self.account.checked(look_first):
                return _command(self.client.send_command(**_arguments(order))["Command"])
        except _SentError as error:
            return error.command
        except AwsError as error:
            found = self._sent(order.comment, window, sleep) if error.code in (*_UNCLEAR, *_UNCLEAR_STATUS) else None
            if found:
                return found
            raise

    def command(self, name: str) -> Command | None:
        """As it is now; None if it cannot be seen (yet)."""
        with unless(f"command {name} in {self.region}", "InvalidCommandId"):
            told = self.client.list_commands(CommandId=name).get("Commands", [])
            return _command(told[0]) if told else None
        return None

    def commands(self, seconds: float, *, running: bool = False) -> list[Command]:
        """The shell commands of the last so many seconds; of those that are `running` others may be left out."""
        since = datetime.fromtimestamp(self.account.now(), UTC) - timedelta(seconds=seconds)
        filters = [{"key": "InvokedAfter", "value": since.strftime("%Y-%m-%dT%H:%M:%SZ")}]
        if running:
            filters.append({"key": "ExecutionStage", "value": "Executing"})
        found = self.pages("list_commands", "Commands", Filters=filters, PaginationConfig=_PAGE)
        return [_command(raw) for raw in found if raw.get("DocumentName", DOCUMENT) == DOCUMENT]

    def invocations(self, name: str, *, status: str = "") -> list[Invocation]:
        """Of the nodes that had their turn, or of those with this Status."""
        more: dict[str, Any] = {"Filters": [{"key": "Status", "value": status}]} if status else {}
        with unless(f"command {name} in {self.region}", "InvalidCommandId"):
            found = self.pages(
                "list_command_invocations",
                "CommandInvocations",
                CommandId=name,
                Details=True,
                PaginationConfig=_PAGE,
                **more,
            )
            return [_invocation(raw) for raw in found]
        return []

    def output(self, name: str, instance: str) -> str:
        """The first 24,000 characters that the script wrote to stdout there, and 8,000 of stderr; "" if unknown."""
        with unless(f"command {name} on {instance}", "InvocationDoesNotExist", "InvalidCommandId"):
            told = self.client.get_command_invocation(CommandId=name, InstanceId=instance)
            return str(told.get("StandardOutputContent") or "") + str(told.get("StandardErrorContent") or "")
        return ""

    def cancel_command(self, name: str, instances: Sequence[str] = ()) -> None:
        """On these instances, or on all: where it has not begun it does not begin. What is over already is as good."""
        for part in in_parts(instances, IDS_OF_ONE) if instances else [()]:
            with unless(f"cancel command {name}", "InvalidCommandId", "InvalidInstanceId"):
                self.client.cancel_command(CommandId=name, **({"InstanceIds": list(part)} if part else {}))

    def _sent(self, comment: str, window: float, sleep: Callable[[float], None]) -> Command | None:
        waited = 0.0
        while True:
            found = next((one for one in self.commands(_LATELY) if one.comment == comment), None)
            if found or waited >= window:
                return found
            sleep(_EACH)
            waited += _EACH


class _SentError(Exception):
    """It has been sent already."""

    def __init__(self, command: Command) -> None:
        super().__init__(command.id)
        self.command = command


def _arguments(order: Order) -> dict[str, Any]:
    execution = round(min(max(order.execution, 1), LONGEST_EXECUTION))
    arguments: dict[str, Any] = {
        "DocumentName": DOCUMENT,
        "Comment": order.comment[:LONGEST_COMMENT],
        "Parameters": {"commands": [order.script], "executionTimeout": [str(execution)]},
        "TimeoutSeconds": round(min(max(order.delivery, SHORTEST_DELIVERY), LONGEST_DELIVERY)),
        "MaxConcurrency": str(max(order.at_once, 1)),
        "MaxErrors": "100%" if order.max_errors is None else str(order.max_errors),
    }
    if order.instances:
        return arguments | {"InstanceIds": list(order.instances)}
    return arguments | {"Targets": [{"Key": f"tag:{key}", "Values": [value]} for key, value in order.tags.items()]}


def _word(raw: Mapping[str, Any]) -> str:
    """StatusDetails is written with blanks in some places, and has one l less in others."""
    told = str(raw.get("StatusDetails") or raw.get("Status") or "").replace(" ", "")
    told = {"Canceled": "Cancelled"}.get(told, told)
    status = str(raw.get("Status") or "")
    # Words that nobody has heard of: Status has a fixed set.
    return told if told in ENDED or status not in ENDED else status


def _command(raw: Mapping[str, Any]) -> Command:
    return Command(
        id=raw["CommandId"],
        comment=raw.get("Comment") or "",
        status=_word(raw),
        targets=raw.get("TargetCount") or 0,
        completed=raw.get("CompletedCount") or 0,
        errors=raw.get("ErrorCount") or 0,
    )


def _invocation(raw: Mapping[str, Any]) -> Invocation:
    plugins = raw.get("CommandPlugins") or [{}]
    code = plugins[0].get("ResponseCode")
    started = plugins[0].get("ResponseStartDateTime")
    return Invocation(
        instance=raw["InstanceId"],
        status=_word(raw),
        code=None if code is None or code < 0 else int(code),
        output=str(plugins[0].get("Output") or ""),
        started=started is not None and started.timestamp() > 0,
    )
