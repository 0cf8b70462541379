"""What a group, a layer, a role and a run-list item may be called, and why."""

import re
from functools import lru_cache

GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,99}")
LAYER_NAME = re.compile(r"__[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?__")
GENERATION = re.compile(r"-v[0-9]+$")

# Chef's own rule for the name of a role: /^[\-[:alnum:]_]+$/ (chef/role.rb).
ROLE_NAME = re.compile(r"[A-Za-z0-9_-]+")

BASE = "__base__"

# chef/run_list/run_list_item.rb; the words in it are what chef/cookbook/metadata.rb allows, so that a
# slip such as "recipe[web server]" is found here and not on a node.
_WORD = r"[A-Za-z0-9_.-]+"
_VERSION = r"(?:@[0-9]+(?:\.[0-9]+){1,2})?"
_RECIPE = re.compile(rf"recipe\[{_WORD}(?:::{_WORD})?{_VERSION}\]")
_BARE_RECIPE = re.compile(rf"{_WORD}(?:::{_WORD})?{_VERSION}")
_RECIPE_PARTS = re.compile(rf"(?:recipe\[)?({_WORD})(?:::({_WORD}))?{_VERSION}\]?")
_ROLE = re.compile(r"role\[([A-Za-z0-9_-]+)\]")
RUN_LIST_ITEM = re.compile(f"{_RECIPE.pattern}|{_ROLE.pattern}|{_BARE_RECIPE.pattern}")

# A service is called as its recipe is, so it is one step of a key in etcd; DELETE begins the recipe that takes it off.
SERVICE_NAME = re.compile(_WORD)
DELETE = "delete-"


def group_name_problem(name: str) -> str | None:
    """Why this cannot be a group's name, or None if it can: it has to be legal wherever it goes."""
    if GROUP_NAME.fullmatch(name):
        if GENERATION.search(name):
            return "it ends like a generation of an Auto Scaling group (-v and digits)"
        return None
    if name.startswith("__") or name.endswith("__"):
        return "a layer is written __like_this__, and a group begins with a letter or a digit"
    strange = sorted({char for char in name if not re.fullmatch(r"[A-Za-z0-9_-]", char)})
    if strange:
        shown = " ".join("space" if char == " " else ascii(char)[1:-1] for char in strange)
        return f"only letters, digits, _ and - are legal ({shown} is not: Chef refuses it in the role's name)"
    if not 3 <= len(name) <= 100:
        return f"it has {len(name)} characters, and 3 to 100 are legal (AMI names want 3)"
    return "it has to begin with a letter or a digit"


def legal_group_name(name: str) -> str:
    """The nearest legal name, to suggest."""
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:100]
    while GENERATION.search(kept):
        kept = GENERATION.sub("", kept).strip("_-")
    return kept[:100] if len(kept) >= 3 else f"{kept or 'group'}-group"


@lru_cache(maxsize=1024)  # the groups of a file name the same recipes
def run_list_item_problem(item: str) -> str | None:
    """Why Chef would not take this run-list item, or None if it does."""
    if RUN_LIST_ITEM.fullmatch(item):
        return None
    return (
        "not a run-list item: Chef knows recipe[cookbook], recipe[cookbook::recipe@1.2.3], role[name] or a bare recipe"
    )


def role_of(item: str) -> str | None:
    """The name in `role[name]`, or None for any other run-list item."""
    match = _ROLE.fullmatch(item)
    return match[1] if match else None


def recipe_of(item: str) -> tuple[str, str] | None:
    """Cookbook and recipe of a run-list item, `default` where it names none; None for a role."""
    match = _RECIPE_PARTS.fullmatch(item)
    return (match[1], match[2] or "default") if match else None


def service_name_problem(name: str) -> str | None:
    """Why this is no service of a run list, or None if it is one."""
    if not SERVICE_NAME.fullmatch(name):
        return f"{name[:40]!r} is no name of a service: letters, digits, _ . - are legal"
    if name == "default" or name.startswith(DELETE):
        return f"{name[:40]} is no service: `default` and `delete-…` are recipes beside them"
    return None


def anchored(rule: re.Pattern[str]) -> str:
    """The rule for a whole text as JSON Schema wants it: its patterns are searched for, and know no `fullmatch`."""
    return f"^(?:{rule.pattern})$"
