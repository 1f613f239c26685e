from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from hpsbench.errors import BadData, BrokenFile, MissingData, UsageError
from hpsbench.predictions.files import load_predictions, save_predictions
from hpsbench.predictions.predictions import Predictions

Make = Callable[..., Predictions]
ENDINGS = [".zarr", ".npz", ".parquet"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_round_trip(make_predictions: Make, tmp_path: Path, rng: np.random.Generator, ending: str) -> None:
    arrays = {
        "rotmat": rng.normal(size=(6, 24, 3, 3)).astype(np.float32),
        "betas": rng.normal(size=(6, 10)).astype(np.float32),
        "joints3d": rng.normal(size=(6, 14, 3)).astype(np.float32),
    }
    written = make_predictions(arrays=arrays)
    read = load_predictions(save_predictions(written, tmp_path / f"p{ending}"))
    assert read.attrs == written.attrs
    assert read.track.tolist() == written.track.tolist()
    assert read.frame_id.tolist() == written.frame_id.tolist()
    for name, values in arrays.items():
        np.testing.assert_array_equal(read.take(name, np.arange(6)), values)
        np.testing.assert_array_equal(read.take(name, np.array([4, 1])), values[[4, 1]])


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_as_keys_round_trip(make_predictions: Make, tmp_path: Path, ending: str) -> None:
    written = make_predictions(track=None, frame_id=None, row=[5, 4, 3, 2, 1, 0])
    read = load_predictions(save_predictions(written, tmp_path / f"p{ending}"))
    assert read.row.tolist() == [5, 4, 3, 2, 1, 0]
    assert read.track is None


def test_a_users_npz_needs_no_attributes_of_ours(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "mine.npz"
    joints = rng.normal(size=(2, 14, 3))
    np.savez(path, track=np.array(["a", "a"]), frame_id=[0, 1], joints3d=joints, joint_set="lsp14")
    assert load_predictions(path).attrs["joint_set"] == "lsp14"


def test_a_users_parquet_may_nest_lists_and_name_attributes(tmp_path: Path) -> None:
    joints = np.arange(2 * 14 * 3, dtype=np.float64).reshape(2, 14, 3)
    table = pa.table({"track": ["a", "a"], "frame_id": [0, 1], "joints3d": joints.tolist()})
    pq.write_table(table.replace_schema_metadata({"joint_set": "lsp14"}), tmp_path / "mine.parquet")
    np.testing.assert_array_equal(load_predictions(tmp_path / "mine.parquet").arrays["joints3d"], joints)


def test_parquet_opens_in_pandas(make_predictions: Make, tmp_path: Path) -> None:
    table = pd.read_parquet(save_predictions(make_predictions(), tmp_path / "p.parquet"))
    assert table["track"].tolist() == ["a_0"] * 3 + ["b_0"] * 3
    assert len(table["joints3d"][0]) == 42


def test_zarr_is_read_lazily_and_lists_without_a_warning(make_predictions: Make, tmp_path: Path) -> None:
    path = save_predictions(make_predictions(), tmp_path / "p.zarr")
    group = zarr.open_group(str(path), mode="r")
    assert group.attrs["format"] == "hpsbench-predictions"
    assert isinstance(load_predictions(path).arrays["joints3d"], zarr.Array)
    assert sorted(name for name, _ in group.members()) == ["frame_id", "joints3d", "track"]


def test_problems_name_the_file(tmp_path: Path, make_predictions: Make) -> None:
    with pytest.raises(MissingData, match=r"no predictions at .*nothing\.npz"):
        load_predictions(tmp_path / "nothing.npz")
    with pytest.raises(UsageError, match=r"\.zarr, \.npz, \.parquet files; found the ending '\.pkl'"):
        load_predictions(tmp_path / "p.pkl")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK not a zip")
    with pytest.raises(BrokenFile, match=r"broken\.npz"):
        load_predictions(broken)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(BrokenFile, match=r"broken\.parquet"):
        load_predictions(tmp_path / "broken.parquet")
    (tmp_path / "broken.zarr").mkdir()
    with pytest.raises(BrokenFile, match=r"broken\.zarr"):
        load_predictions(tmp_path / "broken.zarr")
    np.savez(tmp_path / "odd.npz", track=np.array(["a"]), frame_id=[0], verts=np.zeros((1, 6890, 3)))
    with pytest.raises(BadData, match=r"odd\.npz: predictions: unknown array 'verts'"):
        load_predictions(tmp_path / "odd.npz")
    save_predictions(make_predictions(), tmp_path / "p.npz")
    with pytest.raises(UsageError, match="already there"):
        save_predictions(make_predictions(), tmp_path / "p.npz")


def test_a_parquet_column_of_another_width_is_refused(tmp_path: Path) -> None:
    table = pa.table({"track": ["a"], "frame_id": [0], "betas": [[0.0] * 9], "axis_angle": [[0.0] * 72]})
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(BadData, match="column 'betas' has 9 numbers a row, expected 10"):
        load_predictions(tmp_path / "p.parquet")
