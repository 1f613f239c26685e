"""What a result keeps of the corruption behind its features."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FIRST_VERSION = 1
"""Of a feature set that does not say its corruption's version."""


def describe_corruption(record: Mapping[str, Any] | str | None) -> dict[str, Any] | None:
    """Parameters and version of a feature set's corruption, the number of hit frames, and a hash of all that was drawn.

    Args:
        record: `corruption` of a feature set's attributes; None or empty for a clean set; of an imported set the name that its
            file gives to a corruption of which nothing else is known.

    Returns: None for a clean set; else everything in the record but the list of hits, for which stand `hit`, their number,
        and `manifest_sha256`. Two sets with the same hash had the same done to the same frames.
    """
    if not record:
        return None
    if isinstance(record, str):
        return {"version": None, "mode": record}
    plain = {key: value for key, value in record.items() if key != "hits"}
    found: dict[str, Any] = {"version": FIRST_VERSION, **plain}
    hits = record.get("hits")
    if isinstance(hits, Mapping):
        found["hit"] = len(hits.get("row", ()))
        found["manifest_sha256"] = hashlib.sha256(json.dumps(hits, sort_keys=True).encode()).hexdigest()
    return found
