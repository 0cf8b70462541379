"""States that take a while in AWS and none in moto. They are moto's own, so that filters and refusals see them."""

import re
import threading
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call
from nodepkg.sandbox.front import Layer
from tests.faults.layers import Onward, layer

_IMAGE = re.compile(r"<imageId>(ami-\w+)</imageId>")
_INSTANCE = re.compile(r"<instanceId>(i-\w+)</instanceId>")


def pending_images(until: threading.Event | int, *, becomes: str = "available") -> Layer:
    """What CreateImage makes is `pending` until the event is set or so many DescribeImages were answered since."""
    waiting = _Waiting(until)

    def answer(call: Call, onward: Onward) -> Response:
        if call.action == "DescribeImages":
            for image in waiting.over():
                image.state = becomes
        reply = onward()
        if call.action == "CreateImage":
            for found in _IMAGE.findall(reply.get_data(as_text=True)):
                image = _ec2(call).amis[found]
                image.state = "pending"
                waiting.add(image)
        return reply

    return layer(answer)


def slow_termination(describes: int) -> Layer:
    """Terminated instances are `shutting-down` until so many DescribeInstances were answered."""
    waiting = _Waiting(describes)

    def answer(call: Call, onward: Onward) -> Response:
        if call.action == "DescribeInstances":
            for state in waiting.over():
                state.name, state.code = "terminated", 48
        reply = onward()
        if call.action == "TerminateInstances" and reply.status_code == 200:
            named = [value for key, value in call.parameters.items() if key.startswith("InstanceId.")]
            for instance in _ec2(call).get_multi_instances_by_id(named):
                instance._state.name, instance._state.code = "shutting-down", 32
                waiting.add(instance._state)
        return reply

    return layer(answer)


class _Waiting:
    """Things whose state lasts until an event is set, or for a number of looks."""

    def __init__(self, until: threading.Event | int) -> None:
        self._until = until
        self._things: list[tuple[Any, list[int]]] = []
        self._lock = threading.Lock()

    def add(self, thing: Any) -> None:
        looks = 0 if isinstance(self._until, threading.Event) else self._until
        with self._lock:
            self._things.append((thing, [looks]))

    def over(self) -> list[Any]:
        """Those whose time has come, once each; the look counts."""
        with self._lock:
            over = [one for one in self._things if self._is_over(one[1])]
            self._things = [one for one in self._things if one not in over]
            for _, looks in self._things:
                looks[0] -= 1
            return [thing for thing, _ in over]

    def _is_over(self, looks: list[int]) -> bool:
        return self._until.is_set() if isinstance(self._until, threading.Event) else looks[0] <= 0


def _ec2(call: Call) -> Any:
    return ec2_backends[DEFAULT_ACCOUNT_ID][call.region]


def slow_start(describes: int) -> Layer:
    """Started instances are `pending` until so many DescribeInstances were answered."""
    waiting = _Waiting(describes)

    def answer(call: Call, onward: Onward) -> Response:
        if call.action == "DescribeInstances":
            for state in waiting.over():
                if state.name == "pending":
                    state.name, state.code = "running", 16
        reply = onward()
        if call.action == "RunInstances" and reply.status_code == 200:
            named = _INSTANCE.findall(reply.get_data(as_text=True))
            for instance in _ec2(call).get_multi_instances_by_id(named):
                instance._state.name, instance._state.code = "pending", 0
                waiting.add(instance._state)
        return reply

    return layer(answer)


def no_room(*zones: str, code: str = "InsufficientInstanceCapacity", status: int = 500) -> Layer:
    """In these zones (none: everywhere) RunInstances is refused, with the status that EC2 gives to it."""

    def answer(call: Call, onward: Onward) -> Response:
        if call.action != "RunInstances":
            return onward()
        zone = _ec2(call).get_subnet(call.parameters["SubnetId"]).availability_zone
        if zones and zone not in zones:
            return onward()
        return call.error(code, f"We currently do not have sufficient capacity in {zone}.", status)

    return layer(answer)
