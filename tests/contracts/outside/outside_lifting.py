"""A keypoint-lifting model, as another package would bring it: 2D keypoints in, 3D joints out. No PyTorch."""

import numpy as np

from hpsbench import ClipInput, Inputs, Prediction, WindowRule

CARD = {
    "title": "flat lifting",
    "paper": "none: a toy",
    "inputs": {"keypoints2d": "lsp14"},
    "predicts": "joints",
}


class FlatLifting:
    name = "outside_lifting"
    inputs = Inputs(keypoints2d="lsp14")
    context = WindowRule(length=1, stride=1)

    def predict(self, clip: ClipInput) -> Prediction:
        points = clip.keypoints2d[..., :2] - clip.bbox_cxcywh[:, None, :2]
        points = points * 1.8 / clip.bbox_cxcywh[:, None, 2:3]  # a person of 1.8 m fills the box
        seen = clip.keypoints2d[..., 2:] > 0
        joints = np.where(seen, np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1), 0)
        return Prediction(rows=np.arange(clip.length), joints3d=joints.astype(np.float32), joint_set="lsp14")


SYSTEM = FlatLifting
