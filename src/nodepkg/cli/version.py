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
    told = _versions()
    packer = f"{told['packer']} ({told['packer_path']})" if told["packer"] else ""
    lines = [
        f"nodepkg        {told['nodepkg']}",
        f"Python         {told['python']} ({told['python_path']})",
        f"Packer         {packer or told['problem']}",
        f"amazon plugin  {told['amazon_plugin'] or (packer and told['problem']) or 'none'}",
        f"system         {told['system']}",
    ]
    call.out.result(told, lines)


def _versions() -> dict[str, str | None]:
    """By name; `problem` is why Packer, or its plugin, could not be asked."""
    import os
    import platform
    import sys

    from nodepkg import __version__
    from nodepkg.clients.packer import find
    from nodepkg.errors import ToolError

    told: dict[str, str | None] = {
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
        told |= {"packer": packer.version_text, "packer_path": packer.path}
        told["amazon_plugin"] = packer.amazon_plugin()
    except ToolError as error:
        told["problem"] = error.message
    return told
