"""Where each value of a group comes from, by example; and that the rows make up the merge, whatever the layers."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodepkg.errors import UsageError
from nodepkg.nodes.explain import Explanation, Row, Rule, explanation
from nodepkg.nodes.load import Nodes, load
from nodepkg.nodes.schema import Settings
from nodepkg.nodes.source import KeyPath, Source, show_path
from tests.projects import EXAMPLE, copy_example

Entry = dict[str, Any]


def explained(**entries: Entry) -> Explanation:
    """Of the group bee among these entries; `__base__` is written BASE."""
    document = {f"__{name.lower()}__" if name.isupper() else name: entry for name, entry in entries.items()}
    return explanation(Nodes(Source(Path("nodes.json"), "{}", document)), "bee")


def told(explained: Explanation, key: str) -> list[tuple[str, Any, str, str]]:
    """The rows at or below the key: key, value, rule, layer."""
    return [short(row) for row in explained.rows(explained.resolve(key))]


def short(row: Row) -> tuple[str, Any, str, str]:
    return row.key, row.value, str(row.rule), row.given.layer if row.given else "-"


def overridden(explained: Explanation, key: str) -> list[tuple[str, Any]]:
    """What the one row of this key was laid over: layer and value."""
    (row,) = explained.rows(explained.resolve(key))
    return [(one.layer, one.value) for one in row.overrides]


def test_each_item_of_a_list_has_its_own_layer_and_place() -> None:
    of_bee = explained(BASE={"zones": ["a", "b"]}, bee={"zones": ["c"]})
    assert told(of_bee, "zones") == [
        ("zones[0]", "a", "append", "__base__"),
        ("zones[1]", "b", "append", "__base__"),
        ("zones[2]", "c", "append", "bee"),
    ]
    (row,) = of_bee.rows(("zones", 2))
    assert row.given is not None
    assert row.given.place == ("bee", "zones", 0)


def test_an_object_is_told_key_by_key() -> None:
    of_bee = explained(BASE={"tags": {"a": "1", "b": "1"}}, bee={"tags": {"b": "2"}})
    assert told(of_bee, "tags") == [("tags.a", "1", "merge", "__base__"), ("tags.b", "2", "merge", "bee")]
    assert overridden(of_bee, "tags.b") == [("__base__", "1")]


def test_what_was_overridden_is_told_nearest_first() -> None:
    of_bee = explained(BASE={"region": "a"}, WEB={"region": "b"}, bee={"inherits": "__web__", "region": "c"})
    assert told(of_bee, "region") == [("region", "c", "override", "bee")]
    assert overridden(of_bee, "region") == [("__web__", "b"), ("__base__", "a")]


def test_a_default_has_no_layer() -> None:
    of_bee = explained(bee={})
    assert told(of_bee, "packer.chef.path") == [("packer.chef.path", "/opt/nodepkg", "default", "-")]
    assert told(of_bee, "autoscale") == [("autoscale", False, "default", "-")]


def test_null_is_the_default_again_from_the_layer_that_says_so() -> None:
    of_bee = explained(
        BASE={"region": "eu-west-1", "packer": {"template": "web"}}, bee={"region": None, "packer": None}
    )
    (row,) = of_bee.rows(("region",))
    assert (row.value, row.is_reset, row.given and row.given.layer) == ("us-east-1", True, "bee")
    (row,) = of_bee.rows(("packer", "template"))
    assert (row.value, row.is_reset, row.given and row.given.path) == (None, True, ("packer",))
    assert [one.value for one in row.overrides] == ["web"]


def test_a_list_that_null_ended_begins_anew() -> None:
    of_bee = explained(BASE={"zones": ["a"]}, WEB={"zones": None}, bee={"inherits": "__web__", "zones": ["c"]})
    assert told(of_bee, "zones") == [("zones[0]", "c", "append", "bee")]
    assert overridden(of_bee, "zones[0]") == [("__web__", None), ("__base__", ["a"])]


def test_false_overrides_an_object_and_is_one_row() -> None:
    of_bee = explained(BASE={"autoscale": {"node_min": 2}}, bee={"autoscale": False})
    assert told(of_bee, "autoscale") == [("autoscale", False, "override", "bee")]
    (row,) = of_bee.rows(("autoscale", "node_min"))
    assert (row.value, row.by) == (None, ("autoscale",))
    assert told(of_bee, "autoscale.node_max") == [("autoscale", False, "override", "bee")]


def test_an_empty_object_is_told_beside_its_defaults() -> None:
    of_bee = explained(BASE={"autoscale": False}, bee={"autoscale": {}})
    assert told(of_bee, "autoscale")[:2] == [
        ("autoscale", {}, "override", "bee"),
        ("autoscale.timeout", 120, "default", "-"),
    ]


def test_a_key_in_an_object_that_was_replaced_whole_is_told_with_what_replaced_it() -> None:
    of_bee = explained(
        BASE={"default_attributes": {"nginx": {"workers": 4}}}, bee={"default_attributes": {"nginx": {"port": 80}}}
    )
    assert told(of_bee, "default_attributes.nginx.port") == [("default_attributes.nginx.port", 80, "merge", "bee")]
    (row,) = of_bee.rows(of_bee.resolve("default_attributes.nginx.workers"))
    assert (row.value, row.by) == (None, ("default_attributes", "nginx"))
    assert [(one.layer, one.value) for one in row.overrides] == [("__base__", 4)]


def test_a_default_tells_what_was_replaced_with_its_object() -> None:
    of_bee = explained(BASE={"packer": {"chef": {"path": "/a/b"}}}, bee={"packer": {"chef": {"command": "x"}}})
    assert told(of_bee, "packer.chef.path") == [("packer.chef.path", "/opt/nodepkg", "default", "bee")]
    assert overridden(of_bee, "packer.chef.path") == [("__base__", "/a/b")]
    (row,) = of_bee.rows(("packer", "chef", "path"))
    assert (row.by, row.given and row.given.place) == (("packer", "chef"), ("bee", "packer", "chef"))
    (row,) = of_bee.rows(("packer", "chef", "install"))
    assert (row.by, row.given, row.overrides) == (None, None, ())


def test_what_counts_is_not_among_what_it_was_laid_over() -> None:
    of_bee = explained(BASE={"autoscale": {"node_min": 2}}, bee={"autoscale": False})
    assert overridden(of_bee, "autoscale.node_min") == [("__base__", 2)]


def test_of_two_volumes_of_one_device_the_last_counts() -> None:
    first, other, last = ({"device": name, "size_gb": size} for name, size in (("a", 1), ("b", 2), ("a", 3)))
    of_bee = explained(BASE={"block_devices": [first, other]}, bee={"block_devices": [last]})
    assert told(of_bee, "block_devices") == [
        ("block_devices[0]", None, "append", "bee"),
        ("block_devices[1]", other, "append", "__base__"),
        ("block_devices[2]", last, "append", "bee"),
    ]
    for path in (("block_devices", 0), ("block_devices", 0, "size_gb")):
        (row,) = of_bee.rows(path)
        assert (row.key, row.by) == ("block_devices[0]", ("block_devices", 2))
        assert [(one.layer, one.value) for one in row.overrides] == [("__base__", first)]


def test_of_a_security_group_that_is_repeated_the_first_counts() -> None:
    of_bee = explained(BASE={"security_groups": ["a", "b"]}, bee={"security_groups": ["a"]})
    assert told(of_bee, "security_groups") == [
        ("security_groups[0]", "a", "append", "__base__"),
        ("security_groups[1]", "b", "append", "__base__"),
        ("security_groups[2]", None, "append", "__base__"),
    ]
    assert overridden(of_bee, "security_groups[2]") == [("bee", "a")]


def test_a_source_image_that_lost_is_told_with_the_one_that_won() -> None:
    of_bee = explained(BASE={"source_ami": "ami-1"}, bee={"source_group": "base"})
    (row,) = of_bee.rows(("source_ami",))
    assert (row.value, row.by, row.given and row.given.layer) == (None, ("source_group",), "bee")
    assert overridden(of_bee, "source_ami") == [("__base__", "ami-1")]


def test_inherits_is_the_groups_own() -> None:
    of_bee = explained(WEB={"inherits": "__app__"}, APP={}, bee={"inherits": ["__web__"]})
    assert told(of_bee, "inherits") == [("inherits", ["__web__"], "override", "bee")]
    assert told(of_bee, "inherits[0]") == [("inherits[0]", "__web__", "override", "bee")]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("run_list[1]", ("run_list", 1)),
        ("run_list.1", ("run_list", 1)),
        ("packer.chef.install", ("packer", "chef", "install")),
        ("tags.a.b", ("tags", "a.b")),
        ("tags.a", ("tags", "a")),
        ("tags.a[0]", ("tags", "a[0]")),
        ("default_attributes.x.list[1].y", ("default_attributes", "x", "list", 1, "y")),
        ("default_attributes.", ("default_attributes", "")),
        ("block_devices[0].type", ("block_devices", 0, "type")),
        ("source_ami_filter.name", ("source_ami_filter", "name")),
    ],
)
def test_a_key_path_is_found_also_where_keys_hold_dots(text: str, path: KeyPath) -> None:
    of_bee = explained(
        bee={
            "run_list": ["a", "b"],
            "tags": {"a": "1", "a.b": "2", "a[0]": "3"},
            "default_attributes": {"x": {"list": [1, {"y": 2}]}, "": 1},
            "block_devices": [{"device": "x"}],
        }
    )
    assert of_bee.resolve(text) == path
    assert of_bee.rows(path)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("packer.chef.instal", "packer.chef.install"),
        ("node_min", "autoscale.node_min"),
        ("run_list[7]", "run_list[0]"),
        ("zzz", ""),
        ("block_devices.type", ""),
        ("run_list[0].x", "run_list[0]"),
        ("region.", "region"),
        ("", ""),
    ],
)
def test_an_unknown_path_is_answered_with_the_nearest(text: str, nearest: str) -> None:
    of_bee = explained(bee={"run_list": ["a"], "block_devices": [{"device": "x"}]})
    with pytest.raises(UsageError) as error:
        of_bee.resolve(text)
    assert nearest in error.value.hint
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("runlist[0]", "run_list[0]"),
        ("runlist.1", "run_list[1]"),
        ("run_list[7]", "run_list"),
        ("autoscale.target_groups[0]", "autoscale.target_groups"),
        ("target_groups[0]", "autoscale.target_groups"),
    ],
)
def test_for_an_item_the_nearest_list_comes_first(text: str, first: str) -> None:
    of_bee = explained(bee={"run_list": ["a", "b"], "block_devices": [{"device": "x"}], "zones": ["z"]})
    with pytest.raises(UsageError) as error:
        of_bee.resolve(text)
    assert error.value.hint.startswith((f"did you mean {first} or", f"did you mean {first}?"))


SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["x", "y"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["p", "install", "x.y"]), inner, max_size=3)
    ),
    max_leaves=6,
)
CHEF = st.dictionaries(st.sampled_from(["install", "path", "x-n"]), SCALARS, max_size=2) | VALUES
PACKER = st.dictionaries(st.sampled_from(["chef", "builder", "template", "x-n"]), CHEF, max_size=3)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "region": VALUES,
        "run_list": VALUES | st.lists(SCALARS, max_size=2),
        "default_attributes": VALUES,
        "tags": st.dictionaries(st.sampled_from(["a", "a.b"]), SCALARS),
        "packer": VALUES | PACKER,
        "autoscale": VALUES | st.dictionaries(st.sampled_from(["node_min", "target_groups"]), SCALARS),
        "block_devices": st.lists(st.dictionaries(st.sampled_from(["device", "type"]), SCALARS), max_size=2),
        "security_groups": VALUES | st.lists(SCALARS, max_size=3),
        "source_ami": SCALARS,
        "source_group": SCALARS,
        "source_ami_filter": VALUES,
        "x-own": VALUES,
    },
)
INHERITS = st.lists(st.sampled_from(["__a__", "__b__", "__c__"]), max_size=3)


@st.composite
def layered(draw: st.DrawFn) -> Explanation:
    """A group over layers that inherit from each other as they like, circles left out; diamonds are not."""
    names = ["__base__", "__a__", "__b__", "__c__", "bee"]
    document = {name: dict(draw(ENTRIES)) for name in names}
    for depth, name in enumerate(names[1:]):
        above = [layer for layer in draw(INHERITS) if layer in names[1 : depth + 1]]
        document[name]["inherits"] = above
    return explanation(Nodes(Source(Path("nodes.json"), "{}", document)), "bee")


RANDOM = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RANDOM
@given(layered())
def test_the_rows_make_up_the_merge(of_bee: Explanation) -> None:
    rebuilt: Entry = {}
    for row in of_bee.rows():
        if row.rule is Rule.APPEND and row.by:  # a volume that another one counts instead of
            put(rebuilt, row.path, row.overrides[0].value)
        elif row.given and not row.by:
            put(rebuilt, row.path[: len(row.given.path)], row.given.value)
    assert rebuilt == of_bee.trace.merged


def put(document: Entry, path: KeyPath, value: Any) -> None:
    """Sets the value, and makes what has to hold it; items come in their order."""
    holder: Any = document
    for part, following in pairwise(path):
        holder = holder.setdefault(part, [] if isinstance(following, int) else {})
    if isinstance(holder, list) and path[-1] == len(holder):
        holder.append(value)
    else:
        holder[path[-1]] = value


@RANDOM
@given(layered())
def test_every_row_is_found_again_by_its_key(of_bee: Explanation) -> None:
    for row in of_bee.rows():
        assert show_path(of_bee.resolve(row.key)) == row.key
        if not isinstance(row.value, dict):  # of an object there are the rows of what is in it, too
            assert of_bee.rows(row.path) == [row]


@RANDOM
@given(layered())
def test_every_known_path_is_explained(of_bee: Explanation) -> None:
    for path in of_bee.known():
        rows = of_bee.rows(path)
        assert rows
        for row in rows:
            if of_bee.trace.has(row.path) and row.given and not row.is_reset and not row.by:
                assert row.given.value == row.value == of_bee.trace.value(row.path)


@pytest.mark.parametrize("name", ["12_04-base", "12_04-bee", "12_04-www", "ftp-listener", "ftp-processor"])
def test_the_values_of_a_group_of_the_example_are_those_of_its_settings(tmp_path: Path, name: str) -> None:
    nodes = copy_example(tmp_path / "project")
    told: Entry = {}
    for row in explanation(nodes, name).rows():
        put(told, row.path, row.value)
    group = nodes.group(name)
    devices = [device.model_dump(exclude_unset=True) for device in group.settings.block_devices]
    wanted = group.settings.model_dump() | {"block_devices": devices}
    assert {key: value or None for key, value in told.items()} == {key: value or None for key, value in wanted.items()}
    assert list(told) == list(Settings.model_fields)


def test_places_are_the_lines_of_the_file() -> None:
    nodes = load(EXAMPLE / "nodes.json")
    text = nodes.source.text.splitlines()
    given = {row.given.place: row.given for row in explanation(nodes, "12_04-www").rows() if row.given}
    for place, line in nodes.source.lines(given).items():
        last = given[place].path[-1]
        assert (f'"{last}"' if isinstance(last, str) else json.dumps(given[place].value)) in text[line - 1]
