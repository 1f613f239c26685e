"""Bodies predicted for frames some distance away, and those from hallucinated strips (HMMR)."""

import torch

from hpsbench.models._system import HPSOutput
from hpsbench.training.step import Part, Step, present
from hpsbench.training.terms._frames import frame_errors, weighted_mean

DELTA = "delta_"
HALLUCINATED = "hallucinated_"


def term(step: Step) -> Part:
    """The recipe's usual terms, with their weights, once more for each further set of bodies.

    A pose change of d frames is compared with frame t + d, where the window has it; its camera is fitted.
    """
    total = present(step.output.rotmat, "rotations").new_zeros(())
    for name, bodies in step.output.aux.items():
        if not isinstance(bodies, HPSOutput):
            continue
        plain = name.removeprefix(HALLUCINATED)
        distance = int(plain.removeprefix(DELTA)) if plain.startswith(DELTA) else 0
        first, last = max(0, -distance), min(step.frames, step.frames - distance)
        if first >= last:
            continue
        index = torch.arange(first, last, device=step.batch.has_smpl.device) + distance
        errors = frame_errors(
            step,
            _rows(bodies, first, last),
            index,
            fitted=distance != 0,
            absolute="keypoints2d_distance" in step.weights,
        )
        total = total + weighted_mean(step, errors, index)
    return Part(total, len(step.batch.has_smpl))


def _rows(bodies: HPSOutput, first: int, last: int) -> HPSOutput:
    camera = None if bodies.camera is None else bodies.camera[:, first:last]
    return HPSOutput(
        rotmat=present(bodies.rotmat, "rotations")[:, first:last],
        betas=present(bodies.betas, "betas")[:, first:last],
        camera=camera,
    )
