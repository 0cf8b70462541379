"""version: what a bug report has to say."""

from nodepkg.cli.options import Call, command


@command(
    "version",
    examples={
        "version": "for a bug report",
        "version --json": "the same, for a machine to read",
    },
)
def version(call: Call) -> None:
    """Show the versions of nodepkg, Python, Packer and its amazon plugin.

    Packer is the one that packer:run would use: NODEPKG_PACKER, else the one on PATH. What is not there, or
    does not answer, is told, and is no error: with --json as problem. `package --version` is the short form, without
    looking for Packer.
    """
    import os
    import platform
    import sys

    from nodepkg import __version__
    from nodepkg.clients.packer import find
    from nodepkg.errors import ToolError

    document: dict[str, str | None] = {
        "nodepkg": __version__,
        "python": platform.python_version(),
        "python_path": sys.executable,
        "system": platform.platform(),
        "packer": None,
        "packer_path": None,
        "amazon_plugin": None,
        "problem": None,
    }
    try:
        packer = find(os.environ)
        document |= {"packer": packer.version_text, "packer_path": packer.path}
        document["amazon_plugin"] = packer.amazon_plugin()
    except ToolError as error:
        document["problem"] = error.message
    problem = document["problem"]
    found = f"{document['packer']} ({document['packer_path']})" if document["packer"] else ""
    lines = [
        f"nodepkg        {__version__}",
        f"Python         {document['python']} ({sys.executable})",
        f"Packer         {found or problem}",
        f"amazon plugin  {document['amazon_plugin'] or (found and problem) or 'none'}",
        f"system         {document['system']}",
    ]
    call.out.result(document, lines)
