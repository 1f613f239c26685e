import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpsbench.errors import (
    BrokenFile,
    FeatureMismatch,
    HpsbenchError,
    MissingCheckpoint,
    MissingRawFiles,
    UnknownName,
)
from hpsbench.features.images import crop, decode
from hpsbench.pipeline import extract as module
from hpsbench.pipeline.extract import extract
from hpsbench.pipeline.work import lock
from hpsbench.store import layout
from hpsbench.store.reader import open_store

MakeStore = Callable[..., Path]


def run(path: Path, **changes: object) -> module.FeatureJob:
    root = path.parents[1]
    settings = {"view": "tcmr", "extractor": "patches", "raw": root / "raw", "device": "cpu", **changes}
    return extract(path, root, **settings)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "FEATURE_CHUNK_ROWS", 12)


@pytest.mark.usefixtures("patches")
def test_each_kept_row_gets_the_features_of_its_own_crop(image_store: MakeStore, patches: type) -> None:
    path = image_store()
    job = run(path)
    assert (job.features, job.frames, job.images) == ("patches-tcmr", 47, 47)
    store = open_store(path)
    features = store.features["patches-tcmr"]
    np.testing.assert_array_equal(features.row, np.flatnonzero(store.views["tcmr"].keep))
    row = 35  # frame 5 of the second track
    image = decode(path.parents[1] / "raw/imageFiles/b_00/image_00005.jpg")
    cut = crop(image, store.views["tcmr"].bbox_cxcywh[row], 1.3, 32)
    expected = patches()(np.broadcast_to(cut, (16, 32, 32, 3)))[0]
    np.testing.assert_array_equal(features.of(np.array([row]))[0], expected)
    assert features.attrs["corruption"] is None
    assert features.attrs["weights_sha256"] == "5" * 64
    assert features.attrs["crop_scale"] == 1.3
    assert features.attrs["view"] == "tcmr"
    assert features.attrs["decoder"].startswith("simplejpeg")


@pytest.mark.usefixtures("patches", "small_chunks")
def test_workers_and_interruptions_don_t_change_a_byte(
    image_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = image_store()
    run(path, workers=1)
    whole = content(path)
    shutil.rmtree(path / "features" / "patches-tcmr")
    run(path, workers=4)
    assert content(path) == whole
    shutil.rmtree(path / "features" / "patches-tcmr")

    compute, calls = module.compute_features, []

    def stops_at_third(*args: object, **kwargs: object) -> np.ndarray:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "compute_features", stops_at_third)
    with pytest.raises(KeyboardInterrupt):
        run(path)
    assert open_store(path).incomplete_features == ["patches-tcmr"]
    job = run(path)
    assert (job.done, job.images) == (24, 23)
    assert content(path) == whole


SLOW_EXTRACTION = """
import sys, time
from pathlib import Path
import numpy as np
from hpsbench.features import backbones
from hpsbench.pipeline.extract import extract
from hpsbench.store import layout

class Slow:
    name, dim, size, batch, device, synthetic, sha256 = "patches", 48, 32, 16, "cpu", True, "5" * 64

    def __call__(self, batch):
        time.sleep(0.3)
        cells = batch.reshape(16, 4, 8, 4, 8, 3).astype(np.float32)
        return np.ascontiguousarray(cells.mean(axis=(2, 4)).reshape(16, 48))

layout.FEATURE_CHUNK_ROWS = 12
backbones._OURS["patches"] = lambda root, device: Slow()
store, root = Path(sys.argv[1]), Path(sys.argv[2])
extract(store, root, view="tcmr", extractor="patches", raw=root / "raw", device="cpu")
"""


@pytest.mark.usefixtures("patches", "small_chunks")
def test_a_killed_extraction_resumes_to_the_same_bytes(image_store: MakeStore) -> None:
    path = image_store()
    run(path)
    whole = content(path)
    shutil.rmtree(path / "features" / "patches-tcmr")
    first_chunk = path / "features" / "patches-tcmr" / "data" / "c" / "0" / "0"
    process = subprocess.Popen([sys.executable, "-c", SLOW_EXTRACTION, str(path), str(path.parents[1])])
    deadline = time.monotonic() + 60
    while not first_chunk.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert open_store(path).incomplete_features == ["patches-tcmr"]
    assert run(path, workers=4).done >= 12
    assert content(path) == whole


@pytest.mark.usefixtures("patches")
def test_a_missing_image_and_one_that_is_no_jpeg_are_named_and_nothing_is_damaged(
    image_store: MakeStore,
) -> None:
    path = image_store()
    image = path.parents[1] / "raw/imageFiles/b_00/image_00007.jpg"
    good = image.read_bytes()
    image.write_bytes(b"<html>")
    with pytest.raises(BrokenFile, match=r"image_00007\.jpg is not a JPEG"):
        run(path)
    image.unlink()
    with pytest.raises(MissingRawFiles, match=r"image_00007\.jpg is missing"):
        run(path)
    image.write_bytes(good)
    assert run(path).frames == 47


@pytest.mark.usefixtures("patches")
def test_a_dry_run_plans_and_touches_nothing(image_store: MakeStore) -> None:
    path = image_store()
    before = content(path)
    job = run(path, dry_run=True)
    assert (job.frames, job.images, job.seconds) == (47, 47, None)
    assert content(path) == before
    run(path)
    again = run(path, dry_run=True)
    assert (again.images, again.done) == (0, 47)


@pytest.mark.usefixtures("patches")
def test_splits_and_limits(image_store: MakeStore) -> None:
    path = image_store()
    assert run(path, splits=["test"]).frames == 19
    assert run(path, splits=["train"]).frames == 47
    limited = run(path, limit=5)
    assert (limited.features, limited.frames) == ("patches-tcmr-first5", 5)
    assert open_store(path).features["patches-tcmr-first5"].attrs["partial"] is True
    with pytest.raises(UnknownName, match="Did you mean 'train'"):
        run(path, splits=["trian"])
    with pytest.raises(UnknownName, match="tcmr"):
        run(path, view="tmcr")


@pytest.mark.usefixtures("patches")
def test_a_set_that_another_process_works_on_is_left_alone(image_store: MakeStore) -> None:
    path = image_store()
    run(path, splits=["test"])
    before = content(path / "features")
    with (
        lock(path.parents[1], f"{path.stem}-patches-tcmr"),
        pytest.raises(HpsbenchError, match="another process"),
    ):
        run(path, splits=["train"])
    assert content(path / "features") == before


@pytest.mark.usefixtures("patches")
def test_progress_tells_frames_and_speed(image_store: MakeStore) -> None:
    path, seen = image_store(), []
    run(path, progress=lambda done, total, note: seen.append((done, total, note)))
    assert [done for done, _, _ in seen] == [16, 32, 47]
    assert {total for _, total, _ in seen} == {47}
    assert "frames/s" in seen[0][2]


@pytest.mark.usefixtures("patches")
def test_real_data_never_get_a_synthetic_encoder(image_store: MakeStore) -> None:
    path = image_store(synthetic=False)
    with pytest.raises(FeatureMismatch, match="real data"):
        run(path)
    with pytest.raises(MissingCheckpoint, match=r"checkpoints/spin/model_checkpoint\.pt"):
        run(path, extractor="auto")
