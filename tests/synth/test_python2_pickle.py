"""The pickles read as Python 2's do: latin1 needed, byte-string opcodes, old module names."""

import pickle
import pickletools

import numpy as np
import pytest
from scipy import sparse

from hpsbench.synth.python2_pickle import dumps

CONTENT = {
    "sequence": "a name",
    "long": "x" * 300,
    "poses": [np.linspace(-3, 3, 12).reshape(4, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))],
    "genders": ["m", "f"],
    "ids": np.arange(5),
    "number": 7,
    "flag": True,
}


def test_latin1_gives_the_values_back() -> None:
    back = pickle.loads(dumps(CONTENT), encoding="latin1")
    assert list(back) == list(CONTENT)
    assert back["long"] == "x" * 300
    for one, two in zip(back["poses"], CONTENT["poses"], strict=True):  # type: ignore[call-overload]
        np.testing.assert_array_equal(one, two)
    assert back["flag"] is True


def test_it_needs_an_encoding_as_the_official_files_do() -> None:
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(dumps(CONTENT))
    assert b"sequence" in pickle.loads(dumps(CONTENT), encoding="bytes")


def test_the_opcodes_and_modules_are_those_of_python_2() -> None:
    data = dumps(CONTENT | {"matrix": sparse.csc_matrix(np.eye(2))})
    found = list(pickletools.genops(data))
    names = {code.name for code, _, _ in found}
    assert {"SHORT_BINSTRING", "BINSTRING"} <= names
    assert not names & {"BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "FRAME"}
    assert found[0][1] == 2, "protocol"
    modules = {argument.split(" ")[0] for code, argument, _ in found if code.name == "GLOBAL"}
    assert "numpy.core.multiarray" in modules
    assert "scipy.sparse.csc" in modules
    assert not any("_core" in module or module.startswith("builtins") for module in modules)


def test_the_bytes_repeat() -> None:
    assert dumps(CONTENT) == dumps(CONTENT)
