"""Soft silhouettes of the predicted meshes against masks (SPS-Net)."""

from hpsbench.geometry.cameras import project_crop
from hpsbench.losses.mask import mask_loss, soft_silhouette
from hpsbench.training.step import Part, Step, present


def term(step: Step) -> Part:
    """See `mask_loss`; frames that have a mask take part, and only their meshes are built."""
    has = present(step.batch.has_mask, "masks")[:, step.index].flatten()
    rotmat = present(step.output.rotmat, "rotations").flatten(0, 1)[has]
    betas = present(step.output.betas, "betas").flatten(0, 1)[has]
    camera = present(step.output.camera, "a camera").flatten(0, 1)[has]
    if len(rotmat) == 0:
        return Part(0.0 * present(step.output.rotmat, "rotations").sum(), 0)
    masks = step.wanted("masks")[has]
    points = project_crop(step.body.vertices(rotmat, betas), camera)
    silhouettes = soft_silhouette(points, masks.shape[-1])
    return Part(mask_loss(silhouettes, masks, has[has]), len(masks))
