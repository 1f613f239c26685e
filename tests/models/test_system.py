import pytest
import torch

from hpsbench.errors import ShapeError
from hpsbench.models._system import HPSOutput, System
from hpsbench.models.vibe import Vibe


def test_one_kind_of_body_is_needed() -> None:
    for fields in ({}, {"rotmat": torch.zeros(1, 1, 24, 3, 3)}, {"betas": torch.zeros(1, 1, 10)}):
        with pytest.raises(ShapeError, match="needs rotmat and betas, or joints3d, or vertices"):
            HPSOutput(**fields)
    assert HPSOutput(vertices=torch.zeros(1, 2, 6890, 3)).rotmat is None
    assert HPSOutput(joints3d=torch.zeros(1, 2, 14, 3), joint_set="lsp14").joint_set == "lsp14"


def test_shapes_are_checked_at_the_door() -> None:
    with pytest.raises(ShapeError, match=r"rotmat: expected \(B, T', 24, 3, 3\), got \(2, 24, 3, 3\)"):
        HPSOutput(rotmat=torch.zeros(2, 24, 3, 3), betas=torch.zeros(1, 2, 10))
    with pytest.raises(ShapeError, match=r"betas: expected \(1, 2, 10\), got \(1, 3, 10\)"):
        HPSOutput(rotmat=torch.zeros(1, 2, 24, 3, 3), betas=torch.zeros(1, 3, 10))
    with pytest.raises(ShapeError, match=r"vertices: expected \(B, T', 6890, 3\)"):
        HPSOutput(vertices=torch.zeros(1, 2, 100, 3))
    with pytest.raises(ShapeError, match="joints3d and the id of their joint_set together"):
        HPSOutput(joints3d=torch.zeros(1, 2, 14, 3))


def test_a_feature_system_is_a_system() -> None:
    assert isinstance(Vibe(feature_width=8, hidden_size=4, regressor_hidden=4), System)
