"""Camera consistency: two windows that share frames see them with the same camera.

Source: SPS-Net section 3.4, equation 6.
"""

from torch import Tensor


def camera_consistency_loss(camera: Tensor, shifted: Tensor) -> Tensor:
    """Mean squared difference of the cameras of shared frames; both sides get gradient.

    Args:
        camera: (B, T, 3) of frames 0 to T - 1.
        shifted: (B, T, 3) of frames 1 to T.

    Returns:
        A scalar: mean over B x (T - 1) x 3.
    """
    return (camera[:, 1:] - shifted[:, :-1]).square().mean()
