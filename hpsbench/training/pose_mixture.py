"""Fit temporal SMPLify's pose prior to captured poses: the stand-in for `gmm_08.pkl` on synthetic data.

Expectation maximisation of a Gaussian mixture with full covariances. Source: Bogo et al., ECCV 2016 (SMPLify), section 3.2.
"""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file

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
        curve: mean log-likelihood of a pose after each step of the fit, nats.
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


def train_pose_mixture(recipe: MixtureRecipe, root: Path) -> dict[str, Any]:
    """Fit the mixture to a prepared store and write it, all or nothing.

    Args:
        recipe: what is fitted to what.
        root: data root.

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
    found = fit_mixture(poses, rule)
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


def fit_mixture(values: FloatArray, rule: MixtureRule) -> Mixture:
    """Expectation maximisation by scikit-learn, from centres that k-means finds.

    Args:
        values: (N, D), N at least the number of components.
        rule: components, regulariser, iterations, seed.

    Raises:
        UsageError: fewer values than components.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(values) < rule.components:
        raise UsageError(f"a mixture of {rule.components} components needs as many values, got {len(values)}")
    fit = GaussianMixture(
        rule.components,
        tol=ENOUGH,
        reg_covar=rule.regulariser,
        max_iter=rule.iterations,
        random_state=rule.seed,
    )
    with warnings.catch_warnings():  # the card says how many steps were made, and the curve
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit.fit(values)
    # A lower bound is that of the mixture before its step.
    curve = (*(float(bound) for bound in fit.lower_bounds_[1:]), float(fit.score(values)))
    return Mixture(fit.means_, fit.covariances_, fit.weights_, curve)
