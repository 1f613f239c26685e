"""Bodies that each neighbour predicts for a frame, weighed by how much the network vouches for them (catfa)."""

import torch

from hpsbench.losses.confidence import confidence_loss
from hpsbench.training.step import Part, Step, auxiliary
from hpsbench.training.terms._frames import USUAL, frame_errors


def term(step: Step) -> Part:
    """See `confidence_loss`; the error of a prediction is the weighted sum of the recipe's four usual terms."""
    log_variance, valid = auxiliary(step, "log_variance"), auxiliary(step, "valid")
    distances = log_variance.shape[2]
    index = torch.arange(step.frames, device=log_variance.device).repeat_interleave(distances)
    errors = frame_errors(step, auxiliary(step, "predicted"), index)
    each = sum(step.weights.get(name, 0.0) * errors[name] for name in USUAL)
    error = torch.as_tensor(each).reshape(log_variance.shape)
    pairs = valid[None].expand_as(log_variance)
    return Part(confidence_loss(error, log_variance, pairs), len(log_variance))
