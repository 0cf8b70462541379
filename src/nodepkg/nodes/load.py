"""nodes.json -> Groups: inheritance, validation of what was asked for, all findings at once."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nodepkg.errors import ConfigError
from nodepkg.nodes.findings import Finding, problems, report
from nodepkg.nodes.group import Group
from nodepkg.nodes.inheritance import chain_of
from nodepkg.nodes.merge import Entry, merge
from nodepkg.nodes.names import LAYER_NAME, group_name_problem, legal_group_name
from nodepkg.nodes.rules import broken_rules, warnings
from nodepkg.nodes.schema import SOURCE_KEYS, Settings
from nodepkg.nodes.source import KeyPath, Source, kind_of, read


class Nodes:
    """A nodes.json that was read. Groups are merged and validated when they are asked for, and only those."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.entries: dict[str, Entry] = {
            name: entry if isinstance(entry, dict) else {}
            for name, entry in source.document.items()
            if not name.startswith("$")
        }
        self._seen: dict[str, list[Finding]] = {}
        self._examined: dict[str, Group] = {}
        self._merged: dict[str, Entry] = {}
        self._layers: dict[tuple[str, ...], Entry] = {}
        self._chains: dict[str, tuple[list[str], list[Finding]]] = {}

    @property
    def root(self) -> Path:
        """The folder of nodes.json, which every output path is relative to."""
        return self.source.path.parent

    @cached_property
    def names(self) -> list[str]:
        """The groups, in the order of the file."""
        return [name for name in self.entries if not LAYER_NAME.fullmatch(name)]

    def groups(self, names: Iterable[str]) -> list[Group]:
        """These groups; everything that is wrong with them, and with the top level, is one ConfigError."""
        return self._raise_or_return(*self._examine_all(names))

    def group(self, name: str) -> Group:
        return self.groups([name])[0]

    def examine(self, names: Iterable[str]) -> tuple[list[Group], list[Finding]]:
        """The groups, and all that is wrong with them as with what `buildable` gives, and with layers that nobody uses.

        A key that is wrong has its default in the group. `refuse` tells the findings.
        """
        groups, findings = self._examine_all(names)
        for layer in (name for name in self.entries if LAYER_NAME.fullmatch(name)):
            findings += [*chain_of(layer, self.entries)[1], *self._look_at(layer)]
        return groups, [*findings, *self._build_findings(groups)]

    def buildable(self, names: Iterable[str]) -> list[Group]:
        """As `groups`, each with a source image to build on and a role name of its own."""
        groups, findings = self._examine_all(names)
        return self._raise_or_return(groups, [*findings, *self._build_findings(groups)])

    def sound(self, names: Iterable[str]) -> tuple[list[Group], dict[str, str]]:
        """Those groups that `buildable` would give, and of each other one what is wrong with it, without places."""
        groups, findings = self._examine_all(names)
        findings += self._build_findings(groups)
        wrong: dict[str, str] = {}
        for found in findings:
            for name in found.groups or (found.entry,):
                wrong.setdefault(name, found.text())
        return [group for group in groups if group.name not in wrong], wrong

    def refuse(self, findings: Iterable[Finding]) -> None:
        """Raises ConfigError if there are any: they are told with their lines."""
        if lines := report(self.source, _with_all_groups(findings)):
            raise ConfigError("\n".join(lines))

    def warnings(self, groups: Iterable[Group], more: Iterable[Finding] = ()) -> list[str]:
        """What is probably not wanted, and `more`, as `file:line: text`, in the order of the file."""
        found = [warning for group in groups for warning in warnings(group, self.entries)]
        return report(self.source, _with_all_groups([*found, *more]))

    def merged(self, name: str) -> Entry:
        """The entry as the merge leaves it; of the keys that name a source image the one nearest to the group stays."""
        if name not in self._merged:
            self._merged[name] = self._merge(name)
        return self._merged[name]

    def _merge(self, name: str) -> Entry:
        names = self._chain(name)[0]
        chain = [self.entries[entry] for entry in names]
        merged = merge([self._merge_of(tuple(names[:-1])), _without_inherits(chain[-1])])
        if "inherits" in self.entries[name]:
            merged["inherits"] = self.entries[name]["inherits"]
        given = [key for entry in chain for key in SOURCE_KEYS if entry.get(key) and merged[key] is not None]
        return {key: value for key, value in merged.items() if key not in SOURCE_KEYS or not given or key == given[-1]}

    def _merge_of(self, layers: tuple[str, ...]) -> Entry:
        """These layers as one entry: worked out once for all groups that have them."""
        if layers not in self._layers:
            self._layers[layers] = merge(_without_inherits(self.entries[layer]) for layer in layers)
        return self._layers[layers]

    def _chain(self, name: str) -> tuple[list[str], list[Finding]]:
        if name not in self._chains:
            self._chains[name] = chain_of(name, self.entries)
        return self._chains[name]

    def region_of(self, name: str) -> str:
        """The region as the merge gives it, before anything is validated."""
        return str(self.merged(name).get("region") or Settings.model_fields["region"].default)

    def role_owner(self, role_name: str) -> str | None:
        """The group whose role has this name."""
        return self._role_owners.get(role_name)

    @cached_property
    def _top_level(self) -> list[Finding]:
        return list(_top_level_findings(self.source.document))

    @cached_property
    def _role_owners(self) -> dict[str, str]:
        owners: dict[str, str] = {}
        for name in self.names:
            template = self.merged(name).get("role_name") or Settings.model_fields["role_name"].default
            owners.setdefault(str(template).replace("{group}", name), name)
        return owners

    def _examine_all(self, names: Iterable[str]) -> tuple[list[Group], list[Finding]]:
        groups, findings = [], [*self._top_level]
        for name in names:
            if isinstance(self.source.document[name], dict):  # else that is all there is to say of it
                group, wrong = self._examine(name)
                findings += wrong
                groups.append(group)
        return groups, findings

    def _examine(self, name: str) -> tuple[Group, list[Finding]]:
        """The group, and what is wrong with it; a key that is wrong has its default in the group."""
        if name in self._examined:
            return self._examined[name], []
        chain, wrong_chain = self._chain(name)
        merged = self.merged(name)
        settings, wrong = _settings(merged)
        # All that its own entry says is in the merge, but for source images that another one comes before.
        own_is_sound = not wrong and self.entries[name].keys().isdisjoint(SOURCE_KEYS)
        looked_at = chain[:-1] if own_is_sound else chain
        findings = [*wrong_chain, *(found for entry in looked_at for found in self._look_at(entry))]
        # A key that is wrong by itself is left out from here on, so that the rest is judged all the same.
        broken = {found.key_path[0] for found in findings if found.key_path}
        findings += [Finding(name, path, problem) for path, problem in wrong if path[0] not in broken]
        broken |= {path[0] for path, _ in wrong}
        group = Group(name, tuple(chain[:-1]), merged, settings)
        for path, problem in broken_rules(group, broken):
            findings.append(Finding(self._giver(group, path), path, problem))
        if findings:
            return group, [Finding(found.entry, found.key_path, found.problem, (name,)) for found in findings]
        self._examined[name] = group
        return group, []

    def _look_at(self, entry: str) -> list[Finding]:
        """What is wrong with one entry by itself; a layer is looked at once for all its groups."""
        if entry not in self._seen:
            self._seen[entry] = list(_entry_findings(entry, self.entries[entry]))
        return self._seen[entry]

    def _giver(self, group: Group, path: KeyPath) -> str:
        """The entry nearest to the group that has this key; the group itself if none has."""
        return next(
            (entry for entry in (group.name, *reversed(group.layers)) if path[0] in self.entries[entry]), group.name
        )

    def _build_findings(self, groups: Iterable[Group]) -> Iterator[Finding]:
        for group in groups:
            yield from self._source_findings(group)
            owner = self.role_owner(group.role_name)
            if owner not in (None, group.name):
                yield Finding(
                    group.name, ("role_name",), f"the role {group.role_name} is {owner}'s already", (group.name,)
                )

    def _source_findings(self, group: Group) -> Iterator[Finding]:
        settings = group.settings
        if settings.source_group:
            if problem := self._source_group_problem(group):
                yield Finding(self._giver(group, ("source_group",)), ("source_group",), problem, (group.name,))
        elif not any(group.merged.get(key) for key in SOURCE_KEYS):
            yield Finding(group.name, (), f"no image to build on: set one of {', '.join(SOURCE_KEYS)}", (group.name,))

    def _source_group_problem(self, group: Group) -> str | None:
        way = [group.name]
        while True:
            base = self.merged(way[-1]).get("source_group")
            if not isinstance(base, str):
                return None
            if base not in self.names:
                return f"no group {base} to build on"
            if self.region_of(base) != group.region:
                return (
                    f"{base} is built in {self.region_of(base)}, and images do not leave their region ({group.region})"
                )
            if base in way:
                return f"groups are built on each other in a circle: {' -> '.join([*way, base])}"
            way.append(base)

    def _raise_or_return(self, groups: list[Group], findings: list[Finding]) -> list[Group]:
        if findings:  # what is asked for group by group must not walk the file each time
            self.refuse(findings)
        return groups


def load(path: Path) -> Nodes:
    """Reads nodes.json; what it means is checked when groups are asked for."""
    return Nodes(read(path))


def _without_inherits(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != "inherits"}


def _top_level_findings(document: dict[str, Any]) -> Iterator[Finding]:
    for name, entry in document.items():
        if name == "$schema":
            if not isinstance(entry, str):
                yield Finding(name, (), f"has to be a string, and is {kind_of(entry)}")
            continue
        if name.startswith("$"):
            yield Finding(name, (), "top-level keys that start with $ are reserved; only $schema is known")
            continue
        if not LAYER_NAME.fullmatch(name) and (problem := group_name_problem(name)):
            hint = "" if name.startswith("__") else f"; {legal_group_name(name)} would do"
            yield Finding(name, (), f"not a legal group name: {problem}{hint}")
        if not isinstance(entry, dict):
            yield Finding(name, (), f"has to be an object, and is {kind_of(entry)}")


def _entry_findings(name: str, entry: Entry) -> Iterator[Finding]:
    sources = [key for key in entry if key in SOURCE_KEYS and entry[key] is not None]
    if len(sources) > 1:
        yield Finding(name, (sources[1],), f"one entry names one source image, and this has {sources[0]} too")
    try:
        Settings.model_validate(entry)
    except ValidationError as error:
        for path, problem in problems(entry, error, of_one_entry=True):
            yield Finding(name, path, problem)


def _settings(merged: Entry) -> tuple[Settings, list[tuple[KeyPath, str]]]:
    """The entry with types and defaults, and what is wrong with it: keys that are get their defaults."""
    try:
        return Settings.model_validate(merged), []
    except ValidationError as error:
        wrong = list(problems(merged, error))
        bad = {path[0] for path, _ in wrong if path}
        return Settings.model_validate({key: value for key, value in merged.items() if key not in bad}), wrong


def _with_all_groups(findings: Iterable[Finding]) -> Iterator[Finding]:
    """One finding for what many groups inherit, with all of them."""
    groups: dict[Finding, dict[str, None]] = {}
    for found in findings:
        alone = Finding(found.entry, found.key_path, found.problem)
        groups.setdefault(alone, {}).update(dict.fromkeys(found.groups))
    for found, names in groups.items():
        yield Finding(found.entry, found.key_path, found.problem, tuple(names))
