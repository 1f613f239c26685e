"""Vertex errors."""

from hpsbench.metrics.checks import FrameValues, Vertices, check_finite, check_metres, check_pair, quiet
from hpsbench.metrics.distances import mean_vertex_distance


@quiet
def pve(pred: Vertices, target: Vertices) -> FrameValues:
    """Mean vertex distance (MPVPE, MVE) of the meshes as they are given, without any alignment.

    On meshes with their root at the model's origin this is `pve_raw` of the VIBE family; after each mesh has lost its
    own pelvis it is `pve_pelvis`. Works frame by frame: the extra memory does not grow with T.
    float32 meshes of 1,024 vertices or more are squared in float32 and averaged in float64, right to a nanometre.

    Args:
        pred: (T, V, 3) metres.
        target: (T, V, 3) metres.

    Returns:
        (T,) millimetres.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
    """
    check_pair(pred, target, "V, 3")
    check_metres(pred, "pred")
    check_metres(target, "target")
    return check_finite(mean_vertex_distance(pred, target), pred, target)
