"""A whole-track model, as another package would bring it: all frames at once, before it answers for any."""

import numpy as np

from hpsbench import ClipInput, Inputs, Prediction

CARD = {
    "title": "track mean",
    "paper": "none: a toy",
    "inputs": {"features": 2048},
    "predicts": "SMPL parameters",
}


class TrackMean:
    name = "outside_track"
    inputs = Inputs(features=2048)
    context = None  # whole tracks

    def __init__(self) -> None:
        self.lengths = []

    def predict(self, clip: ClipInput) -> Prediction:
        self.lengths.append(clip.length)
        betas = np.repeat(clip.features.mean(axis=0)[None, :10], clip.length, axis=0)
        rotmat = np.tile(np.eye(3, dtype=np.float32), (clip.length, 24, 1, 1))
        return Prediction(rows=np.arange(clip.length), rotmat=rotmat, betas=betas)


SYSTEM = TrackMean
