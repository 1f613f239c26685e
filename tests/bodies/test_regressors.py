from pathlib import Path

import numpy as np
import pytest
import torch

from hpsbench.bodies.joints import get_joint_set
from hpsbench.bodies.regressors import REGRESSOR_JOINT_SETS, Regressor, load_regressor, spin49_joints
from hpsbench.errors import BrokenFile, MissingBodyModel, ShapeError, UnknownName


@pytest.fixture
def folder(body_root: Path) -> Path:
    return body_root / "body_models" / "synthetic"


@pytest.mark.parametrize("id", ["h36m17", "extra9", "cocoplus"])
def test_a_regressor_is_read_by_its_id(folder: Path, id: str) -> None:
    regressor = load_regressor(folder, id)
    assert regressor.joint_set == get_joint_set(REGRESSOR_JOINT_SETS[id])
    np.testing.assert_allclose(regressor.matrix.sum(1), 1)
    assert len(regressor.sha256 or "") == 64


def test_regressing_is_a_weighted_sum_for_arrays_and_tensors(folder: Path) -> None:
    regressor = load_regressor(folder, "h36m17")
    vertices = np.random.default_rng(0).normal(size=(2, 6890, 3)).astype(np.float32)
    expected = np.einsum("jv,tvc->tjc", regressor.matrix, vertices)
    np.testing.assert_allclose(regressor.regress(vertices), expected, atol=1e-6)
    np.testing.assert_allclose(regressor.regress(torch.from_numpy(vertices)), expected, atol=1e-6)
    assert regressor.regress(vertices).dtype == np.float32


def test_wrong_shapes_and_names_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"expected \(\.\.\., 6890, 3\), got \(2, 100, 3\)"):
        load_regressor(folder, "h36m17").regress(np.zeros((2, 100, 3)))
    with pytest.raises(UnknownName, match="Did you mean 'h36m17'"):
        load_regressor(folder, "h36m")
    with pytest.raises(MissingBodyModel, match=r"J_regressor_h36m\.npy in .* SPIN's data archive"):
        load_regressor(tmp_path, "h36m17")
    np.save(tmp_path / "J_regressor_h36m.npy", np.zeros((14, 6890)))
    with pytest.raises(BrokenFile, match=r"a joint regressor h36m17 is \(17, 6890\), found \(14, 6890\)"):
        load_regressor(tmp_path, "h36m17")
    with pytest.raises(ShapeError, match="joint regressor mine"):
        Regressor("mine", get_joint_set("lsp14"), np.zeros((3, 6890)))


def test_a_transposed_cocoplus_matrix_is_turned(folder: Path, tmp_path: Path) -> None:
    import pickle

    matrix = load_regressor(folder, "cocoplus").matrix
    place = tmp_path / "synthetic"
    place.mkdir()
    content = {"cocoplus_regressor": matrix.T.copy(), "synthetic": True}
    (place / "neutral_smpl_with_cocoplus_reg.pkl").write_bytes(pickle.dumps(content, protocol=2))
    np.testing.assert_array_equal(load_regressor(place, "cocoplus").matrix, matrix)


def test_spin49_takes_54_joints() -> None:
    joints = np.arange(54 * 3, dtype=float).reshape(1, 54, 3)
    assert spin49_joints(joints).shape == (1, 49, 3)
    np.testing.assert_array_equal(spin49_joints(joints)[0, 27], joints[0, 45])
    with pytest.raises(ShapeError, match="smpl54"):
        spin49_joints(joints[:, :45])
