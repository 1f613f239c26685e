import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.bodies.smpl_data import read_body_file
from hpsbench.errors import BrokenFile, UnsafeFile


def dumped(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def test_a_pickle_and_an_npz_give_the_same_body(tmp_path: Path, entries: dict[str, Any]) -> None:
    from_pickle = read_body_file(dumped(tmp_path / "a.pkl", entries))
    np.savez(tmp_path / "a.npz", **{**entries, "J_regressor": entries["J_regressor"].toarray()})
    from_npz = read_body_file(tmp_path / "a.npz")
    for field in ("v_template", "shapedirs", "posedirs", "joint_regressor", "weights", "faces"):
        np.testing.assert_array_equal(getattr(from_pickle, field), getattr(from_npz, field))
    assert from_pickle.synthetic is from_npz.synthetic is True


def test_a_sparse_regressor_wrapped_by_savez_is_read(tmp_path: Path, entries: dict[str, Any]) -> None:
    np.savez(tmp_path / "a.npz", **entries)
    regressor = read_body_file(tmp_path / "a.npz").joint_regressor
    np.testing.assert_array_equal(regressor, entries["J_regressor"].toarray())


def test_more_than_ten_shape_components_are_cut(tmp_path: Path, entries: dict[str, Any]) -> None:
    data = read_body_file(dumped(tmp_path / "a.pkl", entries))
    assert data.shape_components == 12
    np.testing.assert_array_equal(data.shapedirs, entries["shapedirs"][..., :10])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("posedirs", None, "no entry 'posedirs'"),
        (
            "shapedirs",
            np.zeros((6890, 3, 4)),
            r"'shapedirs' is \(6890, 3, 4\), expected \(6890, 3, at least 10\)",
        ),
        ("kintree_table", np.zeros((2, 52), np.uint32), "SMPL-H"),
        ("v_template", np.zeros((10475, 3)), "SMPL-X"),
        ("v_template", np.full((6890, 3), np.nan), "no finite numbers"),
        ("weights", np.zeros((6890, 24)), "row 0 of 'weights' sums to 0.0000"),
        ("f", np.full((13776, 3), 7000), "vertices outside"),
        ("kintree_table", np.zeros((2, 24), np.uint32), "not SMPL's kinematic tree"),
    ],
)
def test_a_wrong_entry_is_named(
    tmp_path: Path, entries: dict[str, Any], key: str, value: Any, message: str
) -> None:
    changed = {k: v for k, v in {**entries, key: value}.items() if v is not None}
    with pytest.raises(BrokenFile, match=message) as caught:
        read_body_file(dumped(tmp_path / "SMPL_NEUTRAL.pkl", changed))
    assert "SMPL_NEUTRAL.pkl" in str(caught.value)


def test_something_else_is_no_body_model(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match="expected a dictionary of SMPL arrays, found list"):
        read_body_file(dumped(tmp_path / "a.pkl", [1, 2]))


def test_a_truncated_pickle_is_broken(tmp_path: Path, entries: dict[str, Any]) -> None:
    path = dumped(tmp_path / "a.pkl", entries)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(BrokenFile, match=r"a\.pkl"):
        read_body_file(path)


def test_a_pickle_that_would_run_a_command_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("run",)

    with pytest.raises(UnsafeFile, match="print"):
        read_body_file(dumped(tmp_path / "a.pkl", OrderedDict(v_template=Evil())))
