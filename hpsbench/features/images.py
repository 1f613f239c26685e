"""From an image file to the network's input: decode, crop, normalise.

An image is (H, W, 3) uint8 RGB; a box is (cx, cy, w, h) in pixels with w = h.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from hpsbench.errors import BadData, BrokenFile, MissingRawFiles
from hpsbench.types import FloatArray

if TYPE_CHECKING:
    import torch

Image = NDArray[np.uint8]

DECODER = f"simplejpeg {simplejpeg.__version__}"

# Per channel, RGB, of images scaled to [0, 1]; models.md 1.1.
CHANNEL_MEAN = (0.485, 0.456, 0.406)
CHANNEL_STD = (0.229, 0.224, 0.225)

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST_SHIFT = 1e7  # pixels; a box further away than this is a broken box


def decode(path: Path) -> Image:
    """Read one image file.

    Returns: (H, W, 3) uint8 RGB.

    Raises:
        MissingRawFiles: there is no such file.
        BrokenFile: it is neither JPEG nor PNG, or it is damaged or cut off.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingRawFiles(
            f"image {path} is missing; unpack the dataset's images there, then run the command again"
        ) from error
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise BrokenFile(f"image {path} cannot be read ({error}); it should be a JPEG file") from error
    return decode_bytes(data, str(path))


def decode_bytes(data: bytes, name: str) -> Image:
    """Decode the bytes of a JPEG (or PNG) file that messages call `name`; see `decode`."""
    if data.startswith(_JPEG):
        try:
            image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB")
        except ValueError as error:
            raise BrokenFile(f"image {name} is a damaged JPEG ({error}); replace the file") from error
        return image
    if data.startswith(_PNG):
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise BrokenFile(f"image {name} is a damaged PNG; replace the file")
        return np.ascontiguousarray(bgr[..., ::-1]).astype(np.uint8, copy=False)
    raise BrokenFile(
        f"image {name} is not a JPEG: it begins with {data[:8]!r} ({len(data)} bytes); replace the file"
    )


def crop(image: Image, bbox_cxcywh: FloatArray, scale: float, size: int) -> Image:
    """Cut the square round a box and resize it, as every feature of the field is made.

    x' = (x - cx) * size / (scale * side) + size / 2, the same for y; bilinear, black outside the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        bbox_cxcywh: (4,) pixels; its width is the side.
        scale: enlargement of the box, the view's crop scale.
        size: side of the result in pixels.

    Returns: (size, size, 3) uint8 RGB.

    Raises:
        BadData: the box is not finite or has no size.

    Source: VIBE `lib/data_utils/img_utils.py` (three-point affine, cv2 bilinear, zero border).
    """
    cx, cy, side = (float(v) for v in bbox_cxcywh[:3])
    if not (
        np.isfinite([cx, cy, side]).all() and 0 < side < _LARGEST_SHIFT and abs(cx) + abs(cy) < _LARGEST_SHIFT
    ):
        raise BadData(
            f"a box must be finite and have a size, got (cx, cy, w, h) = {np.asarray(bbox_cxcywh).tolist()}"
        )
    zoom = size / (scale * side)
    matrix = np.array([[zoom, 0.0, size / 2 - zoom * cx], [0.0, zoom, size / 2 - zoom * cy]])
    cut: Image = cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )
    return cut


def normalise(batch: "torch.Tensor") -> "torch.Tensor":
    """(B, S, S, 3) uint8 RGB -> (B, 3, S, S) float32, scaled to [0, 1], then (x - mean) / std per channel."""
    mean = batch.new_tensor([m * 255 for m in CHANNEL_MEAN], dtype=_float32(batch))
    std = batch.new_tensor([s * 255 for s in CHANNEL_STD], dtype=_float32(batch))
    return ((batch.float() - mean) / std).permute(0, 3, 1, 2)


def _float32(batch: "torch.Tensor") -> "torch.dtype":
    return batch.new_empty(0).float().dtype
