"""SMPL forward: pose and shape to vertices and joints, for a batch of frames, on any device."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cached_property
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpsbench.bodies.files import GENDERS, body_folder, file_sha256, find_body_file, find_regressor_file
from hpsbench.bodies.joints import PARENTS, SMPL24, SMPL_PICKED_VERTICES, get_joint_set
from hpsbench.bodies.regressors import REGRESSOR_JOINT_SETS, Regressor, load_regressor, spin49_joints
from hpsbench.bodies.skinning import CHUNK, Skin, pose_joints
from hpsbench.bodies.smpl_data import NUM_BETAS, NUM_JOINTS, NUM_VERTICES, BodyData, read_body_file
from hpsbench.errors import BrokenFile, MissingBodyModel, ShapeError, UnknownName
from hpsbench.geometry.rotations import axis_angle_to_rotmat

JOINT_SOURCES = (*REGRESSOR_JOINT_SETS, "spin49")
"""What `BodyModel.joints` makes: the regressors' joints by regressor id, `smpl24`, and SPIN's 49."""


class BodyModel(nn.Module):
    """One SMPL body: a template of one gender, its blend shapes and skinning. Has no parameters.

    Poses are (N, 72) or (N, 24, 3) axis-angle in radians, or (N, 24, 3, 3) rotation matrices; joint 0 is the global
    rotation. Shapes are (N, 10), or (10,) for all frames. Arrays and tensors are taken; results are tensors on the
    body's device, metres, differentiable. `smplx` (`smplx_layer`) is the reference that tests compare with.
    """

    def __init__(self, data: BodyData, gender: str = "neutral") -> None:
        super().__init__()
        self.gender, self.source, self.sha256 = gender, data.source, data.sha256
        self.synthetic, self.faces = data.synthetic, data.faces
        self._data = data
        self._regressors: dict[str, Regressor] = {}
        self._held: dict[str, Regressor] = {}
        self._partial = nn.ModuleDict()
        self.rest_joints: Tensor
        self.rest_directions: Tensor
        regressor, shapes = (
            torch.tensor(a, dtype=torch.float64) for a in (data.joint_regressor, data.shapedirs)
        )
        rest = regressor @ torch.tensor(data.v_template, dtype=torch.float64)
        self._keep("rest_joints", rest)
        self._keep("rest_directions", torch.einsum("jv,vck->kjc", regressor, shapes).flatten(1))
        self.mesh = self._skin(range(NUM_VERTICES))

    @classmethod
    def load(cls, path: Path, gender: str = "neutral") -> "BodyModel":
        """Read a body model from a file, or from the folder that holds `SMPL_<GENDER>.npz` or `.pkl`.

        Raises:
            MissingBodyModel: no such file; the message says how to get it.
            BrokenFile, UnsafeFile: as for `read_body_file`.
        """
        file = Path(path) if Path(path).is_file() else find_body_file(Path(path), gender)
        return cls(read_body_file(file), gender)

    @property
    def device(self) -> torch.device:
        """Where the body computes; `.to(device)` moves it."""
        return self.rest_joints.device

    def vertices(self, pose: Any, betas: Any, transl: Any = None) -> Tensor:
        """Mesh vertices, (N, 6890, 3) metres.

        Args:
            pose: (N, 72), (N, 24, 3) or (N, 24, 3, 3); see the class.
            betas: (N, 10) or (10,).
            transl: (N, 3) metres, added last; None: none.

        Raises:
            ShapeError: shapes other than those, or numbers of frames that differ.
        """
        parts = [self.mesh(components, transforms) for _, components, transforms in self._posed(pose, betas)]
        return _moved(_joined(parts, (NUM_VERTICES, 3), self.rest_joints), transl)

    def joints(self, pose: Any, betas: Any, transl: Any = None, *, via: str | Regressor = "smpl24") -> Tensor:
        """Joints, (N, J, 3) metres, without building the mesh: only vertices that decide a joint are skinned.

        Args:
            pose: as for `vertices`.
            betas: as for `vertices`.
            transl: as for `vertices`.
            via: `smpl24` (the posed kinematic joints), a regressor's id (`h36m17`, `extra9`, `cocoplus`) or a
                regressor, or `spin49`.

        Raises:
            ShapeError: as for `vertices`.
            MissingBodyModel: the regressor's file is not beside the body model.
            UnknownName: another `via`.
        """
        make = self._joint_maker(via)
        parts = [
            make(posed, components, transforms) for posed, components, transforms in self._posed(pose, betas)
        ]
        size = NUM_JOINTS if via == "smpl24" else len(joint_set_of(via))
        return _moved(_joined(parts, (size, 3), self.rest_joints), transl)

    def spin49(self, pose: Any, betas: Any, transl: Any = None) -> Tensor:
        """SPIN's 49 joints, (N, 49, 3) metres; see `joints`."""
        return self.joints(pose, betas, transl, via="spin49")

    def regressor(self, id: str) -> Regressor:
        """A joint regressor by id: from the file beside the body model; `smpl24` is the body's own.

        Raises:
            MissingBodyModel, BrokenFile: its file is absent or damaged.
            UnknownName: no such regressor.
        """
        if id == "smpl24":
            return self._own_regressor
        if id not in self._regressors:
            if self.source is None:
                raise MissingBodyModel(
                    f"this body model was not read from a folder, so it has no regressor {id!r}"
                )
            self._regressors[id] = load_regressor(self.source.parent, id)
        return self._regressors[id]

    @cached_property
    def _own_regressor(self) -> Regressor:
        return Regressor("smpl24", SMPL24, self._data.joint_regressor, self.sha256)

    def smplx_layer(self) -> nn.Module:
        """The same body as `smplx.SMPL` (pose as rotation matrices, no translation): the reference path."""
        import smplx

        data = self._data
        struct = SimpleNamespace(
            v_template=data.v_template,
            shapedirs=data.shapedirs,
            posedirs=data.posedirs,
            J_regressor=data.joint_regressor,
            weights=data.weights,
            kintree_table=[torch.tensor(PARENTS["smpl24"]).numpy(), None],
            f=data.faces,
        )
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it prints a remark about 10 shapes
            layer: nn.Module = smplx.SMPL(
                model_path="", data_struct=struct, gender=self.gender, create_transl=False
            )
        return layer.to(self.device)

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.float().contiguous(), persistent=False)

    def _skin(self, vertices: Iterable[int]) -> Skin:
        rows = torch.tensor(list(vertices), dtype=torch.long)
        data = self._data
        arrays = (data.v_template, data.weights, data.shapedirs, data.posedirs)
        template, weights, shapes, poses = (torch.tensor(a, dtype=torch.float32)[rows] for a in arrays)
        return Skin(template, torch.cat([shapes, poses], dim=2).permute(2, 0, 1), weights)

    def _posed(self, pose: Any, betas: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Per chunk of frames: posed joints (n, 24, 3), components (n, 217), transforms (n, 3, 4, 24)."""
        rotmat, shape = self._checked(pose, betas)
        for first in range(0, rotmat.shape[0], CHUNK):
            turned, wide = rotmat[first : first + CHUNK], shape[first : first + CHUNK]
            rest = (wide @ self.rest_directions).reshape(-1, NUM_JOINTS, 3) + self.rest_joints
            posed, transforms = pose_joints(turned, rest, PARENTS["smpl24"])
            identity = torch.eye(3, device=turned.device, dtype=turned.dtype)
            components = torch.cat([wide, (turned[:, 1:] - identity).flatten(1)], dim=1)
            yield posed, components, transforms

    def _checked(self, pose: Any, betas: Any) -> tuple[Tensor, Tensor]:
        turned, shape = (_as_tensor(value, self.rest_joints) for value in (pose, betas))
        if turned.ndim == 2 and turned.shape[1] == 3 * NUM_JOINTS:
            turned = turned.reshape(-1, NUM_JOINTS, 3)
        if turned.ndim == 3 and turned.shape[1:] == (NUM_JOINTS, 3):
            turned = axis_angle_to_rotmat(turned)
        if turned.ndim != 4 or turned.shape[1:] != (NUM_JOINTS, 3, 3):
            raise ShapeError(
                f"pose: expected (N, 72), (N, 24, 3) or (N, 24, 3, 3), got {tuple(turned.shape)}"
            )
        if shape.ndim == 1:
            shape = shape.expand(turned.shape[0], -1)
        if shape.ndim != 2 or shape.shape != (turned.shape[0], NUM_BETAS):
            wanted = f"({turned.shape[0]}, {NUM_BETAS}) or ({NUM_BETAS},)"
            raise ShapeError(
                f"betas: expected {wanted} for {turned.shape[0]} poses, got {tuple(shape.shape)}"
            )
        return turned, shape

    def _joint_maker(self, via: str | Regressor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        if via == "smpl24":
            return lambda posed, components, transforms: posed
        if via == "spin49":
            partial = self._partial_joints("spin49", self._spin49_rows)
            return lambda posed, *skin: spin49_joints(torch.cat([posed, partial(*skin)], dim=1))
        if isinstance(via, Regressor):
            key, regressor = f"{via.id}:{id(via)}", via
            self._held[key] = via  # so that no other object gets its id
        elif via in REGRESSOR_JOINT_SETS:
            key, regressor = via, self.regressor(via)
        else:
            raise UnknownName("source of joints", via, choices=JOINT_SOURCES)
        partial = self._partial_joints(key, lambda: torch.tensor(regressor.matrix))
        return lambda posed, *skin: partial(*skin)

    def _spin49_rows(self) -> Tensor:
        """The 21 picked vertices and the 9 extra joints as one (30, 6890) regressor."""
        picked = nn.functional.one_hot(torch.tensor(SMPL_PICKED_VERTICES), NUM_VERTICES).double()
        return torch.cat([picked, torch.tensor(self.regressor("extra9").matrix)])

    def _partial_joints(self, key: str, matrix: Callable[[], Tensor]) -> nn.Module:
        if key not in self._partial:
            rows = matrix()
            used = rows.ne(0).any(dim=0).nonzero().squeeze(1)
            partial = _PartialJoints(self._skin(used.tolist()), rows[:, used].float())
            self._partial[key] = partial.to(device=self.device, dtype=self.rest_joints.dtype)
        return self._partial[key]


class _PartialJoints(nn.Module):
    """Joints that are weighted sums of some vertices: skins those alone."""

    def __init__(self, skin: Skin, matrix: Tensor) -> None:
        super().__init__()
        self.skin = skin
        self.matrix: Tensor
        self.register_buffer("matrix", matrix.contiguous(), persistent=False)

    def forward(self, components: Tensor, transforms: Tensor) -> Tensor:
        vertices: Tensor = self.skin(components, transforms)
        return self.matrix @ vertices


def joint_set_of(via: str | Regressor) -> Any:
    """The joint set that `BodyModel.joints` gives for a `via`. Raises UnknownName."""
    if isinstance(via, Regressor):
        return via.joint_set
    if via == "spin49":
        return get_joint_set("spin49")
    if via not in REGRESSOR_JOINT_SETS:
        raise UnknownName("source of joints", via, choices=JOINT_SOURCES)
    return get_joint_set(REGRESSOR_JOINT_SETS[via])


def _joined(parts: list[Tensor], tail: tuple[int, int], like: Tensor) -> Tensor:
    if not parts:
        return like.new_zeros((0, *tail))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _moved(points: Tensor, transl: Any) -> Tensor:
    if transl is None:
        return points
    shift = _as_tensor(transl, points)
    if shift.shape not in ((points.shape[0], 3), (3,)):
        raise ShapeError(f"transl: expected ({points.shape[0]}, 3), got {tuple(shift.shape)}")
    return points + shift.reshape(-1, 1, 3)


def _as_tensor(value: Any, like: Tensor) -> Tensor:
    """A tensor of another's device and type. Arrays that may not be written to (file mappings) are copied."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        value = value.copy()
    return torch.as_tensor(value, device=like.device, dtype=like.dtype)


class Bodies:
    """The body models and regressors of one folder, each read when first used.

    Args:
        folder: with `SMPL_*.npz` or `.pkl` and the regressors.
        synthetic: whether files must carry the mark of the synthetic world, or must not.
    """

    def __init__(self, folder: Path, *, synthetic: bool, device: str | torch.device = "cpu") -> None:
        self.folder, self.synthetic, self.device = Path(folder), synthetic, torch.device(device)
        self._bodies: dict[str, BodyModel] = {}
        self._regressors: dict[str, Regressor] = {}

    @property
    def neutral(self) -> BodyModel:
        """The neutral body."""
        return self.by_gender("neutral")

    @property
    def male(self) -> BodyModel:
        """The male body."""
        return self.by_gender("male")

    @property
    def female(self) -> BodyModel:
        """The female body."""
        return self.by_gender("female")

    def by_gender(self, gender: str) -> BodyModel:
        """The body of a gender.

        Raises:
            MissingBodyModel, BrokenFile, UnsafeFile: as for `BodyModel.load`; BrokenFile also where a synthetic file
                lies among real ones or the other way round.
            UnknownName: no such gender.
        """
        if gender not in self._bodies:
            body = BodyModel.load(find_body_file(self.folder, gender), gender)
            if body.synthetic != self.synthetic:
                raise BrokenFile(_misplaced(body, self.folder))
            body._regressors = self._regressors
            self._bodies[gender] = body.to(self.device)
        return self._bodies[gender]

    def regressor(self, id: str) -> Regressor:
        """A joint regressor of this folder by id. Raises MissingBodyModel, BrokenFile, UnknownName."""
        if id == "smpl24":
            return self.neutral.regressor(id)
        if id not in self._regressors:
            self._regressors[id] = load_regressor(self.folder, id)
        return self._regressors[id]

    @property
    def sha256(self) -> dict[str, str]:
        """Content hashes of the files used so far, by file name."""
        files = {body.source.name: file_sha256(body.source) for body in self._bodies.values() if body.source}
        for id in self._regressors:
            path = find_regressor_file(self.folder, id)
            files[path.name] = file_sha256(path)
        return dict(sorted(files.items()))

    def require(self, *, genders: Iterable[str] = (), regressors: Iterable[str] = ()) -> None:
        """Check that files are there before a long job, all at once.

        Raises:
            MissingBodyModel: names everything that is absent.
        """
        problems = []
        for find, keys in ((find_body_file, genders), (find_regressor_file, regressors)):
            for key in keys:
                if key == "smpl24":
                    continue
                try:
                    find(self.folder, key)
                except MissingBodyModel as error:
                    problems.append(str(error))
        if problems:
            raise MissingBodyModel("\n".join(problems))

    def to(self, device: str | torch.device) -> "Bodies":
        """Move the bodies, also those read later, to a device."""
        self.device = torch.device(device)
        for body in self._bodies.values():
            body.to(self.device)
        return self


def _misplaced(body: BodyModel, folder: Path) -> str:
    if body.synthetic:
        return (
            f"{body.source} is a synthetic body model among real ones; real data are scored with the licensed SMPL "
            f"files only. Move it to {folder.parent / 'synthetic'}."
        )
    return (
        f"{body.source} is not marked synthetic; synthetic data are scored with the synthetic body only. "
        f"Put licensed files into {folder.parent / 'smpl'} and run 'hpsbench synth' for the synthetic ones."
    )


def load_bodies(root: Path, synthetic: bool, *, device: str | torch.device = "cpu") -> Bodies:
    """The body models of a data root: `R/body_models/synthetic` for synthetic data, else `R/body_models/smpl`.

    Nothing is read before it is used; `Bodies.require` checks at once what a job will need.
    """
    return Bodies(body_folder(root, synthetic=synthetic), synthetic=synthetic, device=device)


__all__ = ["GENDERS", "JOINT_SOURCES", "Bodies", "BodyModel", "joint_set_of", "load_bodies"]
