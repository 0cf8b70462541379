"""nodes.json as a JSON Schema, made from the models: what an editor needs to help with the file.

It says what can be said of one entry. What only the merge knows, and what only the whole file does, is
`config:check`'s; a key that the merge at level 1 can bring in is not missing here.
"""

from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from nodepkg.nodes.names import BASE, GENERATION, GROUP_NAME, LAYER_NAME, anchored
from nodepkg.nodes.schema import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ENTRY = f"#/$defs/{Settings.__name__}"
_ANNOTATIONS = ("description", "default", "examples")


def document_schema() -> dict[str, Any]:
    """The schema of a whole nodes.json (JSON Schema 2020-12), with descriptions, defaults and examples."""
    definitions = Settings.model_json_schema(schema_generator=_Generator, ref_template="#/$defs/{model}")
    entry = {key: value for key, value in definitions.items() if key != "$defs"}
    return {
        "$schema": DIALECT,
        "title": "nodes.json",
        "description": "What every kind of machine is: `__base__`, further layers (`__like_this__`) and groups.",
        "type": "object",
        "properties": {
            "$schema": {"type": "string", "description": "Where this schema is: for editors."},
            BASE: {
                "$ref": _ENTRY,
                "description": "What every group inherits.",
                "properties": {"inherits": {"maxItems": 0, "type": ["array", "null"]}},
            },
        },
        "patternProperties": {
            anchored(LAYER_NAME): {"$ref": _ENTRY, "description": "A layer: what those inherit that name it."},
            anchored(GROUP_NAME): {"$ref": _ENTRY, "description": "A group: one kind of machine."},
        },
        "propertyNames": {"not": {"pattern": rf"{GENERATION.pattern}|\n"}},
        "additionalProperties": False,
        "$defs": {**definitions["$defs"], Settings.__name__: entry},
    }


class _Generator(GenerateJsonSchema):
    """The models as nodes.json has them: null for each key, and `x-` keys of the user's own."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def encode_default(self, dft: Any) -> Any:
        return {} if isinstance(dft, BaseModel) else super().encode_default(dft)

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002
        return value  # in the order of the models, as docs/nodes.md has it

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        made.pop("title", None)
        if schema["cls"] in _MERGED:
            made.pop("required", None)
        required = made.get("required", ())
        made["properties"] = {
            name: _told(value if name in required else _or_null(value)) for name, value in made["properties"].items()
        }
        made["patternProperties"] = {"^x-": True}
        return made


# The models whose keys the merge at level 1 can bring together from several entries: objects, not lists of them.
_MERGED = {
    part
    for field in Settings.model_fields.values()
    if get_origin(field.annotation) is not list
    for part in (field.annotation, *get_args(field.annotation))
    if isinstance(part, type) and issubclass(part, BaseModel)
}


def _or_null(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The schema of a key whose value may be null as well."""
    about = {key: schema[key] for key in _ANNOTATIONS if schema.get(key) is not None}
    rest = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    branches = [branch for branch in rest.pop("anyOf", [rest]) if branch != {"type": "null"}]
    rest = {} if branches == [rest] else rest
    if len(branches) > 1 or "$ref" in branches[0]:
        return {**about, **rest, "anyOf": [*branches, {"type": "null"}]}
    (only,) = branches
    if "enum" in only:
        return {**about, **rest, "enum": [*only["enum"], None]}
    return {**about, **rest, **only, "type": [only["type"], "null"]}


def _told(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The unit as a part of the description: a keyword of our own would be unknown to validators."""
    unit = schema.pop("unit", None)
    if unit:
        schema["description"] = f"{schema['description']} Unit: {unit}."
    return schema
