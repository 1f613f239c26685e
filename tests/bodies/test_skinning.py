"""The ways through linear blend skinning, against each other and against one vertex at a time."""

import pytest
import torch

from hpsbench.bodies.skinning import BLOCK, TILE, Skin

VERTICES = 2 * TILE + 7


def made(vertices: int) -> Skin:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(vertices, 24, generator=generator)
    return Skin(
        torch.randn(vertices, 3, generator=generator),
        torch.randn(217, vertices, 3, generator=generator) * 0.02,
        weights / weights.sum(dim=1, keepdim=True),
    )


def frames(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    components = torch.randn(count, 217, generator=generator)
    return components, torch.randn(count, 3, 4, 24, generator=generator)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 3])
@pytest.mark.parametrize("vertices", [1, TILE - 1, TILE, VERTICES])
def test_all_ways_agree(count: int, vertices: int) -> None:
    skin, given = made(vertices), frames(count)
    expected = skin._in_place(*given)
    assert expected.shape == (count, vertices, 3)
    assert expected.is_contiguous()
    for way in (skin._tile_by_tile, skin._all_tiles, skin):
        torch.testing.assert_close(way(*given), expected, atol=1e-5, rtol=1e-5)


def test_one_vertex_by_hand() -> None:
    skin = made(VERTICES)
    components, transforms = (value.double() for value in frames(3))
    vertices = skin(*frames(3))
    for vertex in (0, TILE - 1, TILE, VERTICES - 1):
        tile, place = divmod(vertex, TILE)
        template = skin.template[tile].reshape(3, TILE)[:, place].double()
        directions = skin.directions[tile].reshape(217, 3, TILE)[:, :, place].double()
        weights = skin.weights[tile][:, place].double()
        for frame in range(3):
            rest = template + components[frame] @ directions
            blended = (transforms[frame] * weights).sum(dim=-1)
            expected = blended[:, :3] @ rest + blended[:, 3]
            torch.testing.assert_close(vertices[frame, vertex].double(), expected, atol=1e-4, rtol=1e-5)


def test_gradients_of_both_differentiable_ways_agree() -> None:
    skin = made(VERTICES)
    found = []
    for way in (skin._tile_by_tile, skin._all_tiles, skin):
        given = [value.requires_grad_() for value in frames(5)]
        way(*given).square().sum().backward()
        found.append([value.grad for value in given])
    for one, *others in zip(*found, strict=True):
        for other in others:
            torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-4)


def test_a_graph_is_kept_only_where_it_is_asked_for() -> None:
    skin, (components, transforms) = made(3), frames(2)
    components.requires_grad_()
    assert skin(components, transforms).requires_grad
    with torch.no_grad():
        assert not skin(components, transforms).requires_grad
    assert not skin(components.detach(), transforms).requires_grad
    assert skin(components.detach(), transforms.requires_grad_()).requires_grad
