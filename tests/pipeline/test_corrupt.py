import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpsbench.corruption._block import paint_square
from hpsbench.corruption._catalog import get_corruption
from hpsbench.corruption._corruption import Scene
from hpsbench.errors import (
    BadData,
    FeatureMismatch,
    HpsbenchError,
    MissingFeatures,
    ResumeMismatch,
    UnknownName,
    UsageError,
)
from hpsbench.features import backbones
from hpsbench.features.images import crop, decode
from hpsbench.pipeline.corrupt import corrupt, preview, unchanged_rows, write_manifest
from hpsbench.pipeline.extract import FeatureJob, extract
from hpsbench.pipeline.work import lock
from hpsbench.store import layout
from hpsbench.store.reader import open_store
from hpsbench.types import IntArray

MakeStore = Callable[..., Path]
NAME = "patches-tcmr+center-0.33x1-s0"


@pytest.fixture
def clean(image_store: MakeStore, patches: type, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a clean set in chunks of 12 rows."""
    del patches
    monkeypatch.setattr(layout, "FEATURE_CHUNK_ROWS", 12)
    path = image_store()
    extract(
        path, path.parents[1], view="tcmr", extractor="patches", raw=path.parents[1] / "raw", device="cpu"
    )
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def run(path: Path, **changes: object) -> FeatureJob:
    root = path.parents[1]
    settings = {
        "mode": "center", "ratio": 0.33, "view": "tcmr", "splits": None, "raw": root / "raw", "device": "cpu", **changes
    }  # fmt: skip
    return corrupt(path, root, **settings)  # type: ignore[arg-type]


def test_rows_not_hit_are_the_clean_ones_bit_for_bit_and_all_hit_rows_differ(clean: Path) -> None:
    job = run(clean)
    store = open_store(clean)
    before, after = store.features["patches-tcmr"], store.features[NAME]
    hits = after.attrs["corruption"]["hits"]["row"]
    np.testing.assert_array_equal(before.row, after.row)
    differs = (before.data[:] != after.data[:]).any(axis=1)
    np.testing.assert_array_equal(after.row[differs], hits)
    assert job.frames == 47
    assert job.images == len(hits) == 9 + 6  # a third of 28 and of 19 kept frames, to the nearest
    assert store.features[NAME].attrs["corruption"]["clean"] == "patches-tcmr"


def test_a_hit_row_is_what_the_network_makes_of_the_painted_image(clean: Path, patches: type) -> None:
    run(clean)
    store = open_store(clean)
    features = store.features[NAME]
    hits = features.attrs["corruption"]["hits"]
    number = next(i for i, row in enumerate(hits["row"]) if row >= 30)
    row, frame = hits["row"][number], hits["row"][number] - 30
    keypoints = store.frames["keypoints2d"][row]
    height = np.ptp(keypoints[:, 1])
    assert hits["side"][number] == round(0.5 * height)
    centre = (keypoints[:, :2].min(axis=0) + keypoints[:, :2].max(axis=0)) / 2
    square = np.array([hits[name][number] for name in ("left", "top", "side")])
    assert np.abs(square[:2] + square[2] / 2 - centre).max() <= 0.5
    image = paint_square(decode(clean.parents[1] / f"raw/imageFiles/b_00/image_{frame:05d}.jpg"), square)
    cut = crop(image, store.views["tcmr"].bbox_cxcywh[row], 1.3, 32)
    expected = patches()(np.broadcast_to(cut, (16, 32, 32, 3)))[0]
    np.testing.assert_array_equal(features.of(np.array([row]))[0], expected)


def test_splits_workers_and_interruptions_don_t_change_the_result(clean: Path) -> None:
    run(clean)
    whole = content(clean / "features" / NAME)
    everything = open_store(clean).features[NAME]
    rows, data = np.array(everything.row), np.array(everything.data[:])
    (clean / "features" / NAME / "data" / "c" / "1" / "0").unlink()
    node = clean / "features" / NAME / "zarr.json"
    node.write_text(node.read_text().replace('"complete": true', '"complete": false'))
    run(clean, workers=4)
    assert content(clean / "features" / NAME) == whole
    shutil.rmtree(clean / "features" / NAME)
    run(clean, splits=["test"])
    test_only = open_store(clean).features[NAME]
    np.testing.assert_array_equal(test_only.data[:], data[np.isin(rows, test_only.row)])


def test_a_set_grows_by_splits_and_is_then_the_one_made_at_once(clean: Path) -> None:
    run(clean, splits=["test", "train"])
    at_once = content(clean / "features" / NAME)
    shutil.rmtree(clean / "features" / NAME)
    assert run(clean, splits=["test"]).frames == 19
    assert run(clean, splits=["train"]).frames == 47
    assert content(clean / "features" / NAME) == at_once
    again = run(clean, splits=["test"])
    assert (again.frames, again.images, again.done) == (47, 0, 15)


def test_a_set_that_another_process_works_on_is_left_alone(clean: Path) -> None:
    run(clean, splits=["test"])
    before = content(clean / "features" / NAME)
    with (
        lock(clean.parents[1], f"{clean.stem}-{NAME}"),
        pytest.raises(HpsbenchError, match="another process"),
    ):
        run(clean, splits=["train"])
    assert content(clean / "features" / NAME) == before


def test_seeds_bursts_and_modes_name_sets_of_their_own(clean: Path) -> None:
    run(clean)
    other = run(clean, seed=1, consecutive=3, mode="random")
    assert other.features == "patches-tcmr+random-0.33x3-s1"
    store = open_store(clean)
    rows = [set(store.features[name].attrs["corruption"]["hits"]["row"]) for name in (NAME, other.features)]
    assert rows[0] != rows[1]
    assert run(clean, mode="centre").features == NAME


def test_a_dry_run_tells_how_many_images(clean: Path) -> None:
    job = run(clean, dry_run=True)
    assert (job.images, job.seconds) == (15, None)
    assert job.corruption is not None
    assert job.corruption["hit"] == 15
    assert NAME not in open_store(clean).features


def test_a_dry_run_knows_what_is_there(clean: Path) -> None:
    run(clean)
    assert run(clean, dry_run=True).images == 0
    kept = content(clean)
    (clean / "features" / NAME / "data" / "c" / "1" / "0").unlink()
    job = run(clean, dry_run=True)
    assert 0 < job.images < 15
    assert job.images + job.done == 15
    assert len(content(clean)) == len(kept) - 1
    shutil.rmtree(clean / "features" / NAME)
    run(clean, splits=["test"])
    assert run(clean, splits=["train"], dry_run=True).images == 15, "a set that grows is made again"
    with pytest.raises(UsageError, match="hits no frame"):
        run(clean, ratio=0.01, dry_run=True)


def test_without_a_clean_set_there_is_nothing_to_corrupt(image_store: MakeStore, patches: type) -> None:
    del patches
    path = image_store()
    with pytest.raises(MissingFeatures, match="no clean feature set of view 'tcmr'"):
        run(path)
    with pytest.raises(MissingFeatures, match="run 'hpsbench extract 3dpw --view tcmr'"):
        run(path)
    with pytest.raises(MissingFeatures, match="'patches-tcmr'"):
        run(path, extractor="patches")
    with pytest.raises(UnknownName, match="Did you mean 'tcmr'"):
        run(path, view="tcnr")


def test_of_several_clean_sets_one_is_chosen_by_an_option_that_there_is(
    clean: Path, patches: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "name", "squares")
    monkeypatch.setitem(backbones._OURS, "squares", lambda root, device: patches())
    root = clean.parents[1]
    extract(clean, root, view="tcmr", extractor="squares", raw=root / "raw", device="cpu")
    with pytest.raises(MissingFeatures, match="one with --features patches or --features squares"):
        run(clean)


def test_all_is_every_split(clean: Path) -> None:
    assert run(clean, splits=["all"]).frames == 47


def test_a_set_without_a_split_says_how_to_add_it(clean: Path) -> None:
    job = run(clean, splits=["test"])
    store = open_store(clean)
    features = store.features[job.features]
    with pytest.raises(MissingFeatures) as told:
        features.of(np.array([0, 1, 31]))
    message = str(told.value)
    assert "no features for 2 of 3 rows (first: row 0), of split train; it covers test alone" in message
    command = "hpsbench corrupt --mode center --ratio 0.33 --dataset 3dpw --view tcmr --features patches"
    assert f"run: {command} --split train" in message
    clean_set = store.features["patches-tcmr"]
    with pytest.raises(MissingFeatures, match="use the view it was made for"):
        clean_set.of(np.array([3]))


def test_a_corruption_that_hits_nothing_is_refused(clean: Path) -> None:
    with pytest.raises(UsageError, match="hits no frame of test"):
        run(clean, ratio=0.01, splits=["test"])


def test_a_set_says_the_version_of_its_corruption_and_another_one_makes_it_again(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(clean)
    place = clean / "features" / NAME / "zarr.json"
    written = place.read_bytes()
    assert open_store(clean).features[NAME].attrs["corruption"]["version"] == 1
    old = json.loads(written)
    del old["attributes"]["corruption"]["version"]  # as sets were before they said one
    place.write_bytes(layout.encode(old))
    run(clean)
    assert place.read_bytes() == layout.encode(old)
    place.write_bytes(written)
    later = dataclasses.replace(get_corruption("center"), version=2)
    monkeypatch.setattr("hpsbench.pipeline.corrupt.get_corruption", lambda name: later)
    with pytest.raises(
        ResumeMismatch, match="made by version 1 of the corruption 'center', which is now at version 2"
    ):
        run(clean)


def test_a_hit_frame_that_looks_as_before_is_counted(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    center = get_corruption("center")

    def beside(
        scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
    ) -> IntArray:
        plan = center.draw(scene, hit, strength, rng)
        plan[0] = -500, -500, 20  # left of the image
        return plan

    other = dataclasses.replace(center, draw=beside)
    monkeypatch.setattr("hpsbench.pipeline.corrupt.get_corruption", lambda name: other)
    job = run(clean)
    assert job.corruption is not None
    assert (job.corruption["hit"], job.corruption["unchanged"]) == (15, 2)
    store = open_store(clean)
    features = store.features[NAME]
    hits = features.attrs["corruption"]["hits"]
    beside_rows = np.array([row for row, left in zip(hits["row"], hits["left"], strict=True) if left == -500])
    np.testing.assert_array_equal(unchanged_rows(store, NAME), beside_rows)
    np.testing.assert_array_equal(
        features.of(np.asarray(beside_rows)), store.features["patches-tcmr"].of(np.asarray(beside_rows))
    )
    again = run(clean)
    assert again.corruption is not None
    assert again.corruption["unchanged"] == 2


def test_a_network_that_does_not_see_what_changed_is_an_error(
    clean: Path, patches: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = open_store(clean).features["patches-tcmr"].data[:].mean(axis=0, keepdims=True).repeat(16, axis=0)
    monkeypatch.setattr(patches, "__call__", lambda self, batch: blind)
    shutil.rmtree(clean / "features" / "patches-tcmr")
    root = clean.parents[1]
    extract(clean, root, view="tcmr", extractor="patches", raw=root / "raw", device="cpu")
    with pytest.raises(BadData, match=r"image_\d+.jpg \(row \d+\): .* changed \d.*%.*'patches' blind"):
        run(clean)


def test_wrong_settings_are_refused(clean: Path, patches: type, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'center'"):
        run(clean, mode="centr")
    with pytest.raises(UsageError, match="between 0 and 1"):
        run(clean, ratio=33)
    monkeypatch.setattr(patches, "sha256", "6" * 64)
    with pytest.raises(FeatureMismatch, match=r"666.*extract the clean features again"):
        run(clean)


def test_the_preview_shows_clean_above_corrupted(clean: Path, tmp_path: Path) -> None:
    run(clean)
    out = preview(
        clean, clean.parents[1], NAME, tmp_path / "sheet.png", count=3, raw=clean.parents[1] / "raw"
    )
    picture = decode(out)
    assert picture.shape == (18 + 448, 672, 3)
    dark = [(part == 0).all(axis=-1).mean() for part in (picture[18:242], picture[242:])]
    assert dark[1] > dark[0] + 0.02
    with pytest.raises(FeatureMismatch, match="is clean"):
        preview(clean, clean.parents[1], "patches-tcmr", tmp_path / "sheet.png")


def test_a_place_that_cannot_be_written_is_named(clean: Path, tmp_path: Path) -> None:
    run(clean)
    root, blocked = clean.parents[1], tmp_path / "file"
    blocked.write_text("no folder", encoding="utf-8")
    with pytest.raises(UsageError, match=r"sheet\.png: cannot be written \(.*give --preview another place"):
        preview(clean, root, NAME, blocked / "sheet.png", raw=root / "raw")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match=r"folder\.png: cannot be written"):
        preview(clean, root, NAME, tmp_path / "folder.png", raw=root / "raw")
    with pytest.raises(UsageError, match="give --manifest another place"):
        write_manifest(clean, NAME, blocked / "hits.csv")
    written = write_manifest(clean, NAME, tmp_path / "new" / "hits.csv").read_text(encoding="utf-8")
    assert written.splitlines()[0] == "row,track,frame_id,left,top,side"
    assert len(written.splitlines()) == 1 + 15
