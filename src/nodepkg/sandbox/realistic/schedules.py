"""When a scheduled action is due: once at StartTime, or as cron has it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nodepkg.sandbox.realistic import scaling
from nodepkg.sandbox.realistic.errors import AwsRefusalError, invalid
from nodepkg.sandbox.realistic.records import Group
from nodepkg.sandbox.realistic.world import World

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES = {
    **{name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))},
    **{
        name: number + 1
        for number, name in enumerate(
            ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
        )
    },
}
_MOST_DAYS = 366 * 4


def plan(world: World, group: Group, action: dict[str, Any]) -> None:
    """Arranges for its next time."""
    moment = due(action, world.now)
    if moment is not None:
        action["StartTime"] = action["Time"] = datetime.fromtimestamp(moment, UTC)
        world.at(moment, _carry_out, group, action)


def due(action: Mapping[str, Any], now: float) -> float | None:
    """When it happens next after `now`; None if never again. Raises ValidationError for a wrong Recurrence."""
    start, end = action.get("StartTime"), action.get("EndTime")
    begin = _seconds(start) if start else None
    if "Recurrence" not in action:
        return begin
    after = max(now, begin - 1) if begin else now
    found = next_time(action["Recurrence"], after, action.get("TimeZone", "UTC"))
    return None if found is None or (end and found > _seconds(end)) else found


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def next_time(recurrence: str, after: float, zone: str = "UTC") -> float | None:
    """The first minute later than `after` that the five fields of cron name."""
    fields = recurrence.split()
    if len(fields) != len(_RANGES):
        raise invalid(f"Given recurrence string is invalid: {recurrence}")
    minutes, hours, days, months, weekdays = (
        _numbers(field, *bounds, recurrence) for field, bounds in zip(fields, _RANGES, strict=True)
    )
    try:
        start = datetime.fromtimestamp(after, ZoneInfo(zone)).replace(second=0, microsecond=0) + timedelta(minutes=1)
    except ZoneInfoNotFoundError as error:
        raise invalid(f"The time zone {zone} is not valid") from error
    either = fields[2] != "*" and fields[4] != "*"  # cron: then one of the two is enough
    for number in range(_MOST_DAYS):
        day = start.date() + timedelta(days=number)
        on_day, on_weekday = day.day in days, day.isoweekday() % 7 in weekdays or day.isoweekday() in weekdays
        if day.month not in months or not (on_day or on_weekday if either else on_day and on_weekday):
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=start.tzinfo)
                if found >= start:
                    return found.timestamp()
    return None


def _numbers(field: str, low: int, high: int, whole: str) -> set[int]:
    found: set[int] = set()
    try:
        for part in field.lower().split(","):
            span, _, step = part.partition("/")
            first, _, last = span.partition("-")
            begin = low if first == "*" else int(_NAMES.get(first, first))
            until = high if first == "*" or step else begin
            end = int(_NAMES.get(last, last)) if last else until
            found.update(range(begin, end + 1, int(step or 1)))
    except ValueError as error:
        raise invalid(f"Given recurrence string is invalid: {whole}") from error
    if not found or min(found) < low or max(found) > high:
        raise invalid(f"Given recurrence string is invalid: {whole}")
    return found


def _carry_out(world: World, group: Group, action: dict[str, Any]) -> None:
    """While ScheduledActions is suspended it is lost. One that does not recur is gone afterwards."""
    name = action["ScheduledActionName"]
    if world.groups.get(group.name) is not group or group.schedules.get(name) is not action or group.status:
        return
    if group.runs("ScheduledActions"):
        sizes = (action.get("MinSize"), action.get("MaxSize"), action.get("DesiredCapacity"))
        cause = f"a scheduled action, {name},"
        try:
            scaling.resize(world, group, least=sizes[0], most=sizes[1], desired=sizes[2], cause=cause)
        except AwsRefusalError as error:
            activity = world.begin(group, f"Executing scheduled action {name}", f"{cause} was due.")
            world.end(activity, "Failed", error.message)
    if "Recurrence" in action:
        plan(world, group, action)
    else:
        del group.schedules[name]
    world.touch(group)
