"""`prepare`: the whole way from raw files to a store, what is refused, what is counted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import (
    AccessStepMissing,
    BadData,
    BrokenFile,
    MissingData,
    MissingRawFiles,
    ResumeMismatch,
    UnknownName,
)
from hpsbench.pipeline.prepare import prepare, prepared_here
from hpsbench.recipes.access import licence_accepted
from hpsbench.recipes.catalog import get_recipe
from hpsbench.store.reader import open_store

SAMPLE = Path(__file__).parents[4] / "shared" / "samples" / "amass_sample.npz"
Tree = Callable[[Path], dict[str, bytes]]


def test_3dpw_becomes_one_store_with_all_views(
    make_root: Callable[..., Path], raw_files: dict[str, Any]
) -> None:
    root = make_root()
    seen: list[tuple[int, int, str]] = []
    summary = prepare("3dpw", root, progress=lambda *call: seen.append(call))
    assert summary.complete
    assert (summary.sequences, summary.resumed, summary.synthetic) == (6, 0, True)
    assert summary.splits == [
        {"split": "train", "sequences": 2, "tracks": 3, "clips": 3, "frames": 64},
        {"split": "val", "sequences": 1, "tracks": 1, "clips": 1, "frames": 22},
        {"split": "test", "sequences": 3, "tracks": 4, "clips": 4, "frames": 103},
    ]
    assert {view: counts["test"] for view, counts in summary.views.items()} == raw_files["COUNTS"]
    assert seen[-1][:2] == (6, 6)
    store = open_store(root / "stores" / "3dpw.zarr")
    assert len(store) == 189
    assert store.joint_names("joints3d")[0] == "pelvis"
    assert store.frames["transl"].attrs["frame"] == "world"
    assert store.frames["joints3d"].attrs["frame"] == "camera"
    for name, counts in raw_files["COUNTS"].items():
        test = np.concatenate([track.rows for track in store.tracks("test")])
        assert store.views[name].keep[test].sum() == counts["kept"]
        assert store.views[name].attrs["counts"]["test"] == counts
    assert store.views["vibe"].attrs["crop_scale"] == 1.2
    assert store.attrs["recipe_sha256"] == get_recipe("3dpw").sha256
    assert store.attrs["command"] == "hpsbench prepare 3dpw"


def test_the_store_holds_the_raw_values(make_root: Callable[..., Path], raw_files: dict[str, Any]) -> None:
    root = make_root()
    prepare("3dpw", root)
    store = open_store(root / "stores" / "3dpw.zarr")
    document = raw_files["threedpw_document"]("outdoors_b_00", 20, [{"gender": "f"}, {"betas": 16}], 2)
    (track,) = [t for t in store.tracks() if t.track == "outdoors_b_00_1"]
    np.testing.assert_array_equal(store.frames["frame_id"][track.rows], np.arange(20))
    np.testing.assert_allclose(store.frames["transl"][track.rows], document["trans"][1], rtol=1e-6)
    np.testing.assert_allclose(
        store.frames["full_pose"][track.rows, 3:], document["poses"][1][:, 3:], rtol=1e-6
    )
    np.testing.assert_allclose(store.frames["betas"][track.rows[0]], document["betas"][1][:10], rtol=1e-6)
    clip = track.clips.iloc[0]
    assert (clip["gender"], clip["fps"], clip["width"], clip["split"]) == ("male", 30.0, 640, "train")


def test_amass_counts_what_its_rule_leaves_out(make_root: Callable[..., Path]) -> None:
    root = make_root()
    summary = prepare("amass", root)
    assert summary.skipped == {"rate-too-low": 1, "too-short": 1}
    store = open_store(root / "stores" / "amass.zarr")
    assert store.attrs["skipped"] == {"rate-too-low": 1, "too-short": 1}
    assert store.clips["fps"].tolist() == [30.0, 30.0, 25.0, 30.0]
    assert store.clips["step"].tolist() == [4, 2, 4, 4]
    jaw = store.frames["jaw_pose"]
    assert np.isnan(jaw[:]).any(axis=1).sum() == len(store) - 65
    assert jaw.attrs["missing"] == "nan"


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLE.exists(), reason="the shared sample files are not here")
def test_a_real_motion_gives_one_clip(tmp_path: Path) -> None:
    folder = tmp_path / "amass" / "ACCAD" / "Female1General"
    folder.mkdir(parents=True)
    shutil.copy(SAMPLE, folder / "A1_poses.npz")
    summary = prepare("amass", tmp_path, accept_licence=True)
    store = open_store(summary.store)
    assert not store.synthetic
    assert (len(store.clips), len(store), store.clips["fps"][0]) == (1, 151, 30.0)
    poses = np.load(SAMPLE)["poses"][::4].reshape(151, 52, 3)
    want = poses[:, [*range(22), 22, 37]].reshape(151, 72).astype(np.float32)
    np.testing.assert_array_equal(store.frames["full_pose"][:], want)


def test_workers_do_not_show_in_the_bytes(make_root: Callable[..., Path], tree: Tree) -> None:
    one, two = make_root("one"), make_root("two")
    prepare("3dpw", one)
    prepare("3dpw", two, workers=2)
    assert tree(one / "stores") == tree(two / "stores")
    assert str(one).encode() not in b"".join(tree(one / "stores").values())


def test_a_complete_store_is_left_alone(make_root: Callable[..., Path], tree: Tree) -> None:
    root = make_root()
    prepare("3dpw", root)
    store = root / "stores" / "3dpw.zarr"
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    again = prepare("3dpw", root)
    assert again.resumed == again.sequences == 6
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    assert not list((root / ".hpsbench" / "work").glob("prepare-*/"))


def test_only_store_run_and_bookkeeping_are_written(make_root: Callable[..., Path], tree: Tree) -> None:
    root = make_root()
    prepare("3dpw", root)
    assert {path.name for path in root.iterdir()} == {"raw", "stores", "runs", ".hpsbench"}
    assert [path.name for path in (root / "stores").iterdir()] == ["3dpw.zarr"]
    (run,) = (root / "runs").glob("*/run.json")
    record = json.loads(run.read_text())
    assert (record["state"], record["arguments"]["workers"]) == ("complete", 1)
    assert record["summary"]["store"] == str(root / "stores" / "3dpw.zarr")


def test_dry_run_touches_nothing(make_root: Callable[..., Path]) -> None:
    root = make_root()
    before = sorted(root.rglob("*"))
    plan = prepare("3dpw", root, dry_run=True)
    assert sorted(root.rglob("*")) == before
    assert (plan.dry_run, plan.complete, plan.sequences, plan.resumed) == (True, False, 6, 0)
    assert plan.raw_bytes == sum(
        path.stat().st_size for path in (root / "raw/3dpw").glob("sequenceFiles/*/*.pkl")
    )
    json.dumps(plan.to_json_dict())


def test_limit_marks_the_store_as_partial(make_root: Callable[..., Path]) -> None:
    root = make_root()
    summary = prepare("3dpw", root, limit=1)
    assert [split["sequences"] for split in summary.splits] == [1, 1, 1]
    assert any("partial" in note for note in summary.notes)
    store = open_store(summary.store)
    assert (store.attrs["limit"], store.attrs["command"]) == (1, "hpsbench prepare 3dpw --limit 1")
    with pytest.raises(ResumeMismatch, match="another limit"):
        prepare("3dpw", root)


def test_real_data_needs_its_licence(make_root: Callable[..., Path]) -> None:
    root = make_root(own=True)
    (root / "raw" / "3dpw" / "hpsbench-synthetic.json").unlink()
    with pytest.raises(AccessStepMissing, match="--accept-licence"):
        prepare("3dpw", root)
    asked: list[str] = []
    with pytest.raises(AccessStepMissing, match="declined"):
        prepare("3dpw", root, accept_licence=lambda text: bool(asked.append(text)))
    with pytest.raises(AccessStepMissing, match="--accept-licence"):
        prepare("3dpw", root, accept_licence=lambda text: None)
    assert "license.html" in asked[0]
    assert not (root / "stores").exists()
    assert "licence" in " ".join(prepare("3dpw", root, dry_run=True).notes)
    summary = prepare("3dpw", root, accept_licence=lambda text: True)
    assert licence_accepted(get_recipe("3dpw"), root)
    assert not open_store(summary.store).synthetic
    assert summary.notes == [
        "train: 2 of 24 sequences are there",
        "val: 1 of 12 sequences are there",
        "test: 3 of 24 sequences are there",
    ]


def test_a_damaged_sequence_stops_and_resumes(make_root: Callable[..., Path], tree: Tree) -> None:
    root, whole = make_root(own=True), make_root("whole")
    path = root / "raw/3dpw/sequenceFiles/test/downtown_two_00.pkl"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BrokenFile, match=r"downtown_two_00\.pkl"):
        prepare("3dpw", root)
    summary = prepare("3dpw", root, skip_bad=True)
    assert summary.skipped == {"broken": 1}
    assert "downtown_two_00.pkl" in summary.broken[0]
    store = open_store(summary.store)
    assert store.attrs["broken"] == ["sequenceFiles/test/downtown_two_00.pkl"]
    assert store.attrs["command"] == "hpsbench prepare 3dpw --skip-bad"
    assert "downtown_two_00_0" not in set(store.clips["track"])
    path.write_bytes(data)
    with pytest.raises(ResumeMismatch, match="another raw files"):
        prepare("3dpw", root)
    shutil.rmtree(summary.store)
    prepare("3dpw", root)
    prepare("3dpw", whole, skip_bad=True)
    assert tree(root / "stores") == tree(whole / "stores")


def test_resuming_after_a_change_is_refused(make_root: Callable[..., Path], tmp_path: Path) -> None:
    root = make_root(own=True)
    last = root / "raw/3dpw/sequenceFiles/test/office_never_00.pkl"
    data = last.read_bytes()
    last.write_bytes(data[:50])
    with pytest.raises(BrokenFile):
        prepare("3dpw", root)
    assert prepare("3dpw", root, dry_run=True).resumed == 5
    last.write_bytes(data)
    with pytest.raises(ResumeMismatch, match=r"another raw manifest.*remove .*prepare-3dpw to begin again"):
        prepare("3dpw", root)
    last.write_bytes(data[:50])
    with pytest.raises(ResumeMismatch, match="another limit"):
        prepare("3dpw", root, limit=2)
    shipped = get_recipe("3dpw").path.read_text()
    (tmp_path / "mine" / "datasets").mkdir(parents=True)
    (tmp_path / "mine/datasets/3dpw.toml").write_text(shipped.replace("sigma = 8.0", "sigma = 7.0"))
    with pytest.raises(ResumeMismatch, match="another recipe"):
        prepare("3dpw", root, recipes=tmp_path / "mine")
    assert prepare("3dpw", root, dry_run=True).resumed == 5


def test_a_recipe_from_outside_brings_its_own_dataset(tmp_path: Path, raw_masters: dict[str, Path]) -> None:
    text = get_recipe("3dpw").path.read_text().replace('key = "3dpw"', 'key = "mine"')
    text = text.replace('reader = "threedpw"', 'reader = "hpsbench.recipes.readers.threedpw:read_sequence"')
    (tmp_path / "recipes" / "datasets").mkdir(parents=True)
    (tmp_path / "recipes/datasets/mine.toml").write_text(text)
    shutil.copytree(raw_masters["3dpw"], tmp_path / "raw" / "mine")
    (tmp_path / "raw/mine/hpsbench-synthetic.json").unlink()
    summary = prepare("mine", tmp_path, accept_licence=True, recipes=tmp_path / "recipes")
    assert open_store(summary.store).dataset == "mine"
    assert prepared_here(tmp_path, tmp_path / "recipes") == ["mine"]


def test_what_is_missing_is_said(tmp_path: Path, make_root: Callable[..., Path]) -> None:
    with pytest.raises(UnknownName, match="Did you mean '3dpw'"):
        prepare("3dwp", tmp_path)
    with pytest.raises(MissingData, match="no data root"):
        prepare("3dpw", tmp_path / "none")
    with pytest.raises(MissingRawFiles, match="hpsbench synth 3dpw"):
        prepare("3dpw", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert prepared_here(make_root()) == ["3dpw", "amass"]


def test_nothing_left_is_an_error_with_reasons(make_root: Callable[..., Path]) -> None:
    root = make_root(own=True)
    raw = root / "raw" / "amass"
    for name in ("CMU", "SSM", "SFU", "ACCAD"):
        shutil.rmtree(raw / name)
    with pytest.raises(BadData, match=r"none of 1 sequences .* 1 rate-too-low"):
        prepare("amass", root)
