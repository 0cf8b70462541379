"""packer:sweep and packer:adopt on the command line: what is shown, asked and told."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nodepkg.cli.account import cloud
from nodepkg.cli.layout import age, count
from nodepkg.cli.options import Call
from nodepkg.cli.output import confirm
from nodepkg.cli.plans import carry_out
from nodepkg.clients.aws.images import Images
from nodepkg.errors import UsageError
from nodepkg.images.adopt import check, plan_adoption, record_of, require_image
from nodepkg.images.journal import Journal, is_build_id
from nodepkg.images.newest import belongs
from nodepkg.images.sweep import Broom, Sweep, Verdict, not_removed, plan_sweep
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes

COLUMNS = ("kind", "id", "name", "region", "of", "age", "verdict", "why")


def sweep_leftovers(call: Call, nodes: Nodes, *, older_than: timedelta | None, builds: Sequence[str]) -> None:
    """Removes what is older than that (none: than a day, or whatever its age of `builds`, if they are named).

    Raises UsageError for what is no id of a build, and AwsError, in the end, for what could not be removed.
    """
    for wrong in (build for build in builds if not is_build_id(build)):
        raise UsageError(
            f"{wrong} is no id of a build", hint="an id is written as in the names of .nodepkg/logs: 16 digits, 0 to f"
        )
    if older_than is None:
        older_than = timedelta() if builds else timedelta(hours=24)
    journal = Journal(nodes.root, warn=call.out.warning)
    # Of the groups only where they are: one that is wrong keeps nothing from going.
    regions = {call.region} if call.region else {nodes.region_of(name) for name in nodes.names}
    account = cloud(call, nodes.root, []).account
    swept = Sweep(account, sorted(regions), journal, older_than, builds or None)
    broom = Broom(account, call.poll)
    verdicts = swept.examine()
    if not verdicts:
        where = ", ".join(sorted(regions))
        call.out.note(f"nothing of {', '.join(builds)} is left in {where}" if builds else "builds left nothing behind")
    if call.dry_run:
        call.out.table({"leftovers": [verdict.document() for verdict in verdicts]}, COLUMNS, _rows(verdicts))
        return
    verdicts = swept.settle(verdicts, broom, call.out.note)
    call.out.plan(COLUMNS, _rows(verdicts))
    doomed = sum(verdict.removed for verdict in verdicts)
    if doomed:
        confirm(f"remove {count(doomed, 'leftover')}?", yes=call.yes)
    carry_out(call, plan_sweep(verdicts), broom, lambda reports: _show(call, verdicts, reports))
    if broom.failures:
        raise not_removed(broom.failures)
    swept.forget()


def _show(call: Call, verdicts: Sequence[Verdict], reports: Sequence[dict[str, Any]]) -> None:
    removed = [{key: report[key] for key in ("kind", "id", "region")} for report in reports if report["removed"]]
    told = f"{count(len(removed), 'leftover')} removed, {len(verdicts) - len(removed)} left"
    call.out.result({"leftovers": [verdict.document() for verdict in verdicts], "removed": removed}, [told])


def _rows(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    now = datetime.now(UTC)
    rows: list[tuple[str, ...]] = []
    for verdict in verdicts:
        one = verdict.leftover
        old = age(int((now - one.started).total_seconds())) if one.started else ""
        name = "" if one.name == one.id else one.name
        rows.append((one.kind, one.id, name, one.region, one.group or one.build, old, verdict.word, verdict.why))
    return rows


def adopt_image(call: Call, root: Path, group: Group, image: str) -> None:
    """Raises RefusedError, UsageError or AwsError if it cannot be adopted."""
    account, journal = cloud(call, root, [group]).account, Journal(root, warn=call.out.warning)
    made = require_image(Images(account, group.region), image)
    check(made, group.name)
    record = record_of(made, group.name, group.region, journal.records())
    plan = plan_adoption(group.region, made, group.name, tags=group.settings.tags, record=record)
    if belongs(made, group.name):
        call.out.result(plan.document(adopted=False), [f"{made.id} is an image of {group.name} already"])
        return
    if "nodepkg:digest" not in plan.all_tags:
        call.out.warning(f"what {made.id} was made from is not known here: it counts, but is not current")
    if not call.dry_run:
        call.out.plan(("tag", "value"), list(plan.tags.items()))
        confirm(f"{plan}?", yes=call.yes)
    carry_out(call, [plan], account, lambda reports: call.out.result(reports[0], [f"adopted {made.id} ({made.name})"]))
    if record and not call.dry_run and not journal.lives(record.build):
        journal.forget(record.build)
