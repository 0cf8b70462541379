"""role:… the Chef roles."""

from nodepkg.cli.artifacts import write_or_check
from nodepkg.cli.options import NODES, REGION, Call, Check, Groups, command


@command("role:create", NODES, REGION)
def create(call: Call, groups: Groups = None, check: Check = False) -> None:
    """Write the Chef role of each group to roles/GROUP.json."""
    from nodepkg.render.role import role

    nodes = call.load()
    roles = [role(group) for group in nodes.groups(call.names(nodes, groups))]
    write_or_check(call.out, nodes.root, roles, check=check, remedy="package role:create")


def update(call: Call, groups: Groups = None) -> None:
    """Refresh the roles that exist, and show what changes.

    A group that has no role yet is told so: `role:create` makes one.
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


command("roles:update", NODES, REGION)(update)
command("role:update", NODES, REGION, hidden=True)(update)
