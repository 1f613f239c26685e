"""Fit temporal SMPLify's pose prior to captured poses: the stand-in for `gmm_08.pkl` on synthetic data.

Expectation maximisation of a Gaussian mixture with full covariances. Source: Bogo et al., ECCV 2016 (SMPLify), section 3.2.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from scipy.linalg import cholesky, solve_triangular
from scipy.special import logsumexp

from hpsbench import __version__
from hpsbench.errors import MissingData, UsageError
from hpsbench.models._fitted import MIXTURE_FORMAT, OWN
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.training.config import Table, read_fit_recipe
from hpsbench.types import FloatArray

NAME = "pose-mixture"
ENOUGH = 1e-4
"""Gain of the mean log-likelihood, nats a pose, below which it stands still."""


class MixtureData(Table):
    """Which poses."""

    dataset: str
    view: str
    split: str
    frames: int = Field(ge=1)


class MixtureRule(Table):
    """Which mixture."""

    components: int = Field(ge=1)
    regulariser: float = Field(gt=0)
    iterations: int = Field(ge=1)
    seed: int = 0


class MixtureRecipe(Table):
    """`recipes/training/pose-mixture.toml`, checked."""

    name: str
    title: str
    source: str
    system: str = ""
    readings: tuple[str, ...] = ()
    data: MixtureData
    mixture: MixtureRule


class Mixture(NamedTuple):
    """A Gaussian mixture of D numbers.

    Attributes:
        means: (M, D).
        covariances: (M, D, D).
        weights: (M,), sum 1.
        curve: mean log-likelihood of a pose before each step of the fit, nats.
    """

    means: FloatArray
    covariances: FloatArray
    weights: FloatArray
    curve: tuple[float, ...]


def get_mixture_recipe(sets: tuple[str, ...] = (), extra: Path | None = None) -> MixtureRecipe:
    """The recipe with `table.key=value` texts as typed on the command line.

    Raises:
        UsageError: a key that the recipe lacks, or a value of the wrong type.
    """
    return read_fit_recipe(MixtureRecipe, NAME, sets, extra)


def train_pose_mixture(recipe: MixtureRecipe, root: Path, *, progress: Any = None) -> dict[str, Any]:
    """Fit the mixture to a prepared store and write it, all or nothing.

    Args:
        recipe: what is fitted to what.
        root: data root.
        progress: called as (steps done, most steps, note).

    Returns: the card of the file, and its path under `checkpoint`.

    Raises:
        MissingStore: the store is not there.
        MissingData: it has too few poses.
    """
    data, rule = recipe.data, recipe.mixture
    store = open_store(root / "stores" / f"{data.dataset}.zarr")
    poses = body_poses(store, data)
    if len(poses) < 2 * rule.components:
        raise MissingData(
            f"{store.location}: {len(poses)} poses of split {data.split!r} are too few for {rule.components} components"
        )
    found = fit_mixture(poses, rule, progress)
    card = {
        "recipe": recipe.model_dump(mode="json"),
        "fitted_on": {"dataset": store.dataset, "split": data.split, "view": data.view, "frames": len(poses)},
        "stands_in_for": "gmm_08.pkl",
        "synthetic": store.synthetic,
        "raw_manifest_sha256": store.attrs["raw_manifest_sha256"],
        "log_likelihood": found.curve[-1],
        "steps": len(found.curve),
        "hpsbench": __version__,
    }
    path = root / OWN
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {name: torch.tensor(getattr(found, name)) for name in ("means", "covariances", "weights")}
    waiting = path.with_name(f"{path.name}.part")
    save_file(parts, waiting, metadata={MIXTURE_FORMAT: json.dumps(card, sort_keys=True)})
    waiting.replace(path)
    return {**card, "checkpoint": path}


def body_poses(store: ClipStore, data: MixtureData) -> FloatArray:
    """(N, 69) axis-angle of the joints below the root, of frames that have SMPL parameters, spread evenly over the split.

    Raises:
        MissingData: the store has no SMPL parameters.
    """
    if "full_pose" not in store.frames:
        raise MissingData(f"{store.location}: has no SMPL parameters to fit a mixture of poses to")
    keep = store.views[data.view].keep
    rows = [track.rows[keep[track.rows]] for track in store.tracks(split=data.split)]
    chosen = np.concatenate([np.empty(0, np.int64), *rows])
    if "has_smpl" in store.frames and len(chosen):
        chosen = chosen[np.asarray(store.frames["has_smpl"][chosen]).astype(bool)]
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), data.frames)).astype(np.int64)]
    return np.asarray(store.frames["full_pose"][chosen], np.float64)[:, 3:]


def fit_mixture(values: FloatArray, rule: MixtureRule, progress: Any = None) -> Mixture:
    """Expectation maximisation from centres that lie far apart (k-means++).

    Args:
        values: (N, D), N at least the number of components.
        rule: components, regulariser, iterations, seed.
        progress: called as (steps done, most steps, note).

    Raises:
        UsageError: fewer values than components.
    """
    if len(values) < rule.components:
        raise UsageError(f"a mixture of {rule.components} components needs as many values, got {len(values)}")
    share = _first_shares(values, rule)
    curve: list[float] = []
    for number in range(rule.iterations):
        weights, means, covariances = _mixture_of(values, share, rule.regulariser)
        joint = np.log(weights) + np.stack(
            [_log_density(values, m, c) for m, c in zip(means, covariances, strict=True)], axis=1
        )
        each = logsumexp(joint, axis=1)
        share = np.exp(joint - each[:, None])
        curve.append(float(each.mean()))
        if progress is not None:
            progress(number + 1, rule.iterations, f"log-likelihood {curve[-1]:.3f}")
        if number and curve[-1] - curve[-2] < ENOUGH:
            break
    return Mixture(means, covariances, weights, tuple(curve))


def _first_shares(values: FloatArray, rule: MixtureRule) -> FloatArray:
    """(N, M) 0 or 1: each value belongs to the nearest of centres drawn far from each other."""
    rng = np.random.default_rng(rule.seed)
    centres = [values[rng.integers(len(values))]]
    away = ((values - centres[0]) ** 2).sum(axis=1)
    while len(centres) < rule.components:
        total = away.sum()
        chosen = rng.choice(len(values), p=away / total) if total > 0 else rng.integers(len(values))
        centres.append(values[chosen])
        away = np.minimum(away, ((values - centres[-1]) ** 2).sum(axis=1))
    distances = np.stack([((values - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
    return np.asarray(np.eye(rule.components)[distances.argmin(axis=1)])


def _mixture_of(
    values: FloatArray, share: FloatArray, regulariser: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights, means and covariances that fit best when each value belongs to components by these shares."""
    counts = share.sum(axis=0) + 1e-10
    means = share.T @ values / counts[:, None]
    covariances = []
    for part, mean, count in zip(share.T, means, counts, strict=True):
        away = values - mean
        covariances.append((part[:, None] * away).T @ away / count + regulariser * np.eye(values.shape[1]))
    return counts / counts.sum(), means, np.stack(covariances)


def _log_density(values: FloatArray, mean: FloatArray, covariance: FloatArray) -> FloatArray:
    lower = cholesky(covariance, lower=True)
    white = solve_triangular(lower, (values - mean).T, lower=True)
    constant = values.shape[1] * np.log(2 * np.pi) + 2 * np.log(np.diag(lower)).sum()
    return np.asarray(-0.5 * ((white**2).sum(axis=0) + constant))
