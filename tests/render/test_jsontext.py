"""JSON as artefacts hold it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from nodepkg.render.jsontext import pretty

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@given(DOCUMENTS)
def test_pretty_writes_what_json_dumps_would(document: object) -> None:
    assert pretty(document) == json.dumps(document, indent=4, ensure_ascii=False) + "\n"
