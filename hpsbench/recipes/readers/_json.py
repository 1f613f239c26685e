"""JSON annotation files, with one message for whatever is wrong with them."""

import json
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from hpsbench.errors import BrokenFile, MissingData

MAX_BYTES = 2 << 30


def load_json(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        keys: that must be there.

    Raises:
        MissingData: no such file.
        BrokenFile: not JSON, cut off, too large, no object, or without a key.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BrokenFile(f"{path}: larger than {MAX_BYTES >> 30} GiB; is it the right file?")
        content = _parsed(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except (ValueError, RecursionError, OSError) as error:
        raise BrokenFile(
            f"{path}: not readable as JSON, truncated or damaged ({error}); download it again"
        ) from error
    if not isinstance(content, dict):
        raise BrokenFile(f"{path}: expected a JSON object, found {type(content).__name__}")
    if missing := [key for key in keys if key not in content]:
        raise BrokenFile(
            f"{path}: has no {', '.join(missing)}; it has {', '.join(sorted(content)) or 'nothing'}"
        )
    return content


def _parsed(data: bytes) -> Any:
    """What `json.loads` gives, in half its time; what the fast parser refuses is left to it and to its messages."""
    try:
        return from_json(data, cache_strings="keys")
    except ValueError:
        return json.loads(data)
