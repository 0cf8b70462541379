"""The application around moto's that gives it time."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call, read
from nodepkg.sandbox.realistic import (
    attachment_calls,
    balancing_calls,
    computing_calls,
    group_calls,
    node_calls,
    nodes,
    policy_calls,
    schedule_calls,
    tag_calls,
)
from nodepkg.sandbox.realistic.clocks import Clock, RealClock
from nodepkg.sandbox.realistic.errors import AwsRefusalError
from nodepkg.sandbox.realistic.protocol import arguments, reply
from nodepkg.sandbox.realistic.settings import Realism
from nodepkg.sandbox.realistic.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Handler = Callable[[World, Mapping[str, Any]], dict[str, Any]]
_SCALING: dict[str, Handler] = {
    **group_calls.CALLS,
    **tag_calls.CALLS,
    **node_calls.CALLS,
    **policy_calls.CALLS,
    **schedule_calls.CALLS,
    **attachment_calls.CALLS,
}
_CALLS: dict[str, Mapping[str, Handler]] = {
    "autoscaling": _SCALING,
    "elasticloadbalancing": balancing_calls.CALLS,
    "ec2": computing_calls.CALLS,
}
# Of Auto Scaling these alone are still moto's: they know no time.
_MOTOS = ("CreateLaunchConfiguration", "DescribeLaunchConfigurations", "DeleteLaunchConfiguration")


class Realistic:
    """Layer right around moto; one for each server. One request at a time is carried out, at `clock.now()`."""

    def __init__(self, clock: Clock | None = None, realism: Realism | None = None) -> None:
        self.clock = clock or RealClock()
        self.realism = realism or Realism()
        self.lock = threading.RLock()
        self._worlds: dict[str, World] = {}
        self._tokens = computing_calls.Tokens()
        self._made: list[Callable[[World], None]] = []

    def world(self, region: str) -> World:
        """The region as it is now. Whoever changes it holds `lock`, and calls `catch_up` afterwards."""
        with self.lock:
            if region not in self._worlds:
                self._worlds[region] = World(region, self.realism, self.clock.now())
                for tell in self._made:
                    tell(self._worlds[region])
            self.catch_up()
            return self._worlds[region]

    def whenever_made(self, tell: Callable[[World], None]) -> None:
        """`tell` is called with each region when it is used first."""
        self._made.append(tell)

    def catch_up(self) -> None:
        """Everything that is due until now happens."""
        with self.lock:
            now = self.clock.now()
            for world in self._worlds.values():
                world.settle()
                world.advance(now)

    def forget(self) -> None:
        """Every region is as new."""
        with self.lock:
            self._worlds.clear()
            self._tokens = computing_calls.Tokens()

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            call = read(environ)
            with self.lock:
                response = self._answer(call, lambda: Response.from_app(app, environ))
                response.get_data()
            return response(environ, start_response)

        return respond

    def _answer(self, call: Call, onward: Callable[[], Response]) -> Response:
        if not call.action or call.service not in _CALLS:
            return onward()
        world = self.world(call.region)
        try:
            return self._carry_out(world, call, onward)
        except AwsRefusalError as error:
            return call.error(error.code, error.message, error.status)
        finally:
            self.catch_up()

    def _carry_out(self, world: World, call: Call, onward: Callable[[], Response]) -> Response:
        handler = _CALLS[call.service].get(call.action)
        if handler:
            return reply(call, handler(world, arguments(call)))
        if call.service == "autoscaling" and call.action not in _MOTOS:
            return call.error("SandboxLimit", f"the sandbox cannot do this: {call.action}", 501)
        former = self._tokens.answer(call)
        if former is not None:
            return former
        response = onward()
        self._tokens.remember(call, response)
        if call.service == "ec2" and call.action in computing_calls.ENDING:
            for key, value in call.parameters.items():
                if key.startswith("InstanceId."):
                    nodes.ended_by_others(world, str(value))
        return response
