from pathlib import Path

import numpy as np
import pytest
import torch

from hpsbench.bodies.joints import PARENTS, SMPL_PICKED_VERTICES, SPIN49_FROM_SMPL54
from hpsbench.bodies.regressors import Regressor
from hpsbench.bodies.smpl import Bodies, BodyModel, joint_set_of, load_bodies
from hpsbench.errors import BrokenFile, MissingBodyModel, ShapeError, UnknownName
from hpsbench.geometry.rotations import axis_angle_to_rotmat

FRAMES = 5


@pytest.fixture(scope="module")
def bodies(body_root: Path) -> Bodies:
    return load_bodies(body_root, synthetic=True)


@pytest.fixture(scope="module")
def frames() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(FRAMES, 72, generator=generator) * 0.5
    pose[0] = 0
    return pose, torch.randn(FRAMES, 10, generator=generator), torch.randn(FRAMES, 3, generator=generator)


def run_smplx(body: BodyModel, pose: torch.Tensor, betas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        output = body.smplx_layer()(betas=betas, global_orient=pose[:, :3], body_pose=pose[:, 3:])
    return output.vertices, output.joints


@pytest.mark.parametrize("gender", ["neutral", "male"])
def test_vertices_and_joints_are_those_of_smplx(bodies: Bodies, frames, gender: str) -> None:
    pose, betas, _ = frames
    body = bodies.by_gender(gender)
    vertices, joints = run_smplx(body, pose, betas)
    assert joints.shape == (FRAMES, 45, 3)
    torch.testing.assert_close(body.vertices(pose, betas), vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(body.joints(pose, betas), joints[:, :24], atol=1e-6, rtol=0)


def test_the_genders_are_different_bodies(bodies: Bodies, frames) -> None:
    pose, betas, _ = frames
    difference = bodies.neutral.joints(pose, betas) - bodies.male.joints(pose, betas)
    assert difference.abs().max() > 0.1


@pytest.mark.parametrize("via", ["h36m17", "extra9", "cocoplus"])
def test_joints_without_the_mesh_are_those_of_the_mesh(bodies: Bodies, frames, via: str) -> None:
    pose, betas, transl = frames
    body = bodies.neutral
    expected = bodies.regressor(via).regress(body.vertices(pose, betas, transl))
    torch.testing.assert_close(body.joints(pose, betas, transl, via=via), expected, atol=2e-6, rtol=0)
    assert expected.shape[1] == len(joint_set_of(via))


def test_spin49_is_gathered_from_the_layers_joints_and_the_extra_ones(bodies: Bodies, frames) -> None:
    pose, betas, _ = frames
    vertices, joints45 = run_smplx(bodies.neutral, pose, betas)
    torch.testing.assert_close(joints45[:, 24:], vertices[:, list(SMPL_PICKED_VERTICES)])
    joints54 = torch.cat([joints45, bodies.regressor("extra9").regress(vertices)], dim=1)
    spin49 = bodies.neutral.spin49(pose, betas)
    torch.testing.assert_close(spin49, joints54[:, list(SPIN49_FROM_SMPL54)], atol=2e-6, rtol=0)


def test_a_long_batch_is_cut_into_chunks_that_change_nothing(bodies: Bodies) -> None:
    generator = torch.Generator().manual_seed(1)
    pose, betas = torch.randn(300, 72, generator=generator) * 0.3, torch.randn(300, 10, generator=generator)
    joints = bodies.neutral.joints(pose, betas, via="h36m17")
    assert joints.shape == (300, 17, 3)
    torch.testing.assert_close(joints[290:], bodies.neutral.joints(pose[290:], betas[290:], via="h36m17"))


def test_every_form_of_pose_gives_the_same_body(bodies: Bodies, frames) -> None:
    pose, betas, transl = frames
    expected = bodies.neutral.joints(pose, betas, transl)
    rotmat = axis_angle_to_rotmat(pose.reshape(-1, 24, 3))
    for form in (pose.numpy(), pose.reshape(-1, 24, 3), rotmat, rotmat.double().numpy()):
        torch.testing.assert_close(bodies.neutral.joints(form, betas.numpy(), transl.numpy()), expected)
    one = bodies.neutral.joints(pose, betas[0])
    torch.testing.assert_close(one, bodies.neutral.joints(pose, betas[:1].expand(FRAMES, 10)))


def test_read_only_arrays_are_taken(bodies: Bodies) -> None:
    pose = np.zeros((2, 72), np.float32)
    pose.flags.writeable = False
    assert bodies.neutral.joints(pose, np.zeros(10, np.float32)).shape == (2, 24, 3)


def test_no_frames_give_no_joints(bodies: Bodies) -> None:
    assert bodies.neutral.joints(torch.zeros(0, 72), torch.zeros(0, 10), via="spin49").shape == (0, 49, 3)
    assert bodies.neutral.vertices(torch.zeros(0, 72), torch.zeros(10)).shape == (0, 6890, 3)


def test_translation_is_added_last(bodies: Bodies, frames) -> None:
    pose, betas, transl = frames
    for moved, still in (
        (bodies.neutral.vertices(pose, betas, transl), bodies.neutral.vertices(pose, betas)),
        (bodies.neutral.joints(pose, betas, transl), bodies.neutral.joints(pose, betas)),
    ):
        torch.testing.assert_close(moved - still, transl[:, None].expand_as(still), atol=1e-5, rtol=0)


def test_a_turned_root_turns_the_body_about_its_pelvis(bodies: Bodies) -> None:
    pose, betas = torch.zeros(1, 72), torch.zeros(10)
    turned = pose.clone()
    turned[0, 1] = np.pi / 2
    rest, quarter = bodies.neutral.joints(pose, betas), bodies.neutral.joints(turned, betas)
    offset, moved = rest[0] - rest[0, 0], quarter[0] - quarter[0, 0]
    torch.testing.assert_close(
        moved, torch.stack([offset[:, 2], offset[:, 1], -offset[:, 0]], 1), atol=1e-6, rtol=0
    )


def test_bones_keep_their_length(bodies: Bodies, frames) -> None:
    pose, betas, _ = frames
    posed = bodies.neutral.joints(pose, betas)
    rest = bodies.neutral.joints(torch.zeros_like(pose), betas)
    parents = list(PARENTS["smpl24"][1:])
    for joints in (posed, rest):
        lengths = (joints[:, 1:] - joints[:, parents]).norm(dim=-1)
        if joints is posed:
            kept = lengths
    torch.testing.assert_close(kept, lengths, atol=1e-5, rtol=0)


def test_joints_are_differentiable(bodies: Bodies, frames) -> None:
    pose, betas = frames[0].clone().requires_grad_(), frames[1].clone().requires_grad_()
    bodies.neutral.spin49(pose, betas).square().sum().backward()
    assert pose.grad is not None
    assert torch.isfinite(pose.grad).all()
    assert pose.grad[0].abs().sum() > 0
    assert betas.grad is not None
    assert betas.grad.abs().sum() > 0


@pytest.mark.parametrize("what", ["smpl24", "vertices", "spin49"])
def test_gradients_are_those_of_smplx(bodies: Bodies, frames, what: str) -> None:
    pose, betas, _ = frames
    body, layer = bodies.neutral, bodies.neutral.smplx_layer()
    extra = bodies.regressor("extra9")
    gradients = []
    for ours in (True, False):
        free = [value[1:].clone().requires_grad_() for value in (pose, betas)]
        if ours:
            points = body.vertices(*free) if what == "vertices" else body.joints(*free, via=what)
        else:
            output = layer(betas=free[1], global_orient=free[0][:, :3], body_pose=free[0][:, 3:])
            joints54 = torch.cat([output.joints, extra.regress(output.vertices)], dim=1)
            ways = {"smpl24": output.joints[:, :24], "vertices": output.vertices}
            points = ways.get(what, joints54[:, list(SPIN49_FROM_SMPL54)])
        weights = torch.sin(torch.arange(points[0].numel())).view(points.shape[1:])
        (points * weights).sum().backward()
        gradients.append([value.grad for value in free])
    for mine, theirs in zip(*gradients, strict=True):
        size = theirs.abs().max().item()
        assert size > 1e-2
        torch.testing.assert_close(mine, theirs, atol=2e-5 * size, rtol=0)


@pytest.mark.parametrize(
    ("pose", "betas", "transl", "message"),
    [
        ((2, 69), (2, 10), None, r"pose: expected .* got \(2, 69\)"),
        ((2, 23, 3, 3), (2, 10), None, r"pose: expected .* got \(2, 23, 3, 3\)"),
        ((2, 72), (3, 10), None, r"betas: expected \(2, 10\) or \(10,\) for 2 poses, got \(3, 10\)"),
        ((2, 72), (2, 16), None, r"betas: expected .* got \(2, 16\)"),
        ((2, 72), (2, 10), (4, 3), r"transl: expected \(2, 3\), got \(4, 3\)"),
    ],
)
def test_wrong_shapes_are_named(bodies: Bodies, pose, betas, transl, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        bodies.neutral.joints(
            torch.zeros(pose), torch.zeros(betas), None if transl is None else torch.zeros(transl)
        )


def test_an_unknown_source_of_joints_is_named(bodies: Bodies) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'spin49'"):
        bodies.neutral.joints(torch.zeros(1, 72), torch.zeros(10), via="spin_49")


def test_an_own_regressor_is_taken(bodies: Bodies, frames) -> None:
    pose, betas, _ = frames
    known = bodies.regressor("h36m17")
    flipped = Regressor("h36m17", known.joint_set, known.matrix[::-1].copy())
    ours = bodies.neutral.joints(pose, betas, via=flipped)
    torch.testing.assert_close(ours, bodies.neutral.joints(pose, betas, via="h36m17").flip(1))


def test_an_absent_gender_says_where_to_put_it(bodies: Bodies) -> None:
    with pytest.raises(
        MissingBodyModel, match=r"SMPL_FEMALE\.npz or SMPL_FEMALE\.pkl in .*synthetic.*hpsbench synth"
    ):
        _ = bodies.female


def test_require_names_everything_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(MissingBodyModel) as caught:
        load_bodies(tmp_path, synthetic=False).require(genders=("neutral",), regressors=("h36m17", "smpl24"))
    message = str(caught.value)
    assert "SMPL_NEUTRAL" in message
    assert "J_regressor_h36m.npy" in message
    assert "register at https://smpl.is.tue.mpg.de" in message


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_synthetic_body_never_stands_in_for_a_real_one(
    body_root: Path, tmp_path: Path, entries, synthetic: bool
) -> None:
    folder = tmp_path / "body_models" / ("synthetic" if synthetic else "smpl")
    folder.mkdir(parents=True)
    np.savez(
        folder / "SMPL_NEUTRAL.npz",
        **{**entries, "J_regressor": entries["J_regressor"].toarray(), "synthetic": not synthetic},
    )
    message = "not marked synthetic" if synthetic else "synthetic body model among real ones"
    with pytest.raises(BrokenFile, match=message):
        _ = load_bodies(tmp_path, synthetic).neutral


def test_the_hashes_are_those_of_the_files_used(body_root: Path) -> None:
    fresh = load_bodies(body_root, synthetic=True)
    assert fresh.sha256 == {}
    fresh.neutral.joints(torch.zeros(1, 72), torch.zeros(10), via="h36m17")
    assert set(fresh.sha256) == {"SMPL_NEUTRAL.pkl", "J_regressor_h36m.npy"}
    assert fresh.neutral.sha256 == fresh.sha256["SMPL_NEUTRAL.pkl"]


def test_a_body_has_no_weights_of_its_own(bodies: Bodies) -> None:
    assert bodies.neutral.state_dict() == {}
    assert list(bodies.neutral.parameters()) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_body_on_a_gpu_gives_the_same_joints(body_root: Path, frames) -> None:
    pose, betas, _ = frames
    on_gpu = load_bodies(body_root, synthetic=True, device="cuda").neutral.joints(pose, betas, via="h36m17")
    on_cpu = load_bodies(body_root, synthetic=True).neutral.joints(pose, betas, via="h36m17")
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-5, rtol=0)
