"""config:diff: what a reviewer is told, in a repository of the example project."""

import json
from pathlib import Path
from typing import Any

import pytest

from nodepkg.cli.differences import lines
from nodepkg.cli.output import Output
from nodepkg.diff import GroupChange, State
from nodepkg.nodes.changes import Kind
from tests.cli.conftest import Run
from tests.cli.test_output import Terminal
from tests.gits import alone, commit_all, git, put


@pytest.fixture
def repo(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example project, committed."""
    alone(monkeypatch)
    commit_all(project, first=True)
    return project


def edit(folder: Path, group: str, **keys: Any) -> None:
    document = json.loads((folder / "nodes.json").read_text())
    document.setdefault(group, {}).update(keys)
    rewrite(folder, document)


def rewrite(folder: Path, document: Any) -> None:
    (folder / "nodes.json").write_text(json.dumps(document, indent=4))


def told(run: Run, *arguments: str) -> dict[str, Any]:
    """The JSON document of a comparison with HEAD, its groups by name."""
    done = run("config:diff", "HEAD", *arguments, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    return {**document, "groups": {one["group"]: one for one in document["groups"]}}


def test_no_differences_are_said_plainly(run: Run, repo: Path) -> None:
    done = run("config:diff", "HEAD")
    assert done.code == 0
    commit = git(repo, "rev-parse", "--short=12", "HEAD").strip()
    assert done.out == f"no differences between HEAD ({commit}) and the working tree\n"
    assert told(run)["groups"] == {}
    assert told(run)["unchanged"] == 5


def test_another_language_of_the_template_makes_no_other_image(run: Run, repo: Path) -> None:
    edit(repo, "12_04-bee", packer={"format": "hcl2"})
    changed = told(run)["groups"]["12_04-bee"]
    assert changed["artifacts"] == {"packer/12_04-bee.json": "removed", "packer/12_04-bee.pkr.hcl": "added"}
    assert (changed["rebuild"], changed["asg"]) == (False, "nothing")


def test_groups_in_hcl2_are_compared_like_others(run: Run, repo: Path) -> None:
    edit(repo, "12_04-bee", packer={"format": "hcl2"})
    commit_all(repo)
    edit(repo, "12_04-bee", packer={"format": "hcl2", "builder": {"ena_support": True}})
    changed = told(run)["groups"]["12_04-bee"]
    assert changed["artifacts"] == {"packer/12_04-bee.pkr.hcl": "changed"}
    assert (changed["rebuild"], changed["asg"]) == (True, "replace")


def test_user_data_of_the_projects_own_is_read_at_the_revision_and_replaces_the_nodes(run: Run, repo: Path) -> None:
    own = repo / "templates/user_data/default.j2"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n: then\n")
    commit_all(repo)
    assert told(run)["groups"] == {}
    own.write_text("#!/bin/sh\n: now\n")
    groups = told(run)["groups"]
    assert "12_04-base" not in groups  # it has no nodes
    assert (groups["12_04-bee"]["rebuild"], groups["12_04-bee"]["asg"]) == (False, "replace")
    assert groups["12_04-bee"]["files"] == [{"path": "templates/user_data/default.j2", "change": "changed"}]


def test_a_change_is_told_key_by_key_with_what_follows(run: Run, repo: Path) -> None:
    edit(
        repo,
        "12_04-bee",
        instance_type="m3.large",
        security_groups=["bee", "hive"],
        default_attributes={},
        tags={"team": "ops"},
    )
    assert (
        run("config:diff", "HEAD").out.split("\n", 1)[1]
        == """
12_04-bee
  ~ instance_type: "m1.large" -> "m3.large"
  + security_groups[3]: "hive"
  - default_attributes.other_key: "value"
  + tags: {"team": "ops"}
  => artefacts to refresh: roles/12_04-bee.json, packer/12_04-bee.json
  => image to rebuild
  => Auto Scaling group to replace

to run:
  package group:create 12_04-bee
  package packer:run 12_04-bee
"""
    )


def test_groups_that_change_alike_are_told_as_one(run: Run, repo: Path) -> None:
    edit(repo, "__base__", ssh_username="admin")
    lines = run("config:diff", "HEAD").out.splitlines()
    assert lines[0].startswith("5 of 5 groups differ")
    assert "12_04-base, 12_04-bee and 3 more" in lines
    assert lines.count('  + ssh_username: "admin"') == 1
    assert "  => artefacts to refresh: packer/GROUP.json" in lines
    assert lines[-1] == "  package group:create"


def test_cookbooks_alone_are_told_as_the_cause(run: Run, repo: Path) -> None:
    put(repo / "cookbooks/nginx/recipes/default.rb", "# changed")
    put(repo / "cookbooks/nginx/recipes/other.rb", "# new")
    out = run("config:diff", "HEAD", "12_04-www").out
    assert "  ~ cookbooks/nginx: 2 files\n  => image to rebuild\n  => Auto Scaling group to replace\n" in out
    assert "group:create" not in out
    document = told(run, "12_04-www")
    assert document["files"] == [
        {"path": "cookbooks/nginx/recipes/default.rb", "change": "changed"},
        {"path": "cookbooks/nginx/recipes/other.rb", "change": "added"},
    ]
    assert document["groups"]["12_04-www"]["rebuild"]


def test_a_template_counts_for_the_groups_that_are_made_from_it(run: Run, repo: Path) -> None:
    (web,) = (repo / "templates/packer").iterdir()
    web.write_text(web.read_text().replace("no nginx.conf", "no nginx"))
    groups = told(run)["groups"]
    assert list(groups) == ["12_04-www"]
    assert groups["12_04-www"]["files"] == [{"path": "templates/packer/web.j2", "change": "changed"}]
    assert groups["12_04-www"]["artifacts"] == {"packer/12_04-www.json": "changed"}
    assert groups["12_04-www"]["changes"] == []
    assert groups["12_04-www"]["rebuild"]


def test_a_template_that_gives_the_same_is_told_and_nothing_follows(run: Run, repo: Path) -> None:
    (web,) = (repo / "templates/packer").iterdir()
    web.write_text(web.read_text() + "\n")
    out = run("config:diff", "HEAD").out
    assert "  ~ templates/packer/web.j2\n  => nothing follows\n" in out
    assert "to run" not in out


def test_a_base_that_is_rebuilt_comes_before_what_is_built_on_it(run: Run, repo: Path) -> None:
    edit(repo, "12_04-base", run_list=["recipe[python]", "recipe[nginx]"])
    groups = told(run)["groups"]
    assert {name: (one["base"], one["asg"]) for name, one in groups.items()} == {
        "12_04-base": (None, "nothing"),
        "ftp-listener": ("12_04-base", "replace"),
        "ftp-processor": ("12_04-base", "replace"),
    }
    assert "  => image to rebuild after 12_04-base\n" in run("config:diff", "HEAD", "ftp-*").out
    assert told(run, "ftp-listener")["commands"] == [
        "package group:create 12_04-base",
        "package packer:run 12_04-base ftp-listener",
    ]


def test_sizes_alone_resize_and_timeouts_alone_do_nothing(run: Run, repo: Path) -> None:
    edit(repo, "12_04-bee", autoscale={"timeout": 120, "node_min": 2, "node_max": 5})
    edit(repo, "12_04-www", autoscale={"node_min": 2, "node_max": 6, "bake_time": 90})
    out = run("config:diff", "HEAD").out
    assert "  ~ autoscale.node_max: 2 -> 5\n  => Auto Scaling group to resize\n" in out
    assert "  + autoscale.bake_time: 90\n  => nothing follows\n" in out


def test_an_auto_scaling_group_that_is_wanted_or_not_any_more(run: Run, repo: Path) -> None:
    edit(repo, "12_04-base", autoscale={})
    edit(repo, "12_04-bee", autoscale=False)
    groups = told(run)["groups"]
    assert groups["12_04-base"]["asg"] == "start"
    assert groups["12_04-base"]["artifacts"] == {"dna/asg/12_04-base.json": "added"}
    assert groups["12_04-bee"]["asg"] == "delete"
    assert groups["12_04-bee"]["artifacts"] == {"dna/asg/12_04-bee.json": "removed"}
    out = run("config:diff", "HEAD").out
    assert "  => files left behind: dna/asg/12_04-bee.json\n" in out
    assert "package group:create 12_04-base\n" in out
    assert "git rm" not in out  # it is not there


def test_files_that_nothing_writes_any_more_are_removed_by_git(
    run: Run, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("group:create")
    commit_all(repo)
    edit(repo, "12_04-bee", autoscale=False)
    assert told(run)["commands"] == ["git rm dna/asg/12_04-bee.json"]
    assert "\nto run:\n  git rm dna/asg/12_04-bee.json\n" in run("config:diff", "HEAD").out
    monkeypatch.chdir(repo / "roles")
    (command,) = told(run)["commands"]
    git(repo / "roles", *command.split()[1:])
    assert not (repo / "dna/asg/12_04-bee.json").exists()
    assert told(run)["commands"] == []


def test_a_renamed_group_is_one_that_went_and_one_that_came(run: Run, repo: Path) -> None:
    document = json.loads((repo / "nodes.json").read_text())
    document["12_04-wasp"] = document.pop("12_04-bee")
    rewrite(repo, document)
    out = run("config:diff", "HEAD").out
    assert "12_04-wasp (added)\n" in out
    assert "12_04-bee (removed)\n  => files left behind: roles/12_04-bee.json, packer/12_04-bee.json, dna/asg" in out
    assert "its images stay until they are deleted, and so does the Auto Scaling group" in out
    assert list(told(run, "12_04-bee")["groups"]) == ["12_04-bee"]
    assert list(told(run, "12_04-b*")["groups"]) == ["12_04-bee"]
    assert run("config:diff", "HEAD", "12_04-bea").code == 2


def test_a_group_that_was_wrong_is_compared_and_noted(run: Run, repo: Path) -> None:
    good = json.loads((repo / "nodes.json").read_text())
    edit(repo, "12_04-bee", regoin="x")
    commit_all(repo)
    rewrite(repo, good)
    out = run("config:diff", "HEAD").out
    assert '  - regoin: "x"\n  note: at HEAD: 12_04-bee: regoin: unknown key' in out
    assert "=> image to rebuild" in out


def test_a_template_that_was_broken_is_named_at_its_revision(run: Run, repo: Path) -> None:
    (web,) = (repo / "templates/packer").iterdir()
    good = web.read_text()
    web.write_text("{% broken")
    commit_all(repo)
    web.write_text(good)
    assert "note: HEAD:templates/packer/web.j2:1: " in run("config:diff", "HEAD").out


def test_what_is_asked_for_has_to_be_right_now(run: Run, repo: Path) -> None:
    edit(repo, "12_04-bee", regoin="x")
    assert run("config:diff", "HEAD").code == 3
    assert run("config:diff", "HEAD", "12_04-www").code == 0


def test_a_nodes_json_that_was_no_json_is_a_usage_error(run: Run, repo: Path) -> None:
    good = (repo / "nodes.json").read_text()
    put(repo / "nodes.json", "{,}")
    commit_all(repo)
    put(repo / "nodes.json", good)
    done = run("config:diff", "HEAD")
    assert done.code == 2
    assert "HEAD:nodes.json:1:2" in done.err


@pytest.mark.parametrize(("rev", "code"), [("nope", 2), ("HEAD", 0), ("main", 0)])
def test_exit_codes_of_revisions(run: Run, repo: Path, rev: str, code: int) -> None:
    assert run("config:diff", rev).code == code


def test_a_revision_with_a_dash_is_none(run: Run, repo: Path) -> None:
    assert run("config:diff", "--", "--output=x").code == 2
    assert not (repo / "x").exists()


def test_outside_of_a_repository_it_is_refused(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    assert run("config:diff", "HEAD").code == 4


def test_a_submodule_with_its_commit_is_no_difference(run: Run, repo: Path, tmp_path: Path) -> None:
    put(tmp_path / "library/metadata.rb", "name 'library'")
    commit_all(tmp_path / "library", first=True)
    git(repo, "submodule", "--quiet", "add", str(tmp_path / "library"), "cookbooks/library")
    commit_all(repo)
    assert run("config:diff", "HEAD").out.startswith("no differences")
    put(repo / "cookbooks/library/metadata.rb", "name 'other'")
    assert [one["path"] for one in told(run)["files"]] == ["cookbooks/library/metadata.rb"]


def test_a_submodule_that_moved_and_is_not_checked_out_is_a_difference(run: Run, repo: Path, tmp_path: Path) -> None:
    put(tmp_path / "library/metadata.rb", "name 'library'")
    commit_all(tmp_path / "library", first=True)
    git(repo, "submodule", "--quiet", "add", str(tmp_path / "library"), "cookbooks/library")
    commit_all(repo)
    commit_all(repo / "cookbooks/library")
    git(repo, "add", "cookbooks/library")
    git(repo, "submodule", "deinit", "--force", "cookbooks/library")
    document = told(run)
    assert all(one["rebuild"] for one in document["groups"].values())
    assert "cookbooks/library" in document["notes"][0]
    commit_all(repo)
    assert "the working tree, but for what could not be compared\n" in run("config:diff", "HEAD").out


def test_an_empty_folder_that_git_cannot_hold_is_no_difference(run: Run, repo: Path) -> None:
    git(repo, "rm", "--quiet", "-r", "data_bags")
    commit_all(repo)
    (repo / "data_bags").mkdir(exist_ok=True)
    assert run("config:diff", "HEAD").out.startswith("no differences")


def test_ignored_cookbooks_are_no_difference(run: Run, repo: Path) -> None:
    put(repo / ".gitignore", "/cookbooks/vendored/\n")
    put(repo / "cookbooks/vendored/metadata.rb", "x")
    assert run("config:diff", "HEAD").out.startswith("no differences")


def test_many_groups_are_not_listed_in_a_command(run: Run, repo: Path) -> None:
    document = json.loads((repo / "nodes.json").read_text())
    many = {f"www-{number:02}": {"inherits": "__web__", "run_list": ["recipe[nginx]"]} for number in range(25)}
    rewrite(repo, {**document, **many})
    commit_all(repo)
    edit(repo, "__web__", ssh_username="admin")
    out = run("config:diff", "HEAD").out
    assert "12_04-www, www-00 and 24 more\n" in out
    assert "package group:create …, with the names of 26 groups (--json has them)\n" in out
    (command,) = told(run)["commands"]
    assert len(command.split()) == 28


def test_values_cannot_steer_the_terminal(run: Run, repo: Path) -> None:
    edit(repo, "12_04-bee", description="\u009b31m \u202e")
    out = run("config:diff", "HEAD").out
    assert "\u009b" not in out
    assert "\u202e" not in out


def test_commands_carry_the_options_of_the_call(run: Run, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(repo, "12_04-bee", key_name="ops")
    monkeypatch.chdir(repo.parent)
    edit(repo, "12_04-bee", ssh_username="admin")
    assert (
        f"package group:create 12_04-bee --nodes {repo}/nodes.json"
        in run("config:diff", "HEAD", "--nodes", str(repo / "nodes.json")).out
    )


def test_what_follows_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", Terminal())
    made = dict.fromkeys(("roles/bee.json", "packer/bee.json", "dna/asg/bee.json"), Kind.CHANGED)
    found = GroupChange("bee", State.CHANGED, artifacts=made, note="a text that is longer than the terminal is wide")
    shown = list(lines(Output(color=False), [found]))
    assert max(map(len, shown)) <= 40
    assert shown[-3:] == [
        "  => artefacts to refresh:",
        "     roles/bee.json, packer/bee.json,",
        "     dna/asg/bee.json",
    ]
