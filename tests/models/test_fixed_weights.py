"""Outputs under weights made by a rule from names and shapes: no refactoring may change a model silently.

A change on purpose: run this file's tests once with `HPSBENCH_WRITE_EXPECTED=1`, and say why in the commit.
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hpsbench.models._catalog import get_system
from hpsbench.models._system import HPSOutput

EXPECTED = Path(__file__).parent / "expected"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "spin": ("spin", {"feature_width": 24, "hidden": 12}),
    "vibe": ("vibe", {"feature_width": 24, "hidden_size": 8, "regressor_hidden": 12}),
    "vibe-bidirectional": (
        "vibe",
        {
            "feature_width": 24,
            "hidden_size": 8,
            "regressor_hidden": 12,
            "bidirectional": True,
            "residual": False,
        },
    ),
    "vibe-bare-gru": (
        "vibe",
        {"feature_width": 24, "hidden_size": 24, "regressor_hidden": 12, "n_layers": 1, "add_linear": False},
    ),
    "tcmr": ("tcmr", {"feature_width": 24, "hidden_size": 8, "regressor_hidden": 12, "attention_width": 6}),
    "mean_pose": ("mean_pose", {"feature_width": 24}),
}


def digest(output: HPSOutput) -> dict[str, Any]:
    """Shapes, sums and some values of each field."""
    found = {}
    for name in ("rotmat", "betas", "camera"):
        value = getattr(output, name).double()
        flat = value.flatten()
        some = flat[:: max(len(flat) // 12, 1)]
        found[name] = {"shape": list(value.shape), "mean": float(flat.mean()), "some": some.tolist()}
    return found


@pytest.mark.parametrize("case", CASES)
def test_outputs_stay(case: str, fill, features) -> None:
    name, options = CASES[case]
    system = fill(get_system(name)(**options))
    given = features(2, 16, 24)
    with torch.no_grad():
        found = {
            "forward": digest(system(given)),
            "forward_train": digest(system.forward_train(SimpleNamespace(features=given))),
        }
    path = EXPECTED / f"{case}.json"
    if os.environ.get("HPSBENCH_WRITE_EXPECTED"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(path.read_text(encoding="utf-8"))
    for way in ("forward", "forward_train"):
        for field, values in expected[way].items():
            assert found[way][field]["shape"] == values["shape"]
            assert found[way][field]["mean"] == pytest.approx(values["mean"], abs=1e-6)
            assert found[way][field]["some"] == pytest.approx(values["some"], abs=1e-5)


def test_the_stored_outputs_depend_on_the_features_and_the_weights(fill, features) -> None:
    """The rule excites the networks: a change of one entry or one frame is seen."""
    system = fill(get_system("vibe")(**CASES["vibe"][1]))
    given = features(2, 16, 24)
    with torch.no_grad():
        before = system(given).betas
        system.encoder.gru.weight_hh_l1[3, 2] += 0.5
        assert (system(given).betas - before).abs().max() > 1e-5
        assert (before[0, 0] - before[1, 3]).abs().max() > 1e-3
