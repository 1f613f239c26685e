"""Compression: the whole frame encoded as a JPEG of low quality and decoded again."""

import numpy as np
import simplejpeg

from hpsbench.corruption._corruption import Corruption, Fill, Image, Scene, strengths
from hpsbench.types import IntArray

# Severity 1..5: quality as libjpeg counts it (imagecorruptions: jpeg_compression).
QUALITY = (25.0, 18.0, 15.0, 10.0, 7.0)


def draw_quality(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 1) quality; nothing is drawn."""
    del scene, rng
    return np.full((len(hit), 1), round(strength[0]), np.int64)


def compress(image: Image, what: IntArray, fill: Fill) -> Image:
    """The image through a JPEG with halved colour resolution."""
    del fill
    encoded = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=int(what[0]), colorspace="RGB", colorsubsampling="420"
    )
    decoded: Image = simplejpeg.decode_jpeg(encoded, colorspace="RGB")
    return decoded


CORRUPTION = Corruption(
    name="jpeg",
    kind="image",
    levels=strengths(*QUALITY),
    columns=("quality",),
    draw=draw_quality,
    paint=compress,
)
