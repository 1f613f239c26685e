"""Linear blend skinning, arranged for speed: tiles of vertices times chunks of frames, one stacked product each.

The same numbers as `smplx.lbs` (tests compare them), without its (N, 6890, 4, 4) temporaries: the shape and pose
blend shapes of a tile are one matrix product with the template as bias, transforms are 3x4, and what a tile needs
stays in cache (`benchmarks/bench_smpl.py` measures what that gains). A tile may be any set of vertices, so joints that a few vertices decide need no mesh.
"""

import torch
from torch import Tensor, nn

TILE = 256
"""Vertices per tile."""
CHUNK = 256
"""Frames per chunk."""
BLOCK = 128
"""Frames that are skinned at once where no gradients are asked for: what they need of a tile stays in cache."""


class Skin(nn.Module):
    """Blend shapes and skinning weights of some vertices of a body, cut into tiles.

    Args:
        template: (V, 3) metres.
        directions: (D, V, 3) metres per unit; first the shape, then the pose components.
        weights: (V, 24).
    """

    def __init__(self, template: Tensor, directions: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.count = template.shape[0]
        tile = min(TILE, max(self.count, 1))
        tiles = -(-self.count // tile)
        spare = tiles * tile - self.count
        template = nn.functional.pad(template, (0, 0, 0, spare))
        directions = nn.functional.pad(directions, (0, 0, 0, spare))
        weights = nn.functional.pad(weights, (0, 0, 0, spare))
        size = directions.shape[0]
        # Within a tile all x come first, then all y, then all z.
        self.template: Tensor
        self.directions: Tensor
        self.weights: Tensor
        self._keep("template", template.reshape(tiles, tile, 3).transpose(1, 2).reshape(tiles, 3 * tile))
        by_tile = directions.reshape(size, tiles, tile, 3).permute(1, 0, 3, 2)
        self._keep("directions", by_tile.reshape(tiles, size, 3 * tile))
        self._keep("weights", weights.reshape(tiles, tile, -1).transpose(1, 2))

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(self, components: Tensor, transforms: Tensor) -> Tensor:
        """Skinned vertices.

        Args:
            components: (N, D) shape and pose components.
            transforms: (N, 3, 4, 24) rigid transform of each joint, rest to posed.

        Returns:
            (N, V, 3) metres.
        """
        if components.device.type != "cpu":
            return self._all_tiles(components, transforms)
        if torch.is_grad_enabled() and (components.requires_grad or transforms.requires_grad):
            return self._tile_by_tile(components, transforms)
        return self._in_place(components, transforms)

    def _in_place(self, components: Tensor, transforms: Tensor) -> Tensor:
        """The same numbers without a graph: two work arrays, and results written where they belong."""
        frames, tile = components.shape[0], self.weights.shape[-1]
        flat = transforms.reshape(frames * 12, 24)
        vertices = components.new_empty(frames, self.count, 3)
        rest = components.new_empty(min(frames, BLOCK), 3 * tile)
        blended = components.new_empty(min(frames, BLOCK) * 12, tile)
        tiles = zip(self.template, self.directions, self.weights, strict=True)
        for number, (template, directions, weights) in enumerate(tiles):
            places = slice(number * tile, min((number + 1) * tile, self.count))
            for first in range(0, frames, BLOCK):
                size = min(BLOCK, frames - first)
                block = slice(first, first + size)
                torch.addmm(template, components[block], directions, out=rest[:size])
                torch.mm(flat[12 * first : 12 * (first + size)], weights, out=blended[: 12 * size])
                rotations, still = (
                    blended[: 12 * size].view(size, 3, 4, tile),
                    rest[:size].view(size, 3, tile),
                )
                posed = rotations[:, :, 3]
                for axis in range(3):
                    posed.addcmul_(rotations[:, :, axis], still[:, axis : axis + 1])
                vertices[block, places] = posed[..., : places.stop - places.start].transpose(1, 2)
        return vertices

    def _tile_by_tile(self, components: Tensor, transforms: Tensor) -> Tensor:
        """Differentiable, for a processor's caches."""
        frames, tile = components.shape[0], self.weights.shape[-1]
        flat = transforms.reshape(frames * 12, 24)
        tiles = []
        for template, directions, weights in zip(self.template, self.directions, self.weights, strict=True):
            rest = torch.addmm(template, components, directions).view(frames, 3, tile)
            blended = (flat @ weights).view(frames, 3, 4, tile)
            posed = blended[:, :, 3]
            for axis in range(3):
                posed = torch.addcmul(posed, blended[:, :, axis], rest[:, axis : axis + 1])
            tiles.append(posed.transpose(1, 2))
        return torch.cat(tiles, dim=1)[:, : self.count]

    def _all_tiles(self, components: Tensor, transforms: Tensor) -> Tensor:
        """Differentiable, few calls on large arrays, for a GPU."""
        frames, (tiles, _, tile) = components.shape[0], self.weights.shape
        rest = torch.baddbmm(self.template[:, None], components.expand(tiles, -1, -1), self.directions)
        rest = rest.view(tiles, frames, 3, tile)
        blended = (transforms.reshape(1, frames * 12, 24) @ self.weights).view(tiles, frames, 3, 4, tile)
        posed = blended[:, :, :, 3]
        for axis in range(3):
            posed = torch.addcmul(posed, blended[:, :, :, axis], rest[:, :, axis : axis + 1])
        return posed.permute(1, 0, 3, 2).reshape(frames, tiles * tile, 3)[:, : self.count]


def pose_joints(rotmat: Tensor, rest: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Forward kinematics.

    Args:
        rotmat: (N, 24, 3, 3) rotation of each joint relative to its parent.
        rest: (N, 24, 3) metres, joints in the rest pose.
        parents: parent of each joint, -1 for the root, which comes first.

    Returns:
        Posed joints (N, 24, 3), metres, and transforms (N, 3, 4, 24) that take rest vertices to posed ones.
    """
    rotations, positions = [rotmat[:, 0]], [rest[:, 0]]
    for joint, parent in enumerate(parents[1:], start=1):
        bone = (rest[:, joint] - rest[:, parent]).unsqueeze(-1)
        positions.append(positions[parent] + (rotations[parent] @ bone).squeeze(-1))
        rotations.append(rotations[parent] @ rotmat[:, joint])
    rotation = torch.stack(rotations, dim=-1)
    posed = torch.stack(positions, dim=-1)
    moved = posed - torch.einsum("nijk,njk->nik", rotation, rest.transpose(1, 2))
    return posed.transpose(1, 2), torch.cat([rotation, moved.unsqueeze(2)], dim=2)
