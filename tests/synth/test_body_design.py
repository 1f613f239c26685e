"""The shipped template is the designed figure."""

from pathlib import Path

import numpy as np
import pytest

from hpsbench.synth import body_shape
from hpsbench.synth.anatomy import REST_JOINTS
from hpsbench.synth.body_design import figure_distance, pack, regressor_row
from hpsbench.synth.body_shape import template, template_normals


def test_the_shipped_skin_lies_on_the_figure() -> None:
    assert np.abs(figure_distance(template()[0])).max() < 0.002


def test_the_figure_is_symmetric_and_holds_the_joints() -> None:
    points = np.random.default_rng(0).uniform((-0.9, -1.2, -0.2), (0.9, 0.6, 0.2), (500, 3))
    np.testing.assert_allclose(figure_distance(points), figure_distance(points * (-1, 1, 1)), atol=2e-3)
    assert (figure_distance(REST_JOINTS) < 0).all()


def test_a_point_outside_has_no_regressor_row() -> None:
    with pytest.raises(RuntimeError, match="no ring of skin"):
        regressor_row(template()[0], template_normals(), np.array((0.0, 1.5, 0.0)))


def test_the_shipped_file_is_small() -> None:
    assert body_shape._TEMPLATE.stat().st_size < 400_000


@pytest.mark.full
def test_the_shipped_file_can_be_made_again(tmp_path: Path) -> None:
    made, shipped = np.load(pack(tmp_path)), np.load(body_shape._TEMPLATE)
    assert set(made) == set(shipped)
    np.testing.assert_array_equal(made["faces"], shipped["faces"])
    assert np.abs(made["vertices"].astype(int) - shipped["vertices"]).max() <= 1
