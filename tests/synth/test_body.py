"""The synthetic body has SMPL's layout, an anatomy, and the same arithmetic as smplx."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from smplx import SMPL
from smplx.utils import Struct

from hpsbench.errors import ShapeError
from hpsbench.safe_io import load_npz, load_pickle
from hpsbench.synth import anatomy
from hpsbench.synth.anatomy import JOINT, LANDMARK_IDS
from hpsbench.synth.body import (
    SyntheticBody,
    load_landmarks,
    load_synthetic_body,
    mean_parameters,
    write_body_models,
)
from hpsbench.synth.body_shape import (
    GENDERS,
    body_arrays,
    drawn_faces,
    gender_template,
    regressor,
    skin_weights,
    template,
    template_normals,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_body_models(tmp_path_factory.mktemp("body"))


@pytest.fixture
def poses() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.4, (3, 72))


def test_the_skin_is_one_closed_surface_with_smpl_counts() -> None:
    vertices, faces = template()
    assert vertices.shape == (6890, 3)
    assert faces.shape == (13776, 3)
    half_edges = np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)])
    keys = half_edges[:, 0] * 6890 + half_edges[:, 1]
    back = half_edges[:, 1] * 6890 + half_edges[:, 0]
    assert len(np.unique(keys)) == len(keys), "an edge is used twice in one direction"
    assert np.array_equal(np.sort(keys), np.sort(back)), "an edge has one face only"
    assert len(vertices) - len(keys) // 2 + len(faces) == 2
    corners = vertices[faces]
    volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.05 < volume < 0.09, "cubic metres, positive: normals point outside"


@pytest.mark.parametrize("level", [1, 2])
def test_thin_face_lists_are_closed_too(level: int) -> None:
    faces = drawn_faces(level)
    half_edges = np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)])
    keys, back = half_edges @ (6890, 1), half_edges @ (1, 6890)
    assert np.array_equal(np.sort(keys), np.sort(back))
    assert len(np.unique(faces)) - len(keys) // 2 + len(faces) == 2


def test_the_body_stands_upright_and_faces_z() -> None:
    vertices, _ = template()
    assert 1.65 < np.ptp(vertices[:, 1]) < 1.75
    toes = vertices[[LANDMARK_IDS["left_big_toe"], LANDMARK_IDS["right_big_toe"]]]
    heels = vertices[[LANDMARK_IDS["left_heel"], LANDMARK_IDS["right_heel"]]]
    assert (toes[:, 2] > heels[:, 2] + 0.2).all()
    assert vertices[LANDMARK_IDS["left_eye"], 0] > 0 > vertices[LANDMARK_IDS["right_eye"], 0]
    trunk = vertices[(np.abs(vertices[:, 1]) < 0.1) & (np.abs(vertices[:, 0]) < 0.19)]
    assert np.ptp(trunk[:, 0]) > 1.2 * np.ptp(trunk[:, 2]), "wider than deep"


@pytest.mark.parametrize(("name", "id"), LANDMARK_IDS.items())
def test_keypoint_vertices_lie_where_they_belong(name: str, id: int) -> None:
    vertices, _ = template()
    wanted = anatomy.LANDMARKS[list(LANDMARK_IDS).index(name)]
    assert np.linalg.norm(vertices[id] - wanted) < 0.012
    assert template_normals()[id] @ (wanted - regressor("smpl24")[_bone(name)] @ vertices) > 0, (
        "on the outside"
    )


def _bone(landmark: str) -> int:
    side, _, part = landmark.partition("_")
    if landmark == "nose" or part in {"eye", "ear"}:
        return JOINT["head"]
    if part in {"big_toe", "small_toe"}:
        return JOINT[f"{side}_foot"]
    return JOINT[f"{side}_ankle" if part == "heel" else f"{side}_hand"]


def test_extreme_keypoints_are_extreme() -> None:
    vertices, _ = template()
    face = vertices[(vertices[:, 1] > 0.33)]
    assert vertices[LANDMARK_IDS["nose"], 2] > face[:, 2].max() - 0.003
    assert vertices[LANDMARK_IDS["left_middle"], 0] > vertices[:, 0].max() - 0.003
    assert vertices[LANDMARK_IDS["left_heel"], 2] < vertices[vertices[:, 1] < -1.1][:, 2].min() + 0.01


def test_weights_are_smooth_shares_of_at_most_four_bones() -> None:
    weights = skin_weights()
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (weights > 0).sum(1).max() <= 4
    assert (weights.max(0) > 0.9).sum() >= 20, "nearly every bone owns some skin"
    faces = template()[1]
    jump = np.abs(weights[faces] - weights[np.roll(faces, 1, axis=1)]).max()
    assert jump < 0.8
    points = template()[0]
    left = weights[:, [n for n, name in enumerate(anatomy.JOINT_NAMES) if name.startswith("left_")]].sum(1)
    assert left[points[:, 0] < -0.03].max() == 0


@pytest.mark.parametrize(("id", "rows"), [("smpl24", 24), ("h36m17", 17), ("extra9", 9), ("cocoplus", 19)])
def test_regressors_are_convex_and_hit_their_points(id: str, rows: int) -> None:
    matrix = regressor(id)
    assert matrix.shape == (rows, 6890)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(1), 1)
    assert (matrix > 0).sum(1).max() < 200, "sparse"
    found = matrix @ template()[0]
    for name, point in zip(anatomy.REGRESSOR_ROWS[id], found, strict=True):
        if name not in LANDMARK_IDS:
            assert np.linalg.norm(point - anatomy.regressor_point(name)) < 5e-4


def test_joints_move_with_the_shape() -> None:
    body = load_synthetic_body("neutral")
    rest = body.rest_joints(np.zeros(10))
    taller = body.rest_joints(np.eye(10)[0])
    span = rest[JOINT["head"], 1] - rest[JOINT["left_ankle"], 1]
    assert taller[JOINT["head"], 1] - taller[JOINT["left_ankle"], 1] == pytest.approx(1.03 * span, rel=0.002)
    stouter = body.rest_joints(2 * np.eye(10)[1])
    assert np.linalg.norm(stouter - rest, axis=1).max() < 0.012, "girth leaves the skeleton where it is"
    legs = body.rest_joints(2 * np.eye(10)[2])
    assert legs[JOINT["left_ankle"], 1] < rest[JOINT["left_ankle"], 1] - 0.03
    np.testing.assert_allclose(legs[JOINT["head"]], rest[JOINT["head"]], atol=1e-9)


def test_genders_differ() -> None:
    heights = {gender: np.ptp(gender_template(gender)[:, 1]) for gender in GENDERS}
    assert heights["female"] + 0.05 < heights["neutral"] < heights["male"] - 0.03
    directions = [np.linalg.norm(body_arrays("neutral").shapedirs[:, :, k]) for k in range(10)]
    assert min(directions) > 0.05
    assert 0 < np.abs(body_arrays("neutral").posedirs).max() < 0.02


def test_written_files_have_smpl_layout(folder: Path) -> None:
    for gender in ("NEUTRAL", "MALE", "FEMALE"):
        content = load_pickle(folder / f"SMPL_{gender}.pkl")
        shapes = {
            name: np.shape(content[name]) for name in ("v_template", "f", "shapedirs", "posedirs", "weights")
        }
        assert shapes == {
            "v_template": (6890, 3), "f": (13776, 3), "shapedirs": (6890, 3, 10), "posedirs": (6890, 3, 207),
            "weights": (6890, 24),
        }  # fmt: skip
        assert content["J_regressor"].shape == (24, 6890)
        assert content["J_regressor"].format == "csc"
        assert content["f"].dtype == content["kintree_table"].dtype == np.uint32
        assert content["kintree_table"].shape == (2, 24)
        assert content["kintree_table"][0, 0] == 4294967295
        assert content["synthetic"] is True
    assert np.load(folder / "J_regressor_h36m.npy").shape == (17, 6890)
    assert np.load(folder / "J_regressor_extra.npy").shape == (9, 6890)
    cocoplus = load_pickle(folder / "neutral_smpl_with_cocoplus_reg.pkl")
    assert cocoplus["cocoplus_regressor"].shape == (6890, 19)
    assert "SYNTHETIC" in (folder / "README.txt").read_text()


def test_mean_parameters_are_an_upright_person_before_a_camera(folder: Path) -> None:
    content = load_npz(folder / "smpl_mean_params.npz")
    assert {name: content[name].shape for name in content} == {"pose": (144,), "shape": (10,), "cam": (3,)}
    columns = content["pose"].reshape(24, 3, 2)
    np.testing.assert_allclose(columns[0], np.diag((1.0, -1.0, -1.0))[:, :2], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(columns, axis=1), 1, atol=1e-6)
    assert mean_parameters()["cam"][0] > 0


def test_files_are_the_same_bytes_every_time(folder: Path, tmp_path: Path) -> None:
    again = write_body_models(tmp_path)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 8
    for name in names:
        one, two = (hashlib.sha256((place / name).read_bytes()).hexdigest() for place in (folder, again))
        assert one == two, name


@pytest.mark.parametrize("gender", ["neutral", "female"])
def test_skinning_equals_smplx(folder: Path, poses: np.ndarray, gender: str) -> None:
    content = load_pickle(folder / f"SMPL_{gender.upper()}.pkl")
    rng = np.random.default_rng(1)
    betas, transl = rng.normal(0, 1, 10), rng.normal(0, 1, (3, 3))
    model = SMPL("", data_struct=Struct(**content), gender=gender, batch_size=3)
    with torch.no_grad():
        wanted = model(
            global_orient=torch.tensor(poses[:, :3], dtype=torch.float32),
            body_pose=torch.tensor(poses[:, 3:], dtype=torch.float32),
            betas=torch.tensor(np.tile(betas, (3, 1)), dtype=torch.float32),
            transl=torch.tensor(transl, dtype=torch.float32),
        )
    vertices, joints = load_synthetic_body(gender).pose(poses, betas, transl)  # type: ignore[arg-type]
    np.testing.assert_allclose(vertices, wanted.vertices, atol=1e-5)
    np.testing.assert_allclose(joints, wanted.joints[:, :24], atol=1e-5)
    np.testing.assert_allclose(load_synthetic_body(gender).joints(poses, betas, transl), joints, atol=1e-6)  # type: ignore[arg-type]
    marks = load_landmarks(gender).pose(poses, betas, transl)[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(marks, vertices[:, list(LANDMARK_IDS.values())], atol=1e-6)


def test_thinner_bodies_are_subsets(poses: np.ndarray) -> None:
    whole = load_synthetic_body("male").pose(poses, np.ones(10))[0]
    for level, count in ((1, 2000), (2, 1000)):
        body = load_synthetic_body("male", level)
        assert len(body.vertex_ids) == count
        assert body.faces.max() == count - 1
        np.testing.assert_allclose(body.pose(poses, np.ones(10))[0], whole[:, body.vertex_ids], atol=1e-6)


def test_lit_normals_turn_with_the_body() -> None:
    body = load_synthetic_body("neutral", 2)
    turned = np.zeros((1, 72))
    turned[0, 1] = np.pi / 2
    _, _, normals = body.pose_lit(turned, np.zeros(10))
    expected = template_normals()[body.vertex_ids][:, [2, 1, 0]] * (1, 1, -1)
    np.testing.assert_allclose(normals[0], expected, atol=1e-5)


def test_wrong_shapes_are_refused() -> None:
    body = SyntheticBody("neutral", 2)
    with pytest.raises(ShapeError, match=r"full_pose: expected \(T, 72\)"):
        body.pose(np.zeros((2, 24, 3)), np.zeros(10))
    with pytest.raises(ShapeError, match=r"betas: expected \(10,\)"):
        body.pose(np.zeros((2, 72)), np.zeros((2, 10)))
