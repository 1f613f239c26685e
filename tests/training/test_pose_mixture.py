"""The stand-in for SMPLify's mixture of poses: expectation maximisation, its file, and who reads it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from hpsbench.errors import BrokenFile, MissingData, MissingStore, UsageError
from hpsbench.models._fitted import OWN, PUBLISHED, find_prior, read_mixture
from hpsbench.training.pose_mixture import MixtureRule, fit_mixture, get_mixture_recipe, train_pose_mixture

FEW = ("mixture.components=3", "mixture.iterations=5")


def rule(**changes: Any) -> MixtureRule:
    return MixtureRule(**{"components": 2, "regulariser": 1e-6, "iterations": 60, **changes})


def test_two_clouds_are_found_again() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([[1.0, 0.6], [0.6, 1.0]])
    values = np.concatenate(
        [
            rng.multivariate_normal([0, 0], spread, 3000),
            rng.multivariate_normal([9, 3], 0.25 * np.eye(2), 1000),
        ]
    )
    found = fit_mixture(values, rule())
    order = np.argsort(found.means[:, 0])
    np.testing.assert_allclose(found.weights[order], [0.75, 0.25], atol=1e-3)
    np.testing.assert_allclose(found.means[order], [[0, 0], [9, 3]], atol=0.1)
    np.testing.assert_allclose(found.covariances[order], [spread, 0.25 * np.eye(2)], atol=0.1)
    assert (np.diff(found.curve) > -1e-6).all(), "no step of the fit makes the data less likely"


def test_the_curve_is_the_likelihood() -> None:
    values = np.random.default_rng(1).normal(size=(200, 3))
    found = fit_mixture(values, rule(iterations=1))
    density = sum(
        weight * multivariate_normal(mean, covariance).pdf(values)
        for weight, mean, covariance in zip(found.weights, found.means, found.covariances, strict=True)
    )
    assert found.curve[0] == pytest.approx(np.log(density).mean(), rel=1e-9)


def test_equal_values_and_too_few_of_them() -> None:
    found = fit_mixture(np.ones((5, 2)), rule(regulariser=0.01))
    assert np.isfinite(found.covariances).all()
    assert found.weights.sum() == pytest.approx(1.0)
    with pytest.raises(UsageError, match="2 components needs as many values, got 1"):
        fit_mixture(np.ones((1, 2)), rule())


def test_the_recipe_writes_a_prior_that_synthetic_data_finds(world: Path) -> None:
    (world / "body_models").unlink()
    (world / "body_models").mkdir()
    made = train_pose_mixture(get_mixture_recipe(FEW), world)
    assert made["checkpoint"] == world / OWN
    mixture, card = read_mixture(world / OWN)
    assert mixture.means.shape == (3, 69)
    assert card["synthetic"] is True
    assert card["stands_in_for"] == "gmm_08.pkl"
    assert torch.isfinite(mixture(torch.zeros(2, 69))).all()
    prior = find_prior(world, synthetic=True)
    assert prior.about["stands_in"] is True
    assert prior.about["fitted_on"]["dataset"] == "amass"
    assert find_prior(world, synthetic=False).mixture is None, "never on real data"
    (world / PUBLISHED).parent.mkdir(parents=True)
    (world / PUBLISHED).write_bytes(b"broken")
    with pytest.raises(BrokenFile):  # the published one stands first
        find_prior(world, synthetic=True)


def test_slips_are_named(world: Path) -> None:
    with pytest.raises(UsageError, match=r"mixture\.component: Extra inputs"):
        get_mixture_recipe(("mixture.component=3",))
    with pytest.raises(UsageError, match="'title' of training recipe 'pose-mixture' is no table"):
        get_mixture_recipe(("title.x=3",))
    with pytest.raises(MissingStore, match="nonesuch"):
        train_pose_mixture(get_mixture_recipe(("data.dataset=nonesuch",)), world)
    with pytest.raises(MissingData, match="too few for 9000 components"):
        train_pose_mixture(get_mixture_recipe(("mixture.components=9000",)), world)
    broken = world / "mixture.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(BrokenFile, match="train pose-mixture"):
        read_mixture(broken)
