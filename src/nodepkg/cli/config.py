"""config:… what nodes.json says, and whether it is right."""

import os
from pathlib import Path

from nodepkg.cli.options import DRY_RUN, NODES, REGION, Call, Folder, Group, Groups, Key, Rev, command, current_folder


@command(
    "config:init",
    DRY_RUN,
    examples={
        "config:init": "a project in this folder",
        "config:init shop --dry-run": "what it would write into the folder shop",
    },
)
def init(call: Call, folder: Folder = None) -> None:
    """Begin a project: a nodes.json that works, with all that it needs.

    Writes nodes.json with two groups and its schema, a cookbook that converges, an override of the Packer template to
    copy, and .gitignore. Never overwrites: a folder with a nodes.json is refused (4), other files are kept.
    """
    from nodepkg.errors import RefusedError
    from nodepkg.render import files
    from nodepkg.render.starter import LAST, starter

    root = folder or Path()
    if not root.is_absolute():
        current_folder()
    if os.path.lexists(root) and not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir fails where it may not look
        raise RefusedError(f"{root} is no folder")
    there = RefusedError(
        f"{root / LAST} is there already, and is never overwritten",
        hint="to look at it: package config:check; for another project name another folder",
    )
    if os.path.lexists(root / LAST):
        raise there
    if call.dry_run:
        done = [(file, "would create" if files.is_missing(root, file) else "kept") for file in starter()]
    else:
        done = [(file, str(outcome)) for file, outcome in files.create(root, starter())]
    document = [{"path": file.path, "state": word} for file, word in done]
    call.out.result({"folder": str(root), "files": document}, [f"{word:<9} {file.path}" for file, word in done])
    if done[-1][1] == files.Outcome.KEPT:  # it came while the others were written
        raise there
    if not call.dry_run:
        _tell_what_is_next(call, root)


NEXT = """Next:{into}
  package config:check
  package group:create
  package packer:run --sandbox
  package autoscale:run --sandbox
packer:run needs Packer: apt-get install packer, or see developer.hashicorp.com/packer/install.
--sandbox is an embedded AWS, and needs: pip install 'nodepkg[sandbox]'
Without --sandbox it is your AWS account, with the credentials of your environment.
config:check warns that SSH is open during a build: x-note in nodes.json says how to close it."""


def _tell_what_is_next(call: Call, folder: Path) -> None:
    from shlex import quote

    path = f"./{folder}" if str(folder).startswith("-") else str(folder)  # `cd -dash` is an option, `cd -` the way back
    call.out.note(NEXT.format(into="" if folder == Path() else f"\n  cd {quote(path)}"))
    parents = folder.absolute().parents
    above = next((path / "nodes.json" for path in parents if os.path.lexists(path / "nodes.json")), None)
    if above:
        call.out.note(f"{above} is another project: a command means the one in whose folder it is run.")
    if os.environ.get("NODEPKG_NODES"):
        call.out.warning("NODEPKG_NODES names another nodes.json, and counts before the folder: unset it")


@command(
    "config:check",
    NODES,
    REGION,
    examples={
        "config:check": "everything that is wrong with nodes.json",
        "config:check '12_04-*' --json": "these groups and their layers, for a machine",
    },
)
def check(call: Call, groups: Groups = None) -> None:
    """Check nodes.json: everything that is wrong, with file and line.

    Looks at the groups, their layers, what they are built on, the roles that they refer to and the services that they
    require, and warns of what works and is probably not wanted. Exit 3 if anything is wrong.
    """
    from nodepkg.cli.layout import count
    from nodepkg.nodes.service_graph import circles, unprovided, unused
    from nodepkg.render.bundle import Project, missing_roles
    from nodepkg.render.packer import PackerTemplates, broken_template
    from nodepkg.render.services import outdated, undeletable
    from nodepkg.render.user_data import UserData, broken_user_data

    nodes = call.load()
    checked, findings = nodes.examine(call.names(nodes, groups))
    templates, user_data = PackerTemplates(Project(nodes)), UserData(nodes.root)
    for group in checked:
        findings += missing_roles(templates.project, group) or broken_template(templates, group)
        findings += broken_user_data(user_data, group)
    nodes.refuse([*findings, *unprovided(nodes, checked)])
    found = nodes.warnings(checked, unused(nodes, checked))
    found += [*undeletable(nodes, checked), *outdated(nodes, checked)]
    for line in found:
        call.out.warning(line)
    needing_each_other = circles(nodes, checked)
    for line in needing_each_other:
        call.out.note(line)
    document = {
        "file": str(nodes.source.path),
        "groups": [group.name for group in checked],
        "warnings": found,
        "notes": needing_each_other,
    }
    told = f"{count(len(checked), 'group')} {'is' if len(checked) == 1 else 'are'} right"
    call.out.result(document, [f"{nodes.source.path}: {told}"])


@command(
    "config:show",
    NODES,
    examples={
        "config:show 12_04-www": "what the merge with __base__ and __web__ gives",
        "config:show 12_04-www --nodes staging/nodes.json": "the same of another file",
    },
)
def show(call: Call, group: Group) -> None:
    """Show a group as the merge with its layers leaves it.

    The document is what the merge rules give, without the defaults of keys that nobody set.
    """
    from nodepkg.nodes.select import one

    nodes = call.load()
    call.out.document(nodes.group(one(nodes, group)).merged)


@command(
    "config:explain",
    NODES,
    examples={
        "config:explain 12_04-www": "every value that counts, and who gave it",
        "config:explain 12_04-www 'security_groups[2]'": "one of them, with what it was laid over",
    },
)
def explain(call: Call, group: Group, key: Key = None) -> None:
    """Show where each value of a group comes from: layer, file:line and rule.

    The rule is append for each item of a list, merge for each key of an object, override for all else, and default
    where nobody says anything. With KEY.PATH (as in packer.chef.path, run_list[0] or run_list.0) also what the value
    was laid over. With --json: group, file, and of each value key, path, value, layer, place (file and line; null for
    a default), rule, reset (null stands there: the default again), overrides (layer, place, value), and by: the key
    that counts instead, so that there is no value, or that replaces whole what held it, so that there is the default;
    layer and place are then that key's.
    """
    from nodepkg.cli.explained import show_rows
    from nodepkg.nodes.explain import explanation
    from nodepkg.nodes.select import one

    nodes = call.load()
    name = nodes.group(one(nodes, group)).name
    explained = explanation(nodes, name)
    rows = explained.rows(explained.resolve(key) if key is not None else ())
    show_rows(call.out, nodes.source, name, rows, overridden=key is not None)


@command(
    "config:diff",
    NODES,
    examples={
        "config:diff HEAD": "what the edits of the working tree change",
        "config:diff origin/main '12_04-*' --json": "some groups against a branch, for a machine",
    },
)
def diff(call: Call, rev: Rev, groups: Groups = None) -> None:
    """Show what differs between a git revision and the working tree, and what follows.

    What is compared are the merged groups, key by key, and all that an image is made from: cookbooks, data bags,
    roles, templates. What follows is told in words, with the commands to run: artefacts to refresh, an image to
    rebuild, an Auto Scaling group to replace, or nothing. What git ignores counts as unchanged. Exit 0 also if
    something differs. With --json: rev, commit, files (path and change, of those that every group gets), commands,
    notes (what could not be had as it was), unchanged (how many groups are), and of each other group: state (added,
    changed, removed), changes (key, change, before, after; was: where an item that moved stood), files, artifacts
    (path and change), rebuild, base (the group after which to build), asg (nothing, start, replace, resize, delete),
    replace, note.
    """
    from nodepkg.cli.differences import show_difference
    from nodepkg.clients.snapshot import snapshot
    from nodepkg.diff import PARTS, difference
    from nodepkg.errors import ConfigError, UsageError
    from nodepkg.nodes.load import load
    from nodepkg.nodes.select import select_of_both

    nodes = call.load()
    with snapshot(nodes.source.path, rev, PARTS, os.environ) as then:
        for note in then.notes:
            call.out.note(note)
        try:
            before = load(then.file)
        except ConfigError as error:
            raise UsageError(f"{then.said(error.message)}", hint="name a revision whose nodes.json is right") from error
        names = select_of_both(before, nodes, groups or [])
        found = difference(before, nodes, names)
        show_difference(call.out, then, found, root=nodes.root, compared=len(names), every=len(nodes.names))


@command(
    "config:schema",
    examples={
        "config:schema > nodes.schema.json": "for an editor: the file that $schema names",
        "config:schema --json": "the same, as every command has it",
    },
)
def schema(call: Call) -> None:
    """Print the JSON Schema of nodes.json, for editors and other tools.

    The schema (2020-12) has every key with its meaning, default and example. What only the merge knows it cannot
    say: config:check does. `"$schema": "./nodes.schema.json"` in nodes.json tells an editor which file it is.
    """
    from nodepkg.nodes.json_schema import document_schema

    call.out.document(document_schema())
