"""role:… the Chef roles."""

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import NODES, REGION, Call, Check, Groups, command


@command(
    "role:create",
    NODES,
    REGION,
    examples={
        "role:create": "the roles of all groups",
        "role:create 12_04-bee --check": "is this role what nodes.json says?",
    },
)
def create(call: Call, groups: Groups = None, check: Check = False) -> None:
    """Write the Chef role of each group to roles/GROUP.json.

    The role holds the group's run list and attributes as the merge with its layers leaves them, under the name
    that `role_name` gives. A file is written only if it changes, and each is told as created, updated or unchanged.
    """
    from nodepkg.render.role import role

    nodes = call.load()
    roles = [role(group) for group in nodes.groups(call.names(nodes, groups))]
    write_or_check(call.out, nodes.root, roles, check=check, remedy="package role:create")


def update(call: Call, groups: Groups = None) -> None:
    """Refresh the roles that exist, and show what changes.

    Writes no role that is not there yet: such a group is told, and role:create makes one. Of each role that
    changes, the difference is shown as `git diff` would show it.
    """
    from nodepkg.errors import RefusedError
    from nodepkg.render import files
    from nodepkg.render.role import role

    nodes = call.load()
    roles = [role(group) for group in nodes.groups(call.names(nodes, groups))]
    before = {made: files.current(nodes.root, made) for made in roles}
    diffs = {made: _diff(made.path, text, made.text) for made, text in before.items() if text is not None}
    done = files.write(nodes.root, list(diffs))
    missing = [made.group for made in roles if made not in diffs]
    document = {
        "artifacts": [
            {"group": made.group, "path": made.path, "state": str(outcome), "diff": diffs[made]}
            for made, outcome in done
        ],
        "missing": missing,
    }
    lines = [line for made, outcome in done for line in (*diffs[made].splitlines(), f"{outcome:<9} {made.path}")]
    call.out.result(document, lines)
    told = f"no role yet: {', '.join(missing)}"
    if missing and groups:
        raise RefusedError(told, hint=f"package role:create {' '.join(missing)}")
    if missing:
        call.out.note(f"{told} (to make one: package role:create)")


def _diff(path: str, before: str, after: str) -> str:
    """As `git diff` shows it; "" for no difference."""
    from difflib import unified_diff

    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    return "".join(unified_diff(*lines, f"a/{path}", f"b/{path}"))


UPDATES = {
    "roles:update": "refresh the roles that exist, and see what changed",
    "roles:update '12_04-*' --json": "the same for some, as JSON with the differences",
}
command("roles:update", NODES, REGION, examples=UPDATES)(update)
command("role:update", NODES, REGION, examples=UPDATES, hidden=True)(update)
