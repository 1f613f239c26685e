"""Every loss term on one fixed batch against the same formula in NumPy, in float64, and exactly no gradient where data lacks.

The formulas here are written from the papers' equations and share no code with the losses; only the joints of a body are
taken from the body model, which has tests of its own.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.models._mposer import MPoser
from hpsbench.models._system import HPSOutput
from hpsbench.training.adversary import Opponent
from hpsbench.training.batches import Batch
from hpsbench.training.config import Adversary, list_terms
from hpsbench.training.mixture import Motion
from hpsbench.training.prior import vae_loss
from hpsbench.training.step import Part, Step
from hpsbench.training.terms import get_terms

B, T, SIDE = 3, 4, 12
WEIGHTS = {"keypoints2d": 300.0, "joints3d": 200.0, "pose": 60.0, "shape": 0.5}
HIPS = [get_joint_set("lsp14").names.index(name) for name in ("Right Hip", "Left Hip")]

Numbers = Any


@pytest.fixture(scope="module")
def body(tiny_world: Path) -> BodyModel:
    return load_bodies(tiny_world, synthetic=True).neutral


def rotations(*shape: int, generator: torch.Generator) -> torch.Tensor:
    made, _ = torch.linalg.qr(torch.randn(*shape, 3, 3, generator=generator))
    turned: torch.Tensor = made * torch.linalg.det(made)[..., None, None]
    return turned


def bodies(seed: int, rows: int = T) -> HPSOutput:
    """Bodies whose every number is a leaf, so that each has a gradient of its own."""
    generator = torch.Generator().manual_seed(seed)
    camera = torch.tensor([0.9, 0.0, 0.1]) + 0.05 * torch.randn(B, rows, 3, generator=generator)
    return HPSOutput(
        rotmat=rotations(B, rows, 24, generator=generator).requires_grad_(),
        betas=torch.randn(B, rows, 10, generator=generator).requires_grad_(),
        camera=camera.requires_grad_(),
    )


@pytest.fixture
def batch() -> Batch:
    """Window 0 has everything; window 1 has 2D alone; window 2 has annotated joints, but not in its first frame, and no SMPL."""
    generator = torch.Generator().manual_seed(7)
    has_smpl, has_joints = torch.zeros(B, T, dtype=torch.bool), torch.zeros(B, T, dtype=torch.bool)
    has_smpl[0], has_joints[2, 1:] = True, True
    keypoints = torch.randn(B, T, 49, 3, generator=generator)
    keypoints[..., 2] = (keypoints[..., 2] > 0).float()
    return Batch(
        features=torch.randn(B, T, 6, generator=generator),
        rotmat=rotations(B, T, 24, generator=generator),
        betas=torch.randn(B, T, 10, generator=generator),
        keypoints2d=keypoints,
        has_smpl=has_smpl,
        joints3d=torch.randn(B, T, 14, 3, generator=generator),
        has_joints3d=has_joints,
        has_occluded=torch.tensor([True, False, True]),
        masks=(torch.rand(B, T, SIDE, SIDE, generator=generator) < 0.4).float(),
        has_mask=torch.tensor([[True] * T, [False] * T, [False] * T]),
        flow_field=0.1 * torch.randn(B, T, 2, SIDE, SIDE, generator=generator),
        has_flow=torch.tensor([[True] * T, [False] * T, [True] * T]),
    )


def value_of(name: str, batch: Batch, output: HPSOutput, body: BodyModel, **more: Any) -> Part:
    weights = more.pop("weights", WEIGHTS)
    part: Part = get_terms([name])[name](Step(batch, output, body, weights, **more))
    return part


def plain(value: torch.Tensor | None) -> Numbers:
    assert value is not None
    return value.detach().numpy().astype(np.float64)


def joints_of(output: HPSOutput | Batch, body: BodyModel) -> Numbers:
    assert output.rotmat is not None
    assert output.betas is not None
    with torch.no_grad():
        found = body.spin49(output.rotmat.flatten(0, 1), output.betas.flatten(0, 1))
    return plain(found).reshape(*output.betas.shape[:2], 49, 3)


def projected(output: HPSOutput, body: BodyModel) -> Numbers:
    """SPIN's camera: 5000 pixels of focal length over a crop of 224, whose half is 112."""
    scale, x, y = np.moveaxis(plain(output.camera)[..., None, :], -1, 0)
    joints = joints_of(output, body)
    depth = joints[..., 2] + 2 * 5000 / (224 * scale + 1e-9)
    u = 5000 * (joints[..., 0] + x) / depth / 112
    v = 5000 * (joints[..., 1] + y) / depth / 112
    return np.stack([u, v], axis=-1)


def lsp_targets(batch: Batch, body: BodyModel) -> tuple[Numbers, Numbers]:
    """The annotated body's joints where there are SMPL parameters, else annotated joints; and which frames have either."""
    smpl, known = batch.has_smpl.numpy(), (batch.has_smpl | batch.has_joints3d).numpy()  # type: ignore[operator]
    found = np.where(smpl[..., None, None], joints_of(batch, body)[:, :, 25:39], plain(batch.joints3d))
    return found, known


def from_hips(joints: Numbers) -> Numbers:
    return joints - joints[..., HIPS, :].mean(axis=-2, keepdims=True)


def keypoints_by_hand(batch: Batch, output: HPSOutput, body: BodyModel) -> float:
    wanted = plain(batch.keypoints2d)
    away = ((projected(output, body) - wanted[..., :2]) ** 2).sum(-1)
    return float((wanted[..., 2] * away).sum() / (B * T * 49 * 2))


def distances_by_hand(batch: Batch, output: HPSOutput, body: BodyModel) -> float:
    wanted = plain(batch.keypoints2d)
    away = abs(projected(output, body) - wanted[..., :2])
    return float(away[wanted[..., 2] > 0].mean())


def joints_by_hand(batch: Batch, output: HPSOutput, body: BodyModel) -> float:
    wanted, known = lsp_targets(batch, body)
    own = joints_of(output, body)[:, :, 25:39]
    return float(((from_hips(own) - from_hips(wanted))[known] ** 2).mean())


def pose_by_hand(batch: Batch, output: HPSOutput, body: BodyModel) -> float:
    has = batch.has_smpl.numpy()
    return float(((plain(output.rotmat) - plain(batch.rotmat))[has] ** 2).mean())


def shape_by_hand(batch: Batch, output: HPSOutput, body: BodyModel) -> float:
    has = batch.has_smpl.numpy()
    return float(((plain(output.betas) - plain(batch.betas))[has] ** 2).mean())


def steps_of_betas_by_hand(batch: Batch, output: HPSOutput, body: BodyModel) -> float:
    betas = plain(output.betas)
    return float(0.5 * ((betas[:, 1:] - betas[:, :-1]) ** 2).mean())


def betas_by_hand(batch: Batch, output: HPSOutput, body: BodyModel) -> float:
    return float((plain(output.betas) ** 2).mean())


FROM_OUTPUT: dict[str, Callable[[Batch, HPSOutput, BodyModel], float]] = {
    "keypoints2d": keypoints_by_hand,
    "keypoints2d_distance": distances_by_hand,
    "joints3d": joints_by_hand,
    "pose": pose_by_hand,
    "shape": shape_by_hand,
    "shape_constancy": steps_of_betas_by_hand,
    "shape_prior": betas_by_hand,
}
COUNTS = {"joints3d": T + T - 1, "pose": T, "shape": T, "keypoints2d": B * T}


@pytest.mark.parametrize("name", FROM_OUTPUT)
def test_a_term_of_the_output_is_its_formula(name: str, batch: Batch, body: BodyModel) -> None:
    output = bodies(3)
    part = value_of(name, batch, output, body)
    assert part.value.item() == pytest.approx(FROM_OUTPUT[name](batch, output, body), rel=2e-5)
    seen = int((batch.keypoints2d[..., 2] > 0).sum())
    assert int(part.count) == {**COUNTS, "keypoints2d_distance": seen}.get(name, B)


# Which windows each term leaves without any gradient at all.
WITHOUT = {"joints3d": [(1, slice(None)), (2, slice(0, 1))], "pose": [(1, slice(None)), (2, slice(None))]}
WITHOUT["shape"] = WITHOUT["pose"]


@pytest.mark.parametrize("name", WITHOUT)
def test_what_a_window_lacks_gives_it_exactly_no_gradient(name: str, batch: Batch, body: BodyModel) -> None:
    output = bodies(3)
    value_of(name, batch, output, body).value.backward()  # type: ignore[no-untyped-call]
    gradients = [
        leaf.grad for leaf in (output.rotmat, output.betas) if leaf is not None and leaf.grad is not None
    ]
    assert gradients
    for gradient in gradients:
        assert gradient[0].abs().sum() > 0
        for window, frames in WITHOUT[name]:
            assert (gradient[window, frames] == 0).all()


@pytest.mark.parametrize("name", ["keypoints2d", "keypoints2d_distance", "joints3d", "pose", "shape"])
def test_what_stands_where_nothing_is_annotated_does_not_matter(
    name: str, batch: Batch, body: BodyModel
) -> None:
    """Not a number is the hardest of it: 0 x NaN is NaN, in the value and in the gradient."""
    marked = replace(
        batch,
        rotmat=torch.where(batch.has_smpl[..., None, None, None], batch.rotmat, torch.nan),
        betas=torch.where(batch.has_smpl[..., None], batch.betas, torch.nan),
        joints3d=torch.where(batch.has_joints3d[..., None, None], batch.joints3d, torch.nan),  # type: ignore[index, arg-type]
        keypoints2d=torch.where(batch.keypoints2d[..., 2:] > 0, batch.keypoints2d, batch.keypoints2d * 0),
    )
    marked.keypoints2d[..., :2][batch.keypoints2d[..., 2] == 0] = torch.nan
    found = []
    for given in (batch, marked):
        output = bodies(3)
        part = value_of(name, given, output, body)
        part.value.backward()  # type: ignore[no-untyped-call]
        leaves = (output.rotmat, output.betas, output.camera)
        found.append((part.value.detach(), *(v.grad for v in leaves if v is not None and v.grad is not None)))
    for one, other in zip(*found, strict=True):
        assert torch.isfinite(other).all()
        assert torch.equal(one, other)


def test_no_term_of_a_batch_with_2d_alone_asks_for_more(batch: Batch, body: BodyModel) -> None:
    nothing = replace(
        batch, has_smpl=torch.zeros_like(batch.has_smpl), has_joints3d=torch.zeros_like(batch.has_smpl)
    )
    for name in ("joints3d", "pose", "shape"):
        output = bodies(3)
        part = value_of(name, nothing, output, body)
        part.value.backward()  # type: ignore[no-untyped-call]
        assert part.value.item() == 0.0
        assert int(part.count) == 0
        for leaf in (output.rotmat, output.betas):
            assert leaf is not None
            assert leaf.grad is None or (leaf.grad == 0).all()


def test_cameras_of_shared_frames(batch: Batch, body: BodyModel) -> None:
    shifted = bodies(4)
    output = replace(bodies(3), aux={"shifted": shifted})
    part = value_of("camera", batch, output, body)
    wanted = ((plain(output.camera)[:, 1:] - plain(shifted.camera)[:, :-1]) ** 2).mean()
    assert part.value.item() == pytest.approx(wanted, rel=1e-5)


def test_forecast_and_hallucinated_features(batch: Batch, body: BodyModel) -> None:
    generator = torch.Generator().manual_seed(1)
    forecast = torch.randn(B, T - 1, 6, generator=generator).requires_grad_()
    strip, made = (torch.randn(B, T, 6, generator=generator).requires_grad_() for _ in range(2))
    aux = {"forecast": forecast, "strip": strip, "hallucinated": made}
    output = replace(bodies(3), aux=aux)
    first, second = (value_of(name, batch, output, body).value for name in ("forecast", "hallucination"))
    assert first.item() == pytest.approx(
        ((plain(forecast) - plain(batch.features)[:, 1:]) ** 2).mean(), rel=1e-5
    )
    assert second.item() == pytest.approx(((plain(made) - plain(strip)) ** 2).mean(), rel=1e-5)
    (first + second).backward()  # type: ignore[no-untyped-call]
    assert strip.grad is None, "the window's own strip gets no gradient"
    assert made.grad is not None


@pytest.mark.parametrize("name", ["pose", "shape", "camera"])
def test_hidden_joints_learn_from_clean_windows_and_not_the_other_way(
    name: str, batch: Batch, body: BodyModel
) -> None:
    clean, hidden = bodies(3), bodies(5)
    part = value_of(f"occlusion_{name}", batch, replace(clean, aux={"occluded": hidden}), body)
    field = {"pose": "rotmat", "shape": "betas", "camera": "camera"}[name]
    seen = batch.has_occluded
    assert seen is not None
    own, other = getattr(clean, field), getattr(hidden, field)
    wanted = ((plain(own) - plain(other))[seen.numpy()] ** 2).mean()
    assert part.value.item() == pytest.approx(wanted, rel=1e-5)
    assert int(part.count) == 2
    part.value.backward()  # type: ignore[no-untyped-call]
    assert own.grad is None
    assert (other.grad[1] == 0).all()
    assert other.grad[0].abs().sum() > 0


def test_silhouettes_of_windows_that_have_masks(batch: Batch, body: BodyModel) -> None:
    output = bodies(3)
    part = value_of("mask", batch, output, body)
    assert output.rotmat is not None
    assert output.betas is not None
    with torch.no_grad():
        vertices = plain(body.vertices(output.rotmat[0], output.betas[0]))
    scale, x, y = np.moveaxis(plain(output.camera)[0, :, None, :], -1, 0)
    depth = vertices[..., 2] + 2 * 5000 / (224 * scale + 1e-9)
    points = [5000 * (vertices[..., 0] + x) / depth / 112, 5000 * (vertices[..., 1] + y) / depth / 112]
    losses = []
    for frame in range(T):
        density = np.zeros((SIDE, SIDE))
        for u, v in zip(points[0][frame], points[1][frame], strict=True):
            column, row = ((value + 1) * SIDE / 2 - 0.5 for value in (u, v))
            for j in range(round(row) - 1, round(row) + 2):
                for i in range(round(column) - 1, round(column) + 2):
                    if 0 <= i < SIDE and 0 <= j < SIDE:
                        density[j, i] += bump(column - i) * bump(row - j)
        silhouette = np.maximum(1 - np.exp(-density), 1e-6)
        losses.append(-(plain(batch.masks)[0, frame] * np.log(silhouette)).mean())
    assert part.value.item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert part.count == T
    part.value.backward()  # type: ignore[no-untyped-call]
    assert output.rotmat.grad is not None
    assert (output.rotmat.grad[1:] == 0).all()
    nothing = replace(batch, has_mask=torch.zeros(B, T, dtype=torch.bool))
    assert value_of("mask", nothing, bodies(3), body).value.item() == 0.0


def bump(offset: float) -> float:
    """The quadratic B-spline, whose integer shifts sum to 1."""
    away = abs(offset)
    return 0.75 - away**2 if away <= 0.5 else 0.5 * (1.5 - away) ** 2 if away <= 1.5 else 0.0


def test_joints_carried_by_flow(batch: Batch, body: BodyModel) -> None:
    output = bodies(3)
    part = value_of("flow", batch, output, body)
    points, field, total = projected(output, body), plain(batch.flow_field), 0.0
    seen = plain(batch.keypoints2d)[..., 2] > 0
    for window in (0, 2):
        for frame in range(1, T):
            for joint in range(49):
                if not seen[window, frame, joint]:
                    continue
                here = points[window, frame, joint]
                away = here + bilinear(field[window, frame], here) - points[window, frame - 1, joint]
                total += (away**2).sum()
    assert part.value.item() == pytest.approx(total / (2 * (T - 1) * 49), rel=1e-4)
    assert int(part.count) == 2
    part.value.backward()  # type: ignore[no-untyped-call]
    assert output.camera is not None
    assert output.camera.grad is not None
    assert (output.camera.grad[1] == 0).all()


def bilinear(field: Numbers, place: Numbers) -> Numbers:
    """(2, S, S) over [-1, 1], pixel centres half a pixel inside, 0 outside -> the displacement at a place."""
    column, row = (place + 1) * SIDE / 2 - 0.5
    left, top = int(np.floor(column)), int(np.floor(row))
    found = np.zeros(2)
    for j in (top, top + 1):
        for i in (left, left + 1):
            if 0 <= i < SIDE and 0 <= j < SIDE:
                found += field[:, j, i] * (1 - abs(column - i)) * (1 - abs(row - j))
    return found


def frame_error_by_hand(
    batch: Batch, output: HPSOutput, body: BodyModel, weights: dict[str, float]
) -> Numbers:
    """(B, T) weighted sum of the four errors of a frame, each a mean over its numbers; 0 where there is nothing."""
    keypoints = plain(batch.keypoints2d)
    flat = ((projected(output, body) - keypoints[..., :2]) ** 2 * keypoints[..., 2:]).mean((2, 3))
    wanted, known = lsp_targets(batch, body)
    joints = ((from_hips(joints_of(output, body)[:, :, 25:39]) - from_hips(wanted)) ** 2).mean((2, 3)) * known
    smpl = batch.has_smpl.numpy()
    pose = ((plain(output.rotmat) - plain(batch.rotmat)) ** 2).mean((2, 3, 4)) * smpl
    shape = ((plain(output.betas) - plain(batch.betas)) ** 2).mean(2) * smpl
    return (
        weights["keypoints2d"] * flat
        + weights["joints3d"] * joints
        + weights["pose"] * pose
        + weights["shape"] * shape
    )


def test_divergence_with_confidence(batch: Batch, body: BodyModel) -> None:
    distances = (-1, 0, 1)
    each = [bodies(10 + number) for number in range(3)]
    together: dict[str, Any] = {
        name: torch.stack([getattr(one, name) for one in each], dim=2).flatten(1, 2)
        for name in ("rotmat", "betas", "camera")
    }
    s = torch.randn(B, T, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    valid = torch.tensor([[0 <= t + d < T for d in distances] for t in range(T)])
    aux = {"log_variance": s, "valid": valid, "predicted": HPSOutput(**together)}
    part = value_of("confidence", batch, replace(bodies(3), aux=aux), body)
    total = 0.0
    for number, one in enumerate(each):
        error, variance = frame_error_by_hand(batch, one, body, WEIGHTS), plain(s)[:, :, number]
        paid = error / np.exp(variance) + variance
        total += paid[:, valid[:, number].numpy()].mean()
    assert part.value.item() == pytest.approx(total, rel=2e-5)
    part.value.backward()  # type: ignore[no-untyped-call]
    assert s.grad is not None
    assert (s.grad[:, 0, 0] == 0).all(), "a neighbour outside the window takes no part"


def test_bodies_of_other_frames_and_of_hallucinated_strips(batch: Batch, body: BodyModel) -> None:
    """A pose change of 2 frames: frame t against frame t + 2, with the camera that fits best.

    Means are over what the compared frames have: SMPL parameters and 2D keypoints of some.
    """
    has = torch.ones(B, T, dtype=torch.bool)
    has[1:, 3] = False
    whole = replace(batch, has_smpl=has, joints3d=None, has_joints3d=None)
    later, hallucinated = bodies(21), bodies(22)
    aux = {"delta_2": later, "hallucinated_bodies": hallucinated}
    weights = {"keypoints2d_distance": 60.0, "joints3d": 60.0, "pose": 30.0, "shape": 20.0}
    part = value_of("dynamics", whole, replace(bodies(3), aux=aux), body, weights=weights)
    total = 0.0
    for output, distance in ((later, 2), (hallucinated, 0)):
        found: dict[str, list[Numbers]] = {name: [] for name in weights}
        for window in range(B):
            for frame in range(T - distance):
                joints, there = joints_of(output, body)[window, frame], frame + distance
                wanted, seen = np.split(plain(whole.keypoints2d)[window, there], [2], axis=1)
                seen = seen[:, 0] > 0
                flat = projected(output, body)[window, frame]
                if distance:
                    many = int(seen.sum())
                    design = np.zeros((2 * many, 3))  # scale and shift, by least squares
                    design[:, 0], design[:many, 1], design[many:, 2] = joints[seen, :2].T.ravel(), 1, 1
                    scale, x, y = np.linalg.lstsq(design, wanted[seen].T.ravel(), rcond=None)[0]
                    flat = scale * joints[:, :2] + (x, y)
                found["keypoints2d_distance"] += list(abs(flat - wanted)[seen].mean(axis=1))
                if not has[window, there]:
                    continue
                truth = joints_of(whole, body)[window, there, 25:39]
                found["joints3d"].append(((from_hips(joints[25:39]) - from_hips(truth)) ** 2).mean())
                for name, field in (("pose", "rotmat"), ("shape", "betas")):
                    own, true = (plain(getattr(one, field)) for one in (output, whole))
                    found[name].append(((own[window, frame] - true[window, there]) ** 2).mean())
        total += sum(weight * float(np.mean(found[name])) for name, weight in weights.items())
    assert part.value.item() == pytest.approx(total, rel=1e-4)


def test_measured_joints_stand_before_those_of_fitted_bodies(batch: Batch, body: BodyModel) -> None:
    """A frame of Human3.6M may have both; VIBE's 3D targets of it are the measured ones."""
    both = replace(batch, has_joints3d=torch.ones(B, T, dtype=torch.bool))
    found, known = Step(both, bodies(3), body, WEIGHTS).target_joints
    assert known.all()
    assert both.joints3d is not None
    assert torch.equal(found, both.joints3d)
    fitted = replace(batch, has_joints3d=torch.zeros(B, T, dtype=torch.bool))
    found, known = Step(fitted, bodies(3), body, WEIGHTS).target_joints
    assert torch.equal(known, batch.has_smpl)
    np.testing.assert_allclose(plain(found)[0], joints_of(batch, body)[0, :, 25:39], atol=1e-6)


def test_joints_before_and_after_their_measurement(batch: Batch, body: BodyModel) -> None:
    generator = torch.Generator().manual_seed(5)
    before, after = (torch.randn(B, T, 14, 3, generator=generator).requires_grad_() for _ in range(2))
    output = HPSOutput(joints3d=after, joint_set="lsp14", aux={"prior": before})
    _, known = lsp_targets(batch, body)
    order = convert_indices(
        "h36m17_regressor", "lsp14"
    )  # measured and scored so, not by SPIN's joints of these names
    regressed = plain(body.joints(batch.rotmat.flatten(0, 1), batch.betas.flatten(0, 1), via="h36m17"))
    regressed = regressed[:, order].reshape(B, T, 14, 3)
    wanted = np.where(batch.has_smpl.numpy()[..., None, None], regressed, plain(batch.joints3d))
    for name, found in (("filtered_joints", after), ("predicted_joints", before)):
        part = value_of(name, batch, output, body)
        by_hand = ((from_hips(plain(found)) - from_hips(wanted))[known] ** 2).mean()
        assert part.value.item() == pytest.approx(by_hand, rel=2e-5), name
        part.value.backward()  # type: ignore[no-untyped-call]
        assert found.grad is not None
        assert (found.grad[1] == 0).all()


def axis_angle_by_hand(rotmat: Numbers) -> Numbers:
    angle = np.arccos(np.clip((np.trace(rotmat, axis1=-2, axis2=-1) - 1) / 2, -1, 1))
    axis = np.stack(
        [
            rotmat[..., 2, 1] - rotmat[..., 1, 2],
            rotmat[..., 0, 2] - rotmat[..., 2, 0],
            rotmat[..., 1, 0] - rotmat[..., 0, 1],
        ],
        axis=-1,
    )
    return axis / np.linalg.norm(axis, axis=-1, keepdims=True) * angle[..., None]


def gru_by_hand(layer: torch.nn.GRU, steps: Numbers) -> Numbers:
    """(B, T, D) -> (B, T, H), one layer, by PyTorch's convention of the gates."""
    weights = {name: plain(value) for name, value in layer.named_parameters()}
    state = np.zeros((len(steps), layer.hidden_size))
    found = []
    for x in np.moveaxis(steps, 1, 0):
        given = x @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        held = state @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
        (ir, iz, inn), (hr, hz, hn) = np.split(given, 3, axis=-1), np.split(held, 3, axis=-1)
        r, z = 1 / (1 + np.exp(-ir - hr)), 1 / (1 + np.exp(-iz - hz))
        state = (1 - z) * np.tanh(inn + r * hn) + z * state
        found.append(state)
    return np.stack(found, axis=1)


def test_motions_under_the_prior(batch: Batch, body: BodyModel) -> None:
    torch.manual_seed(0)
    prior = MPoser(latent=4, hidden_size=5, n_layers=1)
    output = bodies(3)
    part = value_of("motion_prior", batch, output, body, prior=prior)
    pose = axis_angle_by_hand(plain(output.rotmat)[:, :, 1:]).reshape(B, T, 69)
    latents = gru_by_hand(prior.encoder, pose) @ plain(prior.to_mean.weight).T + plain(prior.to_mean.bias)
    assert part.value.item() == pytest.approx((latents**2).sum(-1).mean(), rel=1e-4)


def test_scores_of_predicted_and_captured_motions(batch: Batch, body: BodyModel) -> None:
    """Scores are those of a last state, which can be worked out; losses are their squares, predicted ones of all windows."""
    torch.manual_seed(1)
    options = {"hidden_size": 5, "n_layers": 1, "feature_pool": "last"}
    opponent = Opponent(Adversary(options=options), 0.5, torch.device("cpu"))
    network: Any = opponent.network
    output = bodies(3)
    real = Motion(axis_angle=0.3 * torch.randn(2, T, 24, 3), betas=torch.zeros(2, T, 10))

    def score(pose: Numbers) -> Numbers:
        last = gru_by_hand(network.gru, pose)[:, -1]
        return last @ plain(network.fc.weight)[0] + plain(network.fc.bias)[0]

    fake = score(axis_angle_by_hand(plain(output.rotmat)[:, :, 1:]).reshape(B, T, 69))
    given = score(plain(real.axis_angle)[:, :, 1:].reshape(2, T, 69))
    part = value_of("adversarial", batch, output, body, judge=opponent)
    assert part.value.item() == pytest.approx(((fake - 1) ** 2).mean(), rel=1e-4)
    assert part.count == B, "windows with 2D alone take part"
    own = opponent.parts(output, real)
    assert own["discriminator_fake"].value.item() == pytest.approx(0.5 * (fake**2).mean(), rel=1e-4)
    assert own["discriminator_real"].value.item() == pytest.approx(0.5 * ((given - 1) ** 2).mean(), rel=1e-4)


def test_the_motion_decoders_own_loss() -> None:
    rng = np.random.default_rng(0)
    poses, made = rng.normal(size=(2, 3, T, 144))
    mean, log_variance = rng.normal(size=(2, 3, 7))
    by_hand = (
        ((made - poses) ** 2).sum() + 20 * ((made - poses)[..., :6] ** 2).sum()
    ) / 3  # a motion's numbers are summed
    by_hand += 0.1 * (0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)).sum(-1).mean()
    found = vae_loss(*(torch.tensor(value) for value in (poses, made, mean, log_variance)))
    assert found.item() == pytest.approx(by_hand, rel=1e-9)


def test_every_term_has_its_formula_here() -> None:
    """A new term belongs into this file."""
    others = {
        "adversarial", "camera", "confidence", "dynamics", "filtered_joints", "flow", "forecast", "hallucination", "mask",
        "motion_prior", "occlusion_camera", "occlusion_pose", "occlusion_shape", "predicted_joints",
    }  # fmt: skip
    assert set(list_terms()) == set(FROM_OUTPUT) | others
