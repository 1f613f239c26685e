"""The published JSON Schema of results.json, and the check against it.

`docs/results.schema.json` is `schema_text()`; after a change here write it again with
`python -m hpsbench.results.schema > docs/results.schema.json`. A later version may add keys; keys that are here keep their meaning. A document whose `schema_version` is larger than
`SCHEMA_VERSION` is read as far as these keys go; a change that older readers would misread changes `format`.
"""

import json
import sys
from typing import Any

from hpsbench.errors import BadData, BrokenFile

FORMAT = "hpsbench-result"
SCHEMA_VERSION = 1

_SHA256 = {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"}
_COUNT = {"type": "integer", "minimum": 0}
_MAYBE_TEXT = {"type": ["string", "null"]}

_METRIC: dict[str, Any] = {
    "type": "object",
    "description": "One measured number.",
    "required": ["value", "unit", "n", "interval"],
    "properties": {
        "value": {"type": "number"},
        "unit": {
            "type": "string",
            "description": "mm, mm/frame^2, m/s^2, %, 1 (fraction), deg, mm/frame, 10 m/s^3",
        },
        "n": {**_COUNT, "description": "how many values the mean is over"},
        "average": {"enum": ["frame", "track", "video"]},
        "by_average": {"type": "object", "additionalProperties": {"type": "number"}},
        "interval": {
            "type": ["array", "null"],
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": 2,
            "description": "95 % interval by bootstrap over sequences",
        },
        "why_no_interval": _MAYBE_TEXT,
        "sequences": _COUNT,
    },
}

_ACCOUNTING: dict[str, Any] = {
    "type": "object",
    "description": "Where every frame went: in = masked + too_short + tail + scored.",
    "required": ["in", "masked", "masked_by_reason", "too_short", "tail", "scored", "tracks"],
    "properties": {
        "in": _COUNT,
        "masked": _COUNT,
        "masked_by_reason": {"type": "object", "additionalProperties": _COUNT},
        "too_short": _COUNT,
        "tail": _COUNT,
        "scored": _COUNT,
        "degenerate": {**_COUNT, "description": "scored frames whose predicted joints are all one point"},
        "extra_predictions": {**_COUNT, "description": "predictions of frames that are not scored"},
        "tracks": {
            "type": "object",
            "required": ["in", "used", "skipped"],
            "properties": {
                "in": _COUNT,
                "used": _COUNT,
                "skipped": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
    },
}

_DOCUMENT: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "hpsbench result",
    "type": "object",
    "required": [
        "format",
        "schema_version",
        "dataset",
        "protocol",
        "protocol_sha256",
        "metrics",
        "accounting",
        "provenance",
    ],
    "properties": {
        "format": {"const": FORMAT},
        "schema_version": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["measured"]},
        "dataset": {"type": "string"},
        "protocol": {"type": "string", "pattern": "^.+@[0-9]+$"},
        "protocol_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "system": _MAYBE_TEXT,
        "checkpoint_sha256": _SHA256,
        "view": _MAYBE_TEXT,
        "features": _MAYBE_TEXT,
        "extractor_sha256": _MAYBE_TEXT,
        "body_sha256": {"type": ["object", "string", "null"]},
        "regressor_sha256": {"type": ["object", "string", "null"]},
        "synthetic": {"type": ["boolean", "null"], "description": "null: bare arrays, which do not say"},
        "partial": {"type": "boolean"},
        "condition": _MAYBE_TEXT,
        "windowing": {"enum": ["protocol", "system", "none"]},
        "seeds": {"type": "array", "items": {"type": "integer"}},
        "flags": {"type": "array", "items": {"type": "string"}},
        "metrics": {"type": "object", "additionalProperties": _METRIC},
        "absent": {"type": "object", "additionalProperties": {"type": "string"}},
        "accounting": _ACCOUNTING,
        "hpsbench": _MAYBE_TEXT,
        "provenance": {"type": "object"},
    },
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of results.json."""
    return _DOCUMENT


def schema_text() -> str:
    """The same as the text of the published file."""
    return json.dumps(_DOCUMENT, indent=2, ensure_ascii=False) + "\n"


def check_document(document: Any, where: str) -> None:
    """Check what reading a result relies on.

    Raises:
        BrokenFile: not a result, or one that lacks a required key or holds another kind of value; says which.
        BadData: a format that this version does not read.
    """
    if not isinstance(document, dict) or "format" not in document:
        raise BrokenFile(f"{where}: not a result of hpsbench (no key 'format')")
    if document["format"] != FORMAT:
        raise BadData(
            f"{where}: format {document['format']!r}; this hpsbench reads {FORMAT!r}. Update hpsbench to read it."
        )
    for problem in _problems(document, _DOCUMENT, ""):
        raise BrokenFile(f"{where}: {problem}")


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def _problems(value: Any, schema: dict[str, Any], path: str) -> list[str]:
    """What of `value` does not fit the part of JSON Schema that this file uses."""
    named = path.lstrip(".") or "document"
    wanted = schema.get("type")
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else wanted
        fits = any(
            isinstance(value, _TYPES[n]) and (n == "boolean" or not isinstance(value, bool)) for n in names
        )
        if not fits:
            return [f"{named}: expected {' or '.join(names)}, found {type(value).__name__}"]
    if isinstance(value, dict):
        missing = [key for key in schema.get("required", ()) if key not in value]
        if missing:
            return [f"{named}: no key {missing[0]!r}"]
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        found: list[str] = []
        for key, item in value.items():
            part = known.get(key, other)
            if isinstance(part, dict):
                found += _problems(item, part, f"{path}.{key}")
        return found
    if isinstance(value, list) and "items" in schema:
        return [p for i, item in enumerate(value) for p in _problems(item, schema["items"], f"{path}[{i}]")]
    return []


if __name__ == "__main__":
    sys.stdout.write(schema_text())
