"""Real Human3.6M and MPI-INF-3DHP frames through cropping, extraction and every corruption of one frame."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.corruption._corruption import Scene, moved_box
from hpsbench.corruption._plan import keypoint_boxes
from hpsbench.features.backbones import get_extractor
from hpsbench.features.batches import compute_features
from hpsbench.features.embedded import WEIGHTS
from hpsbench.features.images import crop, decode

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples"
SOURCES = (
    ("h36m", "test_h36m_body3d.npz"),
    ("mpi_inf_3dhp", "test_3dhp_train.npz"),
    ("mpi_inf_3dhp", "test_3dhp_test.npz"),
)
CROP_SCALE = 1.2

pytestmark = [
    pytest.mark.samples,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"needs the shared samples at {SAMPLES}"),
]


class Frame(NamedTuple):
    name: str
    image: np.ndarray
    box: np.ndarray
    keypoints: np.ndarray


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Two Human3.6M and two MPI-INF-3DHP frames, with the boxes and 2D joints that came with them."""
    found = []
    for folder, archive in SOURCES:
        content = np.load(SAMPLES / folder / archive)
        for row, name in enumerate(content["imgname"]):
            path = SAMPLES / folder / str(name)
            if path.is_file():
                side = content["scale"][row] * 200
                box = np.array([*content["center"][row], side, side])
                found.append(Frame(path.stem, decode(path), box, content["part"][row]))
    return found


def corrupted(frame: Frame, name: str = "center", severity: int = 3) -> np.ndarray:
    """The crop's frame as an image corruption leaves it."""
    return get_corruption(name).apply(frame.image, planned(frame, name, severity))


def planned(frame: Frame, name: str, severity: int) -> np.ndarray:
    points = np.where(frame.keypoints[:, 2:] > 0.3, frame.keypoints[:, :2], np.nan)
    scene = Scene(
        rows=np.zeros(1, np.int64), tight=keypoint_boxes(frame.keypoints[None], frame.box[None]), boxes=frame.box[None],
        crop_scale=CROP_SCALE, keypoints=points[None], size=(frame.image.shape[1], frame.image.shape[0]),
        others=np.full((1, 4), np.nan),
    )  # fmt: skip
    hit = np.zeros(1, np.int64)
    return np.asarray(get_corruption(name).plan(scene, hit, severity, np.random.default_rng(0))[0])


def test_the_person_fills_the_crop(frames: list[Frame], tmp_path: Path) -> None:
    assert len(frames) == 4
    sheet = []
    for frame in frames:
        cut = crop(frame.image, frame.box, CROP_SCALE, 224)
        points = (frame.keypoints[:, :2] - frame.box[:2]) * 224 / (CROP_SCALE * frame.box[2]) + 112
        assert points.min() >= 0, frame.name
        assert points.max() < 224, frame.name
        assert np.ptp(points, axis=0).max() > 70, frame.name
        sheet.append(np.concatenate([cut, crop(corrupted(frame), frame.box, CROP_SCALE, 224)]))
    cv2.imwrite(str(tmp_path / "sheet.png"), np.concatenate(sheet, axis=1)[..., ::-1])


def test_the_square_hides_the_middle_of_the_person(frames: list[Frame]) -> None:
    hidden = []
    for frame in frames:
        points = frame.keypoints[frame.keypoints[:, 2] > 0.3, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        x, y = ((low + high) / 2).astype(int)
        changed = corrupted(frame)
        assert not changed[y, x].any(), frame.name
        assert (changed != frame.image).any(axis=2).sum() <= round(0.5 * (high[1] - low[1])) ** 2
        columns, rows = points.round().astype(int).T
        hidden.append((changed[rows, columns] == 0).all(axis=1).mean())
    assert 0.2 < np.mean(hidden) < 0.8  # some of the joints, not all


@pytest.mark.parametrize("name", [n for n in list_corruptions() if get_corruption(n).kind == "image"])
def test_every_image_corruption_reaches_the_person(name: str, frames: list[Frame]) -> None:
    for frame in frames:
        clean = crop(frame.image, frame.box, CROP_SCALE, 224).astype(float)
        weak, strong = (
            crop(corrupted(frame, name, severity), frame.box, CROP_SCALE, 224) for severity in (1, 5)
        )
        changes = [np.abs(changed - clean).mean() for changed in (weak, strong)]
        assert changes[0] > 0.2, frame.name
        assert changes[1] > (1.0 if get_corruption(name).graded else 0.8) * changes[0], frame.name


@pytest.mark.parametrize("name", ["wrong-person", "box-jitter"])
def test_every_box_corruption_shows_something_else(name: str, frames: list[Frame]) -> None:
    for frame in frames:
        box = moved_box(planned(frame, name, 3))
        moved = crop(frame.image, box, CROP_SCALE, 224).astype(float)
        assert np.abs(moved - crop(frame.image, frame.box, CROP_SCALE, 224)).mean() > 2, frame.name


@pytest.mark.parametrize("name", ["spin", "embedded"])
def test_features_are_finite_and_feel_the_square(name: str, frames: list[Frame], spin_root: Path) -> None:
    if name == "embedded" and not WEIGHTS.is_file():
        pytest.skip("the embedded encoder has no weights yet")
    extractor = get_extractor(name, spin_root)

    def load(number: int) -> np.ndarray:
        frame = frames[number % 4]
        return crop(frame.image if number < 4 else corrupted(frame), frame.box, CROP_SCALE, extractor.size)

    features = compute_features(extractor, load, 8)
    assert features.shape == (8, 2048)
    assert np.isfinite(features).all()
    assert (features >= 0).all()
    change = np.linalg.norm(features[:4] - features[4:], axis=1) / np.linalg.norm(features[:4], axis=1)
    assert (change > 0.02).all()
