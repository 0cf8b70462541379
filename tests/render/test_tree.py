"""The files that go to a node, and the secrets that never do."""

import os
from pathlib import Path

import pytest

from nodepkg.errors import RefusedError
from nodepkg.render.archive import BUNDLES, archive
from nodepkg.render.bundle import Project, bundle, left_out
from nodepkg.render.digest import bundle_digest
from nodepkg.render.tree import files_below, secrets_of
from tests.projects import make_project

NODES = {"bee": {"run_list": ["recipe[a]"]}}
FILES = {"cookbooks/a/recipes/default.rb": "log 'a'\n", "data_bags/users/ann.json": '{"id": "ann"}\n'}
SOLO_RB = {"solo.rb": "data_bag_path '/opt/nodepkg/data_bags'\n"}


def shared(root: Path, files: dict[str, str]) -> tuple[Project, list[str], str]:
    nodes = make_project(root, NODES, {**FILES, **files})
    project = Project(nodes)
    made = bundle(project, nodes.group("bee"))
    archive(project, made, root / BUNDLES)
    return project, list(made.shared), bundle_digest(made)


@pytest.mark.parametrize("name", ["encrypted_data_bag_secret", "encrypted_data_bag_secret_key", "data_bag_key"])
@pytest.mark.parametrize("place", ["data_bags", "data_bags/users", "cookbooks/a/test/integration"])
def test_a_secret_is_known_by_its_name(tmp_path: Path, name: str, place: str) -> None:
    _, _, without = shared(tmp_path / "without", {})
    project, there, digest = shared(tmp_path / "with", {f"{place}/{name}": "secret"})
    assert there == list(FILES)
    assert digest == without
    assert project.secrets == [f"{place}/{name}"]


@pytest.mark.parametrize(
    "name", ["encrypted_data_bag_secret.erb", "encrypted_data_bag_secret.rb", "secret", "key.json"]
)
def test_what_only_sounds_like_one_goes_to_the_nodes(tmp_path: Path, name: str) -> None:
    project, there, _ = shared(tmp_path, {**SOLO_RB, f"cookbooks/a/{name}": "text"})
    assert f"cookbooks/a/{name}" in there
    assert project.secrets == []


SETTINGS = [
    ("solo.rb", 'encrypted_data_bag_secret "/opt/nodepkg/data_bags/my.key"'),
    ("solo.rb", "encrypted_data_bag_secret('/opt/nodepkg/data_bags/my.key') # where it lies"),
    ("solo.rb", '  encrypted_data_bag_secret File.join(root, "data_bags", "my.key")'),
    ("solo.rb", 'encrypted_data_bag_secret "#{root}/data_bags/my.key"'),
    ("solo.rb", "encrypted_data_bag_secret File.expand_path('../data_bags/my.key', __FILE__)"),
    ("solo.rb", 'Chef::Config[:encrypted_data_bag_secret] = "data_bags/my.key"'),
    ("knife.rb", 'encrypted_data_bag_secret "data_bags/my.key"'),
    (".chef/knife.rb", 'knife[:secret_file] = "#{current_dir}/../data_bags/my.key"'),
    (".chef/config.rb", "knife['secret_file'] = 'data_bags/my.key'"),
]


@pytest.mark.parametrize(("file", "setting"), SETTINGS)
def test_a_secret_is_known_by_what_chef_is_told(tmp_path: Path, file: str, setting: str) -> None:
    files = {file: f"log_level :info\n{setting}\nverbose true\n", "data_bags/my.key": "secret"}
    project, there, _ = shared(tmp_path, files)
    assert there == list(FILES)
    assert project.secrets == ["data_bags/my.key"]


@pytest.mark.parametrize(
    "setting",
    [
        '# encrypted_data_bag_secret "data_bags/my.key"',
        'encrypted_data_bag_secret "/etc/chef/encrypted_data_bag_secret"',
        "encrypted_data_bag_secret ENV['SECRET']",
        'data_bag_path "data_bags/my.key"',
        'encrypted_data_bag_secret "data_bags/other/my.key"',
    ],
)
def test_what_chef_is_told_of_other_files_leaves_none_out(tmp_path: Path, setting: str) -> None:
    assert shared(tmp_path, {"solo.rb": setting, "data_bags/my.key": "text"})[0].secrets == []


def test_a_secret_behind_a_link_is_left_out_by_the_name_it_has_here(tmp_path: Path) -> None:
    make_project(tmp_path, NODES, {**FILES, "keys/mine": "secret"})
    (tmp_path / "data_bags" / "data_bag_key").symlink_to("../keys/mine")
    assert secrets_of(tmp_path, files_below(tmp_path, "data_bags")) == ["data_bags/data_bag_key"]


def test_it_is_told_where_the_secret_lies_and_that_images_hold_it(tmp_path: Path) -> None:
    project, _, _ = shared(tmp_path, {"data_bags/data_bag_key": "secret"})
    (told,) = left_out(project)
    assert told.startswith(f"{tmp_path}/data_bags/data_bag_key is the key of encrypted data bags: no bundle")
    assert "other means" in told
    assert "Packer" not in told
    assert "Packer uploads its folder whole" in left_out(project, image=True)[0]


def test_an_unreadable_solo_rb_names_no_secret(tmp_path: Path) -> None:
    (tmp_path / "solo.rb").mkdir()
    assert secrets_of(tmp_path, ["data_bags/x"]) == []


@pytest.mark.parametrize("name", [b"a\nb", b"a\n\xff"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_control_characters_are_refused_in_every_name(tmp_path: Path, name: bytes, kind: str) -> None:
    (tmp_path / "cookbooks").mkdir()
    path = Path(os.fsdecode(os.fsencode(tmp_path / "cookbooks") + b"/" + name))
    path.mkdir() if kind == "folder" else path.write_text("")
    with pytest.raises(RefusedError, match="control character"):
        files_below(tmp_path, "cookbooks")
