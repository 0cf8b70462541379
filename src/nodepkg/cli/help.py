"""What --help prints: the list of commands, and the page of one."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class CommandList(TyperGroup):
    """Lists the commands by namespace, one line each; those of `roles:` stand with those of `role:`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        namespaces: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                namespace = name.partition(":")[0] if ":" in name else "about"
                singular = namespace.removesuffix("s")
                namespace = singular if singular in namespaces else namespace
                namespaces.setdefault(namespace, []).append((name, command.get_short_help_str()))
        widest = max(len(name) for commands in namespaces.values() for name, _ in commands)
        for namespace, commands in namespaces.items():
            with formatter.section(namespace):
                formatter.write_dl([(name.ljust(widest), line) for name, line in commands])


class CommandPage(TyperCommand):
    """One command: usage, what it does, its arguments and options (those of the output last), and examples."""

    # The names of the parameters that every command has.
    output: frozenset[str] = frozenset()

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        words = [param.metavar if param.required else f"[{param.metavar}]" for param in arguments]
        many = ["..." if param.nargs != 1 else "" for param in arguments]
        return ["[OPTIONS]", *(f"{word}{dots}" for word, dots in zip(words, many, strict=True))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], "Output": []}
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                sections["Arguments"].append((str(param.metavar), getattr(param, "help", None) or ""))
            elif record := param.get_help_record(ctx):
                sections["Output" if param.name in self.output else "Options"].append(record)
        widest = max(len(name) for records in sections.values() for name, _ in records)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl([(name.ljust(widest), told) for name, told in records])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """The examples, line by line as they are: they are there to be copied."""
        with formatter.section("Examples"):
            for line in (self.epilog or "").splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")
