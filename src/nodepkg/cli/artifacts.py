"""Writing artefacts, or checking them, and telling what was done: what four commands do alike."""

from pathlib import Path
from typing import TYPE_CHECKING

from nodepkg.cli.layout import count
from nodepkg.cli.output import Output
from nodepkg.errors import RefusedError

if TYPE_CHECKING:
    from nodepkg.nodes.group import Group
    from nodepkg.render.files import Artifact
    from nodepkg.render.packer import PackerTemplates


def write_or_check(out: Output, root: Path, artifacts: "list[Artifact]", *, check: bool, remedy: str) -> None:
    """Writes the artefacts; with `check` writes nothing and raises RefusedError if one is stale or missing."""
    from nodepkg.render import files

    if not check:
        done = [(artifact, str(outcome)) for artifact, outcome in files.write(root, artifacts)]
    else:
        done = [(artifact, str(files.state(root, artifact))) for artifact in artifacts]
    document = [{"group": artifact.group, "path": artifact.path, "state": word} for artifact, word in done]
    due = [word for _, word in done if word in (files.State.STALE, files.State.MISSING)]
    shown = [entry for entry in document if not check or out.verbose or entry["state"] != files.State.FRESH]
    lines = [f"{entry['state']:<9} {entry['path']}" for entry in shown]
    if check and not lines:
        lines = [f"{count(len(done), 'artefact')} {'is' if len(done) == 1 else 'are'} fresh"]
    out.result({"artifacts": document}, lines)
    if due:
        raise RefusedError(f"{len(due)} of {len(done)} artefacts are not what nodes.json says", hint=remedy)


def warn_of_leftovers(out: Output, templates: "PackerTemplates", groups: "list[Group]") -> None:
    """Tells of templates that a change of packer.format left behind: who builds from one gets an old machine."""
    for path in templates.leftovers(groups):
        out.warning(f"{path} is from before packer.format was changed, and stays as it is: remove it")
