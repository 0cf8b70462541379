"""Each key of nodes.json tells about itself: docs/nodes.md is made from that."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nodepkg.nodes.schema import WRITTEN_BUILDER_KEYS, Settings


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def keys_of(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield model, name, field
        for inner in models_in(field.annotation):
            yield from keys_of(inner)


ALL = [pytest.param(*key, id=f"{key[0].__name__}.{key[1]}") for key in keys_of(Settings)]
LEAVES = [key for key in ALL if not list(models_in(key.values[2].annotation))]  # type: ignore[union-attr]


def least(model: type[BaseModel]) -> dict[str, Any]:
    """What the model cannot do without."""
    return {
        name: field.examples[0] for name, field in model.model_fields.items() if field.is_required() and field.examples
    }


@pytest.mark.parametrize(("model", "name", "field"), ALL)
def test_every_key_has_a_description_that_is_a_sentence(model: type[BaseModel], name: str, field: FieldInfo) -> None:
    assert field.description
    assert field.description.endswith(".")


@pytest.mark.parametrize(("model", "name", "field"), LEAVES)
def test_every_leaf_has_an_example_that_validates(model: type[BaseModel], name: str, field: FieldInfo) -> None:
    assert field.examples
    for example in field.examples:
        shown = model.model_validate({**least(model), name: example})
        assert getattr(shown, name) is not None


@pytest.mark.parametrize(("model", "name", "field"), ALL)
def test_every_default_validates_to_itself(model: type[BaseModel], name: str, field: FieldInfo) -> None:
    if field.is_required():
        assert name in least(model)
        return
    said = model.model_validate({**least(model), name: field.default})
    assert getattr(said, name) == getattr(model.model_validate(least(model)), name) == field.default


@pytest.mark.parametrize(("model", "name", "field"), ALL)
def test_every_model_is_strict_and_frozen(model: type[BaseModel], name: str, field: FieldInfo) -> None:
    wanted = {"extra": "forbid", "frozen": True, "strict": True}
    assert {key: model.model_config.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("key", WRITTEN_BUILDER_KEYS)
def test_a_builder_key_that_nodepkg_writes_cannot_be_given_twice(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} is written by nodepkg"):
        Settings.model_validate({"packer": {"builder": {key: "x"}}})
