"""config:… what nodes.json says, and whether it is right."""

from nodepkg.cli.options import NODES, REGION, Call, Group, Groups, command


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
    "config:schema",
    examples={
        "config:schema > nodes.schema.json": 'for an editor; "$schema": "./nodes.schema.json" in nodes.json names it',
        "config:schema --json": "the same, as every command has it",
    },
)
def schema(call: Call) -> None:
    """Print the JSON Schema of nodes.json, for editors and other tools.

    The schema (2020-12) has every key with its meaning, default and example. What only the merge knows it cannot
    say: config:check does.
    """
    from nodepkg.nodes.json_schema import document_schema

    call.out.document(document_schema())
