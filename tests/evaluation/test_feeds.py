"""What systems are given besides features: another system's predictions, corrupted crops, flow features."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import BadData, FeatureMismatch, MissingFeatures, UnknownName, UsageError
from hpsbench.evaluation.feeds import load_source
from hpsbench.evaluation.plan import plan_evaluation
from hpsbench.evaluation.run import evaluate, predict
from hpsbench.features.frames import Frames
from hpsbench.models._catalog import load_system
from hpsbench.models.lstm_kalman import LstmKalman
from hpsbench.pipeline.corrupt import corrupt
from hpsbench.predictions.files import save_predictions
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.types import ClipInput, Inputs, Prediction


class Watcher:
    """Remembers what it is given, and says that all joints are at the origin."""

    name, context = "watcher", None

    def __init__(self, **inputs: Any) -> None:
        self.inputs, self.seen = Inputs(**inputs), []

    def predict(self, clip: ClipInput) -> Prediction:
        self.seen.append(clip)
        joints = np.zeros((clip.length, 14, 3), np.float32)
        return Prediction(rows=np.arange(clip.length), joints3d=joints, joint_set="lsp14")


@pytest.fixture
def made(tiny_world: Path) -> ClipStore:
    return open_store(tiny_world / "stores" / "3dpw.zarr")


@pytest.fixture
def kalman() -> LstmKalman:
    return LstmKalman(hidden_size=8, noise_size=6).eval()


def test_a_filter_reads_the_system_that_it_names(made: ClipStore, kalman: LstmKalman) -> None:
    result = evaluate(kalman, "tcmr", made)
    about = result.provenance["inputs"]["predictions"]
    assert (about["system"], about["features"]) == ("spin", "embedded-tcmr")
    assert len(about["checkpoint_sha256"]) == 64
    assert result.provenance["features"] == "embedded-tcmr"
    assert result.windowing == "system"
    assert result.summary["mpjpe"].n == result.accounting["scored"]


def test_predictions_from_a_file_are_the_same_as_from_the_system(
    made: ClipStore, kalman: LstmKalman, tmp_path: Path
) -> None:
    spin = load_system("embedded-spin")
    path = save_predictions(predict(spin, made, "tcmr"), tmp_path / "spin.npz")
    source = load_source(path)
    from_file = predict(kalman, made, "tcmr", predictions=source)
    from_system = predict(kalman, made, "tcmr", predictions=spin)
    np.testing.assert_allclose(from_file.arrays["joints3d"], from_system.arrays["joints3d"], atol=1e-6)
    with pytest.raises(UsageError, match="not its own"):
        predict(kalman, made, "tcmr", predictions=kalman)


def test_predictions_of_other_frames_are_refused(made: ClipStore, kalman: LstmKalman) -> None:
    found = predict(load_system("embedded-spin"), made, "tcmr", limit=1)
    with pytest.raises(BadData, match="the other system's predictions have none of its"):
        evaluate(kalman, "tcmr", made, predictions=found)


def test_images_of_a_corrupted_set_are_corrupted(tiny_world: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(tiny_world, root)
    path = root / "stores" / "3dpw.zarr"
    job = corrupt(path, root, mode="center", ratio=0.5, seed=0, splits=["test"], view="tcmr")
    store, watcher = open_store(path), Watcher(images=32)
    result = evaluate(watcher, "tcmr", store, features=job.features, limit=1)
    assert result.condition == "center-0.5x1-s0"
    hits = set(store.features[job.features].attrs["corruption"]["hits"]["row"])
    frames, clip = Frames(store, root / "raw" / "3dpw", "tcmr"), watcher.seen[0]
    rows = next(iter(store.tracks("test"))).rows
    rows = rows[np.isin(np.asarray(store.frames["frame_id"][rows]), clip.frame_id)]
    changed = [
        bool((image != frames.crop(int(row), 32)).any())
        for row, image in zip(rows, clip.images(np.arange(clip.length)), strict=True)
    ]
    assert changed == [int(row) in hits for row in rows]
    assert 0 < sum(changed) < len(changed)


@pytest.fixture
def with_flow(tiny_world: Path, tmp_path: Path) -> ClipStore:
    """The tiny store with a set of eight numbers a frame that says it is of optical flow."""
    path = tmp_path / "stores" / "3dpw.zarr"
    shutil.copytree(tiny_world / "stores" / "3dpw.zarr", path)
    rows = np.flatnonzero(open_store(path).views["tcmr"].keep)
    attrs = {
        "kind": "flow",
        "extractor": "flow-test",
        "weights_sha256": "ab",
        "crop_scale": 1.2,
        "view": "tcmr",
        "corruption": None,
    }
    writer = FeatureSetWriter.create(path, "flow-test-tcmr", rows=rows, dim=8, attrs=attrs)
    for chunk in list(writer.open_chunks()):
        own = writer.rows_of(chunk)
        writer.write(chunk, np.tile(own[:, None], (1, 8)).astype(np.float32))
    writer.finish()
    (tmp_path / "body_models").symlink_to(tiny_world / "body_models")
    return open_store(path)


def test_flow_features_are_those_of_the_view(with_flow: ClipStore) -> None:
    watcher = Watcher(features=2048, flow=8)
    result = evaluate(watcher, "tcmr", with_flow, limit=1)
    clip = watcher.seen[0]
    assert clip.flow.shape == (clip.length, 8)
    assert (np.diff(clip.flow[:, 0]) > 0).all()
    assert clip.features.shape == (clip.length, 2048)  # a set of flow is not mistaken for features
    assert result.provenance["inputs"]["flow"]["features"] == "flow-test-tcmr"
    plan = plan_evaluation(watcher, "tcmr", with_flow)
    assert plan["inputs"]["flow"]["extractor"] == "flow-test"


def test_flow_features_of_another_kind_are_refused(with_flow: ClipStore) -> None:
    with pytest.raises(FeatureMismatch, match="'embedded-tcmr' is 2048 wide and not of optical flow"):
        evaluate(Watcher(flow=2048), "tcmr", with_flow, flow="embedded-tcmr")
    with pytest.raises(FeatureMismatch, match="width 9; 'flow-test-tcmr' is 8 wide"):
        evaluate(Watcher(flow=9), "tcmr", with_flow)
    with pytest.raises(MissingFeatures, match="no flow features of the view 'vibe'"):
        evaluate(Watcher(flow=8), "vibe", with_flow)
    with pytest.raises(UsageError, match="reads no flow features"):
        evaluate(Watcher(features=2048), "tcmr", with_flow, flow="flow-test-tcmr")


def test_an_unknown_joint_set_is_named(made: ClipStore) -> None:
    with pytest.raises(UnknownName, match="joint set 'mano'"):
        evaluate(Watcher(keypoints2d="mano"), "tcmr", made)


def test_predictions_bring_their_condition_and_flags(made: ClipStore, kalman: LstmKalman) -> None:
    found = predict(load_system("embedded-spin"), made, "tcmr")
    attrs = {**found.attrs, "condition": "center-0.33x1-s0", "seeds": [4], "flags": ["extractor-mismatch"]}
    result = evaluate(kalman, "tcmr", made, predictions=replace(found, attrs=attrs))
    assert result.condition == "center-0.33x1-s0"
    assert tuple(result.seeds) == (4,)
    assert "extractor-mismatch" in result.flags
