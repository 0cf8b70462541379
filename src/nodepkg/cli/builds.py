"""packer:run on the command line: what is due, the builds, and what they came to."""

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from nodepkg.cli.account import Cloud, cloud
from nodepkg.cli.options import Call
from nodepkg.cli.progress import elapsed, watching
from nodepkg.clients import git
from nodepkg.clients.aws.account import Account
from nodepkg.clients.packer import Packer, find
from nodepkg.errors import NodepkgError, ToolError
from nodepkg.images.build import Loop
from nodepkg.images.due import Need, StaleError, forbid, has_own_credentials, needs, packer_fits, show
from nodepkg.images.journal import Journal, new_build_id
from nodepkg.images.leftovers import Leftover, leftovers
from nodepkg.images.staging import AwsRegistry, Stage, Templates
from nodepkg.images.workbench import Build, Order, Result, Workbench
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.render.bundle import Project, left_out
from nodepkg.render.packer import PackerTemplates

COLUMNS = ("group", "result", "image", "region", "digest", "time")


def run_builds(
    call: Call, nodes: Nodes, groups: Sequence[Group], *, at_once: int, force: bool, fail_fast: bool
) -> None:
    """Builds what is due, and ends the program with the highest code of what failed."""
    templates = PackerTemplates(Project(nodes))
    for line in left_out(templates.project, image=True):
        call.out.warning(line)
    place = cloud(call, nodes.root, groups)
    decided = needs(templates, groups, show(place.account, templates, groups), force=force)
    packer, decided = _with_packer(call, place, templates, decided)
    refused = {need.group.name: need.forbids for need in decided if need.forbids}
    results = {need.group.name: _without_build(need) for need in decided if not need.builds}
    builds = _planned(templates, decided, git.commit(nodes.root))
    if call.dry_run:
        _tell_plan(call, decided, builds)
        _fail_if_any(call, refused)
        return
    loop = None
    if packer and builds:
        after = {need.group.name: [need.base] if need.base else [] for need in decided if need.why}
        order = Order(builds, after, refused, at_once=at_once, fail_fast=fail_fast)
        registry = AwsRegistry(place.account, {group.name: group.settings.tags for group in groups})
        loop = _build(call, place.stage, registry, order, packer=packer, root=nodes.root)
        results |= loop.results
    try:
        _show(call, [results[need.group.name] for need in decided])
    finally:  # also if nobody reads the result any more
        if loop:
            _tell_leftovers(call, place.account, nodes.root, loop)
        errors = {name: result.error for name, result in results.items() if result.error}
        if loop and loop.interrupted:
            _tell_errors(call, errors)
            raise KeyboardInterrupt
        _fail_if_any(call, errors)


def _with_packer(
    call: Call, place: Cloud, templates: PackerTemplates, decided: list[Need]
) -> tuple[Packer | None, list[Need]]:
    """The Packer, if anything is due at all; what it cannot build is forbidden."""
    if not any(need.builds for need in decided):
        return None, decided
    try:
        packer = find(place.environ)
    except ToolError as error:
        missing = error

        def fails(_: Group) -> None:
            raise missing

        return None, forbid(decided, fails)
    install = call.yes and not call.dry_run
    return packer, forbid(decided, packer_fits(packer, templates, in_sandbox=place.stage is not None, install=install))


def _planned(templates: PackerTemplates, decided: Sequence[Need], commit: str) -> list[Build]:
    return [
        Build(
            need.group.name,
            need.group.region,
            templates.template(need.group).path,
            need.digest,
            commit,
            new_build_id(time.time(), secrets.token_bytes(4)),
            need.why,
            visible=not has_own_credentials(need.group),
        )
        for need in decided
        if need.builds
    ]


def _without_build(need: Need) -> Result:
    group, newest = need.group, need.newest
    if need.forbids:
        return Result(group.name, group.region, "failed", need.digest, error=need.forbids)
    commit = newest.tags.get("nodepkg:commit", "") if newest else ""
    return Result(
        group.name,
        group.region,
        "up to date",
        need.digest,
        commit,
        newest.id if newest else None,
        newest.name if newest else None,
    )


def _build(call: Call, stage: Stage | None, registry: AwsRegistry, order: Order, *, packer: Packer, root: Path) -> Loop:
    if stage:
        call.out.note("sandbox: provisioners are skipped, there is no machine to log in to")
    templates = Templates(root, stage)
    with watching(call.out) as watcher:
        account = registry.identity(order.builds[0].region)
        bench = Workbench(root, packer, registry, watcher, templates.prepare, poll=call.poll, account=account)
        loop = Loop(bench, order)
        loop.run()
    return loop


def _tell_plan(call: Call, decided: Sequence[Need], builds: Sequence[Build]) -> None:
    for build in builds:
        call.out.note(f"would {build}")
    _tell_up_to_date(call, decided)
    plan = [{"action": str(build), "group": build.group, "why": build.why} for build in builds]
    fresh = [need.group.name for need in decided if not need.why]
    call.out.result({"plan": plan, "up_to_date": fresh}, [])


def _tell_up_to_date(call: Call, decided: Sequence[Need]) -> None:
    for need in decided:
        if not need.why and need.newest:
            call.out.note(f"{need.group.name} is up to date: {need.newest.id}")


def _show(call: Call, results: Sequence[Result]) -> None:
    rows = [
        (
            result.group,
            result.result,
            result.image or "",
            result.region,
            result.digest[:12],
            "" if result.seconds is None else elapsed(result.seconds),
        )
        for result in results
    ]
    call.out.table({"images": [result.document() for result in results]}, COLUMNS, rows)


def _tell_leftovers(call: Call, account: Account, root: Path, loop: Loop) -> None:
    """What failed builds left in EC2, and how to remove it. That it cannot be read changes nothing of what was done."""
    journal, found = Journal(root), list[Leftover]()
    records = journal.records()
    for region in sorted({build.region for build in loop.failed_builds if build.visible}):
        here = [build for build in loop.failed_builds if build.region == region]
        try:
            found += leftovers(account, region, {build.id for build in here}, records)
        except NodepkgError as error:
            call.out.warning(f"what was left behind in {region} cannot be listed: {error.message}")
            continue
        remembered = {one.build for one in found} | set(loop.killed)
        for build in here:
            if loop.results[build.group].result == "adopted" and build.id not in remembered:
                journal.forget(build.id)  # its image counts, and nothing is left: nobody will ask for it
    left = [one for one in found if one.state != "shutting-down"]
    for one in left:
        call.out.warning(f"{one.group or one.build} left behind: {one.line}")
    # A Packer that was killed has removed nothing, and EC2 may show only later what it had just made.
    if swept := sorted({one.build for one in left} | set(loop.killed)):
        named = " ".join(f"--build {build}" for build in swept)
        what = "that" if left else "what EC2 may show later of a build that was killed"
        call.out.note(f"to remove {what}: package packer:sweep {named}")


def _tell_errors(call: Call, errors: Mapping[str, NodepkgError]) -> list[NodepkgError]:
    """Each error once, however many groups it is of."""
    told = {(error.message, error.hint): error for error in _together(errors)}
    for error in told.values():
        call.out.error(error.message, error.hint, error.exit_code)
    return list(told.values())


def _together(errors: Mapping[str, NodepkgError]) -> list[NodepkgError]:
    """The errors, those of all groups that are stale as one: an edit of a layer makes many."""
    stale = {name: error.message for name, error in errors.items() if isinstance(error, StaleError)}
    others = [error for name, error in errors.items() if name not in stale]
    hint = f"package group:create {' '.join(stale)}"
    return [StaleError("\n".join(stale.values()), hint=hint), *others] if stale else others


def _fail_if_any(call: Call, errors: Mapping[str, NodepkgError]) -> None:
    """Ends the program with the highest code."""
    if told := _tell_errors(call, errors):
        raise typer.Exit(max(error.exit_code for error in told))
