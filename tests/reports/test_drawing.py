import numpy as np
import pytest

from hpsbench.errors import ShapeError
from hpsbench.reports.drawing import caption, draw_mesh, grid

SQUARE = np.array([[-1.0, -1, 4], [1, -1, 4], [1, 1, 4], [-1, 1, 4]])
FACES = np.array([[0, 2, 1], [0, 3, 2]])


def pixels(vertices: np.ndarray) -> np.ndarray:
    return vertices[:, :2] / vertices[:, 2:] * 40 + 32


def test_a_mesh_covers_its_projection_and_nothing_else() -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    drawn = draw_mesh(blank, pixels(SQUARE), SQUARE, FACES, (200, 100, 50), opacity=1.0)
    covered = drawn.any(axis=2)
    assert covered[24:40, 24:40].all()
    assert covered.sum() == pytest.approx(20 * 20, rel=0.12)
    assert not blank.any(), "the image that was given is left as it was"


def test_faces_that_look_away_are_not_drawn() -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    assert not draw_mesh(blank, pixels(SQUARE), SQUARE, FACES[:, ::-1], (200, 100, 50)).any()


def test_near_faces_hide_far_ones() -> None:
    near = SQUARE * [0.5, 0.5, 0.5]
    both = np.concatenate([SQUARE, near])
    faces = np.concatenate([FACES + 4, FACES])
    tilted = both.copy()
    drawn = draw_mesh(
        np.zeros((64, 64, 3), np.uint8), pixels(tilted), tilted, faces, (255, 255, 255), opacity=1.0
    )
    alone = draw_mesh(
        np.zeros((64, 64, 3), np.uint8), pixels(near), near, FACES, (255, 255, 255), opacity=1.0
    )
    inside = alone.any(axis=2)
    np.testing.assert_array_equal(drawn[inside], alone[inside])


def test_shapes_are_checked_and_grids_fit() -> None:
    with pytest.raises(ShapeError):
        draw_mesh(np.zeros((8, 8, 3), np.uint8), np.zeros((3, 2)), np.zeros((4, 3)), FACES, (1, 2, 3))
    cell = caption(np.zeros((10, 20, 3), np.uint8), "x")
    assert cell.shape == (32, 20, 3)
    assert grid([[cell, cell], [cell]], gap=2).shape == (66, 42, 3)
