"""What the feature set of every corruption keeps, whoever adds it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.features.corrupted import corrupted_crop
from hpsbench.features.frames import Frames
from hpsbench.pipeline.corrupt import corrupt, manifest_table, preview
from hpsbench.pipeline.extract import extract
from hpsbench.store import layout
from hpsbench.store.reader import open_store


@pytest.fixture
def clean(image_store: Callable[..., Path], patches: type, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of two tracks with a clean set in chunks of 12 rows."""
    del patches
    monkeypatch.setattr(layout, "FEATURE_CHUNK_ROWS", 12)
    path = image_store()
    extract(
        path, path.parents[1], view="tcmr", extractor="patches", raw=path.parents[1] / "raw", device="cpu"
    )
    return path


@pytest.mark.parametrize("name", list_corruptions())
def test_a_feature_set_is_the_clean_one_but_for_its_manifest(name: str, clean: Path, tmp_path: Path) -> None:
    """Clean rows bit-equal, listed rows other; the same bytes from any number of workers; the manifest tells all."""
    root, folder = clean.parents[1], clean / "features"
    settings = {
        "mode": name,
        "severity": 4,
        "splits": None,
        "view": "tcmr",
        "raw": root / "raw",
        "device": "cpu",
    }
    job = corrupt(clean, root, **settings)  # type: ignore[arg-type]
    store = open_store(clean)
    before, after = store.features["patches-tcmr"], store.features[job.features]
    record = after.attrs["corruption"]
    hit = np.asarray(record["hits"]["row"])
    assert len(hit) > 0
    differs = (before.data[:] != after.data[:]).any(axis=1)
    np.testing.assert_array_equal(after.row[differs], hit)

    made = {p: p.read_bytes() for p in sorted((folder / job.features).rglob("*")) if p.is_file()}
    (folder / job.features).rename(tmp_path / "one-worker")
    corrupt(clean, root, workers=3, **settings)  # type: ignore[arg-type]
    assert {p: p.read_bytes() for p in made} == made

    table = manifest_table(store, job.features)
    corruption = get_corruption(str(record["mode"]))
    assert list(table) == ["row", "track", "frame_id", *corruption.columns]
    frames = Frames(store, root / "raw", "tcmr")
    numbers = table[list(corruption.columns)].to_numpy(np.int64)
    crops = [corrupted_crop(frames, corruption, int(r), n, 32) for r, n in zip(hit, numbers, strict=True)]
    cells = np.stack(crops).reshape(len(hit), 4, 8, 4, 8, 3).astype(np.float32).mean(axis=(2, 4))
    np.testing.assert_allclose(after.of(hit), cells.reshape(len(hit), -1), rtol=1e-6)

    sheet = preview(clean, root, job.features, tmp_path / "sheet.png", count=2, raw=root / "raw")
    assert sheet.stat().st_size > 0
