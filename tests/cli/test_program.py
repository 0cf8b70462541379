"""The program as a whole: its list of commands, what it imports, its exit codes, where it finds nodes.json."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from nodepkg.cli import commands
from nodepkg.cli.app import app
from nodepkg.errors import ExitCode
from tests.cli.conftest import Run
from tests.gits import alone, commit_all, put

ROOT = Path(__file__).parents[2]
CHANGES_AWS = {
    "packer:run",
    "packer:clean",
    "packer:delete",
    "packer:sweep",
    "packer:adopt",
    "autoscale:run",
    "autoscale:resize",
    "autoscale:stop",
    "autoscale:start",
    "autoscale:delete",
    "autoscale:update",
    "autoscale:rollback",
    "instance:deploy",
    "instance:create",
    "instance:delete",
}
READS_AWS = {"group:status", "packer:list", "autoscale:status", "instance:list", "instance:ssh"}


def all_commands() -> dict[str, set[str]]:
    """Each command with its options."""
    assert commands
    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        if not command.hidden
    }


# They are not about a project that is there already.
ON_NODE = {f"service:{what}" for what in ("agent", "announce", "collect", "withdraw")}
WITHOUT_NODES = {"version", "config:init", "config:schema", "completion:install", *ON_NODE}


def test_package_alone_lists_every_command(run: Run) -> None:
    alone, helped = run(), run("--help")
    assert alone.code == helped.code == 0
    assert alone.out == helped.out
    for name in all_commands():
        (line,) = [line for line in alone.out.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 3


@pytest.mark.parametrize("name", sorted(all_commands()))
def test_every_command_explains_itself(run: Run, name: str) -> None:
    told = run(name, "--help")
    assert told.code == 0
    assert "Usage: package " + name in told.out


@pytest.mark.parametrize("name", sorted(all_commands()))
def test_options_are_offered_where_they_mean_something(name: str) -> None:
    options = all_commands()[name]
    assert {"--json", "--quiet", "-q", "--verbose", "-v", "--debug", "--no-color"} <= options
    assert ("--nodes" in options) == (name not in WITHOUT_NODES)
    assert ({"--yes", "-y"} <= options) == (name in CHANGES_AWS)
    writes = {"config:init", "completion:install", "service:cookbook"}
    assert ("--dry-run" in options) == (name in CHANGES_AWS | writes)
    assert ({"--profile", "--sandbox"} <= options) == (name in CHANGES_AWS | READS_AWS)


def test_exit_codes_are_unique_and_documented() -> None:
    documented = (ROOT / "docs" / "design.md").read_text()
    assert len({int(code) for code in ExitCode}) == len(ExitCode)
    for code in ExitCode:
        assert f"| {int(code)} |" in documented


def modules_after(*arguments: str) -> set[str]:
    program = "import sys; from nodepkg.cli import commands; from nodepkg.cli.app import run; run(sys.argv[1:]);"
    program += "print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_help_imports_nothing_of_the_domain() -> None:
    for arguments in (["--help"], ["role:create", "--help"]):
        modules = modules_after(*arguments)
        ours = {name for name in modules if name.startswith("nodepkg.")}
        assert all(name.startswith(("nodepkg.cli", "nodepkg.errors")) for name in ours)
        assert not modules & {"boto3", "botocore", "jinja2", "rich", "moto", "deepmerge"}


@pytest.mark.parametrize("command", ["role:create", "packer:create", "autoscale:create", "group:create"])
def test_rendering_imports_no_boto3(command: str) -> None:
    assert not modules_after(command, "--check") & {"boto3", "botocore", "moto", "rich"}


def test_comparing_with_a_revision_imports_no_boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    commit_all(tmp_path, first=True)
    put(tmp_path / "nodes.json", '{"bee": {"run_list": ["x"], "source_ami": "ami-1"}}')
    commit_all(tmp_path)
    modules = modules_after("config:diff", "HEAD", "--nodes", str(tmp_path / "nodes.json"))
    assert "nodepkg.launch" in modules
    assert not modules & {"boto3", "botocore", "moto", "rich"}


def test_role_create_imports_no_jinja() -> None:
    assert "jinja2" not in modules_after("role:create", "--check")


@pytest.mark.parametrize(
    ("words", "code", "namespaces"),
    [
        (["role:create", "--help"], 0, {"role"}),
        (["roles:update", "--help"], 0, {"role", "packer", "sandbox"}),
        (["--help"], 0, {"role", "packer", "sandbox"}),
        (["group:clean"], 2, {"role", "packer", "sandbox"}),
        (["..:clean"], 2, {"role", "packer", "sandbox"}),
        (["a.b:clean"], 2, {"role", "packer", "sandbox"}),
        ([], 0, {"role", "packer", "sandbox"}),
    ],
)
def test_only_the_namespace_of_a_known_command_is_read(words: list[str], code: int, namespaces: set[str]) -> None:
    program = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from nodepkg.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    read = set(done.stdout.splitlines()[-1].split())
    assert {name for name in ("role", "packer", "sandbox") if f"nodepkg.cli.{name}" in read} == namespaces


def test_an_unknown_command_is_answered_with_the_nearest(run: Run) -> None:
    done = run("role:crate")
    assert done.code == 2
    assert "role:create" in done.err


def test_an_unknown_option_is_a_usage_error(run: Run, project: Path) -> None:
    done = run("role:create", "--profile", "x")
    assert done.code == 2
    assert "--profile" in done.err


def test_a_value_that_is_refused_is_told_in_our_words(run: Run) -> None:
    done = run("completion:install", "tcsh")
    assert done.code == 2
    assert done.err.startswith("error: Invalid value for 'SHELL': 'tcsh' is not one of 'bash',")


def test_a_bug_is_told_without_a_traceback(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("nodepkg.cli.options.Call.load", broken)
    done = run("group:list")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "--debug" in done.err
    assert "Traceback" in run("group:list", "--debug").err


def test_nodes_json_is_found_in_the_nearest_parent(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(project / "a" / "b")
    assert run("role:create", "12_04-bee").code == 0
    assert (project / "roles" / "12_04-bee.json").is_file()


def test_the_option_comes_before_the_environment(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"lonely": {"run_list": ["recipe[x]"]}}')
    monkeypatch.setenv("NODEPKG_NODES", str(other))
    assert [entry["group"] for entry in json.loads(run("group:list", "--json").out)] == ["lonely"]
    named = run("group:list", "--json", "--nodes", str(project / "nodes.json"))
    assert len(json.loads(named.out)) == 5


def test_without_a_nodes_json_it_says_where_it_looked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("group:list")
    assert done.code == 3
    assert str(tmp_path) in done.err
    assert "--nodes" in done.err


def test_errors_are_json_when_json_is_asked_for(run: Run, project: Path) -> None:
    done = run("group:list", "nobody", "--json")
    assert done.code == 2
    assert json.loads(done.err)["exit_code"] == 2
    assert done.out == ""


def test_every_command_function_has_the_name_of_its_action() -> None:
    for name in all_commands():
        namespace, _, action = name.partition(":")
        action = action or namespace
        module = sys.modules[f"nodepkg.cli.{namespace.removesuffix('s')}"]
        functions = {key.rstrip("_") for key, value in vars(module).items() if inspect.isfunction(value)}
        assert action in functions, name
