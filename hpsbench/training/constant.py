"""Fit the mean pose on a store's training split: the floor that every system is compared with."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor

from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.bodies.smpl import load_bodies
from hpsbench.errors import MissingData
from hpsbench.models._checkpoints import read_checkpoint, save_checkpoint
from hpsbench.models.mean_pose import MeanPose
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.training.config import Table, read_fit_recipe

NAME = "mean-pose"
PLACE = Path("checkpoints/mean_pose.safetensors")
MOST_FRAMES = 2000


class MeanPoseData(Table):
    """Which frames."""

    dataset: str
    view: str
    split: str


class MeanPoseSchedule(Table):
    """How long."""

    steps: int = Field(ge=0)


class MeanPoseRecipe(Table):
    """`recipes/training/mean-pose.toml`, checked."""

    name: str
    title: str
    source: str
    system: str
    readings: tuple[str, ...] = ()
    data: MeanPoseData
    schedule: MeanPoseSchedule


def get_mean_pose_recipe(sets: tuple[str, ...] = (), extra: Path | None = None) -> MeanPoseRecipe:
    """The recipe with `table.key=value` texts as typed on the command line.

    Raises:
        UsageError: a key that the recipe lacks, or a value of the wrong type.
    """
    return read_fit_recipe(MeanPoseRecipe, NAME, sets, extra)


def train_mean_pose(recipe: MeanPoseRecipe, root: Path) -> dict[str, Any]:
    """Fit the mean pose as the recipe says, to `R/checkpoints/mean_pose.safetensors`, where its name finds it.

    Returns: what the checkpoint's card says of the fit, and its path under `checkpoint`.

    Raises:
        MissingStore: the store is not there.
        MissingData, MissingBodyModel: as for `fit_mean_pose`.
    """
    data = recipe.data
    store = open_store(root / "stores" / f"{data.dataset}.zarr")
    path = fit_mean_pose(
        store, root, view=data.view, split=data.split, steps=recipe.schedule.steps, out=root / PLACE
    )
    card = read_checkpoint(path).card or {}
    return {**{key: card.get(key) for key in ("fitted_on", "fit", "synthetic")}, "checkpoint": path}


def fit_mean_pose(
    store: ClipStore,
    root: Path,
    *,
    view: str,
    split: str = "train",
    steps: int = 300,
    out: Path | None = None,
) -> Path:
    """The constant body with the smallest mean root-aligned error of the 14 LSP joints on a split, as a checkpoint.

    The joints are those of the H36M regressor on the neutral mesh, the root is the mid-hip, as in VIBE's family of
    protocols. At most 2,000 frames, evenly spread, take part.

    Args:
        store: with SMPL parameters.
        root: data root; body models are found there.
        view: whose kept frames count.
        split: to fit on.
        steps: of the descent; 0 keeps where it starts, the mean rotation of each joint, which looks more like a person
            where people face all ways and is then the stronger floor of errors after alignment.
        out: the checkpoint to write; default `R/checkpoints/<dataset>-mean_pose.safetensors`.

    Raises:
        MissingData: no frame of the split has SMPL parameters.
        MissingBodyModel: no body model under the root.
    """
    keep = store.views[view].keep
    found = [track.rows[keep[track.rows]] for track in store.tracks(split)]
    rows = np.concatenate([np.empty(0, np.int64), *found])
    if "full_pose" not in store.frames:
        rows = rows[:0]
    elif "has_smpl" in store.frames:
        rows = rows[store.frames["has_smpl"].take(rows).astype(bool)]
    if len(rows) == 0:
        raise MissingData(
            f"{store.location}: no frame of split {split!r} has SMPL parameters to fit a mean pose to"
        )
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_FRAMES)).astype(np.int64)]
    body = load_bodies(root, synthetic=store.synthetic).neutral
    order = convert_indices("h36m17_regressor", "lsp14")

    def joints_of(rotmat: Tensor, betas: Tensor) -> Tensor:
        return body.joints(rotmat, betas, via="h36m17")[:, order]

    hips = get_joint_set("lsp14").indices(("Right Hip", "Left Hip"))
    pose, betas = store.frames["full_pose"].take(rows), store.frames["betas"].take(rows)
    system = MeanPose.fit(
        np.asarray(pose, np.float32), np.asarray(betas, np.float32), joints_of, hips, steps=steps
    )
    card = {
        "fitted_on": {"dataset": store.dataset, "split": split, "view": view, "frames": len(rows)},
        "synthetic": store.synthetic,
        "trained_with_3dpw": store.dataset == "3dpw",
        "raw_manifest_sha256": store.attrs["raw_manifest_sha256"],
    }
    path = out or root / "checkpoints" / f"{store.dataset}-mean_pose.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_checkpoint(system, path, card)
