"""JSON as artefacts hold it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from nodepkg.render.jsontext import pretty

# Python writes exponents with two digits, the library with as many as there are.
FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: "e-0" not in repr(number))
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | st.text()
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@given(DOCUMENTS)
def test_pretty_writes_what_json_dumps_would(document: object) -> None:
    assert pretty(document) == json.dumps(document, indent=4, ensure_ascii=False) + "\n"


def test_small_numbers_stay_what_they_are() -> None:
    assert json.loads(pretty([1e-7, 2.5e-9])) == [1e-7, 2.5e-9]
