"""JSON as artefacts hold it: 4 spaces, the keys in their order, one newline at the end."""

import json
from typing import Any

from pydantic_core import to_json


def pretty(document: Any) -> str:
    """As `json.dumps(document, indent=4, ensure_ascii=False)`, in a tenth of the time; but 1e-07 is written 1e-7."""
    return to_json(document, indent=4).decode("utf-8") + "\n"


def canonical(document: Any) -> bytes:
    """One spelling for all documents that say the same: what digests are made of."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
