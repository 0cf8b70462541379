"""What each host of a deploy gets: its group's bundle, and the command that converges it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shlex import quote

from nodepkg.errors import RefusedError
from nodepkg.fleet.host import Host
from nodepkg.fleet.record import Part
from nodepkg.fleet.transport import Job, Parcel
from nodepkg.nodes.group import Group
from nodepkg.pace import Share, share
from nodepkg.render.archive import SUFFIX, is_whole
from nodepkg.render.bundle import Bundle, Project, bundle
from nodepkg.render.digest import bundle_digest

# Packs a bundle, and gives the path of the archive.
Pack = Callable[[Bundle], Path]


def part(project: Project, group: Group) -> Part:
    """What the hosts of a group get now."""
    settings, deploy = group.settings, group.settings.deploy
    chef = settings.packer.chef
    command = (deploy.command or chef.command).replace("{path}", quote(chef.path))
    return Part(
        group.name,
        group.region,
        bundle_digest(bundle(project, group)),
        chef.path,
        command,
        deploy.user or settings.ssh_username,
        deploy.port,
        strict=deploy.host_keys == "strict",
    )


def archives(
    project: Project, groups: Mapping[str, Group], parts: Sequence[Part], pack: Pack, folder: Path
) -> list[Path]:
    """The archive of each part; those of an earlier deploy are made again if the repository still gives them.

    Raises RefusedError if it does not, and the archive is gone, or not whole.
    """
    return [_archive(project, groups[one.group], one, pack, folder) for one in parts]


def _archive(project: Project, group: Group, one: Part, pack: Pack, folder: Path) -> Path:
    made = bundle(project, group)
    if bundle_digest(made) == one.digest:
        return pack(made)
    path = folder / f"{one.digest}{SUFFIX}"
    if not is_whole(path):
        gone = "is damaged" if path.exists() else "is gone"
        raise RefusedError(
            f"{one.group}: the bundle {one.digest[:12]} {gone}, and the repository gives another one now",
            hint=f"check out what was deployed, or begin a new deploy: package instance:deploy {one.group}",
        )
    return path


def jobs(
    deploy: str,
    parts: Sequence[Part],
    paths: Sequence[Path],
    hosts: Sequence[Host],
    dna: Mapping[str, bytes],
    *,
    timeout: float,
) -> list[Job]:
    """Of each host, in their order."""
    parcels = {
        one.group: Parcel(
            deploy=deploy,
            group=one.group,
            region=one.region,
            digest=one.digest,
            archive=path,
            path=one.path,
            command=one.command,
            timeout=timeout,
            user=one.user,
            port=one.port,
            strict=one.strict,
        )
        for one, path in zip(parts, paths, strict=True)
    }
    return [Job(host, parcels[host.group], dna.get(host.instance)) for host in hosts]


def least(group: Group) -> Share:
    """deploy.min_healthy: of how many healthy nodes the floor of the group is made."""
    return share(str(group.settings.deploy.min_healthy))
