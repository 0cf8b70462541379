"""The application around moto's that gives it time."""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from nodepkg.sandbox.calls import Call, read
from nodepkg.sandbox.realistic import (
    attachment_calls,
    balancing_calls,
    command_calls,
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
from nodepkg.sandbox.realistic.past import Past
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
    "ssm": command_calls.CALLS,
}
# Of Auto Scaling these alone are still moto's: they know no time.
_MOTOS = ("CreateLaunchConfiguration", "DescribeLaunchConfigurations", "DeleteLaunchConfiguration")


# In a request's WSGI environment: how many seconds old the answer is.
AGO = "nodepkg.seconds_ago"
_READING = ("Describe", "Get", "List")


class Realistic:
    """Layer right around moto; one for each server. One request at a time is carried out, at `clock.now()`.

    Of what was so many seconds ago it `remembers` enough to answer a read as it would have been then.
    """

    def __init__(self, clock: Clock | None = None, realism: Realism | None = None, *, remembers: float = 0) -> None:
        self.clock = clock or RealClock()
        self.realism = realism or Realism()
        self.lock = threading.RLock()
        self._worlds: dict[str, World] = {}
        self._tokens = computing_calls.Tokens()
        self._made: list[Callable[[World], None]] = []
        self._remembers = remembers
        self._pasts: dict[str, Past] = {}

    def world(self, region: str) -> World:
        """The region as it is now. Whoever changes it holds `lock`, and calls `catch_up` afterwards."""
        with self.lock:
            if region not in self._worlds:
                world = self._worlds[region] = World(region, self.realism, self.clock.now())
                if self._remembers:
                    self._pasts[region] = Past(world, self._remembers)
                    world.before_time_passes = self._pasts[region].note
                for tell in self._made:
                    tell(world)
            self.catch_up()
            return self._worlds[region]

    @property
    def worlds(self) -> list[World]:
        """The regions that were used."""
        return list(self._worlds.values())

    def whenever_made(self, tell: Callable[[World], None]) -> None:
        """`tell` is called with each region when it is used first."""
        self._made.append(tell)

    def catch_up(self) -> None:
        """Everything that is due until now happens."""
        with self.lock:
            now = self.clock.now()
            for region, world in self._worlds.items():
                world.settle()
                world.advance(now)
                if region in self._pasts:
                    self._pasts[region].note()

    def forget(self) -> None:
        """Every region is as new."""
        with self.lock:
            self._worlds.clear()
            self._pasts.clear()
            self._tokens = computing_calls.Tokens()

    def __call__(self, app: "WSGIApplication") -> "WSGIApplication":
        def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
            call = read(environ)
            if not call.action and environ["REQUEST_METHOD"] == "GET":
                # Of S3: a script of Run Command, which runs within another request, fetches something.
                return app(environ, start_response)
            with self.lock:
                response = self._answer(call, lambda: Response.from_app(app, environ), environ.get(AGO, 0))
                response.get_data()
            return response(environ, start_response)

        return respond

    def _answer(self, call: Call, onward: Callable[[], Response], ago: float) -> Response:
        if not call.action:
            return onward()
        world = self.world(call.region)
        past = self._pasts.get(call.region)
        try:
            if past and ago and call.action.startswith(_READING):
                with past.ago(ago):
                    return self._carry_out(world, call, onward)
            return self._carry_out(world, call, onward)
        except AwsRefusalError as error:
            return call.error(error.code, error.message, error.status)
        finally:
            self.catch_up()
            if past and not call.action.startswith(_READING):
                past.note(always=True)

    def _carry_out(self, world: World, call: Call, onward: Callable[[], Response]) -> Response:
        handler = _CALLS.get(call.service, {}).get(call.action)
        if handler:
            return reply(call, handler(world, arguments(call)))
        if call.service == "autoscaling" and call.action not in _MOTOS:
            return call.error("SandboxLimit", f"the sandbox cannot do this: {call.action}", 501)
        former = self._tokens.answer(call)
        if former is not None:
            return former
        response = onward()
        response.get_data()
        self._tokens.remember(call, response)
        if call.service == "ec2" and call.action in computing_calls.ENDING:
            for key, value in call.parameters.items():
                if key.startswith("InstanceId."):
                    nodes.ended_by_others(world, str(value))
        return response
