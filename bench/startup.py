"""Start-up: the help, and a role of the example."""

from collections.abc import Iterator
from pathlib import Path

from measure import Command, Figure, compare
from workplace import Workplace


def completion(place: Workplace, folder: Path) -> Command:
    """What the function for bash asks when somebody types `package packer:run 12` and presses TAB."""
    line = "package packer:run 12"
    return Command([place.script("package"), line, "", "12"], folder, {"_PACKAGE_COMPLETE": "bash"})


def figures(place: Workplace, commands: int, times: int) -> Iterator[Figure]:
    helped = Command([place.script("package"), "--help"], place.example)
    for form, script in (("Typer", "bare-help"), ("Typer, plain help", "bare-help-plain")):
        peer = Command([place.script(script), "--help"], place.example)
        limit = 1.3 if script == "bare-help" else None
        yield compare(f"`--help` : {form}, {commands} commands", helped, peer, times=times, limit=limit)
    complete = completion(place, place.example)
    yield compare("a completion in bash : `package --help`", complete, helped, times=times, limit=1.2)
    role = place.example / "roles" / "12_04-bee.json"
    create = [place.script("package"), "role:create", "12_04-bee"]
    peer = Command([place.script("bare-one"), "12_04-bee"], place.example)
    again, first = (
        Command(create, place.example),
        Command(create, place.example, before=lambda: role.unlink(missing_ok=True)),
    )
    yield compare("`role:create 12_04-bee`, unchanged : one command", again, peer, times=times, limit=1.4)
    yield compare("`role:create 12_04-bee`, created : one command", first, peer, times=times, limit=1.4)
