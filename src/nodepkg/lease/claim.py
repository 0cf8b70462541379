"""One claim per group, which a command takes before it changes the group's machines, and the fence around its changes.

A claim is the Systems Manager parameter `/nodepkg/lease/group/GROUP/<n>`, put without overwriting: of two who put the
same number AWS refuses one. The newest number holds. It stays for ever: a release removes the older ones and marks it
released, so the next claim has the next number, and no number that anybody can still see is given twice. The name of a
one-off instance is claimed in the same way, as `/nodepkg/lease/instance/NAME/<n>`.

What AWS shows may be old for a while (the consistency window). Whoever claims on an old list puts a number that

- exists: AWS refuses it, and the claim is judged anew by what stands there; or
- is free again, since its holder and a later one have released: then a newer number exists already, and the claim only
  seems to succeed. As every new holder it waits for a window before it observes. After that its first changing call,
  or heartbeat, finds the newer number, and the lease is lost before anything was changed.

Within the window after a claim its own parameter may still be invisible: that alone does not mean that it is lost.
Likewise a holder that was succeeded may not see the newer number for a window, and changes something. The new holder
waits just as long before it looks, and so sees what was changed. A request that was checked, and then held up with its
process, is refused by AWS when its signature is older than 15 minutes, so a heartbeat has to be older than that before
anybody may succeed a holder of whom nothing else is known.
"""

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Literal, TypeVar

from nodepkg.clients.aws.account import CONSISTENCY_SECONDS, Account
from nodepkg.clients.aws.ssm import Parameter, Parameters
from nodepkg.clients.processes import Process, is_gone, this_process, user_and_host
from nodepkg.errors import RefusedError, UsageError

BEAT_SECONDS = 30.0  # Systems Manager takes few writes a second, of all groups together
FRESH_SECONDS = 60.0
STALE_SECONDS = 20 * 60.0
CONSISTENCY_VARIABLE = "NODEPKG_CONSISTENCY_SECONDS"
_PATH = "/nodepkg/lease"
# A name of a group, or of an instance, has no character that a parameter's could not have (nodes/names.py).
_NAME = re.compile(rf"{_PATH}/(?:group|instance)/([^/]+)/([1-9][0-9]{{0,17}})")
_READS = ("Describe", "Get", "List", "Head")
_LONGEST = {"command": 300, "user": 100, "host": 100, "state": 100}  # a parameter holds 4 KB
_ASK_AGAIN_SECONDS = 0.5
_TRIES = 5

Made = TypeVar("Made")
Kind = Literal["group", "instance"]


class LostLeaseError(RefusedError):
    """Another one has the group now, or the claim was removed: nothing more may be changed."""


class StaleHeartbeatError(RefusedError):
    """Our own last heartbeat is too old to change anything: `beat()`, and observe again."""


@dataclass(frozen=True)
class Holder:
    """Who has, or had, a group: what the parameter says, as JSON.

    `since` and `heartbeat` are seconds since the epoch, by AWS's clock. `boot`, `namespace`, `pid` and `started` are
    those of clients.processes.Process. `run` is the command's run id, `nonce` tells one claim from every other one.
    `state` is what the command was at, at its last heartbeat. Of a `damaged` value only the times are known.
    """

    command: str
    user: str
    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    run: str
    since: float
    heartbeat: float
    state: str = ""
    released: bool = False
    nonce: str = ""
    damaged: bool = False

    def told(self, now: float) -> str:
        """Who, with which command, since when, in which state, last heard of when: one line."""
        ago = f"{_age(now - self.heartbeat)} ago"
        if self.damaged:
            return f"a claim that cannot be read, written {ago}"
        state = f", state: {_shown(self.state)}" if self.state else ""
        who, command = _shown(f"{self.user}@{self.host}"), _shown(self.command)
        return f"{who} with `{command}` since {_moment(self.since)}{state}, last heartbeat {ago}"


class Lease:
    """A held claim. Threads may share it, but each enters `fenced()` for itself."""

    def __init__(self, claims: "_Claims", number: int, holder: Holder, *, claimed: float, window: float) -> None:
        """`claimed` is the account's uptime right before the claim was put."""
        self.group, self.region = claims.group, claims.region
        self.number, self.run = number, holder.run
        self._claims, self._holder = claims, holder
        self._account = claims.account
        self._claimed = self._beaten = claimed
        self._window = window
        self._released = False
        self._writing = threading.RLock()

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Within it every try of every changing call of this thread is checked, signed and right before it is sent.

        Raises LostLeaseError if the claim is no longer the newest, StaleHeartbeatError if the own last heartbeat is
        older than a minute, AwsError if the claims cannot be read. It costs one call for each try. Calls of other
        threads are not checked, reads (Describe, Get, List, Head) and the lease's own calls neither.
        """
        with self._account.checked(self._check):
            yield

    def making(self, state: str, change: Callable[[], Made]) -> Made:
        """What a change gives that is made fenced, behind a heartbeat that tells the state.

        Where AWS throttles it for so long that the heartbeat gets old it is made anew, so it has to be one that may be
        made twice. Raises as beat() and fenced() do.
        """
        for _ in range(_TRIES - 1):
            self.beat(state)
            with suppress(StaleHeartbeatError), self.fenced():
                return change()
        self.beat(state)
        with self.fenced():
            return change()

    def beat(self, state: str | None = None) -> None:
        """Says that we live, and in which state, at most every 30 s.

        Raises LostLeaseError and writes nothing if the claim is no longer the newest.
        """
        with self._writing:
            state = self._holder.state if state is None else state[: _LONGEST["state"]]
            if not self._released and self._age() < BEAT_SECONDS:
                return
            self._require_newest()
            self._write(state=state)

    def release(self) -> None:
        """Removes older claims, and marks this one released. Does nothing the second time, or if the lease is lost.

        Raises AwsError if that fails, and may then be called again; else the group is free when this process has ended.
        """
        with self._writing:
            try:
                known = self._require_newest()
            except LostLeaseError:
                self._released = True
                return
            try:  # first, since who is killed in between is still seen to hold it, and so is succeeded and tidied up
                self._claims.remove(number for number in known if number < self.number)
            finally:
                self._write(released=True)
                self._released = True

    def _check(self, operation: str) -> None:
        if operation.startswith(_READS):
            return
        self._require_newest()
        if (age := self._age()) > FRESH_SECONDS:  # asked last, since the reading may have taken long
            raise StaleHeartbeatError(
                f"{self.group}: {operation} is not sent, since the own last heartbeat is {_age(age)} old",
                hint="this process, or its machine, was held up: run the command again",
            )

    def _require_newest(self) -> Mapping[int, Holder]:
        """All claims that are seen; raises LostLeaseError."""
        if self._released:
            raise self._lost("it has been released")
        known = self._claims.all()
        newest = max(known, default=0)
        if newest > self.number:
            claimed = "claimed and released again" if known[newest].released else "claimed"
            raise self._lost(f"the {self._claims.kind} was {claimed} by {known[newest].told(self._account.now())}")
        ours = known.get(self.number)
        if ours is None:
            if self._account.uptime() - self._claimed < self._window:
                return known
            raise self._lost("its parameter was removed")
        if ours.nonce != self._holder.nonce or ours.released:
            raise self._lost(f"its parameter was overwritten: {ours.told(self._account.now())}")
        return known

    def _lost(self, why: str) -> LostLeaseError:
        status = f"package autoscale:status {self.group}" if self._claims.kind == "group" else "package instance:list"
        return LostLeaseError(
            f"{self.group}: the lease (number {self.number}) is lost, nothing more is changed: {why}",
            hint=f"what is under way: {status}",
        )

    def _age(self) -> float:
        """Of the last heartbeat, by whichever clock says older: the local one may have stood still meanwhile."""
        return max(self._account.uptime() - self._beaten, self._account.now() - self._holder.heartbeat)

    def _write(self, **changes: Any) -> None:
        """If somebody claims a newer number just now, this writes to one that does not count any more."""
        beaten = self._account.uptime()
        holder = replace(self._holder, heartbeat=self._account.now(), **changes)
        self._claims.overwrite(self.number, holder)
        self._holder, self._beaten = holder, beaten


def claim(
    account: Account,
    region: str,
    group: str,
    *,
    command: str,
    run: str,
    take_over: bool = False,
    window: float,
    state: str = "",
    sleep: Callable[[float], None] = time.sleep,
    kind: Kind = "group",
) -> Lease:
    """Claims a group for a run. Before it observes the group, the caller has to wait for one consistency `window`.

    With `kind` "instance" it claims the name of a one-off instance, which then is what is called `group` here.

    A holder that is certainly gone is succeeded, with `take_over` also one whose heartbeat is older than 20 minutes.
    Raises RefusedError for any other: who it is, since when, and in which state.
    """
    claims = _Claims(account, region, group, kind)
    known = claims.all()
    nonce = secrets.token_hex(8)
    patience = window
    while True:
        newest = max(known, default=0)
        if newest:
            _require_free(group, known[newest], account.now(), take_over=take_over)
        claimed, holder = account.uptime(), _ourselves(command, run, nonce, account.now(), state)
        if claims.create(newest + 1, holder):
            break
        there = claims.one(newest + 1)
        if there and there.nonce == nonce:  # the reply was lost, and the SDK has tried again
            break
        if not there:  # two write at this moment, or it cannot be seen yet
            if patience <= 0:
                raise RefusedError(f"{group}: somebody else claims it at this moment", hint="run it again")
            patience -= _ASK_AGAIN_SECONDS
            sleep(_ASK_AGAIN_SECONDS)
        known = {**claims.all(), **({newest + 1: there} if there else {})}
    return Lease(claims, newest + 1, holder, claimed=claimed, window=window)


def holders(account: Account, region: str, groups: Collection[str]) -> dict[str, Holder]:
    """Who holds which of these groups now; those that nobody holds are left out. One list for all groups."""
    newest: dict[str, tuple[int, Holder]] = {}
    with account.unchecked():
        found = Parameters(account, region).under(f"{_PATH}/group", recursive=True)
    for parameter in found:
        named = _NAME.fullmatch(parameter.name)
        if named and named[1] in groups and int(named[2]) > newest.get(named[1], (0, None))[0]:
            newest[named[1]] = int(named[2]), _read(parameter)
    return {group: holder for group, (_, holder) in newest.items() if not holder.released}


def consistency_seconds(environ: Mapping[str, str], default: float = CONSISTENCY_SECONDS) -> float:
    """How long AWS may show what is no longer true; raises UsageError for what is no number of seconds."""
    text = environ.get(CONSISTENCY_VARIABLE, "")
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (isfinite(seconds) and seconds >= 0):
        raise UsageError(f"{CONSISTENCY_VARIABLE}={text} is no number of seconds", hint="for example 10, or 2.5")
    return seconds


@dataclass(frozen=True)
class _Claims:
    """The claims of one group, or of one instance's name, by number. These calls are never fenced."""

    account: Account
    region: str
    group: str
    kind: Kind

    def all(self) -> dict[int, Holder]:
        with self.account.unchecked():
            found = Parameters(self.account, self.region).under(f"{_PATH}/{self.kind}/{self.group}")
        return {int(named[2]): _read(one) for one in found if (named := _NAME.fullmatch(one.name))}

    def one(self, number: int) -> Holder | None:
        with self.account.unchecked():
            found = Parameters(self.account, self.region).parameter(self._name(number))
        return _read(found) if found else None

    def create(self, number: int, holder: Holder) -> bool:
        """Whether the number was free."""
        tags = {"nodepkg:managed": "true", "group" if self.kind == "group" else "Name": self.group}
        with self.account.unchecked():
            return Parameters(self.account, self.region).create(self._name(number), _value(holder), tags)

    def overwrite(self, number: int, holder: Holder) -> None:
        with self.account.unchecked():
            Parameters(self.account, self.region).overwrite(self._name(number), _value(holder))

    def remove(self, numbers: Iterable[int]) -> None:
        with self.account.unchecked():
            Parameters(self.account, self.region).delete(self._name(number) for number in numbers)

    def _name(self, number: int) -> str:
        return f"{_PATH}/{self.kind}/{self.group}/{number}"


def _require_free(group: str, holder: Holder, now: float, *, take_over: bool) -> None:
    stale = now - holder.heartbeat > STALE_SECONDS
    process = Process(holder.boot, holder.namespace, holder.pid, holder.started)
    if holder.released or (stale and take_over) or (not holder.damaged and is_gone(process)):
        return
    if stale:
        hint = "if you are sure that it is dead: --take-over"
    else:
        from_then = _moment(holder.heartbeat + STALE_SECONDS)
        hint = f"wait until it is done; if nothing is heard of it, --take-over succeeds it from {from_then} on"
    raise RefusedError(f"{group} is held by {holder.told(now)}", hint=hint)


def _ourselves(command: str, run: str, nonce: str, now: float, state: str) -> Holder:
    user, host = user_and_host()
    texts = {"command": command, "user": user, "host": host, "state": state}
    about: dict[str, Any] = {key: text[: _LONGEST[key]] for key, text in texts.items()} | asdict(this_process())
    return Holder(**about, run=run, since=now, heartbeat=now, nonce=nonce)


def _value(holder: Holder) -> str:
    document = {key: value for key, value in asdict(holder).items() if key != "damaged"}
    # Systems Manager refuses {{ and }}, which here can only stand within a string.
    inside = json.dumps(document)[1:-1].replace("{", "\\u007b").replace("}", "\\u007d")
    return f"{{{inside}}}"


def _read(parameter: Parameter) -> Holder:
    """A value that is none of ours is a holder of whom nothing is known but when it was written."""
    try:
        document = json.loads(parameter.value)
        known = {field.name: document[field.name] for field in fields(Holder) if field.name in document}
        if all(_fits(field.type, known[field.name]) for field in fields(Holder) if field.name in known):
            return Holder(**{**known, "damaged": False})
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    at = parameter.modified
    return Holder("", "", "", "", "", 0, "", "", since=at, heartbeat=at, damaged=True)


def _fits(kind: Any, value: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**33
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31
    return isinstance(value, kind)


def _shown(text: str) -> str:
    """Somebody else wrote it: nothing in it may mean something to the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _age(seconds: float) -> str:
    return f"{max(0, seconds):.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
