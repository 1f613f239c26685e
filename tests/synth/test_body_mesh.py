"""Meshing: closed surfaces, exact counts, even triangles."""

import numpy as np
import pytest

from hpsbench.synth.body_mesh import Thinner, even_out, flip_edges, project, surface_net, vertex_normals


def ball(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points, axis=-1) - 0.5


@pytest.fixture(scope="module")
def sphere() -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(-0.63, 0.631, 0.14)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    return surface_net(ball(grid), np.full(3, axis[0]), 0.14)


def genus_zero(vertices: np.ndarray, faces: np.ndarray) -> bool:
    half = np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)])
    closed = set(map(tuple, half)) == set(map(tuple, half[:, ::-1])) and len(set(map(tuple, half))) == len(
        half
    )
    return closed and len(vertices) - len(half) // 2 + len(faces) == 2


def test_surface_net_is_a_closed_sphere_facing_outside(sphere: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = sphere
    assert genus_zero(vertices, faces)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.5, atol=0.04)
    assert ((vertex_normals(vertices, faces) * vertices).sum(1) > 0.4).all()


def test_project_moves_onto_the_surface(sphere: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_allclose(ball(project(sphere[0], ball, 4)), 0, atol=1e-5)


@pytest.mark.parametrize("half_edge", [False, True])
def test_thinning_reaches_the_exact_count(sphere: tuple[np.ndarray, np.ndarray], half_edge: bool) -> None:
    vertices, faces = sphere
    points, thin, kept = Thinner(vertices, faces, np.ones(len(vertices)), half_edge=half_edge).run(40)
    assert points.shape == (40, 3)
    assert thin.shape == (76, 3)
    assert genus_zero(points, thin)
    if half_edge:
        np.testing.assert_array_equal(points, vertices[kept])


def test_thinning_keeps_fixed_vertices(sphere: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = sphere
    fixed = np.array([3, 20, 60])
    _, _, kept = Thinner(vertices, faces, np.ones(len(vertices)), fixed=fixed).run(50)
    assert set(fixed) <= set(kept)


def test_flips_and_smoothing_even_out_the_triangles(sphere: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = sphere
    vertices, faces, _ = Thinner(vertices, faces, np.ones(len(vertices))).run(40)
    before = smallest_angles(vertices, faces)
    for _ in range(5):
        faces = flip_edges(vertices, faces)
        vertices = project(even_out(vertices, faces, np.ones(40), np.array([0])), ball, 1)
    assert genus_zero(vertices, faces)
    assert smallest_angles(vertices, faces).mean() > before.mean()


def smallest_angles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corner = vertices[faces]
    angles = []
    for k in range(3):
        u, v = corner[:, (k + 1) % 3] - corner[:, k], corner[:, (k + 2) % 3] - corner[:, k]
        cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
        angles.append(np.arccos(np.clip(cosine, -1, 1)))
    return np.min(angles, axis=0)
