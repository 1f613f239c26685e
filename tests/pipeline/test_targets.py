"""Masks and dense flow beside a store: where they come from, and that they lie where the person is."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpsbench.errors import MissingData, UnknownName
from hpsbench.pipeline.targets import SIDE, fill, target_crop_scale, write_targets
from hpsbench.store.reader import ClipStore, open_store


@pytest.fixture
def root(tiny_world: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    for name in ("raw", "body_models", "stores"):
        (folder / name).symlink_to(tiny_world / name)
    return folder


@pytest.fixture
def store(root: Path) -> ClipStore:
    return open_store(root / "stores" / "3dpw.zarr")


def seen_in_crop(store: ClipStore, row: int) -> np.ndarray:
    """(n, 2) pixels of the small crop where keypoints of a row are detected."""
    box = store.views["tcmr"].bbox_cxcywh[row]
    points = np.asarray(store.frames["keypoints2d"][np.array([row])])[0]
    points = points[points[:, 2] > 0.3, :2]
    return (points - box[:2]) * SIDE / (1.2 * box[2]) + SIDE / 2


def test_true_silhouettes_cover_the_keypoints(root: Path, store: ClipStore) -> None:
    card = write_targets(store.path, root, view="tcmr", kind="masks")
    assert card["crop_scale"] == 1.2
    masks = np.load(card["path"])
    kept = store.views["tcmr"].keep
    assert masks.shape == (len(store), SIDE, SIDE)
    assert set(np.unique(masks)) == {0, 1}
    assert not masks[~kept].any()
    assert 0.03 < masks[kept].mean() < 0.6
    hit = []
    for row in np.flatnonzero(kept):
        grown = cv2.dilate(masks[row], np.ones((5, 5), np.uint8))
        points = np.round(seen_in_crop(store, int(row))).astype(int)
        points = points[((points >= 0) & (points < SIDE)).all(axis=1)]
        hit += grown[points[:, 1], points[:, 0]].tolist()
    assert np.mean(hit) > 0.9
    assert json.loads(Path(card["path"]).with_suffix(".json").read_text())["source"].startswith("silhouettes")


def test_targets_of_images_that_are_crops_lie_over_the_images() -> None:
    assert (
        target_crop_scale({"crop_scale": 1.0, "box": {"rule": "fixed", "cxcywh": [112, 112, 224, 224]}})
        == 1.0
    )
    assert target_crop_scale({"crop_scale": 1.0, "box": {"rule": "smoothed"}}) == 1.2
    assert target_crop_scale({}) == 1.2


def test_a_users_masks_win_and_missing_ones_are_counted(root: Path, store: ClipStore) -> None:
    track = next(iter(store.tracks("train")))
    row = int(track.rows[store.views["tcmr"].keep[track.rows]][0])
    frame = int(store.frames["frame_id"][np.array([row])][0])
    box = store.views["tcmr"].bbox_cxcywh[row]
    image = np.zeros((int(track.clips["height"].iloc[0]), int(track.clips["width"].iloc[0])), np.uint8)
    image[:, : int(box[0])] = 255  # everything left of the box's middle
    folder = root / "masks" / "3dpw" / track.track
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / f"{frame:05d}.png"), image)
    card = write_targets(store.path, root, view="tcmr", kind="masks")
    assert card["without"] == card["rows"] - 1
    mask = np.load(card["path"])[row]
    assert not mask[:, SIDE // 2 + 1 :].any()
    assert mask[SIDE // 2, SIDE // 2 - 2]


def test_real_data_needs_the_users_masks(tiny_world: Path, tmp_path: Path) -> None:
    path = tmp_path / "stores" / "3dpw.zarr"
    shutil.copytree(tiny_world / "stores" / "3dpw.zarr", path)
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"synthetic": true', '"synthetic": false'))
    with pytest.raises(
        MissingData, match=r"no masks of 3dpw: put one PNG.*masks/3dpw/<track>/<frame_id>\.png"
    ):
        write_targets(path, tmp_path, view="tcmr", kind="masks")
    with pytest.raises(UnknownName, match=r"kind of target 'mask'.*Did you mean 'masks'"):
        write_targets(path, tmp_path, view="tcmr", kind="mask")


def test_dense_flow_is_zero_where_a_clip_begins(root: Path, store: ClipStore) -> None:
    card = write_targets(store.path, root, view="tcmr", kind="flow", method="dis-ultrafast")
    flow = np.load(card["path"])
    kept = np.flatnonzero(store.views["tcmr"].keep)
    assert flow.shape == (len(store), 2, SIDE, SIDE)
    moving = np.abs(flow[kept]).max(axis=(1, 2, 3)) > 0
    assert 0 < card["without"] < len(kept)
    assert (~moving).sum() == card["without"]
    assert np.abs(flow).max() < 2


def test_triangles_are_filled_where_they_lie() -> None:
    points = np.array([[1, 1], [6, 1], [1, 6], [100, 100]], float)
    mask = fill(points, np.array([[0, 1, 2]]), 8)
    assert mask[2, 2] == 255
    assert mask[7, 7] == 0
