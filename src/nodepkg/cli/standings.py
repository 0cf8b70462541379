"""What autoscale:status shows: a table, one that is drawn anew on a terminal, or a line for each change."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nodepkg.cli.layout import age
from nodepkg.cli.output import Output

if TYPE_CHECKING:
    from nodepkg.autoscale.outlook import Wanted
    from nodepkg.autoscale.view import Seen
    from nodepkg.clients.aws.account import Account

COLUMNS = ("group", "asg", "is", "ready", "sizes", "image", "template", "since", "state")

Document = Mapping[str, Any]
# Since when, and for how long: what changes although nothing has happened.
_PASSING = ("heartbeat_age_seconds", "until")
# In whose line the state of the group stands.
_SPEAK = {"new": 0, "serving": 1, "stopped": 1}


def rows(documents: Sequence[Document], now: float) -> list[tuple[str, ...]]:
    """A row for each Auto Scaling group; the state of the group stands with the one that says most of it."""
    return [row for document in documents for row in _rows(document, now)]


def _rows(document: Document, now: float) -> Iterator[tuple[str, ...]]:
    generations, told = document["generations"], _told(document, now)
    if not generations:
        yield (document["group"], "", "", "", "", "", "", "", told)
    speaks = min(generations, key=lambda one: _SPEAK.get(one["role"], len(_SPEAK)), default=None)
    for one in generations:
        yield (
            document["group"],
            one["asg"],
            f"{one['role']}, being deleted" if one["deleting"] else one["role"],
            f"{one['ready']}/{one['desired']}",
            f"{one['min']}-{one['max']}",
            _image(one, document),
            one["template"] or "",
            _ago(one["since"], now),
            told if one is speaks else "",
        )


def _image(one: Document, document: Document) -> str:
    newer = document["newest_image"]
    older = newer and one["image"] and not one["newest"] and one["role"] in ("serving", "stopped")
    return f"{one['image'] or '?'}{f' (newest: {newer})' if older else ''}"


def _told(document: Document, now: float) -> str:
    """The state of a group in words: what is under way, who is at it, what is next."""
    rollout, owner = document["rollout"], document["owner"]
    parts = [document["state"]]
    if rollout:
        back = f", rolling back: {rollout['reason'] or 'asked for'}" if rollout["undoing"] else ""
        parts = [": ".join(part for part in (rollout["state"] + back, rollout["why"]) if part)]
    if not document["in_nodes_json"]:
        parts.append("not in nodes.json")
    if owner:
        at = f" in {owner['state']}" if owner["state"] else ""
        heard = f"heard of {age(owner['heartbeat_age_seconds'])} ago{at}"
        parts.append(f"{owner['who']} is at it ({owner['command']}, since {_ago(owner['since'], now)}, {heard})")
    elif rollout:
        parts.append("nobody is at it")
    if document["next"] and not owner:
        parts.append(f"next: {document['next']}")
    return "; ".join(parts)


def _ago(since: float | None, now: float) -> str:
    return "" if since is None or since <= 0 else age(int(now - since))


def line(document: Document, now: float) -> str:
    """A group in one line, for a log."""
    sizes = [f"{one['asg']} {one['role']} {one['ready']}/{one['desired']}" for one in document["generations"]]
    at = datetime.fromtimestamp(now, UTC).strftime("%H:%M:%S")
    return f"{at} {document['group']}: {', '.join([*sizes, _told(document, now)])}"


def lasting(document: Any) -> Any:
    """Without what passes by itself: two that are equal are no change."""
    if isinstance(document, dict):
        return {key: lasting(value) for key, value in document.items() if key not in _PASSING}
    return [lasting(value) for value in document] if isinstance(document, list) else document


class Changes:
    """A line for each group that stands otherwise than the last time; for a file, a pipe, another program."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._last: dict[tuple[str, str], Any] = {}

    def show(self, documents: Sequence[Document], now: float) -> None:
        here = {(document["region"], document["group"]): document for document in documents}
        gone = [{"group": key[1], "region": key[0], "state": "gone"} for key in self._last if key not in here]
        for key, document in here.items():
            if self._last.get(key) != lasting(document):
                self._out.line({"at": now, **document}, line(document, now))
        for document in gone:
            self._out.line({"at": now, **document}, f"{document['group']}: gone")
        self._last = {key: lasting(document) for key, document in here.items()}


class Redrawn:
    """The table, written over the last one."""

    def __init__(self, out: Output, draw: Callable[[str], None]) -> None:
        self._out = out
        self._draw = draw

    def show(self, documents: Sequence[Document], now: float) -> None:
        at = datetime.fromtimestamp(now, UTC).strftime("%H:%M:%S UTC, Ctrl-C ends it")
        with suppress(OSError):  # the terminal is gone
            self._draw("\n".join([*self._out.lines(COLUMNS, rows(documents, now)), "", at]))


@contextmanager
def screen(out: Output) -> Iterator[Changes | Redrawn]:
    """Where what is watched is shown. The last table stays."""
    if out.json or not sys.stdout.isatty() or not out.can_move_the_cursor:
        yield Changes(out)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(no_color=not out.wants_color, highlight=False)
    with Live(console=console, auto_refresh=False, redirect_stderr=False) as live:
        yield Redrawn(out, lambda text: live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True))


def watch(look: "Look", out: Output, sleep: Callable[[], None]) -> None:
    """Looks again and again, until Ctrl-C. An error of AWS that may pass is told, and is not the end."""
    from nodepkg.errors import AwsError, CredentialsError

    with suppress(KeyboardInterrupt), screen(out) as shown:
        while True:
            try:
                shown.show(*look())
            except CredentialsError:
                raise
            except AwsError as error:
                out.warning(error.message)
            sleep()


Look = Callable[[], tuple[list[dict[str, Any]], float]]


def looking(account: "Account", wanted: "Wanted", *, window: float, named: bool) -> Look:
    """Looks once each time that it is called, and remembers what it saw: the groups as documents, and the time.

    `window` is the consistency window in seconds. Unless they were `named`, groups that are to have no Auto Scaling
    group, and have none, are left out.
    """
    from nodepkg.autoscale.listing import document, step_of
    from nodepkg.autoscale.outlook import standings

    known: dict[tuple[str, str], Seen] = {}

    def look() -> tuple[list[dict[str, Any]], float]:
        began = account.now()
        found = [
            one
            for one in standings(account, wanted, window=window)
            if named or one.scales or one.generations or one.group not in wanted.groups
        ]
        documents = []
        for one in found:
            step, known[one.region, one.group] = step_of(one, known.get((one.region, one.group), {}), began)
            documents.append(document(one, step, account.now()))
        return documents, account.now()

    return look
