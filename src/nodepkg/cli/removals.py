"""What packer:clean and packer:delete show: which images go and why, what that frees, and what was done of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nodepkg.cli.layout import age, count, printable
from nodepkg.cli.options import Call
from nodepkg.cli.output import confirm
from nodepkg.errors import RefusedError
from nodepkg.images.clean import Judgement, Rules, too_many
from nodepkg.images.delete import RemoveFile, WholeGroup, refusals, template_files
from nodepkg.images.removal import Removal, kept_too, plan_removal, remove
from nodepkg.plan import Action, Report

COLUMNS = ("image", "name", "age", "size", "verdict", "why")


@dataclass(frozen=True)
class Shown:
    """The judgements on all regions that a command looked at; `now` is the moment that ages count from."""

    judgements: Sequence[Judgement]
    now: datetime

    @property
    def frees_gb(self) -> int:
        return sum(one.frees_gb for one in self.judgements)

    @property
    def doomed(self) -> str:
        """What goes, in words; empty if nothing does."""
        images = sum(len(one.doomed) for one in self.judgements)
        snapshots = sum(len(one.orphans) for one in self.judgements)
        parts = [count(images, "image") if images else "", count(snapshots, "orphaned snapshot") if snapshots else ""]
        return " and ".join(part for part in parts if part)

    def rows(self) -> list[tuple[str, ...]]:
        rows = list[tuple[str, ...]]()
        for one in self.judgements:
            for verdict in one.verdicts:
                image = verdict.image
                size = f"{image.size_gb} GB"
                rows.append((image.id, image.name, self._age(image.created), size, verdict.word, verdict.why))
            for orphan in one.orphans:
                snapshot = orphan.snapshot
                size = f"{snapshot.size_gb} GB"
                row = (snapshot.id, "orphaned snapshot", self._age(snapshot.started), size, "deleted", orphan.why)
                rows.append(row)
        return rows

    def lines(self) -> list[str]:
        """The sum, and what was looked at."""
        kept = sum(len(one.verdicts) - len(one.doomed) for one in self.judgements)
        sums = f"deletes {self.doomed or 'nothing'}, keeps {count(kept, 'image')}, frees {self.frees_gb} GB"
        return [sums, *(f"looked at {one.usage} in {one.usage.region}" for one in self.judgements)]

    def document(self, reports: Iterable[Report] = (), **more: Any) -> dict[str, Any]:
        """The JSON document; `reports` are those of what was done."""
        return {
            "images": [verdict.document(self.now) for one in self.judgements for verdict in one.verdicts],
            "snapshots": [orphan.document() for one in self.judgements for orphan in one.orphans],
            "frees_gb": self.frees_gb,
            "usage": {one.usage.region: dict(one.usage.counts) for one in self.judgements},
            "deleted": [report for report in reports if "kept" not in report],
            **more,
        }

    def after(self, reports: Iterable[Report]) -> "Shown":
        """The same, but that what was kept in the end stays, for the reason that came up meanwhile."""
        return self._without({_id(report): report["kept"] for report in reports if "kept" in report})

    def done(self, reports: Iterable[Report]) -> "Shown":
        """The same, but that only what was deleted goes."""
        gone = {_id(report) for report in reports if "kept" not in report}
        all_doomed = {verdict.image.id for one in self.judgements for verdict in one.doomed}
        orphaned = {orphan.snapshot.id for one in self.judgements for orphan in one.orphans}
        return self._without(dict.fromkeys((all_doomed | orphaned) - gone, ""))

    def _without(self, kept: Mapping[str, str]) -> "Shown":
        judgements = [
            replace(
                kept_too(one, kept), orphans=tuple(orphan for orphan in one.orphans if orphan.snapshot.id not in kept)
            )
            for one in self.judgements
        ]
        return replace(self, judgements=judgements)

    def _age(self, since: datetime) -> str:
        return age(int((self.now - since).total_seconds()))


def _id(report: Report) -> str:
    """What a report is about: an image, a snapshot, a file."""
    return str(next(report[key] for key in ("image", "snapshot", "file") if key in report))


def carry_out_clean(call: Call, world: Removal, rules: Rules, max_delete: int) -> None:
    """Shows what follows from the rules, asks, and does it."""
    judgements = [world.judgement(region) for region in sorted(rules.groups)]
    refused = too_many(judgements, max_delete)
    if not refused and (call.dry_run or not call.yes):  # with --yes each is read right before its deletion
        judgements = [kept_too(one, world.sharing(one)) for one in judgements]
    shown = Shown(judgements, rules.now)
    _present(call, shown, [f"refused: {refused}"] if refused else [], {"refused": refused})
    if call.dry_run:
        return
    if refused:
        raise RefusedError(refused, hint="--dry-run shows all of it; --max-delete N allows it")
    if shown.doomed and confirm(f"delete {shown.doomed}?", yes=call.yes):
        world.forget()
    plan = [action for one in judgements for action in plan_removal(one)]
    _remove(call, [plan], world, lambda: _conclude(call, shown, world.done, {"refused": None}))


def carry_out_delete(call: Call, world: Removal, rules: WholeGroup, region: str, root: Path) -> None:
    """Shows what the group has, asks for its name, and deletes it: the images first, then the files.

    Raises RefusedError before the first deletion if anything uses an image, and before the first file if something
    has come to use one meanwhile.
    """
    judgement = _unused(world, rules, region)
    files = template_files(root, rules.group)
    shown, more = Shown([judgement], rules.now), {"group": rules.group, "region": region, "files": files}
    _present(call, shown, [f"removes {path}" for path in files], more)
    if call.dry_run:
        return
    things = " and ".join(part for part in (shown.doomed, count(len(files), "file") if files else "") if part)
    if things and confirm(f"delete {things} of {rules.group}?", yes=call.yes, name=rules.group):
        world.forget()
        _unused(world, rules, region)

    def stages() -> Iterator[Sequence[Action[Removal]]]:
        yield plan_removal(judgement)
        if any("kept" in report and "image" in report for report in world.done):
            raise RefusedError(
                f"{rules.group}: an image came into use meanwhile; its files stay", hint="run it again when it is free"
            )
        yield [RemoveFile(root, path) for path in files]

    _remove(call, stages(), world, lambda: _conclude(call, shown, world.done, more))


def _unused(world: Removal, rules: WholeGroup, region: str) -> Judgement:
    """What follows for the group; raises RefusedError if anything uses one of its images."""
    judgement = world.judgement(region)
    if lines := refusals(judgement, world.sharing(judgement)):
        raise RefusedError("\n".join(lines), hint=f"nothing of {rules.group} was deleted; first end what uses it")
    return judgement


def _present(call: Call, shown: Shown, lines: Sequence[str], more: Mapping[str, Any]) -> None:
    """The plan: on stderr, or in a dry run as the result."""
    rows = shown.rows()
    if not rows:
        call.out.note("no images")
    if not call.dry_run:
        call.out.plan(COLUMNS, rows)
        for line in (*shown.lines(), *lines):
            call.out.note(line)
        return
    call.out.note("would be refused" if more.get("refused") else f"would delete {shown.doomed or 'no image'}")
    call.out.table(shown.document(**more), COLUMNS, rows)
    if not call.out.json:
        call.out.result(None, [*shown.lines(), *lines])


def _remove(call: Call, stages: Iterable[Sequence[Action[Removal]]], world: Removal, show: Callable[[], None]) -> None:
    """Executes the plans one after the other and shows what was done; of one that breaks off, what was until then."""
    try:
        for plan in stages:
            for report in remove(plan, world, call.out.note):
                if "kept" in report:
                    call.out.note(printable(f"kept {_id(report)}: {report['kept']}"))
    except BaseException:
        if world.done:
            show()
        raise
    show()


def _conclude(call: Call, shown: Shown, reports: Sequence[Report], more: Mapping[str, Any]) -> None:
    """What was done, as the result."""
    files = [f"removed {report['file']}" for report in reports if "file" in report]
    done = shown.done(reports)
    staying = sum(len(one.verdicts) - len(one.doomed) for one in done.judgements)
    sums = f"{done.doomed or 'nothing'} deleted, {count(staying, 'image')} left, {done.frees_gb} GB freed"
    document = shown.after(reports).document(reports, **more) | {"frees_gb": done.frees_gb}
    call.out.result(document, [*files, sums])
