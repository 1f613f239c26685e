"""Costs of systems: by hand for small layers, by the formulas of MPS-Net's Table 2, and measured."""

import json

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from hpsbench.cli import app
from hpsbench.errors import UsageError
from hpsbench.models._catalog import get_system, list_systems, read_card
from hpsbench.models._costs import count_costs, parameters_of
from hpsbench.models._profile import image_network, profile_system
from hpsbench.tables.mpsnet_costs import mpsnet_table2, printed_table2
from hpsbench.types import Inputs

NARROW = {"feature_width": 24, "hidden_size": 10, "attention_width": 6, "regressor_hidden": 12}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Sequential(nn.Linear(4, 5), nn.ReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled = torch.relu(self.norm(self.first(image))).mean(dim=(2, 3))
        return pooled @ torch.ones(4, 7, device=image.device) + self.second(pooled).sum()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_products_are_counted_where_they_happen(device: str) -> None:
    small = Small().eval().to(device)
    image = torch.zeros(2, 3, 6, 8, device=device)
    costs = count_costs(small, lambda: small(image))
    conv, linear, own = 2 * 48 * 4 * 27, 2 * 4 * 5, 2 * 4 * 7
    assert costs.of("first") == conv
    assert costs.of("second") == costs.of("second.0") == linear
    assert costs.multiply_adds[""] == own
    assert costs.of() == conv + linear + own
    pixels = 2 * 4 * 48
    assert costs.elementwise_of("norm") == 2 * pixels
    assert costs.elementwise_of() == 2 * pixels + pixels + pixels + 2 * 5
    assert parameters_of(small, "second") == 25


def test_counting_leaves_no_trace() -> None:
    small = Small().eval()
    count_costs(small, lambda: small(torch.zeros(1, 3, 4, 4)))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small.modules())


def test_a_recurrent_layer_costs_its_weights_once_per_step() -> None:
    with torch.device("meta"):
        gru, steps = nn.GRU(5, 7, num_layers=2, bidirectional=True), torch.zeros(9, 1, 5)
    costs = count_costs(gru, lambda: gru(steps))
    first, second = 3 * 7 * (5 + 7), 3 * 7 * (14 + 7)
    assert costs.of() == 9 * 2 * (first + second)


def test_the_image_network_is_the_one_of_the_paper() -> None:
    found = image_network()
    assert found["parameters"] == 23508032
    assert found["multiply_adds"] / 1e9 == pytest.approx(4.0871, abs=5e-5)
    assert (found["multiply_adds"] + found["elementwise"]) / 1e9 == pytest.approx(4.1199, abs=5e-5)


TEMPORAL = {"vibe": 0.0523, "meva": 0.3281, "tcmr": 0.8605, "mpsnet": 0.3194}
PARAMETERS = {"vibe": 72427130, "meva": 85720714, "tcmr": 108895357, "mpsnet": 39634047}


def test_all_cells_of_mpsnets_table_2_come_out() -> None:
    printed, rows = printed_table2(), mpsnet_table2()
    assert [row.method for row in rows] == ["vibe", "meva", "tcmr", "mpsnet"] == list(printed)
    for row in rows:
        assert sum(row.parameters.values()) == PARAMETERS[row.method]
        assert abs(row.params_m - printed[row.method]["params_m"]) <= 0.01
        assert abs(row.flops_g - printed[row.method]["flops_g"]) <= 0.01
        images = {"image network", "image network's regressor"}
        temporal = sum(value for part, value in row.multiply_adds.items() if part not in images)
        assert temporal / 1e9 == pytest.approx(TEMPORAL[row.method], abs=5e-5)
        assert row.notes
    assert "image network's regressor" not in rows[0].multiply_adds
    assert rows[3].multiply_adds["wasted discriminator rows"] == 16 * 10401792
    assert rows[3].weights_mib == pytest.approx(151, abs=1)


@pytest.mark.parametrize("name", list_systems())
def test_every_system_can_be_profiled(name: str) -> None:
    system = get_system(name)(**read_card(name).get("narrow", {}))
    found = profile_system(system, repeats=1, batch=2)
    whole = found.parts[0]
    assert (whole.module, found.system, found.batch) == ("", name, 2)
    assert whole.parameters == sum(v.numel() for v in system.parameters() if v.requires_grad)
    children = [part for part in found.parts if part.module and "." not in part.module]
    assert sum(part.multiply_adds for part in children) <= whole.multiply_adds
    assert sum(part.parameters for part in children) <= whole.parameters
    assert whole.milliseconds > 0
    assert sum(part.milliseconds for part in children) <= whole.milliseconds * 1.001
    json.dumps(found.to_json_dict())


def test_costs_per_window_do_not_depend_on_the_batch() -> None:
    system = get_system("mpsnet")(**NARROW)
    one, four = (profile_system(system, batch=batch, repeats=0) for batch in (1, 4))
    assert [part.multiply_adds for part in one.parts] == [part.multiply_adds for part in four.parts]
    assert one.parts[0].milliseconds is None
    assert (one.frames, one.predicts) == (16, 1)


def test_what_is_no_network_is_refused() -> None:
    class Outside:
        name, inputs, context = "outside", Inputs(), None

    with pytest.raises(UsageError, match="'outside' is not a network"):
        profile_system(Outside())  # type: ignore[arg-type]


def test_the_verb_shows_modules_and_the_papers_table() -> None:
    sets = [word for key, value in NARROW.items() for word in ("--set", f"{key}={value}")]
    told = CliRunner().invoke(app, ["profile", "--system", "mpsnet", *sets, "--repeats", "1", "--depth", "2"])
    assert told.exit_code == 0, told.output
    assert "nonlocalblock.attention" in told.output
    assert "23,508,032 parameters" in told.output
    counted = CliRunner().invoke(app, ["profile", "--table", "mpsnet:table2", "--json"])
    rows = json.loads(counted.stdout)["rows"]
    assert [row["printed"]["model_size_mb"] for row in rows] == [776, 858.8, 1073, 331]
    both = CliRunner().invoke(app, ["profile", "--system", "vibe", "--table", "mpsnet:table2"])
    assert isinstance(both.exception, UsageError)
