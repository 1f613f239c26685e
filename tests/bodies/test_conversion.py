from pathlib import Path

import numpy as np
import pytest

from hpsbench.bodies.conversion import check_body_files, convert_body_file
from hpsbench.bodies.mean_params import load_mean_params
from hpsbench.bodies.smpl_data import read_body_file
from hpsbench.errors import BrokenFile, MissingBodyModel, UsageError


def test_a_converted_body_is_the_same_body_and_the_same_bytes(body_root: Path, tmp_path: Path) -> None:
    source = body_root / "body_models" / "synthetic" / "SMPL_NEUTRAL.pkl"
    first, second = (convert_body_file(source, tmp_path / name) for name in ("a.npz", "b.npz"))
    assert first.read_bytes() == second.read_bytes()
    before, after = read_body_file(source), read_body_file(first)
    for field in ("v_template", "shapedirs", "posedirs", "joint_regressor", "weights", "faces"):
        np.testing.assert_array_equal(getattr(before, field), getattr(after, field))
    assert after.synthetic
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_broken_body_is_not_converted(tmp_path: Path) -> None:
    source = tmp_path / "SMPL_NEUTRAL.pkl"
    source.write_bytes(b"\x80\x02}q\x00")
    with pytest.raises(BrokenFile):
        convert_body_file(source)
    assert [path.name for path in tmp_path.iterdir()] == ["SMPL_NEUTRAL.pkl"]
    with pytest.raises(UsageError, match="give another file"):
        convert_body_file(source, source)
    with pytest.raises(MissingBodyModel, match="no body model at"):
        convert_body_file(tmp_path / "none.pkl")


def test_check_reports_every_file(body_root: Path) -> None:
    reports = {report.key: report for report in check_body_files(body_root, synthetic=True)}
    assert set(reports) == {"neutral", "male", "female", "h36m17", "extra9", "cocoplus", "mean_params"}
    assert {key for key, report in reports.items() if not report.ok} == {"female"}
    assert reports["female"].problem == "missing"
    assert reports["neutral"].note == "12 shape components, pkl"
    assert reports["h36m17"].note.startswith("17 joints from ")


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "body_models" / "smpl"
    folder.mkdir(parents=True)
    (folder / "SMPL_MALE.pkl").write_bytes(b"nothing")
    np.save(folder / "J_regressor_extra.npy", np.zeros((3, 3)))
    reports = {report.key: report for report in check_body_files(tmp_path, synthetic=False)}
    assert "SMPL_MALE.pkl" in (reports["male"].problem or "")
    assert "found (3, 3)" in (reports["extra9"].problem or "")


def test_mean_parameters(body_root: Path, tmp_path: Path) -> None:
    mean = load_mean_params(body_root, synthetic=True)
    assert (mean.pose.shape, mean.shape.shape, mean.cam.shape) == ((144,), (10,), (3,))
    np.testing.assert_allclose(mean.cam, [0.9, 0, 0])
    folder = tmp_path / "body_models" / "smpl"
    folder.mkdir(parents=True)
    np.savez(folder / "smpl_mean_params.npz", pose=np.zeros(72), shape=np.zeros(10), cam=np.zeros(3))
    with pytest.raises(BrokenFile, match=r"entry 'pose' is \(72,\), expected 144"):
        load_mean_params(tmp_path, synthetic=False)
