"""A group's bundle: exactly the files that a node of the group needs to converge."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from nodepkg.errors import ConfigError, RefusedError
from nodepkg.nodes.findings import Finding
from nodepkg.nodes.group import Group
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.names import role_of
from nodepkg.render.dna import dna_document
from nodepkg.render.jsontext import canonical, pretty
from nodepkg.render.memory import Memory
from nodepkg.render.role import role_document
from nodepkg.render.services import SERVICES, services_content
from nodepkg.render.tree import File, files_below, secrets_of

NO_SUCH_ROLE = "no group has it, and no file of roles/"
FOLDERS = ("cookbooks", "data_bags")
_ROLE_MENTION = re.compile(r"role\[([A-Za-z0-9_-]+)\]")


@dataclass(frozen=True)
class RoleFile:
    """A role as it lies in the project (`path`, relative) and what it has to be called on a node."""

    name: str
    path: str

    @property
    def bundle_path(self) -> str:
        """chef-solo looks a role up by the name of its file."""
        return f"roles/{self.name}{os.path.splitext(self.path)[1]}"  # noqa: PTH122 - asked of every group


@dataclass
class Project:
    """The folder of nodes.json as a source of bundles; what all groups share is read once."""

    nodes: Nodes

    @property
    def root(self) -> Path:
        return self.nodes.root

    @cached_property
    def folders(self) -> list[str]:
        return [name for name in FOLDERS if (self.root / name).is_dir()]

    @cached_property
    def has_solo_rb(self) -> bool:
        return (self.root / "solo.rb").is_file()

    @cached_property
    def solo_rb(self) -> str:
        """The project's own solo.rb, else the one that nodepkg brings."""
        if self.has_solo_rb:
            return _read(self.root / "solo.rb").decode("utf-8", errors="surrogateescape")
        return (package_files("nodepkg") / "templates" / "solo.rb").read_text("utf-8")

    @cached_property
    def _files(self) -> dict[str, File]:
        """All files of cookbooks and data_bags, secrets as well."""
        found: dict[str, File] = {}
        for folder in self.folders:
            found |= files_below(self.root, folder)
        return {path: found[path] for path in sorted(found)}

    @cached_property
    def secrets(self) -> list[str]:
        """The keys of encrypted data bags among them: no bundle has them."""
        return secrets_of(self.root, self._files)

    @cached_property
    def _shared(self) -> dict[str, File]:
        left_out = frozenset(self.secrets)
        return {path: file for path, file in self._files.items() if path not in left_out}

    @cached_property
    def shared_files(self) -> dict[str, str]:
        """The files of cookbooks and data_bags that go to a node: path in the bundle -> where the file lies."""
        return {path: place for path, (place, _) in self._shared.items()}

    @cached_property
    def memory(self) -> Memory:
        return Memory(self.root)

    @cached_property
    def shared_digests(self) -> dict[str, str]:
        """SHA-256 of each shared file, in hex: worked out once for all groups."""
        return self.memory.digests(self._shared)

    def roles(self, group: Group) -> list[RoleFile]:
        """The group's own role and all that it refers to, also through others, each once; its own first.

        Raises ConfigError for roles that neither a group nor a file of roles/ has, naming all.
        """
        found, missing = self._follow_roles(group)
        if missing:
            told = [f"role[{name}], which {by} refers to: {NO_SUCH_ROLE}" for name, by in missing.items()]
            raise ConfigError("\n".join(told), hint="name the recipes themselves, or add the role")
        return found

    def missing_roles(self, group: Group) -> dict[str, str]:
        """Each role that there is not, with who refers to it: the group, or the file of a role."""
        return self._follow_roles(group)[1]

    def _follow_roles(self, group: Group) -> tuple[list[RoleFile], dict[str, str]]:
        found = {group.role_name: RoleFile(group.role_name, f"roles/{group.name}.json")}
        missing: dict[str, str] = {}
        waiting = [(role, group.name) for item in group.run_list if (role := role_of(item))]
        while waiting:
            name, wanted_by = waiting.pop(0)
            if name in found or name in missing:
                continue
            known = self._role(name)
            if known is None:
                missing[name] = wanted_by
                continue
            found[name], mentions = known
            waiting += [(mention, found[name].path) for mention in mentions]
        return list(found.values()), missing

    def groups_of_roles(self, group: Group) -> list[Group]:
        """The group, and the groups whose roles it refers to."""
        owners = [self.nodes.role_owner(role_file.name) for role_file in self.roles(group)[1:]]
        return [group, *(self.nodes.group(owner) for owner in owners if owner)]

    def role_content(self, role_file: RoleFile) -> bytes:
        """What a node gets: a group's role as it is now, whatever is on disk."""
        owner = self.nodes.role_owner(role_file.name)
        if owner:
            return pretty(role_document(self.nodes.group(owner))).encode("utf-8")
        return _read(self.root / role_file.path)

    def _role(self, name: str) -> tuple[RoleFile, list[str]] | None:
        """The file of this role and the roles that it refers to."""
        owner = self.nodes.role_owner(name)
        if owner:
            # From the merge, not from the Group: one that is wrong elsewhere must not keep others from being checked.
            return RoleFile(name, f"roles/{owner}.json"), _roles_in(
                self.nodes.merged(owner), "run_list", "post_run_list"
            )
        for suffix in (".json", ".rb"):
            file = self.root / "roles" / f"{name}{suffix}"
            if name not in self.nodes.names and file.is_file():
                return RoleFile(name, f"roles/{file.name}"), _mentions(file)
        for file in sorted((self.root / "roles").glob("*.json")):
            if file.is_file() and _role_json(file).get("name") == name:
                return RoleFile(name, f"roles/{file.name}"), _mentions(file)
        return None


def missing_roles(project: Project, group: Group) -> list[Finding]:
    """What config:check tells of roles that there are not, each where the run list names it."""
    missing = project.missing_roles(group)
    findings = []
    for name, wanted_by in missing.items():
        places = [
            (entry, (key, index))
            for entry in (*group.layers, group.name)
            for key in ("run_list", "post_run_list")
            for index, item in enumerate(project.nodes.entries[entry].get(key) or ())
            if item == f"role[{name}]"
        ]
        for entry, path in places:
            findings.append(Finding(entry, path, f"role[{name}]: {NO_SUCH_ROLE}", (group.name,)))
        if not places:
            told = f"role[{name}], which {wanted_by} refers to: {NO_SUCH_ROLE}"
            findings.append(Finding(group.name, ("run_list",), told, (group.name,)))
    return findings


@dataclass(frozen=True)
class Bundle:
    """What a node of the group gets.

    `shared` are the project's files that every group gets (path in the bundle -> where the file lies) with their
    digests, `own` the contents made for this group.
    """

    group: str
    shared: dict[str, str]
    shared_digests: dict[str, str]
    own: dict[str, bytes]


def bundle(project: Project, group: Group) -> Bundle:
    """cookbooks and data_bags whole, solo.rb, the roles under their own names, the dna, and what services need."""
    own = {role_file.bundle_path: project.role_content(role_file) for role_file in project.roles(group)}
    own["solo.rb"] = project.solo_rb.encode("utf-8", errors="surrogateescape")
    own["dna.json"] = pretty(dna_document(group)).encode("utf-8")
    services = services_content(project.nodes, group)
    if services is not None:
        own[SERVICES] = services.encode("utf-8")
    return Bundle(group.name, project.shared_files, project.shared_digests, own)


def left_out(project: Project, *, image: bool = False) -> list[str]:
    """What to tell of the secrets that no bundle has; `image` is whether Packer uploads their folders, which it does
    whole.
    """
    elsewhere = "bring it to the nodes by other means (Chef looks for /etc/chef/encrypted_data_bag_secret)"
    told = "no bundle and no digest has it" + (", but Packer uploads its folder whole: images hold it" if image else "")
    remedy = f"move it out of the folder and {elsewhere}" if image else elsewhere
    return [f"{project.root / path} is the key of encrypted data bags: {told}; {remedy}" for path in project.secrets]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digest_content(path: str, content: bytes) -> bytes:
    """What counts of a file for a digest: of a role, a dna and services what they say, of all others every byte."""
    if path in ("dna.json", SERVICES) or path.startswith("roles/"):
        try:
            return canonical(json.loads(content))
        except (ValueError, RecursionError):
            return content
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from error


def _role_json(path: Path) -> dict[str, Any]:
    """A role of the user's own; {} if the file holds none."""
    try:
        document = json.loads(_read(path))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _mentions(path: Path) -> list[str]:
    """The roles in the run lists of a role of the user's own; of one in Ruby, whatever looks like one."""
    if path.suffix == ".rb":
        return _ROLE_MENTION.findall(_read(path).decode("utf-8", errors="replace"))
    document = _role_json(path)
    per_environment = document.get("env_run_lists")
    lists = per_environment if isinstance(per_environment, dict) else {}
    return [*_roles_in(document, "run_list"), *_roles_in(lists, *lists)]


def _roles_in(document: dict[str, Any], *keys: str) -> list[str]:
    """The roles in the run lists under these keys, whatever else is there."""
    items = [item for key in keys if isinstance(document.get(key), list) for item in document[key]]
    return [role for item in items if isinstance(item, str) and (role := role_of(item))]
