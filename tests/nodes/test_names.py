"""What may be called how, and that a refusal explains itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepkg.nodes.names import LAYER_NAME, group_name_problem, legal_group_name, role_of, run_list_item_problem


@pytest.mark.parametrize("name", ["12_04-bee", "bee", "a" * 100, "0_-", "ftp-listener", "a-v", "a-v1b", "a-version2"])
def test_a_legal_group_name_has_no_problem(name: str) -> None:
    assert group_name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("12.04-bee", r". is not: Chef refuses it in the role's name"),
        ("web server", "space is not"),
        ("a/b/c", "/ is not"),
        ("../../etc", ". / is not"),
        ("naïve", r"\xef is not"),
        ("bee\n", r"\n is not"),
        ("ab", "it has 2 characters, and 3 to 100 are legal"),
        ("", "it has 0 characters"),
        ("a" * 101, "it has 101 characters"),
        ("bee-v001", "ends like a generation of an Auto Scaling group"),
        ("bee-v1", "-v and digits"),
        ("-bee", "begin with a letter or a digit"),
        ("_bee", "begin with a letter or a digit"),
        ("__web", "a layer is written __like_this__"),
        ("____", "a layer is written __like_this__"),
    ],
)
def test_an_illegal_group_name_is_explained(name: str, told: str) -> None:
    assert told in (group_name_problem(name) or "")


@pytest.mark.parametrize(
    "name", ["12.04-bee", "", "ab", "é", "-v1", "bee-v1", "bee-v1-v2", "a-v1-v2", "a" * 97 + "-v12345", "..", "__x"]
)
def test_the_name_to_use_instead_is_legal(name: str) -> None:
    assert group_name_problem(legal_group_name(name)) is None


@given(st.lists(st.sampled_from(["a", "Z9", "_", "-", "-v1", ".", " ", "é", "b" * 49])).map("".join))
def test_the_name_to_use_instead_is_always_legal(name: str) -> None:
    assert group_name_problem(legal_group_name(name)) is None


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("__base__", True),
        ("__web__", True),
        ("__like_this__", True),
        ("__a-b__", True),
        ("____", False),
        ("_web_", False),
        ("__web", False),
        ("web__", False),
        ("__we.b__", False),
        ("__web__\n", False),
    ],
)
def test_a_layer_is_written_like_this(name: str, layer: bool) -> None:
    assert bool(LAYER_NAME.fullmatch(name)) is layer


@pytest.mark.parametrize(
    "item",
    [
        "recipe[nginx]",
        "recipe[nginx::default]",
        "recipe[seatgeek-service::api-workers]",
        "recipe[nginx::default@1.2.3]",
        "recipe[nginx::default@1.2]",
        "recipe[nginx@1.2]",
        "role[base]",
        "role[role-12_04-bee]",
        "nginx",
        "nginx::default",
        "nginx::default@1.2.3",
    ],
)
def test_chef_takes_the_run_list_item(item: str) -> None:
    assert run_list_item_problem(item) is None


@pytest.mark.parametrize(
    "item",
    [
        "",
        " ",
        "recipe[nginx",
        "recipe nginx]",
        "recipe[]",
        "recipe[nginx]]",
        "recipe[nginx]x",
        "recipe[nginx]\n",
        " recipe[nginx]",
        "recipe[nginx::]",
        "recipe[nginx@1]",
        "recipe[nginx@1.2.3.4]",
        "recipe[nginx@latest]",
        "recipes[nginx]",
        "Recipe[nginx]",
        "role[]",
        "role[12.04-bee]",
        "role[web server]",
        "role[a]role[b]",
        "[nginx]",
        "nginx]",
    ],
)
def test_chef_refuses_the_run_list_item_and_so_do_we(item: str) -> None:
    assert "Chef knows recipe[cookbook]" in (run_list_item_problem(item) or "")


@pytest.mark.parametrize(("item", "role"), [("role[base]", "base"), ("recipe[base]", None), ("base", None)])
def test_the_role_of_a_run_list_item(item: str, role: str | None) -> None:
    assert role_of(item) == role
