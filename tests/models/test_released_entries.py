"""Entry names and shapes are those of the released files, no more and no fewer, body model apart."""

import pytest
import torch

from hpsbench.features.backbones import ResNet50
from hpsbench.models._catalog import get_system
from hpsbench.models._discriminators import MotionDiscriminator

LAYOUTS = {
    "vibe": ("vibe", {}),
    "tcmr": ("tcmr", {}),
    "mpsnet": ("mpsnet", {}),
    "mpsnet-released": ("mpsnet", {"batch_mixing": "released", "motion_rows": "released"}),
}
BODY_MODEL = ".smpl."


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("case", LAYOUTS)
def test_generators_have_the_released_entries(case: str, shapes_of) -> None:
    name, options = LAYOUTS[case]
    released = {key: shape for key, shape in shapes_of(name).items() if BODY_MODEL not in key}
    with torch.device("meta"):
        system = get_system(name)(**options)
    own = shapes(system)
    assert {given: own[mine] for given, mine in system.released_names().items()} == released
    assert set(system.released_names().values()) == set(own)


def test_spin_is_a_backbone_and_a_regressor(shapes_of) -> None:
    """The extractor and the system share SPIN's file without a rest."""
    with torch.device("meta"):
        system, backbone = get_system("spin")(), ResNet50()
    own = shapes(system)
    regressor = {given: own[mine] for given, mine in system.released_names().items()}
    assert regressor | shapes(backbone) == shapes_of("hmr")
    assert not set(regressor) & set(shapes(backbone))
    assert system.released_extras() == shapes(backbone)


@pytest.mark.parametrize(("layout", "pool"), [("", "attention"), ("_concat", "concat")])
def test_discriminators_have_the_released_entries(layout: str, pool: str, shapes_of) -> None:
    with torch.device("meta"):
        own = shapes(MotionDiscriminator(feature_pool=pool))
    assert own == shapes_of(f"vibe_motion_discriminator{layout}")


@pytest.mark.parametrize("vae", ["rec_1", "rec_2"])
def test_mevas_entries_lie_below_the_released_prefixes(vae: str) -> None:
    """Only the prefixes are known; the body model below `smpl.` is no entry of ours."""
    with torch.device("meta"):
        names = get_system("meva")(vae=vae).state_dict()
    prefixes = {"vae_model", "feat_encoder", "motion_encoder", "vae_init_mlp", "regressor"}
    assert {name.split(".")[0] for name in names} == prefixes
