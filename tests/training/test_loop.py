import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from hpsbench.bodies.mean_params import load_mean_params
from hpsbench.bodies.smpl import load_bodies
from hpsbench.errors import HpsbenchError, MissingFeatures
from hpsbench.models._catalog import load_system
from hpsbench.pipeline.work import lock
from hpsbench.store.reader import open_store
from hpsbench.training.batches import Batch, TrainingWindows, crop_keypoints
from hpsbench.training.config import get_training_recipe
from hpsbench.training.job import Request, make_job
from hpsbench.training.kit import Hardware
from hpsbench.training.loop import Run, for_validation, plan_training, train

FEATURES = "embedded-tcmr"


def small(root: Path, **changes: Any) -> Any:
    sets = {"schedule.epochs": 2, "schedule.iterations_per_epoch": 2, **changes.pop("sets", {})}
    texts = tuple(f"{key}={json.dumps(value)}" for key, value in sets.items())
    return train("vibe-generator", root, features=FEATURES, device="cpu", tiny=True, sets=texts, **changes)


@pytest.fixture
def world(tiny_world: Path, tmp_path: Path) -> Path:
    for name in ("stores", "body_models", "raw"):
        (tmp_path / name).symlink_to(tiny_world / name)
    return tmp_path


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_system(path).state_dict())  # type: ignore[attr-defined]


def test_a_run_leaves_a_checkpoint_that_loads_and_says_what_made_it(world: Path) -> None:
    run = small(world)
    assert run.steps == 4
    system = load_system(run.checkpoint)
    card = system.card  # type: ignore[attr-defined]
    assert card["training_recipe"]["name"] == "vibe-generator"
    assert card["trained_on"]["synthetic"] is True
    assert card["trained_on"]["features"] == FEATURES
    lines = (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert set(json.loads(lines[0])["loss"]) == {"keypoints2d", "joints3d", "pose", "shape"}


def test_two_processes_do_not_train_the_same_at_once(world: Path) -> None:
    folder = small(world).folder
    with (
        lock(world, f"training {folder.name}"),
        pytest.raises(HpsbenchError, match="another process is working on training"),
    ):
        small(world)
    assert small(world).folder == folder


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(small(world).folder / "last.safetensors")
    other = world / "again"
    other.mkdir()
    for name in ("stores", "body_models", "raw"):
        (other / name).symlink_to((world / name).resolve())

    class Stop(Exception):
        pass

    def stop_in_the_second_epoch(done: int, total: int, note: str = "") -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        small(other, progress=stop_in_the_second_epoch)
    resumed = small(other)
    assert resumed.steps == 4
    for name, value in weights(resumed.folder / "last.safetensors").items():
        assert torch.equal(value, whole[name]), name


def test_a_run_that_has_ended_is_left_as_it_is_and_keeps_no_optimiser(world: Path) -> None:
    run = small(world)
    left = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    assert len(left["state.pt"]) < 10_000 < len(left["last.safetensors"])
    assert small(world).history == run.history
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == left


def test_training_lowers_the_loss_on_a_batch_it_sees_again(world: Path) -> None:
    run = small(world, sets={"schedule.epochs": 4, "schedule.iterations_per_epoch": 8, "optimiser.lr": 1e-4})
    totals = [sum(line["loss"].values()) for line in run.history]
    assert totals[-1] < 0.9 * totals[0]


def test_windows_lie_in_one_track_and_a_batch_can_be_served_twice(world: Path) -> None:
    store = open_store(world / "stores" / "3dpw.zarr")
    windows = TrainingWindows(store, get_training_recipe("vibe-generator"), FEATURES)
    track_of = np.repeat(np.arange(len(store.clips)), store.clips["length"])
    tracks = np.asarray([store.clips["track"].iloc[i] for i in track_of])
    for places in windows.places:
        assert len(set(tracks[windows.rows[places]])) == 1
    first, again = windows.batch(np.array([0, 1])), windows.batch(np.array([0, 1]))
    for name, value in first.tensors().items():
        assert torch.equal(value, again.tensors()[name]), name
    seen = first.keypoints2d[..., 2] > 0
    assert seen.any()
    assert (first.keypoints2d[..., :2][seen].abs() < 1.5).all(), "keypoints lie in the crop"


def test_a_source_may_read_every_split(world: Path) -> None:
    """As the released loaders read Penn Action: its train flag is ignored."""
    store = open_store(world / "stores" / "3dpw.zarr")
    recipe = get_training_recipe("vibe-generator")
    (source,) = recipe.all_sources()

    def rows_of(split: str) -> set[int]:
        own = source.model_copy(update={"split": split})
        return set(TrainingWindows(store, recipe, FEATURES, source=own).rows.tolist())

    parts = [rows_of(split) for split in sorted(set(store.clips["split"]))]
    assert len(parts) > 1
    assert all(parts)
    assert rows_of("all") == set().union(*parts)


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone(world: Path) -> None:
    store = open_store(world / "stores" / "3dpw.zarr")
    windows = TrainingWindows(store, get_training_recipe("vibe-generator"), FEATURES)

    def served(seed: int, epoch: int) -> list[float]:
        found = windows.epoch(batch=3, iterations=5, seed=seed, epoch=epoch)
        return [float(batch.features.sum()) for batch in found]

    assert served(0, 1) == served(0, 1)
    assert served(0, 1) != served(0, 2)
    assert served(0, 1) != served(1, 1)


def test_crop_keypoints_follows_the_published_formula() -> None:
    keypoints = np.array([[[100.0, 50.0, 0.9], [140.0, 70.0, 0.2]]])
    box = np.array([[100.0, 60.0, 80.0, 80.0]])
    made = crop_keypoints(keypoints, box, [1, 0, -1], 1.2, 0.3)
    np.testing.assert_allclose(made[0, 1], [0.0, 2 * (50 - 60) / (1.2 * 80), 1.0], rtol=1e-6)
    np.testing.assert_array_equal(made[0, [0, 2]], np.zeros((2, 3)))


@pytest.mark.parametrize("name", ["meva", "dtsvibe-first"])
def test_what_does_not_start_from_an_encoder_starts_from_the_mean_parameters(name: str) -> None:
    """MEVA's rotations have another layout than the encoder's regressor; DTS-VIBE adds to the mean parameters."""
    assert get_training_recipe(name).init["regressor"] == "mean"


def test_a_regressor_starts_from_the_mean_parameters_of_the_root(world: Path) -> None:
    run = small(world, sets={"init.regressor": "mean", "max_steps": 1})
    system, known = load_system(run.checkpoint), load_mean_params(world, synthetic=True)
    for name in ("pose", "shape", "cam"):
        start = getattr(system.regressor, f"init_{name}")  # type: ignore[attr-defined]
        np.testing.assert_array_equal(start[0].numpy(), getattr(known, name))


def test_a_missing_feature_set_is_named(world: Path) -> None:
    with pytest.raises(MissingFeatures, match="nonesuch"):
        train("vibe-generator", world, features="nonesuch", tiny=True)


def test_a_plan_touches_nothing_and_counts_steps(world: Path) -> None:
    plan = plan_training("vibe-generator", world, tiny=True)
    assert plan["steps"] == 3
    assert plan["windows"] > 0
    assert plan["without_data"] == []
    assert not (world / "runs").exists()


def test_validation_on_another_split_is_another_protocol() -> None:
    from hpsbench.protocols.catalog import get_protocol

    protocol = get_protocol("tcmr")
    other = for_validation(protocol, "3dpw", "val", "pa_mpjpe")
    assert other.rule("3dpw").splits == ("val",)
    assert other.sha256 != protocol.sha256
    names = [metric.name for metric in protocol.rule("3dpw").metrics]
    assert [m.name for m in other.rule("3dpw").metrics] == [name for name in names if name != "pve_raw"]
    by_mesh = for_validation(protocol, "3dpw", "val", "pve_raw")
    assert [m.name for m in by_mesh.rule("3dpw").metrics] == names


def test_frames_without_smpl_parameters_take_no_part(tiny_world: Path, tmp_path: Path) -> None:
    for name in ("body_models", "raw"):
        (tmp_path / name).symlink_to(tiny_world / name)
    shutil.copytree(tiny_world / "stores", tmp_path / "stores")
    group: Any = zarr.open_group(tmp_path / "stores" / "3dpw.zarr", mode="r+")
    lacking = np.zeros(group["frames/has_smpl"].shape, bool)
    lacking[::2] = True
    for name, value in (("has_smpl", False), ("full_pose", np.nan), ("betas", np.nan)):
        values = group[f"frames/{name}"][:]
        values[lacking] = value
        group[f"frames/{name}"][:] = values

    store = open_store(tmp_path / "stores" / "3dpw.zarr")
    windows = TrainingWindows(store, get_training_recipe("vibe-generator"), FEATURES)
    batch = windows.batch(np.arange(len(windows)))
    assert 0 < int(batch.has_smpl.sum()) < batch.has_smpl.numel()
    assert torch.isfinite(batch.rotmat).all()
    assert torch.isfinite(batch.betas).all()

    job = make_job(Request(name="vibe-generator", root=tmp_path, features=FEATURES, tiny=True))
    run = Run(job, load_bodies(tmp_path, synthetic=True), Hardware(device="cpu"))
    step = windows.batch(np.arange(2))
    marked = replace(step, rotmat=step.rotmat.clone())
    marked.rotmat[~step.has_smpl] = 7.0
    run.system.eval()
    first, second = (_terms(run, batch) for batch in (step, marked))
    assert all(np.isfinite(list(first.values())))
    assert first == second, "what stands where nothing is annotated must not matter"


def _terms(run: Run, batch: Batch) -> dict[str, float]:
    with torch.no_grad():
        parts, _ = run._losses(batch, None, slice(None))
    return {name: float(value) for name, value in parts.items()}


def test_joints_without_a_number_or_a_box_count_as_unseen() -> None:
    keypoints = np.array([[[1.0, 2.0, 0.9], [np.nan, 2.0, 0.9]], [[1.0, 2.0, 0.9], [3.0, 4.0, np.nan]]])
    box = np.array([[0.0, 0.0, 10.0, 10.0], [np.nan] * 4])
    made = crop_keypoints(keypoints, box, [0, 1], 1.0, 0.3)
    np.testing.assert_array_equal(made[..., 2], [[1, 0], [0, 0]])
    assert np.isfinite(made).all()
