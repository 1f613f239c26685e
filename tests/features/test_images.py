from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
import torch

from hpsbench.errors import BadData, BrokenFile, MissingRawFiles
from hpsbench.features.images import crop, decode, normalise


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth (48, 64, 3) picture, different in each channel."""
    y, x = np.mgrid[:48, :64]
    return np.stack([x * 4, y * 5, 255 - 2 * (x + y)], axis=-1).astype(np.uint8)


def test_jpeg_and_png_come_back_as_rgb(tmp_path: Path, picture: np.ndarray) -> None:
    (tmp_path / "a.jpg").write_bytes(simplejpeg.encode_jpeg(picture, quality=95))
    cv2.imwrite(str(tmp_path / "b.png"), picture[..., ::-1])
    assert np.abs(decode(tmp_path / "a.jpg").astype(int) - picture).mean() < 3
    np.testing.assert_array_equal(decode(tmp_path / "b.png"), picture)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingRawFiles, match=r"image_00003\.jpg is missing"):
        decode(tmp_path / "image_00003.jpg")


@pytest.mark.parametrize("content", [b"", b"GIF89a....", b"<html>not found</html>"])
def test_what_is_not_a_jpeg_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image_00000.jpg"
    path.write_bytes(content)
    with pytest.raises(BrokenFile, match=r"image_00000\.jpg is not a JPEG"):
        decode(path)


@pytest.mark.parametrize("keep", [3, 200, 0.5, -2])
def test_a_truncated_jpeg_is_an_error_and_not_a_grey_image(
    tmp_path: Path, picture: np.ndarray, keep: float
) -> None:
    data = simplejpeg.encode_jpeg(np.tile(picture, (4, 4, 1)), quality=95)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(keep * len(data))] if isinstance(keep, float) else data[:keep])
    with pytest.raises(BrokenFile, match=r"cut\.jpg is a damaged JPEG"):
        decode(path)


def test_a_crop_maps_points_as_the_formula_says() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[80:83, 120:123] = 255  # a dot round (121, 81)
    box, scale, size = np.array([100.0, 90.0, 60.0, 60.0]), 1.25, 150
    zoom = size / (scale * 60)
    cut = crop(image, box, scale, size)
    y, x = np.nonzero(cut[..., 0] > 127)
    assert cut.shape == (150, 150, 3)
    np.testing.assert_allclose(
        [x.mean(), y.mean()], [(121 - 100) * zoom + size / 2, (81 - 90) * zoom + size / 2], atol=0.6
    )


def test_a_crop_without_zoom_is_the_pixels_themselves(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(crop(picture, np.array([30.0, 20, 16, 16]), 1.0, 16), picture[12:28, 22:38])


def test_outside_the_image_is_black(picture: np.ndarray) -> None:
    cut = crop(picture, np.array([0.0, 0, 32, 32]), 1.0, 32)
    assert (cut[:15] == 0).all()
    assert (cut[:, :15] == 0).all()
    assert cut[20:, 20:].any()


@pytest.mark.parametrize("box", [[np.nan, 1, 5, 5], [1, 1, 0, 0], [1, 1, -4, -4], [1, 1, np.inf, np.inf]])
def test_a_box_without_size_is_refused(picture: np.ndarray, box: list[float]) -> None:
    with pytest.raises(BadData, match="box must be finite"):
        crop(picture, np.array(box), 1.2, 32)


def test_normalise_is_the_field_s_mean_and_deviation() -> None:
    batch = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    out = normalise(batch)
    assert out.shape == (1, 3, 1, 1)
    torch.testing.assert_close(out.flatten(), torch.tensor(expected))
