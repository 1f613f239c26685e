"""Temporal SMPLify: its terms by hand, and clips whose truth is known."""

import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hpsbench.bodies.joints import get_joint_set
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.errors import BrokenFile, ShapeError, UsageError
from hpsbench.geometry.cameras import project_crop, weak_perspective_to_translation
from hpsbench.models._smplify import (
    IGNORED,
    MixturePrior,
    body_cost,
    fit_clip,
    load_mixture_prior,
    reprojection,
    robust,
    torso_cost,
)
from hpsbench.synth.body import write_body_models

NAMES = get_joint_set("spin49").names
FRAMES = 4


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> BodyModel:
    root = tmp_path_factory.mktemp("bodies")
    write_body_models(root)
    return load_bodies(root, synthetic=True).neutral


@pytest.fixture
def clip(body: BodyModel) -> SimpleNamespace:
    """A true motion, its keypoints, and a start that is off in pose, root and camera."""
    generator = torch.Generator().manual_seed(0)
    pose = 0.15 * torch.randn(1, 72, generator=generator) + 0.02 * torch.randn(
        FRAMES, 72, generator=generator
    )
    pose[:, 0] += math.pi  # upright in the image
    betas, camera = torch.zeros(FRAMES, 10), torch.tensor([0.9, 0.02, 0.1]).expand(FRAMES, 3)
    pixels = (project_crop(body.spin49(pose, betas), camera) + 1) * 112
    keypoints = torch.cat([pixels, torch.ones(FRAMES, 49, 1)], dim=2)
    start = pose + 0.1 * torch.randn(FRAMES, 72, generator=generator)
    return SimpleNamespace(
        pose=pose, betas=betas, camera=camera, keypoints=keypoints, start=start, start_camera=camera * 1.05
    )


def scored(keypoints: torch.Tensor) -> torch.Tensor:
    confidence = keypoints[..., 2].clone()
    confidence[:, [NAMES.index(name) for name in IGNORED]] = 0
    return confidence


@pytest.mark.parametrize(("optimiser", "steps"), [("lbfgs", 1), ("adam", 25)])
def test_keypoints_are_met_better_and_the_shape_is_one(body, clip, optimiser: Any, steps: int) -> None:
    given = clip.keypoints.clone()
    fit = fit_clip(
        body,
        clip.start,
        clip.betas,
        clip.start_camera,
        clip.keypoints,
        optimiser=optimiser,
        steps=steps,
        iterations=12,
    )
    assert fit.improved.all()
    assert (fit.reprojection < 0.4 * fit.before).all()
    assert (fit.betas == fit.betas[0]).all()
    assert fit.full_pose.shape == (FRAMES, 72)
    assert not fit.full_pose.requires_grad
    torch.testing.assert_close(clip.keypoints, given, atol=0, rtol=0)  # the caller's keypoints stay
    again = (project_crop(body.spin49(fit.full_pose, fit.betas), fit.camera) + 1) * 112
    error = robust(again - given[..., :2]).sum(-1) * scored(given).square()
    torch.testing.assert_close(error.mean(1), fit.reprojection, atol=1e-2, rtol=1e-3)


def test_frames_that_get_worse_keep_their_start(body, clip) -> None:
    """The truth cannot be improved; a frame without keypoints is left alone."""
    clip.start[1], clip.start_camera = clip.pose[1], clip.start_camera.clone()
    clip.start_camera[1] = clip.camera[1]
    clip.keypoints[2, :, 2] = 0
    fit = fit_clip(body, clip.start, clip.betas, clip.start_camera, clip.keypoints, steps=1)
    assert fit.improved.tolist() == [True, False, False, True]
    for row in (1, 2):
        torch.testing.assert_close(fit.full_pose[row], clip.start[row])
        torch.testing.assert_close(fit.camera[row], clip.start_camera[row])
        torch.testing.assert_close(fit.betas[row], clip.betas[row])
    assert (fit.reprojection <= fit.before).all()


def test_the_shape_starts_from_the_frame_that_fits_best(body, clip) -> None:
    betas = torch.linspace(-1, 1, FRAMES)[:, None].expand(-1, 10).clone()
    start = torch.stack([clip.start[0], clip.start[1], clip.pose[2], clip.start[3]])
    fit = fit_clip(body, start, betas, clip.start_camera, clip.keypoints, steps=0)
    best = int(fit.before.argmin())
    assert best == 2
    assert fit.improved.any()  # some frame fits better with that shape alone
    for row in range(FRAMES):
        expected = betas[best] if fit.improved[row] else betas[row]
        torch.testing.assert_close(fit.betas[row], expected, atol=0, rtol=0)
        torch.testing.assert_close(fit.full_pose[row], start[row], atol=0, rtol=0)


def test_the_first_stage_by_hand() -> None:
    generator = torch.Generator().manual_seed(1)
    joints = torch.randn(2, 49, 3, generator=generator) * 0.3
    transl = torch.tensor([[0.1, 0.2, 50.0], [0.0, 0.1, 40.0]])
    start = transl + torch.tensor([0.0, 0.0, 0.5])
    seen = torch.rand(2, 49, 2, generator=generator) * 224
    confidence = torch.ones(2, 49)
    confidence[1, NAMES.index("OP LShoulder")] = 0  # then the frame has its depth term alone
    expected = 2 * 100**2 * 0.5**2
    for name in ("OP RHip", "OP LHip", "OP RShoulder", "OP LShoulder"):
        x, y, z = (joints[0, NAMES.index(name)] + transl[0]).tolist()
        u, v = seen[0, NAMES.index(name)].tolist()
        expected += (5000 * x / z + 112 - u) ** 2 + (5000 * y / z + 112 - v) ** 2
    found = torso_cost(joints, transl, start, seen, confidence).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_second_stage_by_hand() -> None:
    generator = torch.Generator().manual_seed(2)
    joints = torch.randn(3, 49, 3, generator=generator, dtype=torch.float64) * 0.3
    pose = torch.randn(3, 69, generator=generator, dtype=torch.float64) * 0.3
    betas = torch.randn(10, generator=generator, dtype=torch.float64)
    transl = torch.tensor([[0.1, 0.2, 50.0], [0.0, 0.1, 45.0], [0.0, 0.0, 40.0]], dtype=torch.float64)
    seen = torch.rand(3, 49, 2, generator=generator, dtype=torch.float64) * 224
    confidence = torch.rand(3, 49, generator=generator, dtype=torch.float64)
    moved = joints + transl[:, None]
    pixels = (5000 * moved[..., :2] / moved[..., 2:] + 112).numpy()
    c2 = confidence.numpy() ** 2
    expected = 0.0
    for t in range(3):
        for j in range(49):
            for axis in range(2):
                e2 = (pixels[t, j, axis] - seen[t, j, axis].item()) ** 2
                expected += c2[t, j] * 100**2 * e2 / (100**2 + e2)
            if t:
                expected += 0.01**2 * c2[t, j] * np.abs(pixels[t, j] - pixels[t - 1, j]).sum()
                expected += c2[t, j] * (joints[t, j] - joints[t - 1, j]).abs().sum().item()
        for place, sign in ((52, 1), (55, -1), (9, -1), (12, -1)):
            expected += 15.2**2 * math.exp(sign * pose[t, place].item()) ** 2
        expected += 5**2 * betas.square().sum().item()
    plain = body_cost(joints, pose, betas, transl, seen, confidence, None).item()
    assert plain == pytest.approx(expected, rel=1e-9)
    with_prior = body_cost(joints, pose, betas, transl, seen, confidence, lambda p: p.abs().sum(1)).item()
    assert with_prior - plain == pytest.approx(4.78**2 * pose.abs().sum().item(), rel=1e-6)


def mixture(rng: np.random.Generator, count: int = 3) -> dict[str, np.ndarray]:
    roots = rng.normal(size=(count, 69, 69)) * 0.1
    return {
        "means": rng.normal(size=(count, 69)) * 0.3,
        "covars": roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(69),
        "weights": np.array([0.5, 0.3, 0.2])[:count],
    }


def test_the_mixture_prior_by_hand(tmp_path: Path) -> None:
    content = mixture(np.random.default_rng(0))
    (tmp_path / "gmm_08.pkl").write_bytes(pickle.dumps(content, protocol=2))
    prior = load_mixture_prior(tmp_path / "gmm_08.pkl")
    pose = np.random.default_rng(1).normal(size=(5, 69)) * 0.3
    determinants = [np.linalg.slogdet(c)[1] for c in content["covars"]]
    for row, got in zip(pose, prior(torch.tensor(pose).float()).tolist(), strict=True):
        costs = []
        for mean, cov, weight, logdet in zip(*content.values(), determinants, strict=True):
            away = row - mean
            scale = (2 * np.pi) ** (69 / 2) * np.exp((logdet - min(determinants)) / 2)
            costs.append(away @ np.linalg.inv(cov) @ away / 2 - np.log(weight / scale))
        assert got == pytest.approx(min(costs), rel=1e-4)


def test_the_prior_pulls_towards_its_means(body, clip) -> None:
    mean = clip.pose.mean(0)[3:]
    prior = MixturePrior(mean[None], torch.eye(69)[None] * 0.01, torch.ones(1))
    free, held = (
        fit_clip(body, clip.start, clip.betas, clip.start_camera, clip.keypoints, prior=p)
        for p in (None, prior)
    )
    assert (held.full_pose[:, 3:] - mean).norm() < 0.7 * (free.full_pose[:, 3:] - mean).norm()


def test_other_files_and_shapes_are_refused(body, clip, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"means": np.zeros((2, 69))}, protocol=2))
    with pytest.raises(BrokenFile, match=r"a\.pkl: expected means, covars and weights"):
        load_mixture_prior(tmp_path / "a.pkl")
    short = {"means": np.zeros((2, 72)), "covars": np.zeros((2, 72, 72)), "weights": np.ones(2)}
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(short, protocol=2))
    with pytest.raises(BrokenFile, match=r"expected means \(M, 69\)"):
        load_mixture_prior(tmp_path / "b.pkl")
    with pytest.raises(ShapeError, match=r"keypoints2d: expected \(4, 49, 3\) with T > 0, got \(4, 14, 3\)"):
        fit_clip(body, clip.start, clip.betas, clip.camera, clip.keypoints[:, :14])
    with pytest.raises(UsageError, match="optimiser='sgd' is not one of lbfgs, adam"):
        fit_clip(body, clip.start, clip.betas, clip.camera, clip.keypoints, optimiser="sgd")


def test_reprojection_of_the_truth_is_nothing(body, clip) -> None:
    found = reprojection(
        body,
        clip.pose,
        clip.betas,
        weak_perspective_to_translation(clip.camera),
        clip.keypoints[..., :2],
        scored(clip.keypoints),
    )
    assert found.max() < 1e-3
