"""The JSON Schema of nodes.json, judged by a validator that is not pydantic: it says what `Nodes` says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nodepkg.nodes.json_schema import document_schema
from nodepkg.nodes.load import Nodes
from nodepkg.nodes.schema import SECRET_BUILDER_KEYS, WRITTEN_BUILDER_KEYS
from nodepkg.nodes.source import Source
from nodepkg.render.jsontext import pretty
from tests.projects import EXAMPLE

Entry = dict[str, Any]
SCHEMA = document_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
PAGE = (EXAMPLE / "docs" / "nodes.md").read_text("utf-8")
FILTER = {"name": "ubuntu", "owners": ["self"]}


def complaints(document: Any) -> list[str]:
    """What the schema objects to, as `place: message`."""
    return [f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(document)]


def findings(document: Any) -> list[str]:
    """What Nodes says of the top level, and of each layer by itself: groups, and so the merge, are not asked for."""
    nodes = Nodes(Source(Path("nodes.json"), json.dumps(document), document))
    return [found.text() for found in nodes.examine([])[1]]


def of(entry: Any) -> Any:
    """A document with this entry as a layer, and another layer that it may inherit."""
    return {"__mine__": entry, "__web__": {}}


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_in_the_package_is_that_of_the_models() -> None:
    assert (EXAMPLE / "src" / "nodepkg" / "nodes.schema.json").read_text("utf-8") == pretty(SCHEMA)


def test_the_example_names_the_schema_and_keeps_to_it() -> None:
    document = json.loads((EXAMPLE / "nodes.json").read_text("utf-8"))
    assert next(iter(document)) == "$schema"
    assert json.loads((EXAMPLE / document["$schema"]).read_text("utf-8")) == SCHEMA
    assert complaints(document) == []


def test_the_example_of_the_readme_keeps_to_the_schema() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", (EXAMPLE / "README.md").read_text("utf-8"), re.DOTALL)
    assert complaints(json.loads(shown)) == []


# The keywords of JSON Schema 2020-12 that the schema may use; one of our own would be unknown to other validators.
KEYWORDS = {
    *("$schema", "$ref", "$defs", "title", "description", "default", "examples", "type", "enum", "const"),
    *("allOf", "anyOf", "not", "properties", "patternProperties", "additionalProperties", "propertyNames", "required"),
    *("items", "minItems", "maxItems", "minLength", "maxLength", "pattern", "minimum", "maximum"),
}


def schemas(schema: Any) -> Iterator[Entry]:
    """The schema and every one inside."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("items", "not", "additionalProperties", "propertyNames"):
        yield from schemas(schema.get(key))
    for inner in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        yield from schemas(inner)
    for key in ("$defs", "properties", "patternProperties"):
        for inner in schema.get(key, {}).values():
            yield from schemas(inner)


def test_only_standard_keywords_are_used() -> None:
    used = {key for schema in schemas(SCHEMA) for key in schema}
    assert used == KEYWORDS


def test_patterns_are_what_every_dialect_of_regular_expressions_knows() -> None:
    """ECMA-262 has no \\Z, no possessive quantifier and no inline flag; RE2 has no look-around."""
    patterns = {schema["pattern"] for schema in schemas(SCHEMA) if "pattern" in schema}
    patterns |= {pattern for schema in schemas(SCHEMA) for pattern in schema.get("patternProperties", {})}
    assert len(patterns) > 10
    for pattern in patterns:
        assert re.compile(pattern)
        assert not re.search(r"\\[AZzGdwsbQE]|[*+?}]\+|\(\?(?!:)", pattern.replace(r"[\s\S]", "")), pattern


def test_every_key_has_its_meaning_and_its_unit() -> None:
    keys = [key for model in SCHEMA["$defs"].values() for key in model["properties"].items()]
    assert [name for name, key in keys if not key["description"].endswith(".")] == []
    told = SCHEMA["$defs"]["Autoscale"]["properties"]["bake_time"]
    assert told["description"].endswith(". Unit: seconds.")
    assert told["default"] == 60
    assert SCHEMA["$defs"]["Settings"]["properties"]["autoscale"]["default"] is False


# The examples of docs/nodes.md


def rows() -> Iterator[tuple[list[str], str, str, str]]:
    """Of each row of each table: the path of its section, its key, default and example."""
    for section in PAGE.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        path = [] if title == "An entry" else title.strip("`").split(".")
        for line in body.splitlines():
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if cells and cells[0].startswith("`"):
                yield path, cells[0].strip("`"), cells[3], cells[5]


def placed(path: list[str], value: Any) -> Entry:
    """An entry that has the value at this path, and what its objects require; `key[]` is a list of it."""
    for length in range(len(path), 0, -1):
        name, required = path[length - 1], REQUIRED.get(".".join(path[:length]), {})
        given = {**required, **value}
        value = {name.removesuffix("[]"): [given] if name.endswith("[]") else given}
    return dict(value)


ROWS = [pytest.param(*row, id=".".join([*row[0], row[1]])) for row in rows()]
REQUIRED: dict[str, Entry] = {
    "block_devices[]": {"device": "/dev/sda1"},
    "source_ami_filter": FILTER,
    "services": {"cookbook": "service"},
    "services.external.NAME[]": {"host": "db"},
}


def test_the_page_has_every_key_of_the_schema() -> None:
    assert len(ROWS) == sum(len(model["properties"]) for model in SCHEMA["$defs"].values())
    without = {row.id for row in ROWS if not row.values[3]}
    assert without == {"source_ami_filter", "block_devices", "packer", "packer.chef", "deploy", "services.tls"}


@pytest.mark.parametrize(("path", "key", "default", "example"), ROWS)
def test_every_example_and_default_of_the_page_is_accepted(
    path: list[str], key: str, default: str, example: str
) -> None:
    shown = [json.loads(cell.strip("`")) for cell in (default, example) if cell.startswith("`")]
    for value in [*shown, None] if default != "required" else shown:
        entry = placed(path, {key: value})
        assert complaints(of(entry)) == findings(of(entry)) == []


# What is right


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"$schema": "https://example.org/nodes.json", "__base__": {}, "12_04-bee": {}},
        {"a" * 100: {}, "a-v": {}, "a-v1b": {}, "0_-": {}, "__a-v1__": {}},
        {"__base__": {"inherits": []}, "bee": {"inherits": None}},
        of({"source_ami": "ami-1", "source_group": None, "source_ami_filter": None}),
        of({"source_ami_filter": {"owners": ["self"]}}),
        of({"source_ami_filter": {"name": "ubuntu", "owners": None}}),
        of({"autoscale": False}),
        of({"autoscale": {}}),
        of({"autoscale": {"health_url": "https://{instance_id}.{zone}.example.org:8443/{name}?ip={public_ip}&x=1"}}),
        of({"autoscale": {"health_url": "http://{private_ip}", "keep_old": 3}}),
        of({"packer": {"chef": {"install": False}}}),
        of({"tags": {"team": None, "group": None, "aws:x": None, "nodepkg:x": None, "": None, "k" * 200: None}}),
        of({"tags": {"groups": "a", "k" * 128: "v" * 256, "😀" * 128: "😀" * 256}}),
        of({"default_attributes": {"any": [None, {"x": 1.5}]}}),
        of({"packer": {"builder": {"source_ami_x": 1, "tokens": 1, "user_password_x": 1, "any": None}}}),
        of({"x-": 1, "x-a": None, "packer": {"x-b": 1, "chef": {"x-c": 1}}, "autoscale": {"x-d": 1}}),
        of({"source_ami_filter": {"x-e": 1}, "block_devices": [{"device": "a", "x-f": [None]}]}),
    ],
)
def test_what_is_right_is_accepted(document: Any) -> None:
    assert complaints(document) == findings(document) == []


# The mistakes that docs/nodes.md documents: each place where one can be made, and Nodes refuses it as well


NAMES = ["12.04-bee", "be", "", "a" * 101, "bee-v001", "bee-v1", "-bee", "_bee", "__web", "____", "web server"]
NAMES += ["a/b", "naïve", "bee\n", "bee-v1\n", "__web__\n", "__w.b__", "_web_"]
UNKNOWN = [{"run_lists": []}, {"packer": {"a": 1}}, {"packer": {"chef": {"a": 1}}}, {"autoscale": {"a": 1}}]
UNKNOWN += [{"regoin": None}, {"packer": {"a": None}}, {"autoscale": {"a": None}}]
UNKNOWN += [{"block_devices": [{"device": "a", "size": 1}]}, {"source_ami_filter": {**FILTER, "a": 1}}, {"X-note": 1}]
SOURCES: list[Entry] = [{"source_ami": "ami-1"}, {"source_group": "fly"}, {"source_ami_filter": FILTER}]
RESERVED = ["group", "nodepkg:x", "nodepkg:", "aws:", "aws:autoscaling:groupName"]
BUILDER = [*WRITTEN_BUILDER_KEYS, *SECRET_BUILDER_KEYS, "winrm_password", "_password", "Type", "ENA_support"]
HEALTH_URLS = ["ftp://{private_ip}/", "{private_ip}", "http://", "http://a b/", "http://{ip}/", "http://{private_ip/"]
HEALTH_URLS += [
    "http://{private_ip:>9}/",
    "http://{private_ip!r}/",
    "http://{zone.lower}/",
    "http://{{zone}}/",
    "http://{}/",
]
HEALTH_URLS += [
    "http://user@{private_ip}/",
    "http://a:b/",
    "http://a:123456/",
    "http://a/#x",
    "HTTP://a/",
    "http://a/é",
]
NO_STRINGS: list[Any] = [None, 7, {}, []]
NO_OBJECTS: list[Any] = [None, [], "x", 7, True]
ITEMS = ["", "recipe[nginx", "recipe[]", "recipe[nginx@1]", "role[12.04-bee]", "Recipe[nginx]", " recipe[nginx]"]
WRONG_VALUES: list[tuple[str, list[Any]]] = [
    ("description", [7, {}, []]),
    ("inherits", [7, "", [7], [""], "other-group", ["__web__", "other"], "__we.b__", {}]),
    ("type", [7, "Amazon", ""]),
    ("region", [7, {}, "mars", "us-east"]),
    ("instance_type", [7, "large", "M5.large"]),
    ("source_ami", [7, "ami-", "emi-1", ""]),
    ("source_group", [7, "", []]),
    ("source_ami_filter", [7, "ubuntu", [], {"name": ""}, {"owners": []}, {"owners": "self"}, {"owners": [""]}]),
    ("source_ami_filter", [{"name": 7}, {"owners": [7]}]),
    ("ssh_username", [7, "", "a b", "-a"]),
    ("security_groups", ["internal", [7], [""], [None], {}]),
    ("zones", ["us-east-1a", [7], [""]]),
    ("subnets", ["subnet-1", ["subnet"], [7]]),
    ("key_name", ["", 7]),
    ("iam_instance_profile", ["", 7]),
    ("tags", [[], "a", {"a": 1}, {"a": True}, {"": "a"}, {"k" * 129: "a"}, {"a": "v" * 257}]),
    ("block_devices", [{}, [7], [None], [{}], [{"device": None}], [{"device": ""}]]),
    ("default_attributes", [[], "a", 7]),
    ("override_attributes", [[], "a", 7]),
    ("run_list", ["recipe[a]", {}]),
    ("post_run_list", ["recipe[a]", {}]),
    ("role_name", ["", "role {group}", "role-{name}", 7]),
    ("packer", [[], "web", True, {"format": "yaml"}, {"template": ""}, {"template": "a/b"}]),
    ("user_data", ["", 7]),
    ("autoscale", [True, 0, 1, "false", [], {"health_check_type": "elb"}, {"target_groups": "web"}]),
]
WRONG_INSIDE: list[tuple[str, str, list[Any]]] = [
    ("autoscale", "timeout node_min node_max node_desired ready_timeout", [-1, "2", 1.5, True, []]),
    ("autoscale", "bake_time health_check_grace_period", [-1, "2", 1.5, True, []]),
    ("autoscale", "target_groups", ["web", [""], [7]]),
    ("autoscale", "unhealthy_after keep_old", [-1, "2", 1.5, True, []]),
    ("autoscale", "health_timeout", [0, -1, "2", 1.5, True, []]),
    ("autoscale", "health_url", [7, "", *HEALTH_URLS]),
    ("block_devices[]", "size_gb iops throughput", [0, -1, "20", 0.5, True]),
    ("block_devices[]", "encrypted delete_on_termination", ["true", 1]),
    ("block_devices[]", "type kms_key_id", ["", 7]),
    ("packer", "ssh_source_cidrs", ["10.0.0.0/8", [""], [7]]),
    ("packer", "builder", [[], "a", 7]),
    ("packer", "chef", [[], "a", 7]),
    ("packer", "template format", ["", 7]),
    ("packer.chef", "install", [True, "", 0, 7]),
    ("packer.chef", "command", ["", False]),
    ("packer.chef", "path", [7, "/opt", "opt/x", "/", "/opt/a b", "/opt/..", "/opt/x/"]),
]
MISTAKES: list[Any] = [
    *({name: {}} for name in NAMES),
    *({key: {}} for key in ("$settings", "$", "$Schema")),
    *({"$schema": value} for value in NO_STRINGS),
    *({name: value} for name in ("__base__", "__web__", "bee") for value in NO_OBJECTS),
    {"__base__": {"inherits": "__web__"}, "__web__": {}},
    {"__base__": {"inherits": ["__web__"]}, "__web__": {}},
    *map(of, UNKNOWN),
    *(of({**one, **other}) for one in SOURCES for other in SOURCES if one != other),
    *(of({"tags": {key: "a"}}) for key in RESERVED),
    *(of({"packer": {"builder": {key: "a"}}}) for key in BUILDER),
    *(of({key: [item]}) for key in ("run_list", "post_run_list") for item in [*ITEMS, 7, None]),
    *(of({key: value}) for key, values in WRONG_VALUES for value in values),
    *(
        of(placed(path.split("."), {**REQUIRED.get(path, {}), key: value}))
        for path, keys, values in WRONG_INSIDE
        for key in keys.split()
        for value in values
    ),
]


@pytest.mark.parametrize("document", [pytest.param(mistake, id=json.dumps(mistake)[:80]) for mistake in MISTAKES])
def test_every_documented_mistake_is_refused(document: Any) -> None:
    assert findings(document)
    assert complaints(document)


@pytest.mark.parametrize("document", [[], "x", 7, None, True])
def test_a_document_that_is_no_object_is_refused(document: Any) -> None:
    assert complaints(document)


# Agreement, whatever the entry


KEYS = sorted({key for model in SCHEMA["$defs"].values() for key in model["properties"]})
ATOMS: list[Any] = [None, True, False, 0, 1, -1, 1.5, "", "a", "A b", "é", "web", "__web__", "group", "/opt/x", {}, []]
ATOMS += ["us-east-1", "ami-1", "recipe[a]", "recipe[a", "EC2", "json", "gp3", "{group}", "10.0.0.0/8", "a" * 257]
FREE_KEYS = ["a", "x-a", "x", "group", "aws:a", "nodepkg:", "token", "Type", "tags", "a_password", "", "k" * 129]
ANY = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*FREE_KEYS, *KEYS]), inner, max_size=2)
    ),
    max_leaves=4,
)


def fitting(model: str) -> st.SearchStrategy[Entry]:
    """Objects of a model: mostly with its own keys, and with values that mostly fit."""

    def value(schema: Entry) -> st.SearchStrategy[Any]:
        options = [st.just(example) for example in schema.get("examples", [])]
        options += [fitting(ref["$ref"].rpartition("/")[2]) for ref in schema.get("anyOf", []) if "$ref" in ref]
        if "$ref" in schema.get("items", {}):
            options.append(st.lists(fitting(schema["items"]["$ref"].rpartition("/")[2]), max_size=2))
        return st.one_of(*options, *options, ANY)

    known = {key: value(schema) for key, schema in SCHEMA["$defs"][model]["properties"].items()}
    strange = dict.fromkeys(("x-note", "zzz", "Region"), ANY)
    keys = st.lists(st.sampled_from([*known, *known, *known, *strange]), max_size=4, unique=True)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({key: (known | strange)[key] for key in chosen}))


@settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fitting("Settings"))
def test_the_schema_and_nodes_agree_on_every_entry(entry: Entry) -> None:
    by_schema, by_nodes = complaints(of(entry)), findings(of(entry))
    assert bool(by_schema) == bool(by_nodes), (by_schema, by_nodes)


# What only one of the two can say, and why


EXCEPTIONS: dict[str, tuple[Any, bool, bool]] = {
    # what it is: (a document, whether the schema accepts it, whether Nodes does)
    "only the whole file shows whether there is such a layer": (of({"inherits": "__none__"}), True, False),
    "only the whole file shows a circle": (of({"inherits": "__mine__"}), True, False),
    "2.0 is an integer for JSON Schema; JSON has one kind of number": (
        of({"autoscale": {"node_min": 2.0}}),
        True,
        False,
    ),
    "the capitals of the world are too many for a pattern": (of({"packer": {"builder": {"É": 1}}}), True, False),
    "of a layer that nobody uses no user data is sent": (of({"user_data": "a" * 16_385}), False, True),
    "Python's $ matches before a last line break, that of ECMA-262 does not": (
        of({"zones": [], "type": "a\n"}),
        True,
        False,
    ),
    "the same, where a key must not end so": (of({"packer": {"builder": {"my_password\n": 1}}}), False, True),
}


@pytest.mark.parametrize("reason", EXCEPTIONS)
def test_where_they_differ_there_is_a_reason(reason: str) -> None:
    document, by_schema, by_nodes = EXCEPTIONS[reason]
    assert (not complaints(document), not findings(document)) == (by_schema, by_nodes)


def of_group(**keys: Any) -> tuple[list[str], list[str]]:
    """What the schema and Nodes say of a group of these keys on a `__base__` with a run list and a source image."""
    document = {"__base__": {"run_list": ["a"], "source_ami": "ami-1"}, "bee": keys}
    nodes = Nodes(Source(Path("nodes.json"), json.dumps(document), document))
    return complaints(document), [found.text() for found in nodes.examine(["bee"])[1]]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"run_list": None}, "the run list is empty"),
        ({"source_ami": None}, "no image to build on"),
        ({"source_group": "fly"}, "no group fly"),
        ({"source_ami": None, "source_ami_filter": {"name": "ubuntu"}}, "owners is missing"),
        ({"autoscale": {"node_min": 3, "node_max": 2}}, "is more than node_max"),
        ({"user_data": "é" * 10_000}, "at most 16 KB"),
    ],
)
def test_what_only_the_merge_knows_is_left_to_nodes(keys: Entry, told: str) -> None:
    by_schema, by_nodes = of_group(**keys)
    assert by_schema == []
    assert any(told in line for line in by_nodes)


def test_user_data_of_too_many_characters_is_refused_by_both() -> None:
    by_schema, by_nodes = of_group(user_data="a" * 16_385)
    assert by_schema
    assert any("at most 16 KB" in line for line in by_nodes)
