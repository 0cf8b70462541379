"""config:diff: what differs between two versions of the project, group by group, and what follows from it."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

from nodepkg.errors import NodepkgError, RefusedError
from nodepkg.images.due import bases_first
from nodepkg.launch import launch_inputs
from nodepkg.nodes.changes import Change, Kind, changes
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.merge import Entry
from nodepkg.nodes.names import role_of
from nodepkg.render.bundle import FOLDERS, Project, bundle, sha256
from nodepkg.render.digest import image_digest
from nodepkg.render.group import group_artifacts
from nodepkg.render.packer import USER_TEMPLATES, PackerTemplates
from nodepkg.render.user_data import USER_DATA_TEMPLATES, UserData

# What is read beside nodes.json, and so has to be there at the revision, too.
PARTS = (*FOLDERS, "roles", "solo.rb", USER_TEMPLATES.as_posix(), USER_DATA_TEMPLATES.as_posix())

Files = Mapping[str, Kind]


class State(StrEnum):
    """What became of a group."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class Asg(StrEnum):
    """What has to be done with a group's Auto Scaling group."""

    NOTHING = "nothing"
    START = "start"
    REPLACE = "replace"
    RESIZE = "resize"
    DELETE = "delete"


@dataclass(frozen=True)
class Facts:
    """What follows from one version of a group.

    `artifacts` are texts by path; `image` is the image digest without the files that all groups share;
    `files` are the digests of further files of the project that it is made from; `launch` decides how its
    nodes run, and `sizes` are the least and most of them: None without an Auto Scaling group.
    """

    artifacts: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    launch: Mapping[str, Any] | None = None
    sizes: tuple[int, int] | None = None


@dataclass(frozen=True)
class Version:
    """A group in one of the two versions; without facts it is wrong, and `problem` says how."""

    merged: Entry
    facts: Facts | None = None
    problem: str = ""

    @property
    def has_asg(self) -> bool:
        return self.facts.launch is not None if self.facts else isinstance(self.merged.get("autoscale"), dict)


@dataclass(frozen=True)
class GroupChange:
    """What became of a group, and what follows.

    `artifacts` and `files` (those of the project that it is made from; `shared` ones every group gets) are
    what changed, by path. `rebuild`: its image is to build, for its own sake; `base`: since that of this group
    is, on which it is built, and `bases` all those below it that are to build, the first to build first. `asg` is
    what has to be done with its Auto Scaling group.
    """

    group: str
    state: State
    changes: tuple[Change, ...] = ()
    artifacts: Files = field(default_factory=dict)
    files: Files = field(default_factory=dict)
    shared: Files = field(default_factory=dict)
    rebuild: bool = False
    base: str = ""
    bases: "tuple[GroupChange, ...]" = ()
    asg: Asg = Asg.NOTHING
    note: str = ""

    @property
    def builds(self) -> bool:
        return self.state is not State.REMOVED and (self.rebuild or bool(self.base))

    @property
    def follows(self) -> bool:
        """Whether anything has to be done."""
        return bool(self.artifacts) or self.builds or self.asg is not Asg.NOTHING or self.state is State.REMOVED

    @property
    def differs(self) -> bool:
        return bool(self.changes or self.files or self.note) or self.follows


def judge(
    name: str, before: Version | None, after: Version | None, *, shared: Files = MappingProxyType({}), base: str = ""
) -> GroupChange:
    """What becomes of a group that is in one of the versions or in both.

    `shared` are the files that changed for every group; `base` is the group on whose image it is built, if that
    one is to build. Of a version that is wrong nothing is known: then everything follows.
    """
    asg = _asg(before, after, new_image=_image_differs(before, after, shared) or bool(base))
    if after is None:
        return GroupChange(name, State.REMOVED, artifacts=_left_behind(name, before), asg=asg)
    now = after.facts or Facts()
    if before is None:
        made = dict.fromkeys(now.artifacts, Kind.ADDED)
        return GroupChange(name, State.ADDED, artifacts=made, rebuild=True, base=base, asg=asg, note=after.problem)
    then = before.facts or Facts()
    known = before.facts and after.facts
    return GroupChange(
        name,
        State.CHANGED,
        changes=tuple(changes(before.merged, after.merged)),
        artifacts=_artifacts(name, then, now) if known else dict.fromkeys(now.artifacts, Kind.CHANGED),
        files=compared(then.files, now.files) if known else {},
        shared=shared,
        rebuild=_image_differs(before, after, shared),
        base=base,
        asg=asg,
        note=before.problem or after.problem,
    )


def _image_differs(before: Version | None, after: Version | None, shared: Files) -> bool:
    if before is None or before.facts is None or after is None or after.facts is None:
        return True
    return bool(shared) or before.facts.image != after.facts.image


def _asg(before: Version | None, after: Version | None, *, new_image: bool) -> Asg:
    if after is None or not after.has_asg:
        return Asg.DELETE if before and before.has_asg else Asg.NOTHING
    if before is None or not before.has_asg:
        return Asg.START
    then, now = before.facts or Facts(), after.facts or Facts()
    if new_image or then.launch != now.launch:
        return Asg.REPLACE
    return Asg.NOTHING if then.sizes == now.sizes else Asg.RESIZE


def _artifacts(name: str, then: Facts, now: Facts) -> Files:
    """Its own artefacts that differ, and the roles of others that it needs."""
    found = compared(then.artifacts, now.artifacts)
    return {path: kind for path, kind in found.items() if kind is Kind.CHANGED or path in _own(name)}


def _left_behind(name: str, before: Version | None) -> Files:
    own = _own(name)
    if before and before.facts:
        return {path: Kind.REMOVED for path in own if path in before.facts.artifacts}
    packer = before.merged.get("packer") if before else None
    other = ".json" if isinstance(packer, dict) and packer.get("format") == "hcl2" else ".pkr.hcl"
    return {path: Kind.REMOVED for path in own if path != f"packer/{name}{other}"}


def _own(name: str) -> tuple[str, ...]:
    """The files that may be a group's own, its template in either language."""
    return f"roles/{name}.json", f"packer/{name}.json", f"packer/{name}.pkr.hcl", f"dna/asg/{name}.json"


def compared(before: Mapping[str, str], after: Mapping[str, str]) -> Files:
    """Which paths came, went or have another text or digest now."""
    kinds = {path: Kind.REMOVED if path not in after else Kind.CHANGED for path in before}
    kinds |= {path: Kind.ADDED for path in after if path not in before}
    return {path: kind for path, kind in kinds.items() if before.get(path) != after.get(path)}


class Side:
    """One version of the project: the groups that are right, and what follows from each.

    With `strict` an error in one of the groups `asked` for, or in the files that all share, is raised; otherwise
    a group is wrong that cannot be made, and that is all.
    """

    def __init__(self, nodes: Nodes, names: Iterable[str], *, strict: Container[str] | None = None) -> None:
        self.nodes, self._strict = nodes, strict
        self.templates, self.user_data = PackerTemplates(Project(nodes)), UserData(nodes.root)
        groups, self.problems = nodes.sound([name for name in names if name in nodes.entries])
        self.groups = {group.name: group for group in groups}
        self.shared, self.unreadable = self._shared()
        self._digests: dict[str, str] = {}

    def _shared(self) -> tuple[Mapping[str, str], str]:
        try:
            return self.templates.project.shared_digests, ""
        except RefusedError as error:
            if self._strict is not None:
                raise
            return {}, error.message

    def same(self, other: "Side", name: str) -> bool:
        """Whether nothing of what a group is rendered from differs, so that there is nothing to render."""
        mine, theirs = self.groups.get(name), other.groups.get(name)
        if mine is None or theirs is None or json.dumps(mine.merged) != json.dumps(theirs.merged):
            return False
        alone = not any(role_of(item) for item in mine.run_list)
        return alone and self._surroundings is not None and self._surroundings == other._surroundings

    @cached_property
    def _surroundings(self) -> tuple[object, ...] | None:
        """The files that every group is rendered from; None if they cannot be told."""
        project, root = self.templates.project, self.nodes.root
        folders = [root / folder for folder in (USER_TEMPLATES, USER_DATA_TEMPLATES)]
        try:
            found = {path.relative_to(root): path for folder in folders for path in sorted(folder.rglob("*"))}
            if any(path.is_symlink() and path.is_dir() for path in found.values()):
                return None
            texts = {path: file.read_bytes() for path, file in found.items() if file.is_file()}
            return project.folders, project.has_solo_rb and project.solo_rb, texts
        except (OSError, RefusedError):
            return None

    def version(self, name: str, *, rendered: bool = True) -> Version | None:
        """Of this group, if there is one; not `rendered` only with what needs no rendering."""
        if name not in self.nodes.entries:
            return None
        merged = self.nodes.merged(name)
        if name not in self.groups or self.unreadable:
            return Version(merged, problem=self.unreadable or self.problems[name])
        try:
            return Version(merged, self._facts(self.groups[name]) if rendered else _running(self.groups[name], ""))
        except NodepkgError as error:
            if self._strict is not None and name in self._strict:
                raise
            return Version(merged, problem=error.message)

    def _facts(self, group: Group) -> Facts:
        project = self.templates.project
        artifacts = {made.path: made.text for made in group_artifacts(self.templates, group)}
        # With the files that all groups share every digest would take as long as there are files.
        own = replace(bundle(project, group), shared={}, shared_digests={})
        files = [role.path for role in project.roles(group)[1:] if not self.nodes.role_owner(role.name)]
        files += ["solo.rb"] if project.has_solo_rb else []
        files += self.templates.own_files(group)
        has_asg = group.settings.autoscale is not None
        files += self.user_data.own_files(group) if has_asg else []
        return replace(
            _running(group, self.user_data.text(group) if has_asg else ""),
            artifacts=artifacts,
            image=image_digest(own, self.templates.document(group)),
            files={path: self._digest(path) for path in files},
        )

    def _digest(self, path: str) -> str:
        if path not in self._digests:
            self._digests[path] = sha256((self.nodes.root / path).read_bytes())
        return self._digests[path]


def _running(group: Group, user_data: str) -> Facts:
    autoscale = group.settings.autoscale
    if not autoscale:
        return Facts()
    return Facts(launch=launch_inputs(group, user_data), sizes=(autoscale.node_min, autoscale.most))


def difference(before: Nodes, after: Nodes, names: Sequence[str]) -> list[GroupChange]:
    """What became of those of the groups that differ; each is in one of the two or in both.

    Raises ConfigError or RefusedError if one of them is wrong in `after`.
    """
    after.buildable([name for name in names if name in after.entries])
    needed = _with_bases(after, names)
    then, now = Side(before, needed), Side(after, needed, strict=frozenset(names))
    shared = {} if then.unreadable else compared(then.shared, now.shared)
    ordered = [group.name for group in bases_first(list(now.groups.values()))]
    found: dict[str, GroupChange] = {}
    for name in [*(name for name in needed if name not in now.groups), *ordered]:
        base = now.groups[name].settings.source_group if name in now.groups else None
        new_base = base if base and base in found and found[base].builds else ""
        differs = not then.same(now, name)
        versions = (side.version(name, rendered=differs) for side in (then, now))
        change = judge(name, *versions, shared=shared, base=new_base)
        found[name] = replace(change, bases=(*found[new_base].bases, found[new_base])) if new_base else change
    return [found[name] for name in names if found[name].differs]


def _with_bases(nodes: Nodes, names: Iterable[str]) -> list[str]:
    """The groups, and all that they are built on, directly or not."""
    needed = dict.fromkeys(names)
    waiting = list(needed)
    while waiting:
        name = waiting.pop()
        base = nodes.merged(name).get("source_group") if name in nodes.entries else None
        if isinstance(base, str) and base in nodes.names and base not in needed:
            needed[base] = None
            waiting.append(base)
    return list(needed)
