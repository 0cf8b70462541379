"""JSON as artefacts hold it: 4 spaces, the keys in their order, one newline at the end."""

import json
from typing import Any


def pretty(document: Any) -> str:
    return json.dumps(document, indent=4, ensure_ascii=False) + "\n"


def canonical(document: Any) -> bytes:
    """One spelling for all documents that say the same: what digests are made of."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
