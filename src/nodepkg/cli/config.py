"""config:… what nodes.json says, and whether it is right."""

from nodepkg.cli.options import NODES, REGION, Call, Group, Groups, Key, Rev, command


@command(
    "config:check",
    NODES,
    REGION,
    examples={
        "config:check": "everything that is wrong with nodes.json",
        "config:check '12_04-*' --json": "these groups and their layers only, for a machine to read",
    },
)
def check(call: Call, groups: Groups = None) -> None:
    """Check nodes.json: everything that is wrong, with file and line.

    Looks at the groups, their layers, what they are built on and the roles that they refer to, and
    warns of what works and is probably not wanted. Exit 3 if anything is wrong.
    """
    from nodepkg.cli.output import count
    from nodepkg.render.bundle import Project, missing_roles
    from nodepkg.render.packer import PackerTemplates, broken_template

    nodes = call.load()
    checked, findings = nodes.examine(call.names(nodes, groups))
    templates = PackerTemplates(Project(nodes))
    for group in checked:
        findings += missing_roles(templates.project, group) or broken_template(templates, group)
    nodes.refuse(findings)
    found = nodes.warnings(checked)
    for line in found:
        call.out.warning(line)
    document = {"file": str(nodes.source.path), "groups": [group.name for group in checked], "warnings": found}
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
    that counts instead, where there is no value since it does.
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
        "config:diff origin/main '12_04-*' --json": "the same for some groups and a branch, for a machine to read",
    },
)
def diff(call: Call, rev: Rev, groups: Groups = None) -> None:
    """Show what differs between a git revision and the working tree, and what follows.

    What is compared are the merged groups, key by key, and all that an image is made from: cookbooks, data bags,
    roles, templates. What follows is told in words, with the commands to run: artefacts to refresh, an image to
    rebuild, an Auto Scaling group to replace, or nothing. What git ignores counts as unchanged. Exit 0 also if
    something differs. With --json: rev, commit, files (path and change, of those that every group gets), commands,
    unchanged (how many groups are), and of each other group: state (added, changed, removed), changes (key, change,
    before, after; was: where an item that moved stood), files, artifacts (path and change), rebuild, base (the group
    after which to build), asg (nothing, start, replace, resize, delete), replace, note.
    """
    import os

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
        show_difference(call.out, then, difference(before, nodes, names), compared=len(names), every=len(nodes.names))
