"""A random body in SMPL's layout (true sizes, random sparse content), written once per session."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from hpsbench.bodies.joints import PARENTS

VERTICES, FACES = 6890, 13776


def sparse_rows(rows: int, per_row: int, rng: np.random.Generator) -> np.ndarray:
    """(rows, 6890) with a few positive weights a row that sum to 1."""
    matrix = np.zeros((rows, VERTICES))
    for row in matrix:
        chosen = rng.choice(VERTICES, per_row, replace=False)
        row[chosen] = rng.uniform(0.1, 1, per_row)
        row /= row.sum()
    return matrix


def random_entries(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    weights = np.zeros((VERTICES, 24))
    joint = rng.integers(0, 24, (VERTICES, 4))
    np.put_along_axis(weights, joint, rng.uniform(0.1, 1, (VERTICES, 4)), axis=1)
    weights /= weights.sum(1, keepdims=True)
    parents = np.array(PARENTS["smpl24"])
    return {
        "v_template": rng.normal(0, 0.4, (VERTICES, 3)),
        "shapedirs": rng.normal(0, 0.01, (VERTICES, 3, 12)),
        "posedirs": rng.normal(0, 0.002, (VERTICES, 3, 207)),
        "J_regressor": scipy.sparse.csc_matrix(sparse_rows(24, 12, rng)),
        "weights": weights,
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(24)]).astype(
            np.uint32
        ),
        "f": rng.integers(0, VERTICES, (FACES, 3)).astype(np.uint32),
        "synthetic": True,
    }


@pytest.fixture(scope="session")
def entries() -> dict[str, Any]:
    """What an SMPL file holds."""
    return random_entries(seed=0)


@pytest.fixture(scope="session")
def body_root(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Any]) -> Path:
    """A data root with `body_models/synthetic`: a neutral `.pkl`, a male `.npz`, all regressors, mean parameters."""
    root = tmp_path_factory.mktemp("body_root")
    folder = root / "body_models" / "synthetic"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    (folder / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(entries, protocol=2))
    male = random_entries(seed=2)
    male["J_regressor"] = male["J_regressor"].toarray()
    np.savez(folder / "SMPL_MALE.npz", **male)
    np.save(folder / "J_regressor_h36m.npy", sparse_rows(17, 60, rng))
    np.save(folder / "J_regressor_extra.npy", sparse_rows(9, 60, rng))
    coco = scipy.sparse.csc_matrix(sparse_rows(19, 30, rng))
    content = pickle.dumps({"cocoplus_regressor": coco, "synthetic": True}, protocol=2)
    (folder / "neutral_smpl_with_cocoplus_reg.pkl").write_bytes(content)
    pose = np.tile([1.0, 0, 0, 1, 0, 0], 24)
    np.savez(
        folder / "smpl_mean_params.npz",
        pose=pose,
        shape=np.zeros(10),
        cam=np.array([0.9, 0, 0]),
        synthetic=True,
    )
    return root
