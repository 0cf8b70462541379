"""What every part of the schema is made of: the strict model, and the types that several parts share."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
Seconds = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=0)]


class Model(BaseModel):
    """Strict at the door: exact types, no unknown keys but `x-…`; null means the default again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_set(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            key: item
            for key, item in value.items()
            if not key.startswith("x-") and (item is not None or key not in cls.model_fields)
        }

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self  # it is frozen; pydantic would copy a default for every entry that leaves it out


def unit(name: str) -> dict[str, Any]:
    """What a field's `json_schema_extra` says of its unit."""
    return {"unit": name}


def without_null(value: Any) -> Any:
    """An object without the keys that null takes back."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value
