"""The synthetic body: fast NumPy skinning for the renderer, and files in SMPL's layout for everything else.

The skinning here is SMPL's (Loper et al. 2015): blend shapes, regressed joints, linear blend skinning. It is an
independent copy of what `smplx` does, so that the raw-layout writers share no code with the readers.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial.transform import Rotation

from hpsbench.errors import ShapeError
from hpsbench.synth import anatomy
from hpsbench.synth.body_shape import GENDERS, Gender, body_arrays, drawn_faces, regressor, template_normals
from hpsbench.synth.python2_pickle import dumps
from hpsbench.types import FloatArray, IntArray

FOLDER = "synthetic"
MEAN_CAMERA = (0.9, 0.0, 0.0)
_FRAMES_AT_ONCE = 8  # keeps the working set of the skinning in the cache


class SyntheticBody:
    """Linear blend skinning of the synthetic body, or of a subset of its vertices.

    Args:
        gender: which template.
        level: level of detail, 0 for all 6890 vertices; 1 and 2 keep 2000 and 1000, for drawing.
        only: numbers of single vertices to skin instead (then there are no faces), or None.

    Attributes:
        vertex_ids: (V,) numbers of the skinned vertices in the full body.
        faces: (F, 3) triangles in terms of the skinned vertices.
    """

    def __init__(self, gender: Gender = "neutral", level: int = 0, only: IntArray | None = None) -> None:
        arrays = body_arrays(gender)
        self.gender = gender
        self.level = level
        self.vertex_ids: IntArray = np.arange(anatomy.VERTICES)
        self.faces: IntArray = arrays.f.astype(np.int64)
        if only is not None:
            self.vertex_ids, self.faces = np.asarray(only), np.zeros((0, 3), dtype=np.int64)
        elif level:
            self.vertex_ids, where = np.unique(drawn_faces(level), return_inverse=True)
            self.faces = where.reshape(-1, 3)
        chosen = self.vertex_ids
        # Coordinate-major (3, V, ...) so that every step below runs over whole rows of memory.
        self._template = np.ascontiguousarray(arrays.v_template[chosen].T, np.float32)
        self._shape = np.ascontiguousarray(arrays.shapedirs[chosen].transpose(1, 0, 2), np.float32)
        pose = arrays.posedirs[chosen].transpose(1, 0, 2).reshape(-1, anatomy.POSE_FEATURES)
        self._pose = sparse.csr_array(pose.astype(np.float32))  # nine out of ten are zero
        self._weights = np.ascontiguousarray(arrays.weights[chosen].T, np.float32)
        self._normals = np.ascontiguousarray(template_normals()[chosen].T, np.float32)
        self._joint_template = arrays.J_regressor @ arrays.v_template
        self._joint_shape = np.einsum("jv,vck->jck", arrays.J_regressor, arrays.shapedirs)

    def rest_joints(self, betas: FloatArray) -> FloatArray:
        """(24, 3) joints of the T-pose for `betas` (10,)."""
        return np.asarray(self._joint_template + self._joint_shape @ np.asarray(betas, dtype=np.float64))

    def joints(
        self, full_pose: FloatArray, betas: FloatArray, transl: FloatArray | None = None
    ) -> FloatArray:
        """(T, 24, 3) float32 posed joints, without the skin."""
        rotmat = _rotmats(full_pose)
        posed = forward_kinematics(rotmat, self.rest_joints(betas))[1]
        return np.asarray(posed if transl is None else posed + np.asarray(transl)[:, None], dtype=np.float32)

    def pose(
        self, full_pose: FloatArray, betas: FloatArray, transl: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Skin T poses of one person.

        Args:
            full_pose: (T, 72) axis-angle, radians.
            betas: (10,) shape.
            transl: (T, 3) metres, or None for none.

        Returns:
            vertices (T, V, 3) and joints (T, 24, 3), float32 metres.

        Raises:
            ShapeError: `full_pose` or `betas` have another shape.
        """
        vertices, _, joints = self._posed(full_pose, betas, transl, lit=False)
        return vertices, joints

    def pose_lit(
        self, full_pose: FloatArray, betas: FloatArray, transl: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """As `pose`, for drawing.

        Returns:
            vertices (T, V, 3), joints (T, 24, 3), and (T, V, 3) normals of the smooth skin of all 6890 vertices, about
            of unit length, whatever the level of detail.
        """
        vertices, normals, joints = self._posed(full_pose, betas, transl, lit=True)
        return vertices, joints, normals

    def _posed(
        self, full_pose: FloatArray, betas: FloatArray, transl: FloatArray | None, *, lit: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        rotmat = _rotmats(full_pose)
        if np.shape(betas) != (anatomy.BETAS,):
            raise ShapeError(f"betas: expected (10,), got {np.shape(betas)}; a track has one shape")
        rest = self.rest_joints(betas)
        turned, posed = forward_kinematics(rotmat, rest)
        shift = posed - np.einsum("tjab,jb->tja", turned, rest)
        if transl is not None:
            shift, posed = shift + np.asarray(transl)[:, None], posed + np.asarray(transl)[:, None]
        features = (rotmat[:, 1:] - np.eye(3)).reshape(len(rotmat), -1).astype(np.float32)
        bones = np.concatenate([turned, shift[..., None]], axis=-1).astype(np.float32).reshape(-1, 24, 12)
        shaped = self._template + self._shape @ np.asarray(betas, dtype=np.float32)
        vertices = np.empty((len(rotmat), len(self.vertex_ids), 3), dtype=np.float32)
        normals = np.empty_like(vertices if lit else vertices[:0])
        for first in range(0, len(rotmat), _FRAMES_AT_ONCE):
            part = slice(first, first + _FRAMES_AT_ONCE)
            self._skin(shaped, features[part], bones[part], vertices[part], normals[part])
        return vertices, normals, posed.astype(np.float32)

    def _skin(
        self,
        shaped: FloatArray,
        features: FloatArray,
        bones: FloatArray,
        out: FloatArray,
        normals: FloatArray,
    ) -> None:
        """Fill `out` (t, V, 3) from the shaped template (3, V), pose features (t, 207) and bones (t, 24, 12).

        `normals` (t, V, 3) is filled too if it is not empty.
        """
        skin = (self._pose @ features.T).T.reshape(len(features), 3, -1) + shaped
        blended = np.matmul(bones.transpose(0, 2, 1), self._weights)
        for axis in range(3):
            m = blended[:, 4 * axis : 4 * axis + 4]
            out[..., axis] = m[:, 0] * skin[:, 0] + m[:, 1] * skin[:, 1] + m[:, 2] * skin[:, 2] + m[:, 3]
            if len(normals):
                n = self._normals
                normals[..., axis] = m[:, 0] * n[0] + m[:, 1] * n[1] + m[:, 2] * n[2]


def _rotmats(full_pose: FloatArray) -> FloatArray:
    """(T, 24, 3, 3) from (T, 72) axis-angle."""
    if np.ndim(full_pose) != 2 or np.shape(full_pose)[1] != 72:
        raise ShapeError(f"full_pose: expected (T, 72), got {np.shape(full_pose)}")
    return Rotation.from_rotvec(np.reshape(full_pose, (-1, 3))).as_matrix().reshape(-1, 24, 3, 3)


def forward_kinematics(rotmat: FloatArray, rest_joints: FloatArray) -> tuple[FloatArray, FloatArray]:
    """World rotations and positions of the joints.

    Args:
        rotmat: (T, 24, 3, 3) rotations relative to the parent.
        rest_joints: (24, 3) metres.

    Returns:
        turned (T, 24, 3, 3) and posed (T, 24, 3); the root joint stays at its rest position.
    """
    turned = np.empty_like(rotmat)
    posed = np.empty((*rotmat.shape[:2], 3))
    turned[:, 0], posed[:, 0] = rotmat[:, 0], rest_joints[0]
    for joints, parents in _GENERATIONS:
        turned[:, joints] = turned[:, parents] @ rotmat[:, joints]
        bone = (rest_joints[joints] - rest_joints[parents])[..., None]
        posed[:, joints] = posed[:, parents] + (turned[:, parents] @ bone)[..., 0]
    return turned, posed


def _generations() -> list[tuple[list[int], list[int]]]:
    """Joints by distance from the root, with their parents."""
    made: list[tuple[list[int], list[int]]] = []
    last = [0]
    while last:
        joints = [j for j, parent in enumerate(anatomy.PARENTS) if parent in last]
        made.append((joints, [anatomy.PARENTS[j] for j in joints]))
        last = joints
    return made[:-1]


_GENERATIONS = _generations()


@functools.cache
def load_synthetic_body(gender: Gender = "neutral", level: int = 0) -> SyntheticBody:
    """The body of one gender, made once per process."""
    return SyntheticBody(gender, level)


@functools.cache
def load_landmarks(gender: Gender) -> SyntheticBody:
    """The face, hand and foot keypoint vertices of a body alone, in the order of `anatomy.LANDMARK_IDS`."""
    return SyntheticBody(gender, only=np.array(list(anatomy.LANDMARK_IDS.values())))


def write_body_models(root: Path) -> Path:
    """Write the synthetic body in SMPL's file layout to `root/body_models/synthetic`.

    Files: `SMPL_{NEUTRAL,MALE,FEMALE}.pkl` (Python-2 pickles like the official ones, NumPy and SciPy only), `J_regressor_h36m.npy`,
    `J_regressor_extra.npy`, `smpl_mean_params.npz`, `neutral_smpl_with_cocoplus_reg.pkl` and a README that says that
    they are synthetic. The same bytes every time.

    Returns:
        The folder.
    """
    folder = Path(root) / "body_models" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for gender in GENDERS:
        (folder / f"SMPL_{gender.upper()}.pkl").write_bytes(dumps(smpl_dict(gender)))
    cocoplus = smpl_dict("neutral") | {"cocoplus_regressor": sparse.csc_matrix(regressor("cocoplus").T)}
    (folder / "neutral_smpl_with_cocoplus_reg.pkl").write_bytes(dumps(cocoplus))
    np.save(folder / "J_regressor_h36m.npy", regressor("h36m17"))
    np.save(folder / "J_regressor_extra.npy", regressor("extra9"))
    np.savez(folder / "smpl_mean_params.npz", **mean_parameters())  # type: ignore[arg-type]
    (folder / "README.txt").write_text(_README, encoding="utf-8")
    return folder


_README = """SYNTHETIC body model of hpsbench, in SMPL's file layout. It is not SMPL and was not made from it.
For the synthetic world only: it never stands in for a licensed body model on real data.
"""


def smpl_dict(gender: Gender) -> dict[str, Any]:
    """The content of one `SMPL_*.pkl`: the arrays that `smplx.SMPL(data_struct=...)` reads, under SMPL's names."""
    arrays = body_arrays(gender)
    joint_regressor = sparse.csc_matrix(arrays.J_regressor)
    kintree = np.array([anatomy.PARENTS, range(24)], dtype=np.int64).astype(
        np.uint32
    )  # -1 becomes 4294967295
    return {
        "synthetic": True,
        "v_template": arrays.v_template,
        "f": arrays.f,
        "shapedirs": arrays.shapedirs,
        "posedirs": arrays.posedirs.astype(np.float32),
        "J": arrays.J_regressor @ arrays.v_template,
        "J_regressor": joint_regressor,
        "J_regressor_prior": joint_regressor,
        "weights": arrays.weights,
        "weights_prior": arrays.weights,
        "kintree_table": kintree,
        "vert_sym_idxs": mirror_vertices(),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@functools.cache
def mirror_vertices() -> IntArray:
    """(6890,) the vertex nearest to each vertex's mirror image in the neutral template."""
    from scipy.spatial import cKDTree

    points = body_arrays("neutral").v_template
    return np.asarray(cKDTree(points).query(points * (-1, 1, 1))[1], dtype=np.int64)


def mean_parameters() -> dict[str, FloatArray]:
    """`smpl_mean_params.npz`: pose (144,) in SPIN's interleaved 6D layout, shape (10,), cam (3,) = (s, tx, ty).

    The pose is an upright person with hanging arms who faces a camera whose y axis points down, as in SPIN's file.
    """
    from hpsbench.synth.motion import STANDING_POSE

    pose = STANDING_POSE.copy()
    pose[:3] = (np.pi, 0.0, 0.0)
    rotmat = _rotmats(pose[None])[0]
    return {
        "pose": rotmat[:, :, :2].reshape(-1).astype(np.float32),
        "shape": np.zeros(anatomy.BETAS, dtype=np.float32),
        "cam": np.array(MEAN_CAMERA, dtype=np.float32),
    }
