"""JSON files: the fast parser gives what the standard library's does, and the refusals are the standard library's."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpsbench.errors import BrokenFile
from hpsbench.recipes.readers._json import load_json

TEXTS = [
    b'{"a": 1, "a": 2, "b": [-0, -0.0, 0.1, 1e22, 1e23, 5e-324, 1e999, 123456789012345678901234567890]}',
    b'{"a": [NaN, Infinity, -Infinity], "b": [true, false, null, {}, []]}',
    b'{"a": "\\u00e9\\n\\ud83d\\ude00", "b": "\\ud800"}',
    b'\xef\xbb\xbf{"a": 1}',
    '{"ä": "ö"}'.encode("utf-16"),
    b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}",
]
BROKEN = [
    b"",
    b"{",
    b'{"a": 1}x',
    b'{"a": 01}',
    b'{"a": 1,}',
    b'{"a": "\xff"}',
    b'{"a": "\x01"}',
    b"{'a': 1}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_file_is_read_as_the_standard_library_reads_it(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    assert repr(load_json(path)) == repr(json.loads(text))


def test_numbers_are_the_nearest(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 2**64, 5000, dtype=np.uint64).view(np.float64)
    digits = [f"{number % 4000}.{number:020d}" for number in numbers.view(np.uint64).tolist()]
    text = f'{{"a": [{", ".join(digits)}], "b": {json.dumps(numbers.tolist())}}}'.encode()
    (tmp_path / "a.json").write_bytes(text)
    assert repr(load_json(tmp_path / "a.json")) == repr(json.loads(text))


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_refused_is_told_in_the_standard_librarys_words(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ValueError) as theirs:  # noqa: PT011 - whatever it says
        json.loads(text)
    with pytest.raises(BrokenFile) as ours:
        load_json(path)
    assert str(theirs.value) in str(ours.value)
