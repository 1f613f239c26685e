"""Named points of a moving synthetic body: joints, landmarks, and what the body's regressors give.

Datasets annotate other points than SMPL's joints (hips on the skin side, the top of the head, the thorax). They are
taken from the same regressors that a model's own vertices are measured with, so a perfect model has no error.
"""

import numpy as np

from hpsbench.errors import UnknownName
from hpsbench.synth.anatomy import JOINT, LANDMARK_IDS, REGRESSOR_ROWS
from hpsbench.synth.body_shape import regressor
from hpsbench.synth.motion import Motion
from hpsbench.synth.people import Person
from hpsbench.types import FloatArray

_VERTEX = dict(LANDMARK_IDS)
_ROW = {name: (sets, row) for sets in ("h36m17", "extra9") for row, name in enumerate(REGRESSOR_ROWS[sets])}
_FRAMES_AT_ONCE = 64


def named_points(person: Person, motion: Motion, names: tuple[str, ...]) -> FloatArray:
    """Points of one person in the motion's world.

    Args:
        person: whose body it is.
        motion: T poses.
        names: of joints (`anatomy.JOINT_NAMES`), of landmark vertices (`anatomy.LANDMARK_IDS`), or of rows of the
            regressors `extra9` and `h36m17` (`anatomy.REGRESSOR_ROWS`); the first kind that knows a name has it.

    Returns:
        (T, len(names), 3) float64 metres.

    Raises:
        UnknownName: nothing has such a name.
    """
    known = {*JOINT, *_VERTEX, *_ROW}
    for name in names:
        if name not in known:
            raise UnknownName("point of the synthetic body", name, choices=sorted(known))
    points = np.empty((len(motion), len(names), 3))
    matrices = {sets: regressor(sets) for sets in ("h36m17", "extra9")}
    for first in range(0, len(motion), _FRAMES_AT_ONCE):
        part = slice(first, first + _FRAMES_AT_ONCE)
        vertices, joints = person.body(0).pose(motion.full_pose[part], person.betas, motion.transl[part])
        rows = {sets: matrix @ vertices for sets, matrix in matrices.items()}
        for column, name in enumerate(names):
            if name in JOINT:
                points[part, column] = joints[:, JOINT[name]]
            elif name in _VERTEX:
                points[part, column] = vertices[:, _VERTEX[name]]
            else:
                sets, row = _ROW[name]
                points[part, column] = rows[sets][:, row]
    return points
