"""joints3D of exported files where the layout's are regressed from the body: VIBE's and TCMR's way of making them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.errors import MissingBodyModel
from hpsbench.store.reader import ClipStore
from hpsbench.types import FloatArray, IntArray

_REGRESSOR, _REGRESSED = "h36m17", "h36m17_regressor"
_WHOLE = "spin49"


def regressed_joints(
    store: ClipStore, root: Path, joint_set: str
) -> tuple[Callable[[IntArray], FloatArray] | None, str]:
    """How to make the joints of some rows of a store from its SMPL parameters.

    As in VIBE's `threedpw_utils.py`: the neutral body whatever the gender, the root turned into the camera, the
    translation as the store has it; `spin49` by SPIN's own layers, other sets by the regressor of Human3.6M.

    Args:
        store: with `full_pose` and `betas`.
        root: data root with the body models.
        joint_set: of the file.

    Returns:
        A function from rows to (n, J, 3) float32 metres, or None and why there is none.
    """
    if not {"full_pose", "betas"} <= set(store.frames):
        return None, "the store has no SMPL parameters"
    from hpsbench.bodies.smpl import load_bodies

    whole = joint_set == _WHOLE
    bodies = load_bodies(root, store.synthetic)
    try:
        bodies.require(genders=["neutral"], regressors=["extra9"] if whole else [_REGRESSOR])
    except MissingBodyModel as error:
        text = str(error).splitlines()[0]
        return None, f"the layout's are regressed from the body's vertices ({joint_set}), and {text}"
    order = None if whole else convert_indices(_REGRESSED, joint_set)
    if order is not None and min(order) < 0:
        absent = get_joint_set(joint_set).names[order.index(-1)]
        return None, f"the regressor of Human3.6M gives no {absent} ({joint_set})"
    via = _WHOLE if whole else _REGRESSOR
    moved = "transl" in store.frames

    def make(rows: IntArray) -> FloatArray:
        import torch

        with torch.inference_mode():
            joints = bodies.neutral.joints(
                store.frames["full_pose"][rows],
                store.frames["betas"][rows],
                np.nan_to_num(store.frames["transl"][rows]) if moved else None,
                via=via,
            )
        found = np.asarray(joints.cpu().numpy(), dtype=np.float32)
        return found if order is None else found[:, order]

    return make, ""
