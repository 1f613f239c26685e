"""Loss terms on a fixed batch, against values computed apart from them; what the discriminator's passes leave behind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.errors import HpsbenchError, UnknownName, UsageError
from hpsbench.geometry.cameras import project_crop
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._system import HPSOutput
from hpsbench.training.adversary import Opponent
from hpsbench.training.batches import Batch
from hpsbench.training.config import Adversary, get_training_recipe, list_terms, merge
from hpsbench.training.mixture import Motion
from hpsbench.training.step import HIPS, Step
from hpsbench.training.terms import get_terms
from hpsbench.training.terms._frames import fit_camera

B, T = 2, 4
WEIGHTS = {"keypoints2d": 300.0, "joints3d": 300.0, "pose": 60.0, "shape": 0.06}


@pytest.fixture(scope="module")
def body(tiny_world: Path) -> BodyModel:
    return load_bodies(tiny_world, synthetic=True).neutral


def bodies(seed: int, frames: int = T) -> HPSOutput:
    generator = torch.Generator().manual_seed(seed)
    camera = torch.tensor([0.9, 0.0, 0.0]) + 0.05 * torch.randn(B, frames, 3, generator=generator)
    return HPSOutput(
        rotmat=axis_angle_to_rotmat(0.3 * torch.randn(B, frames, 24, 3, generator=generator)),
        betas=torch.randn(B, frames, 10, generator=generator),
        camera=camera,
    )


@pytest.fixture
def batch() -> Batch:
    truth, generator = bodies(1), torch.Generator().manual_seed(2)
    assert truth.rotmat is not None
    assert truth.betas is not None
    keypoints = torch.randn(B, T, 49, 3, generator=generator)
    keypoints[..., 2] = (keypoints[..., 2] > 0).float()
    has = torch.ones(B, T, dtype=torch.bool)
    has[1] = False  # a window with 2D alone
    return Batch(
        features=torch.zeros(B, T, 8),
        rotmat=truth.rotmat,
        betas=truth.betas,
        keypoints2d=keypoints,
        has_smpl=has,
    )


def values(step: Step, *names: str) -> dict[str, Any]:
    return {name: term(step) for name, term in get_terms(names).items()}


def test_the_usual_terms_by_hand(batch: Batch, body: BodyModel) -> None:
    output = bodies(3)
    assert output.rotmat is not None
    assert output.betas is not None
    assert output.camera is not None
    found = values(Step(batch, output, body, WEIGHTS), *WEIGHTS)
    joints = body.spin49(output.rotmat.flatten(0, 1), output.betas.flatten(0, 1)).reshape(B, T, 49, 3)
    truth = body.spin49(batch.rotmat.flatten(0, 1), batch.betas.flatten(0, 1)).reshape(B, T, 49, 3)
    projected = project_crop(joints, output.camera)
    keypoints = 0.0
    for window in range(B):
        for frame in range(T):
            for joint in range(49):
                x, y, seen = batch.keypoints2d[window, frame, joint].tolist()
                u, v = projected[window, frame, joint].tolist()
                keypoints += seen * ((u - x) ** 2 + (v - y) ** 2)
    assert found["keypoints2d"].value.item() == pytest.approx(keypoints / (B * T * 49 * 2), rel=1e-5)
    own, wanted = joints[0, :, 25:39], truth[0, :, 25:39]  # only the first window has 3D
    own, wanted = (v - (v[:, HIPS[0]] + v[:, HIPS[1]])[:, None] / 2 for v in (own, wanted))
    assert found["joints3d"].value.item() == pytest.approx(((own - wanted) ** 2).mean().item(), rel=1e-5)
    pose = ((output.rotmat[0] - batch.rotmat[0]) ** 2).mean().item()
    assert found["pose"].value.item() == pytest.approx(pose, rel=1e-5)
    assert found["shape"].value.item() == pytest.approx(
        ((output.betas[0] - batch.betas[0]) ** 2).mean().item()
    )
    assert [int(found[name].count) for name in WEIGHTS] == [B * T, T, T, T]


def test_bodies_of_one_frame_are_compared_with_the_middle_one(batch: Batch, body: BodyModel) -> None:
    middle = HPSOutput(
        rotmat=batch.rotmat[:, 2:3].expand(-1, 3, -1, -1, -1),
        betas=batch.betas[:, 2:3].expand(-1, 3, -1),
        camera=torch.ones(B, 3, 3),
    )
    found = values(Step(batch, middle, body, WEIGHTS), "joints3d", "pose", "shape")
    assert all(part.value.item() == pytest.approx(0.0, abs=1e-10) for part in found.values())
    assert int(found["pose"].count) == 3


def test_annotated_joints_stand_in_where_there_are_no_parameters(batch: Batch, body: BodyModel) -> None:
    output = bodies(3)
    with_joints = replace(batch, joints3d=torch.randn(B, T, 14, 3), has_joints3d=~batch.has_smpl)
    target, has = Step(with_joints, output, body, WEIGHTS).target_joints
    assert has.all()
    assert with_joints.joints3d is not None
    assert torch.equal(target[1], with_joints.joints3d[1])
    assert not torch.equal(target[0], with_joints.joints3d[0])


def test_confidence_sums_the_weighted_errors_of_each_neighbour(batch: Batch, body: BodyModel) -> None:
    distances, log_variance = 2, torch.full((B, T, 2), 0.5)
    repeated = HPSOutput(
        rotmat=batch.rotmat.repeat_interleave(distances, dim=1),
        betas=batch.betas.repeat_interleave(distances, dim=1) + 1.0,
        camera=torch.ones(B, T * distances, 3),
    )
    aux = {"log_variance": log_variance, "valid": torch.ones(T, 2, dtype=torch.bool), "predicted": repeated}
    output = replace(bodies(3), aux=aux)
    only_shape = {"shape": 3.0}
    part = values(Step(batch, output, body, only_shape), "confidence")["confidence"]
    error = 3.0 * 1.0 * 0.5  # betas are off by 1; half of the windows have SMPL parameters
    wanted = 2 * (error * torch.exp(torch.tensor(-0.5)).item() + 0.5)
    assert part.value.item() == pytest.approx(wanted, rel=1e-5)


def test_a_camera_is_fitted_to_scale_and_place() -> None:
    joints = torch.randn(3, 49, 3)
    keypoints = torch.cat([0.7 * joints[..., :2] + torch.tensor([0.2, -0.1]), torch.ones(3, 49, 1)], dim=-1)
    torch.testing.assert_close(fit_camera(joints, keypoints), keypoints[..., :2], rtol=1e-4, atol=1e-5)


def test_the_generators_pass_leaves_no_gradient_in_the_discriminator() -> None:
    opponent = Opponent(
        Adversary(options={"hidden_size": 6, "attention_size": 6, "attention_dropout": 0.0}),
        0.5,
        torch.device("cpu"),
    )
    output = bodies(3)
    assert output.rotmat is not None
    rotmat = output.rotmat.clone().requires_grad_()
    scores = opponent.judge(replace(output, rotmat=rotmat))
    (scores - 1).square().sum().backward()
    assert rotmat.grad is not None
    assert rotmat.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in opponent.network.parameters())
    real = Motion(axis_angle=0.1 * torch.randn(3, T, 24, 3), betas=torch.zeros(3, T, 10))
    parts = opponent.parts(output, real)
    network = opponent.network.eval()
    given = network(real.axis_angle[:, :, 1:].flatten(-2))
    assert parts["discriminator_real"].value.item() == pytest.approx(
        0.5 * (given - 1).square().mean().item(), rel=1e-5
    )
    assert parts["discriminator_fake"].value.item() == pytest.approx(
        0.5 * scores.detach().square().mean().item(), rel=1e-5
    )


def test_a_term_that_lacks_its_input_says_which(batch: Batch, body: BodyModel) -> None:
    step = Step(batch, bodies(3), body, WEIGHTS)
    with pytest.raises(HpsbenchError, match="'forecast' of the system"):
        get_terms(["forecast"])["forecast"](step)
    with pytest.raises(UsageError, match=r"\[prior\]"):
        get_terms(["motion_prior"])["motion_prior"](step)


def test_recipes_extend_and_name_only_terms_that_exist(tmp_path: Path) -> None:
    assert merge({"a": {"b": 1, "c": 2}, "readings": ["x"]}, {"a": {"c": 3}, "readings": ["y"]}) == {
        "a": {"b": 1, "c": 3},
        "readings": ["x", "y"],
    }
    with pytest.raises(UnknownName, match="keypoints2d"):
        get_training_recipe("vibe", sets=["losses.keypoint2d=1"])
    with pytest.raises(UsageError, match="says nothing about group wild"):
        get_training_recipe("vibe", sets=['sources=[{dataset="3dpw", group="wild"}]'])
    with pytest.raises(UsageError, match=r"needs a table \[prior\]"):
        get_training_recipe("vibe", sets=["losses.motion_prior=1"])
    folder = tmp_path / "training"
    folder.mkdir()
    for name, base in (("one", "two"), ("two", "one")):
        (folder / f"{name}.toml").write_text(f'extends = "{base}"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="one -> two -> one"):
        get_training_recipe("one", extra=tmp_path)
    assert {"keypoints2d", "adversarial", "confidence", "mask", "flow"} <= set(list_terms())
