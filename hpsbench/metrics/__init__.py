"""Pure functions over NumPy and torch arrays: `(pred, target)` in metres -> one value per frame.

| function | input | value |
|---|---|---|
| `joint_error`, `mpjpe`, `pa_mpjpe` | (T, J, 3) | (T,) mm |
| `pve` | (T, V, 3) | (T,) mm |
| `accel_err`, `accel_pred` | (T, J, 3) | (T - 2,) mm/frame^2 |
| `jitter` | (T, J, 3) | (T - 3,) m/s^3 |
| `pck`, `auc` | (T, J, 3) | (T,) percent |
| `w_mpjpe`, `wa_mpjpe` | (T, J, 3) world | (T,) mm |
| `rte` | (T, 3) world | (T,) percent |
| `foot_sliding` | (T, V, 3) world | (K,) mm per frame |
| `mpjae` | (T, J, 3, 3) | (T,) degrees |

Nothing is aligned unless the name says so, no axis is guessed, and NaN never comes out: wrong shapes, units and
values that are not finite are errors. float32 input is computed in float64 wherever the device has it; of float32 meshes with a thousand
vertices or more `pve` takes the squares in float32 and the mean in float64, which is right to a nanometre.
"""

from hpsbench.metrics.joints import auc, joint_error, mpjpe, pa_degenerate, pa_mpjpe, pck
from hpsbench.metrics.motion import accel_err, accel_pred, all_three, foot_contacts, foot_sliding, jitter
from hpsbench.metrics.rotations import mpjae, procrustes_rotation
from hpsbench.metrics.standard import standard_errors
from hpsbench.metrics.trajectory import path_length, rte, w_mpjpe, wa_mpjpe
from hpsbench.metrics.vertices import pve

__all__ = [
    "joint_error",
    "mpjpe",
    "pa_mpjpe",
    "pve",
    "accel_err",
    "accel_pred",
    "pck",
    "auc",
    "jitter",
    "w_mpjpe",
    "wa_mpjpe",
    "rte",
    "foot_sliding",
    "mpjae",
    "all_three",
    "foot_contacts",
    "pa_degenerate",
    "path_length",
    "procrustes_rotation",
    "standard_errors",
]
