"""A model that predicts joints alone, in a set of its own choice, as another package would bring it."""

import numpy as np

from hpsbench import ClipInput, Inputs, Prediction, WindowRule
from hpsbench.bodies.joints import get_joint_set

CARD = {
    "title": "features as joints",
    "paper": "none: a toy",
    "inputs": {"features": 2048},
    "predicts": "17 joints",
}
SET = "h36m17_official"


class FeaturesAsJoints:
    name = "outside_joints"
    inputs = Inputs(features=2048)
    context = WindowRule(length=1, stride=1)

    def predict(self, clip: ClipInput) -> Prediction:
        count = len(get_joint_set(SET))
        joints = clip.features[:, : 3 * count].reshape(clip.length, count, 3)
        return Prediction(rows=np.arange(clip.length), joints3d=joints, joint_set=SET)


SYSTEM = FeaturesAsJoints
