from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hpsbench.errors import CheckpointMismatch, MissingCheckpoint, UnknownName
from hpsbench.features import backbones
from hpsbench.features.backbones import (
    ResNet50,
    choose_extractor,
    fold_batch_norms,
    get_extractor,
    list_extractors,
    load_weights,
)
from hpsbench.features.embedded import EmbeddedEncoder

CHECKPOINT = Path("checkpoints/spin/model_checkpoint.pt")


def give_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that do something."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return network.eval()


def test_the_backbone_has_the_published_size() -> None:
    assert sum(p.numel() for p in ResNet50().parameters()) == 23_508_032


def test_names_and_shapes_are_the_released_checkpoint_s(hmr_shapes: dict[str, list[int]]) -> None:
    ours = {name: list(value.shape) for name, value in ResNet50().state_dict().items()}
    regressor = ("fc1.", "fc2.", "dec", "init_")
    assert ours == {name: shape for name, shape in hmr_shapes.items() if not name.startswith(regressor)}


def test_the_stride_is_on_the_3x3() -> None:
    network = ResNet50()
    assert network.get_submodule("layer2.0.conv1").stride == (1, 1)
    assert network.get_submodule("layer2.0.conv2").stride == (2, 2)


@pytest.mark.parametrize(("network", "side"), [(EmbeddedEncoder, 112), (ResNet50, 64)])
def test_folding_batch_norms_changes_nothing(network: type[nn.Module], side: int) -> None:
    torch.manual_seed(1)
    whole = give_statistics(network())
    images = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        before = whole(images)
        folded = fold_batch_norms(whole)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        torch.testing.assert_close(folded(images), before, rtol=1e-3, atol=1e-4)


def test_spin_loads_from_the_root_and_gives_one_feature_an_image(
    spin_root: Path, rng: np.random.Generator
) -> None:
    extractor = get_extractor("spin", spin_root)
    assert (extractor.name, extractor.dim, extractor.size, extractor.synthetic) == ("spin", 2048, 224, False)
    assert len(extractor.sha256) == 64
    images = rng.integers(0, 255, (2, 224, 224, 3), dtype=np.uint8)
    features = extractor(images)
    assert features.shape == (2, 2048)
    assert features.dtype == np.float32
    assert (features >= 0).all()
    np.testing.assert_allclose(extractor(images[::-1].copy())[::-1], features, rtol=1e-4, atol=1e-5)


def test_a_missing_spin_checkpoint_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match=r"model_checkpoint\.pt.*fetch_data\.sh"):
        get_extractor("spin", tmp_path)


def test_a_wrong_shape_and_a_missing_entry_are_named(spin_root: Path) -> None:
    path = spin_root / CHECKPOINT
    state = torch.load(path, weights_only=True)["model"]
    torch.save({"model": {**state, "layer4.2.conv3.weight": torch.zeros(2048, 512)}}, path)
    with pytest.raises(CheckpointMismatch, match=r"'layer4\.2\.conv3\.weight' has shape \(2048, 512\)"):
        get_extractor("spin", spin_root)
    torch.save({"model": {k: v for k, v in state.items() if k != "bn1.bias"}}, path)
    with pytest.raises(CheckpointMismatch, match=r"1 entries missing.*bn1\.bias"):
        get_extractor("spin", spin_root)
    torch.save(state, path)
    with pytest.raises(CheckpointMismatch, match="key 'model'"):
        get_extractor("spin", spin_root)


def test_auto_never_takes_the_synthetic_encoder_for_real_data(spin_root: Path, tmp_path: Path) -> None:
    assert choose_extractor(spin_root, synthetic=False) == "spin"
    assert choose_extractor(spin_root, synthetic=True) == "spin"
    assert choose_extractor(tmp_path / "empty", synthetic=True) == "embedded"
    assert choose_extractor(tmp_path / "empty", synthetic=False) is None


def test_an_unknown_extractor_gets_a_suggestion(tmp_path: Path) -> None:
    assert {"spin", "embedded"} <= set(list_extractors())
    with pytest.raises(UnknownName, match="Did you mean 'embedded'"):
        get_extractor("embeded", tmp_path)


def test_entry_points_add_extractors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Entry:
        name = "theirs"

        def load(self) -> object:
            return lambda root, device: (root, device)

    monkeypatch.setattr(
        backbones, "entry_points", lambda group: [Entry()] if group == "hpsbench.extractors" else []
    )
    assert "theirs" in list_extractors()
    assert get_extractor("theirs", tmp_path, "cpu") == (tmp_path, "cpu")


def test_unknown_entries_are_refused() -> None:
    network = nn.Linear(2, 2)
    with pytest.raises(CheckpointMismatch, match=r"1 not known \(first: \['extra'\]\)"):
        load_weights(network, {**network.state_dict(), "extra": torch.zeros(1)}, Path("x.pt"))
