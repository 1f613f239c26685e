"""Plain pickles load, whoever wrote them; all others are refused by name."""

import base64
import contextlib
import io
import os
import pickle
import struct
import zlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from hpsbench.errors import BrokenFile, MissingData, UnsafeFile
from hpsbench.safe_io.pickles import load_pickle, requested_names
from hpsbench.safe_io.trust import trust_pickles
from hpsbench.synth.python2_pickle import dumps

# Written by Python 2.7.18 (cPickle, protocol 2) with NumPy 1.16.6, SciPy 1.2.3 and chumpy 0.67.6:
# {v_template: ch.array(arange(6).reshape(2, 3)), shapedirs: ch.array(arange(24).reshape(2, 3, 4))[:, :, :2],
#  J_regressor: csc_matrix([[1, 0], [.25, .5]]), kintree_table: uint32 [[2**32 - 1, 0], [0, 1]], bs_style: "lbs",
#  swapped: v_template.T, flat: v_template.ravel(), joined: ch.concatenate([ones((1, 2)), zeros((1, 2))])}
CHUMPY_FILE = """
eNqlVe1220QQ9VcTR3FaF1IIECCUUtRSTJKmaYFCA+EzAgMJy3dQZWmTVWPLmt1VYgPiwI80x2/VR+gj8Ai8AYykcajs5Aen8lldWdLO3Ht3Zv
VHKYaiySbudf2Ae1ByXRF1wn5D8q70uPSDXWO9G7iO5gEOA8pX/oRKDGdwiqe57CiY2IZJk5U6i1DF8xJMcVazO84et1XoSMXBGLBp2/Ol7tv7
eAOmXdtuRX5b+4FtG4prA2rbMGOms8+KKj/chHOsYvtaQr3J6rbHQx54yu4GyaWC8zE8gSHTHB4PMMWTA3F2yNwVxrowYBaJXojhKXOEzdMDMS
0w3xwr9hzM9IyoNwVGfDYf8bkBPneDLGJX8kYnQsKOlE7fsCV3u4HSMnKR+3z2lhF42VN43iocsmLraBNeMK0i/kr36RVP90P08EVW2rllFawi
vrJgWmVWvN1sNjf+wSM9WQXdGrB6YeTQraglqiIR9lIMF0eFvUzCLpGwV0jY5bywVxNhYl78x9IcshQLx1n/vjPEJCurOD1fwRWrkFzvtB0NV0
8olE2uhJMIfA0pXovhdZMVnZRvI4Y3RvkuEt8l4rtMfK/n+a6M8b2R8C1Z5ZTvYt6jIe/CWgZVwjrh7Fqqpxrwg5QrrKaOj1C7SdRupQJWk4J8
k9i9lWf39gCjTaoDJwyxe26fYIqWTqDCrkJb3kEn3o3hzrEtazG8N2rL+5R7nWz5gBJ/mE/80ZgtHz++LXkmnxCTT5FuwmSDmFh5Jp8lFkxvYF
PsSq5UV8LnrnJ9dCGL08B/Bg6co6XfM6CJyr+I4UuTTfqB57tcwVc5JZuJkvKhwD7xV6hPtk7tk1oioEhDY316jnbg61xERhHRmbm8Iw8J/8JC
Z9WO0wtx1TR8Yy2zCTsrkW/R1dJ9NoFkQ9ySvstF/p4ibxGREo4yNSub2cNYknNbO602hx9yM3/M1gvbDnVGQ50/nb4fJJfDBSWtxr6teSfEhu
SwnZbUzzHYoyV1lxbSoZJq0UK6+YX0xkqKP35JTaUe4u6vYOeE7tjibZ5sortIXcTgH7fGvRj2RnW0Mx2ooEMKgryC7piCkBRYlaNEw4P/qyHD
OcJ5wgXCi4SXCC8TmoRXCa8RNggXCZcIlwmvE64Q3iBcJbyJnrJJW2lHRwqAlXEbAznWuIrWW5us4ns9BRG6ys6Fku9wKblHdb2f7GsH5GQv72
R/IPZT30pH8IuIcp7+mnhay9pz+Bn77dSyvftoySZHhfAMYZVwirBGOEM4/A6eJ5wlvPDIZ5FVWwpt6WOTxazcbin4PWr8C1EYdxM=
"""
# Written by Python 2.7.18 (cPickle, protocol 0).
TEXT_FILE = (
    b"(dp1\nS'genders'\np2\n(lp3\nS'm'\nasS'betas'\np4\n(lp5\ncnumpy.core.multiarray\n_reconstruct\np6\n(cnumpy\n"
    b"ndarray\np7\n(I0\ntS'b'\ntRp8\n(I1\n(I2\ntcnumpy\ndtype\np9\n(S'f8'\nI0\nI1\ntRp10\n(I3\nS'<'\nNNNI-1\nI-1\n"
    b"I0\ntbI00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf8\\xbf\\x00\\x00\\x00\\x00\\x00\\x00\\x00@'\ntbasS't'\n(L1L\n"
    b"L100000000000000000000L\ntp11\nsS'raw'\np12\nS'\\xe9'\ns."
)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture
def chumpy_file(tmp_path: Path) -> Path:
    return write(tmp_path / "model.pkl", zlib.decompress(base64.b64decode(CHUMPY_FILE)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays_survive(tmp_path: Path, protocol: int) -> None:
    value: dict[Any, Any] = {
        "array": np.arange(12.0).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "empty": np.zeros((0, 3)),
        "names": np.array(["a", "bcd"]),
        "objects": np.array([None, "x", [1]], dtype=object),
        "scalar": np.float32(2.5),
        "nested": [(1, 2.5, None, True), {"k": {3, 4}}, frozenset({5}), OrderedDict(a=1)],
        ("S1", "cam"): b"raw\xff",
        "nothing": b"",
        "text": "é",
        "number": 10**30,
        "complex": 1 + 2j,
        "bytearray": bytearray(b"ab"),
    }
    loaded = load_pickle(write(tmp_path / "a.pkl", pickle.dumps(value, protocol)))
    assert list(loaded) == list(value)
    for key, expected in value.items():
        if isinstance(expected, np.ndarray):
            assert loaded[key].dtype == expected.dtype
            np.testing.assert_array_equal(loaded[key], expected)
        else:
            assert loaded[key] == expected
            assert type(loaded[key]) is type(expected)


@pytest.mark.parametrize("kind", [sparse.csc_matrix, sparse.csr_matrix])
def test_sparse_matrices_survive(tmp_path: Path, kind: Any) -> None:
    matrix = kind(np.array([[0, 1.5, 0], [2, 0, 0]]))
    loaded = load_pickle(write(tmp_path / "a.pkl", pickle.dumps(matrix)))
    assert loaded.format == matrix.format
    np.testing.assert_array_equal(loaded.toarray(), matrix.toarray())


@pytest.mark.parametrize("encoding", ["latin1", "bytes"])
def test_chumpy_arrays_of_a_python_2_file_become_arrays(chumpy_file: Path, encoding: str) -> None:
    loaded = load_pickle(chumpy_file, encoding=encoding)
    keys = {key if isinstance(key, str) else key.decode(): value for key, value in loaded.items()}
    template = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(keys["v_template"], template)
    np.testing.assert_array_equal(keys["shapedirs"], np.arange(24.0).reshape(2, 3, 4)[:, :, :2])
    np.testing.assert_array_equal(keys["J_regressor"].toarray(), [[1, 0], [0.25, 0.5]])
    np.testing.assert_array_equal(keys["kintree_table"], np.array([[2**32 - 1, 0], [0, 1]], np.uint32))
    np.testing.assert_array_equal(keys["swapped"], template.T)
    np.testing.assert_array_equal(keys["flat"], template.ravel())
    np.testing.assert_array_equal(keys["joined"], [[1, 1], [0, 0]])
    assert keys["bs_style"] == ("lbs" if encoding == "latin1" else b"lbs")


def test_python_2_text_pickles_load(tmp_path: Path) -> None:
    loaded = load_pickle(write(tmp_path / "a.pkl", TEXT_FILE))
    np.testing.assert_array_equal(loaded["betas"][0], [-1.5, 2.0])
    assert (loaded["genders"], loaded["t"], loaded["raw"]) == (["m"], (1, 10**20), "é")


def test_arrays_referred_to_twice_stay_one(tmp_path: Path) -> None:
    array = np.arange(3)
    loaded = load_pickle(write(tmp_path / "a.pkl", pickle.dumps([array, array])))
    assert loaded[0] is loaded[1]


def test_default_dicts_become_dicts(tmp_path: Path) -> None:
    value = defaultdict(list, a=[1])
    assert load_pickle(write(tmp_path / "a.pkl", pickle.dumps(value))) == {"a": [1]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", ["bare", "in containers", "in an object array", "as a dictionary key"])
def test_a_command_is_refused_by_name(tmp_path: Path, command: Any, protocol: int, place: str) -> None:
    value = {
        "bare": command,
        "in containers": {"a": [(1, {"b": [command]})]},
        "in an object array": np.array([1, command, None], dtype=object),
        "as a dictionary key": {command: 1},
    }[place]
    path = write(tmp_path / "bad.pkl", pickle.dumps(value, protocol))
    with pytest.raises(UnsafeFile, match=r"bad\.pkl: asks for (posix|nt)\.system") as refused:
        load_pickle(path)
    assert f"--trust-pickle {path}" in str(refused.value)


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"c__builtin__\nexec\n.", "__builtin__.exec"),
        (b"(S'ls'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'ls'\no.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x10f2py.diagnose.os\x93.", "numpy.f2py.diagnose.os"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "numpy.core.multiarray.fromfile"),
        (b"cbuiltins\ngetattr\n.", "builtins.getattr"),
        (b"cchumpy.ch\nChLambda\n.", "chumpy.ch.ChLambda"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n.", "torch._utils._rebuild_tensor_v2"),
        (b"\x80\x02\x82\x01.", "copyreg extension 1"),
        (b"Pstorage\n.", "persistent object 'storage'"),
        (b"cnumpy\nndarray\n(I1000000000\ntR.", "a call of numpy.ndarray"),
        (b"cbuiltins\nbytes\n(L99999999999L\ntR.", "builtins.bytes"),
        (b"ccopy_reg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNtR.", "_reconstructor"),
        (b"cnumpy\nndarray\n}S'a'\nI1\nsb.", "changes to a value of type Allowed"),
        (b"I1\n(I2\ntR.", "a call of a value of type int"),
        (b"cchumpy.ch\nCh\n)}\x92.", "chumpy.ch.Ch with keywords"),
    ],
)
def test_hand_made_attacks_are_refused(tmp_path: Path, stream: bytes, name: str) -> None:
    with pytest.raises((UnsafeFile, BrokenFile)) as refused:
        load_pickle(write(tmp_path / "bad.pkl", stream))
    assert name in str(refused.value)


def array_stream(
    *, dtype: bytes = b"f8", shape: int = 2, data: bytes = b"\0" * 16, state: bytes = b"NNN"
) -> bytes:
    """A pickle of one array, written by hand, of parts that need not fit."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I%d\ntcnumpy\ndtype\n(S'%b'\n"
        b"I0\nI1\ntR(I3\nS'<'\n%bI-1\nI-1\nI0\ntbI00\nT%btb."
        % (shape, dtype, state, struct.pack("<i", len(data)) + data)
    )


def test_the_hand_made_array_is_one(tmp_path: Path) -> None:
    np.testing.assert_array_equal(load_pickle(write(tmp_path / "a.pkl", array_stream())), [0.0, 0.0])


@pytest.mark.parametrize(
    "stream",
    [
        array_stream(shape=3),
        array_stream(shape=10**15),
        array_stream(shape=-2),
        array_stream(dtype=b"S0", shape=10**12, data=b""),
        array_stream(dtype=b"O8", shape=2),
        array_stream(dtype=b"V8"),
        array_stream(dtype=b"f8,f8"),
        array_stream(state=b"N(S'a'\nt}"),
        b"]" * 5 + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR.",
        b"cnumpy\nndarray\n.",
        b"}](I1\neI2\ns.",
        b"T\xff\xff\xff\x7fabc.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x96\xff\xff\xff\xff\x00\x00\x00\x00abc.",
        b"\x80\x04\x95\xff\xff\xff\xff\x00\x00\x00\x00}.",
        b"}",
        b"not a pickle",
        b".",
    ],
)
def test_damaged_and_lying_files_are_broken(tmp_path: Path, stream: bytes) -> None:
    with pytest.raises(BrokenFile, match=r"bad\.pkl"):
        load_pickle(write(tmp_path / "bad.pkl", stream))


def test_a_truncated_file_is_broken_wherever_it_ends(chumpy_file: Path, tmp_path: Path) -> None:
    whole = chumpy_file.read_bytes()
    for end in range(1, len(whole), 13):
        with pytest.raises(BrokenFile, match="truncated or damaged"):
            load_pickle(write(tmp_path / "cut.pkl", whole[:end]))


@given(st.binary(min_size=1, max_size=60))
def test_random_bytes_never_escape(tmp_path_factory: pytest.TempPathFactory, stream: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp() / "random.pkl", stream)
    with contextlib.suppress(BrokenFile, UnsafeFile):
        load_pickle(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("indices", np.array([0, 7], np.int32)),
        ("indices", np.array([-1, 0], np.int32)),
        ("indptr", np.array([0, 2], np.int32)),
        ("indptr", np.array([0, 2, 1, 2], np.int32)),
        ("indptr", np.array([0, 1, 1, 9], np.int32)),
        ("data", np.array([1.0])),
        ("_shape", (2**40, 2**40)),
    ],
)
def test_a_sparse_matrix_with_wild_indices_is_broken(tmp_path: Path, part: str, value: Any) -> None:
    matrix = sparse.csc_matrix(np.array([[0, 1.5, 0], [2, 0, 0]]))
    setattr(matrix, part, value)
    with pytest.raises(BrokenFile, match="sparse matrix"):
        load_pickle(write(tmp_path / "bad.pkl", pickle.dumps(matrix)))


def test_one_block_cannot_be_blown_up_by_reference(tmp_path: Path) -> None:
    data = b"T" + struct.pack("<i", 8000) + b"\0" * 8000
    make = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    dtype = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbp1\n0"
    array = make + b"(I1\n(I1000\ntg1\nI00\ng0\ntb"
    path = write(tmp_path / "bomb.pkl", data + b"p0\n0" + dtype + b"(" + array * 20 + b"l.")
    assert len(load_pickle(path)) == 20
    with pytest.raises(BrokenFile, match="larger than the limit"):
        load_pickle(path, max_bytes=100_000)


def test_missing_large_and_empty_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"none\.pkl: no such file"):
        load_pickle(tmp_path / "none.pkl")
    with pytest.raises(BrokenFile, match="empty"):
        load_pickle(write(tmp_path / "empty.pkl", b""))
    with pytest.raises(BrokenFile, match="more than the 1 MiB allowed"):
        load_pickle(write(tmp_path / "large.pkl", bytes(2 << 20)), max_bytes=1 << 20)
    with pytest.raises(BrokenFile, match="folder"):
        load_pickle(tmp_path)


def test_trust_is_given_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPSBENCH_TRUST_PICKLE", raising=False)
    good, other = (write(tmp_path / name, pickle.dumps(os.getpid)) for name in ("good.pkl", "other.pkl"))
    monkeypatch.setenv("HPSBENCH_TRUST_PICKLE", "")
    trust_pickles([good])
    assert load_pickle(good) is os.getpid
    with pytest.raises(UnsafeFile, match="getpid"):
        load_pickle(other)


def test_names_are_found_without_loading(command: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        stream = pickle.dumps([OrderedDict(), command, command], protocol)
        names = requested_names(stream)
        assert "collections.OrderedDict" in names
        assert any(name.endswith(".system") for name in names)
    both = io.BytesIO()
    pickle.dump(1, both, 2)
    pickle.dump(command, both, 2)
    assert requested_names(both.getvalue()) == []
    assert len(requested_names(both.getvalue(), pickles=2)) == 1


@pytest.mark.parametrize("encoding", ["latin1", "bytes"])
def test_long_arrays_of_python_2_are_their_own(tmp_path: Path, encoding: str) -> None:
    array, text = np.arange(2000.0).reshape(-1, 4), "x" * 5000
    path = write(tmp_path / "a.pkl", dumps({"a": array, "b": [array + 1, text], "c": text}))
    held = {
        str(key, "latin1") if isinstance(key, bytes) else key: value
        for key, value in load_pickle(path, encoding=encoding).items()
    }
    np.testing.assert_array_equal(held["a"], array)
    np.testing.assert_array_equal(held["b"][0], array + 1)
    assert held["c"] == held["b"][1] == (text if encoding == "latin1" else text.encode())
    held["a"] += 1  # of its own memory, not of the file
    np.testing.assert_array_equal(load_pickle(path)["a"], array)


def test_a_file_that_ends_within_a_long_array_is_broken(tmp_path: Path) -> None:
    whole = dumps({"a": np.arange(2000.0)})
    with pytest.raises(BrokenFile, match="past the end"):
        load_pickle(write(tmp_path / "a.pkl", whole[: len(whole) // 2]))


def test_bytes_that_wait_for_their_array_are_no_value(tmp_path: Path) -> None:
    """The state of an array, kept by the memo and asked for again."""
    state = b"(K\x01" + b"T" + struct.pack("<i", 5000) + b"x" * 5000 + b"tq\x07b"
    data = b"\x80\x02]q\x00(ccollections\nOrderedDict\n)R" + state + b"h\x07e."
    with pytest.raises(BrokenFile, match="unfinished or foreign value"):
        load_pickle(write(tmp_path / "a.pkl", data))
