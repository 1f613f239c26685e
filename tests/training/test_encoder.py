from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hpsbench.bodies.joints import SMPL24
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.errors import UsageError
from hpsbench.features import backbones, embedded
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._catalog import load_system
from hpsbench.synth.body import write_body_models
from hpsbench.synth.seeds import ENCODER_OWNERS, OWNERS, check_disjoint
from hpsbench.training import encoder
from hpsbench.training.encoder import get_encoder_recipe, losses, train_encoder
from hpsbench.training.encoder_batches import Batch, epoch_batches, held_out_batches, take
from hpsbench.training.encoder_crops import Crops, render_crops

TINY = ("max_steps=2", "schedule.batch=4", "crops.shard=4", "crops.held_out=4", "workers=1", "threads=1")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("root")
    write_body_models(path)
    return path


@pytest.fixture(scope="module")
def body(root: Path) -> BodyModel:
    return load_bodies(root, synthetic=True).neutral


@pytest.fixture(scope="module")
def crops(root: Path) -> Crops:
    """Eight rendered crops in two shards."""
    return render_crops(
        root / "runs" / "encoder-crops", get_encoder_recipe(TINY).crops, "train", 8, workers=1
    )


def test_a_crop_s_keypoints_are_the_projection_of_its_body(crops: Crops, body: BodyModel) -> None:
    joints = body.joints(crops.full_pose, crops.betas).numpy()
    for i in range(len(crops)):
        seen, real = crops.keypoints2d[i], joints[i]
        assert seen.min() > -40
        assert seen.max() < 170
        # Weak perspective explains where the joints are to a few pixels; the gendered body differs a little.
        ones = np.ones((24, 1))
        fit = np.concatenate([real[:, :2], ones], axis=1)
        rest = seen - fit @ np.linalg.lstsq(fit, seen, rcond=None)[0]
        assert np.sqrt((rest**2).mean()) < 4


def test_shards_repeat_and_parts_differ(crops: Crops, tmp_path: Path) -> None:
    settings = get_encoder_recipe(TINY).crops
    again = render_crops(tmp_path, settings, "train", 4, workers=1)
    np.testing.assert_array_equal(again.image(3), crops.image(3))
    np.testing.assert_array_equal(again.full_pose, crops.full_pose[:4])
    other = render_crops(tmp_path, settings, "held-out", 4, workers=1)
    assert not np.array_equal(other.full_pose, again.full_pose)
    assert not np.array_equal(crops.betas[0], crops.betas[4])


def test_no_seed_of_the_encoder_belongs_to_a_dataset() -> None:
    assert {"encoder/train", "encoder/held-out"} <= set(ENCODER_OWNERS) <= set(OWNERS)
    check_disjoint()


def test_a_mirrored_crop_mirrors_everything(crops: Crops, body: BodyModel) -> None:
    rows, corners = np.array([0, 5]), np.array([[8, 8], [8, 8]])
    plain, mirrored = (take(crops, rows, corners, np.full(2, flag)) for flag in (False, True))
    torch.testing.assert_close(mirrored.images, plain.images.flip(2))
    joints, other = (body.joints(b.rotmat, torch.zeros(2, 10)) for b in (plain, mirrored))
    expected = joints[:, list(SMPL24.flip)] * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(other, expected, atol=0.02, rtol=0)
    # A pixel column x goes to 111 - x, so the coordinate 2 x / 112 - 1 goes to its negative less one pixel.
    back = torch.tensor([-1.0, 1]) * plain.keypoints2d[:, list(SMPL24.flip)] - torch.tensor([2 / 112, 0])
    torch.testing.assert_close(mirrored.keypoints2d, back)


def test_windows_move_the_keypoints_with_the_image(crops: Crops) -> None:
    one = take(crops, np.array([1]), np.array([[0, 0]]), np.zeros(1, bool))
    other = take(crops, np.array([1]), np.array([[10, 4]]), np.zeros(1, bool))
    torch.testing.assert_close(other.images[0, :100, :100], one.images[0, 4:104, 10:110])
    moved = (one.keypoints2d - other.keypoints2d) * 56
    torch.testing.assert_close(moved, torch.tensor([10.0, 4.0]).expand(1, 24, 2), atol=1e-3, rtol=0)


def test_epochs_are_permutations_that_repeat(crops: Crops) -> None:
    def poses(seed: int, epoch: int) -> list[float]:
        return [float(v) for b in epoch_batches(crops, 4, seed, epoch) for v in b.betas[:, 0]]

    assert poses(0, 0) == poses(0, 0)
    assert poses(0, 0) != poses(0, 1)
    assert sorted(poses(0, 0)) == sorted(np.float32(crops.betas[:, 0]).tolist())
    assert sum(len(b.images) for b in held_out_batches(crops, 3)) == 8


def test_the_truth_has_no_loss(crops: Crops, body: BodyModel) -> None:
    batch = next(held_out_batches(crops, 4))
    joints = body.joints(batch.rotmat, batch.betas)
    camera = torch.tensor([[0.9, 0.1, -0.2]]).expand(4, 3)
    seen = camera[:, None, :1] * (joints[..., :2] + camera[:, None, 1:])
    exact = Batch(images=batch.images, rotmat=batch.rotmat, betas=batch.betas, keypoints2d=seen)
    rot6d, target = (
        batch.rotmat[..., :2].reshape(4, 144),
        body.joints(batch.rotmat, batch.betas, via="h36m17"),
    )
    target = target - target[:, :1]
    parts = losses((encoder.BodyState(rot6d, batch.betas, camera), target, seen), exact, body)
    for name, value in parts.items():
        assert value < 1e-3, name
    other = encoder.BodyState(rot6d, batch.betas + 1, camera + 0.1)
    worse = losses((other, target + 0.1, seen + 0.1), exact, body)
    assert worse["shape"] == pytest.approx(1.0, abs=1e-4)
    assert worse["guide3d"] == pytest.approx(0.01, abs=1e-4)
    assert worse["places"] == pytest.approx(0.1 * 2**0.5, abs=1e-3)
    assert worse["keypoints2d"] > 0.02


@pytest.fixture
def shipped_stays() -> Iterator[None]:
    before = {p: p.read_bytes() for p in (embedded.WEIGHTS, embedded.REGRESSOR, embedded.CARD) if p.is_file()}
    yield
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.usefixtures("shipped_stays")
def test_two_steps_leave_weights_that_load_and_a_card(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    card = train_encoder(get_encoder_recipe(TINY), root, progress=lambda *a: seen.append(a))
    folder = root / "runs" / "encoder"
    assert card["images"] == {"train": 8, "held-out": 4}
    assert card["held_out"]["mpjpe"] > 0
    assert card["held_out"]["constant_mpjpe"] > 0
    assert card["synthetic"] is True
    assert (folder / "embedded_encoder.json").is_file()
    assert sum(entry["bytes"] for entry in card["files"].values()) <= 16 * 2**20
    monkeypatch.setattr(embedded, "WEIGHTS", folder / embedded.WEIGHTS.name)
    extractor = backbones.get_extractor("embedded", root)
    features = extractor(np.zeros((32, 112, 112, 3), np.uint8))
    assert features.shape == (32, 2048)
    assert (features >= 0).all()
    output = load_system(folder / embedded.REGRESSOR.name)(torch.from_numpy(features)[:, None])
    assert output.rotmat.shape == (32, 1, 24, 3, 3)
    assert any("mpjpe" in note for *_, note in seen)


def test_a_wrong_key_is_named() -> None:
    with pytest.raises(UsageError, match=r"schedule\.epoch: Extra inputs"):
        get_encoder_recipe(("schedule.epoch=3",))
    assert get_encoder_recipe(("max_steps=20", "optimiser.lr=1e-4")).max_steps == 20


def test_the_rotation_of_a_mirrored_pose_is_the_mirrored_rotation() -> None:
    pose = torch.tensor([[0.3, -0.4, 0.5]])
    mirror = torch.diag(torch.tensor([-1.0, 1, 1]))
    flipped = axis_angle_to_rotmat(pose * torch.tensor([1.0, -1, -1]))
    torch.testing.assert_close(flipped, mirror @ axis_angle_to_rotmat(pose) @ mirror)
