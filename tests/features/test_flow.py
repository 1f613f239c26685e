"""Optical flow between crops: direction, scale, edges; its extractor and feature sets."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hpsbench.errors import CheckpointMismatch, FeatureMismatch, MissingCheckpoint, UsageError
from hpsbench.features.backbones import ResNet50, get_extractor, list_extractors
from hpsbench.features.embedded import EmbeddedEncoder
from hpsbench.features.flow import METHODS, TWIN, dis_flow, flow_planes, planes_of_pairs
from hpsbench.features.frames import Frames
from hpsbench.pipeline.extract import extract
from hpsbench.store.reader import open_store


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    rough = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    return cv2.resize(rough, (320, 320), interpolation=cv2.INTER_CUBIC)


def cut(texture: np.ndarray, x: int, y: int, side: int = 224) -> np.ndarray:
    return texture[y : y + side, x : x + side].copy()


@pytest.mark.parametrize("method", METHODS)
def test_flow_points_to_where_things_were(texture: np.ndarray, method: str) -> None:
    """The window moves right by 6 and down by 3, so what it shows moves left and up; before, it was right and below."""
    before, now = cut(texture, 40, 40), cut(texture, 46, 43)
    flow = dis_flow(now, before, method)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[40:-40, 40:-40], axis=(0, 1)), [6, 3], atol=0.3)


def test_the_same_picture_has_exactly_no_flow(texture: np.ndarray) -> None:
    assert not dis_flow(cut(texture, 9, 9), cut(texture, 9, 9)).any()


def test_planes_are_relative_to_the_side_and_clipped() -> None:
    flow = np.zeros((224, 224, 2), np.float32)
    flow[..., 0], flow[..., 1] = 12, -16
    planes = flow_planes(flow)
    assert planes.shape == (3, 224, 224)
    np.testing.assert_allclose(planes[:, 0, 0], [0.6, -0.8, 1.0], atol=1e-6)
    half = flow_planes(flow[:112, :112] / 2)
    np.testing.assert_allclose(half[:, 0, 0], [0.6, -0.8, 1.0], atol=1e-6)
    np.testing.assert_allclose(flow_planes(3 * flow)[:, 0, 0], [1, -1, 1])


def test_pairs_have_the_earlier_crop_on_top(texture: np.ndarray) -> None:
    before, now = cut(texture, 40, 40), cut(texture, 46, 43)
    planes = planes_of_pairs(np.concatenate([before, now])[None])
    np.testing.assert_array_equal(planes[0], flow_planes(dis_flow(now, before)))


def test_flow_extractors_are_listed_and_ask_for_their_network(tmp_path: Path) -> None:
    assert {"flow-dis", "flow-dis-fast", "flow-dis-ultrafast"} <= set(list_extractors())
    with pytest.raises(MissingCheckpoint, match=r"resnet50-0676ba61\.pth.*hpsbench train flow-encoder"):
        get_extractor("flow-dis", tmp_path)


def test_torchvisions_resnet_is_read_by_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    torch.manual_seed(0)
    state = {**ResNet50().state_dict(), "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save(state, folder / "resnet50-0676ba61.pth")
    network = get_extractor("flow-dis-fast", tmp_path)
    assert (network.size, network.dim, network.synthetic) == (224, 2048, False)
    assert network.about["flow"]["preset"] == "fast"
    assert network.about["flow"]["cnn"] == "ImageNet ResNet-50 (resnet50-0676ba61.pth)"
    assert network(np.zeros((1, 448, 224, 3), np.uint8)).shape == (1, 2048)
    shutil.copy(folder / "resnet50-0676ba61.pth", folder / "resnet50-11ad3fa6.pth")
    with pytest.raises(UsageError, match=r"several ResNet-50 files .*resnet50-11ad3fa6\.pth"):
        get_extractor("flow-dis", tmp_path)
    (folder / "resnet50-11ad3fa6.pth").unlink()
    torch.save({"conv1.weight": torch.zeros(1)}, folder / "resnet50-0676ba61.pth")
    with pytest.raises(CheckpointMismatch, match="entries missing"):
        get_extractor("flow-dis", tmp_path)


def test_flow_features_of_a_store(tiny_world: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(tiny_world, root)
    torch.manual_seed(0)
    (root / TWIN).parent.mkdir(exist_ok=True)
    save_file(EmbeddedEncoder().state_dict(), root / TWIN)
    path = root / "stores" / "3dpw.zarr"
    job = extract(path, root, view="tcmr", extractor="flow-dis", splits=["test"])
    assert job.features == "flow-dis-tcmr"
    store = open_store(path)
    found = store.features["flow-dis-tcmr"]
    assert found.attrs["kind"] == "flow"
    assert found.attrs["flow"]["method"] == "DIS"
    assert found.attrs["flow"]["preset"] == "medium"
    assert found.attrs["flow"]["opencv"] == cv2.__version__
    frames = Frames(store, root / "raw" / "3dpw", "tcmr")
    first = [int(row) for row in found.row if frames.earlier(int(row)) is None]
    still = found.of(np.array(first))
    assert len(first) < len(found.row)
    np.testing.assert_allclose(
        still, still[:1].repeat(len(first), axis=0), atol=1e-5
    )  # zero flow, one feature
    rest = np.setdiff1d(found.row, first)
    assert (np.abs(found.of(rest) - still[0]).max(axis=1) > 1e-3).mean() > 0.9
    earlier = frames.earlier(int(rest[0]))
    assert store.views["tcmr"].keep[earlier]


def test_the_twin_never_stands_on_real_data(tiny_world: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(tiny_world / "stores", root / "stores")
    (root / TWIN).parent.mkdir()
    save_file(EmbeddedEncoder().state_dict(), root / TWIN)
    path = root / "stores" / "3dpw.zarr"
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"synthetic": true', '"synthetic": false'))
    with pytest.raises(FeatureMismatch, match=r"trained on synthetic images and .* is real data"):
        extract(path, root, view="tcmr", extractor="flow-dis")
