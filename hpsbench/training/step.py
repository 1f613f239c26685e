"""What a loss term sees of one training step, and what it hands back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.bodies.smpl import BodyModel
from hpsbench.errors import HpsbenchError
from hpsbench.models._system import HPSOutput
from hpsbench.training.batches import Batch

if TYPE_CHECKING:
    from hpsbench.models._mposer import MPoser

LSP_IN_SPIN49 = slice(25, 39)
LSP_IN_H36M = convert_indices("h36m17_regressor", "lsp14")
HIPS = tuple(get_joint_set("lsp14").indices(("Right Hip", "Left Hip")))


class Judge(Protocol):
    """A discriminator as the generator meets it."""

    def judge(self, output: HPSOutput) -> Tensor:
        """Scores (B, S) of predicted motions; its own weights get no gradient."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One loss term of a batch.

    Attributes:
        value: a scalar, a mean over what took part.
        count: how many frames or windows those were; parts of several processes are averaged by it. 0: the batch had nothing
            for this term.
    """

    value: Tensor
    count: Tensor | int


class Step:
    """A batch, what the system made of it, and what several terms share, computed once.

    Args:
        batch: B windows of T frames.
        output: of the system's `forward_train`, T' frames; where T' is not T, all are of frame T // 2.
        body: neutral body model.
        weights: of all terms.
        judge: the discriminator, where there is one.
        prior: the motion prior, where there is one.
    """

    def __init__(
        self,
        batch: Batch,
        output: HPSOutput,
        body: BodyModel,
        weights: Mapping[str, float],
        judge: Judge | None = None,
        prior: "MPoser | None" = None,
    ) -> None:
        self.batch, self.output, self.body, self.weights = batch, output, body, weights
        self.judge, self.prior = judge, prior
        self._joints: dict[int, tuple[HPSOutput, Tensor]] = {}  # the output too, so that no other gets its id

    @property
    def frames(self) -> int:
        """T, frames of a window."""
        return int(self.batch.has_smpl.shape[1])

    @cached_property
    def index(self) -> Tensor:
        """(T',) which frame of the window each row of the output is compared with."""
        rows = next(v for v in (self.output.rotmat, self.output.joints3d) if v is not None).shape[1]
        device = self.batch.has_smpl.device
        if rows == self.frames:
            return torch.arange(rows, device=device)
        return torch.full((rows,), self.frames // 2, device=device)

    def wanted(self, name: str) -> Tensor:
        """A target of the batch for every row of the output, (B x T', ...)."""
        value: Tensor = getattr(self.batch, name)[:, self.index]
        return value.flatten(0, 1)

    def joints(self, output: HPSOutput) -> Tensor:
        """SPIN's 49 joints (N, 49, 3) of an output's bodies, N = B x T'."""
        if id(output) not in self._joints:
            rotmat, betas = present(output.rotmat, "rotations"), present(output.betas, "betas")
            joints = self.body.spin49(rotmat.flatten(0, 1), betas.flatten(0, 1))
            self._joints[id(output)] = output, joints
        return self._joints[id(output)][1]

    @cached_property
    def target_joints(self) -> tuple[Tensor, Tensor]:
        """LSP joints (B, T, 14, 3) and which frames have them (B, T): annotated themselves, else of the annotated bodies.

        Measured joints stand before those of bodies that were fitted to them (Human3.6M), as in VIBE `lib/dataset/dataset_3d.py`.
        Of a system that predicts frame T // 2 alone, only that frame's; the others are 0.
        """
        return self._lsp(lambda rotmat, betas: self.body.spin49(rotmat, betas)[:, LSP_IN_SPIN49])

    @cached_property
    def regressed_joints(self) -> tuple[Tensor, Tensor]:
        """As `target_joints`, of annotated bodies by the H36M regressor: the joints that protocols score and filters measure.

        SPIN's joints of the same names lie up to centimetres beside them.
        """
        return self._lsp(lambda rotmat, betas: self.body.joints(rotmat, betas, via="h36m17")[:, LSP_IN_H36M])

    def _lsp(self, joints_of: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        batch, used = self.batch, torch.tensor(sorted(set(self.index.tolist())), device=self.index.device)
        with torch.no_grad():
            rotmat, betas = batch.rotmat[:, used].flatten(0, 1), batch.betas[:, used].flatten(0, 1)
            lsp = joints_of(rotmat, betas).reshape(len(batch.rotmat), -1, 14, 3)
            found = lsp.new_zeros(*batch.has_smpl.shape, 14, 3)
            found[:, used] = lsp
        if batch.joints3d is None or batch.has_joints3d is None:
            return found, batch.has_smpl
        found = torch.where(batch.has_joints3d[..., None, None], batch.joints3d, found)
        return found, batch.has_smpl | batch.has_joints3d


def present(value: Tensor | None, what: str) -> Tensor:
    """A part of an output or batch that a term cannot do without.

    Raises:
        HpsbenchError: it is None.
    """
    if value is None:
        raise HpsbenchError(
            f"a loss term of this training recipe needs {what}, which the system or the batch does not have"
        )
    return value


def auxiliary(step: Step, name: str) -> Any:
    """An entry of the output's `aux` that a term reads.

    Raises:
        HpsbenchError: the system did not give it.
    """
    return present(step.output.aux.get(name), f"{name!r} of the system's training output")
