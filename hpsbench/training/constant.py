"""Fit the mean pose on a store's training split: the floor that every system is compared with."""

from pathlib import Path

import numpy as np
from torch import Tensor

from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.bodies.smpl import load_bodies
from hpsbench.errors import MissingData
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models.mean_pose import MeanPose
from hpsbench.store.reader import ClipStore

MOST_FRAMES = 2000


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
    rows = np.concatenate([track.rows[keep[track.rows]] for track in store.tracks(split)])
    if "has_smpl" in store.frames:
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
