"""Closed triangle meshes: extract a level set, thin it to an exact vertex count, even it out. NumPy only.

Used when the body template is made (`body_design`), not at run time. Everything is deterministic.
"""

import heapq
from collections.abc import Callable

import numpy as np

from hpsbench.types import FloatArray, IntArray

Field = Callable[[FloatArray], FloatArray]
Neighbours = list[set[int]]

_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b) in (1, 2, 4)])


def surface_net(values: FloatArray, origin: FloatArray, step: float) -> tuple[FloatArray, IntArray]:
    """Triangles of the zero level of a grid (naive surface nets: one vertex per crossed cell).

    Args:
        values: (X, Y, Z) signed distances, negative inside.
        origin: (3,) position of grid point (0, 0, 0).
        step: grid spacing in the unit of `origin`.

    Returns:
        vertices (V, 3) and faces (F, 3), wound so that normals point outside.

    Source: Gibson 1998, "Constrained elastic surface nets"; the unconstrained variant.
    """
    inside = values < 0
    shape = np.array(values.shape) - 1
    corner = np.stack([_corner(values, c) for c in range(8)], axis=-1)
    crossed = (corner < 0).any(-1) & (corner >= 0).any(-1)
    cells = np.argwhere(crossed)
    number = np.full(tuple(shape), -1)
    number[crossed] = np.arange(len(cells))
    offset = _cell_offsets(corner[crossed])
    faces = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        low = np.moveaxis(inside, axis, 0)
        for flipped in (False, True):
            change = (low[:-1] & ~low[1:]) if not flipped else (~low[:-1] & low[1:])
            at = np.argwhere(np.moveaxis(change, 0, axis))
            at = at[(at[:, u] > 0) & (at[:, v] > 0) & (at[:, u] < shape[u]) & (at[:, v] < shape[v])]
            quad = [number[tuple((at - du * np.eye(3, dtype=int)[u] - dv * np.eye(3, dtype=int)[v]).T)]
                    for du, dv in ((1, 1), (0, 1), (0, 0), (1, 0))]  # fmt: skip
            a, b, c, d = quad if not flipped else quad[::-1]
            faces += [np.stack([a, b, c], 1), np.stack([a, c, d], 1)]
    return origin + step * (cells + offset), np.concatenate(faces)


def _corner(values: FloatArray, corner: int) -> FloatArray:
    slices = tuple(slice(1, None) if corner >> axis & 1 else slice(None, -1) for axis in range(3))
    return values[slices]


def _cell_offsets(corner: FloatArray) -> FloatArray:
    """(N, 3) mean of the zero crossings on a cell's 12 edges, in cell units."""
    a, b = corner[:, _EDGES[:, 0]], corner[:, _EDGES[:, 1]]
    hit = (a < 0) != (b < 0)
    t = np.where(hit, a / np.where(hit, a - b, 1.0), 0.0)[..., None]
    bits = (_EDGES[..., None] >> np.arange(3) & 1).astype(float)
    points = bits[:, 0] + t * (bits[:, 1] - bits[:, 0])
    return np.asarray((points * hit[..., None]).sum(1) / hit.sum(1, keepdims=True))


def project(vertices: FloatArray, field: Field, steps: int = 2) -> FloatArray:
    """(V, 3) points moved onto the zero level of `field` along its gradient."""
    for _ in range(steps):
        slope = gradient(vertices, field)
        size = np.maximum((slope**2).sum(1, keepdims=True), 0.2)
        vertices = vertices - np.clip(field(vertices)[:, None], -0.01, 0.01) * slope / size
    return vertices


def gradient(points: FloatArray, field: Field, delta: float = 5e-4) -> FloatArray:
    """(N, 3) central differences of a scalar field."""
    shifts = delta * np.eye(3)
    return np.stack([(field(points + s) - field(points - s)) / (2 * delta) for s in shifts], axis=1)


def vertex_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """(V, 3) unit normals, faces weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, faces[:, k], normal)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


class Thinner:
    """Collapses the relatively shortest edges of a closed mesh until a vertex count is reached.

    Args:
        vertices, faces: a closed manifold.
        size: (V,) wanted edge length at each vertex.
        half_edge: keep one end where it is (so the result uses a subset of the vertices) instead of the middle.
        fixed: vertices that must stay.
    """

    def __init__(self, vertices: FloatArray, faces: IntArray, size: FloatArray, *, half_edge: bool = False,
                 fixed: IntArray | None = None) -> None:  # fmt: skip
        self.points = vertices.copy()
        self.size = size.copy()
        self.half_edge = half_edge
        self.fixed = set() if fixed is None else {int(v) for v in fixed}
        self.faces = [tuple(int(v) for v in face) for face in faces]
        self.of_vertex: Neighbours = [set() for _ in vertices]
        for number, face in enumerate(self.faces):
            for v in face:
                self.of_vertex[v].add(number)
        edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
        cost = self._costs(edges)
        self.heap = [(float(c), int(a), int(b)) for c, (a, b) in zip(cost, edges, strict=True)]
        heapq.heapify(self.heap)
        self.alive = len(vertices)

    def _costs(self, edges: IntArray) -> FloatArray:
        a, b = edges[:, 0], edges[:, 1]
        length = np.linalg.norm(self.points[a] - self.points[b], axis=1)
        return np.asarray(length / (self.size[a] + self.size[b]))

    def run(self, count: int) -> tuple[FloatArray, IntArray, IntArray]:
        """Thin to `count` vertices.

        Returns:
            vertices (count, 3), faces, and the numbers of the kept vertices in the input.
        """
        while self.alive > count:
            cost, a, b = heapq.heappop(self.heap)
            if not self.of_vertex[a] or not self.of_vertex[b]:
                continue
            now = float(self._costs(np.array([[a, b]]))[0])
            if now > cost + 1e-12:
                heapq.heappush(self.heap, (now, a, b))
                continue
            self._collapse(a, b)
        kept = np.array([v for v, faces in enumerate(self.of_vertex) if faces])
        number = np.full(len(self.of_vertex), -1)
        number[kept] = np.arange(len(kept))
        faces = np.array([f for n, f in enumerate(self.faces) if n in self.of_vertex[f[0]]])
        return self.points[kept], number[faces], kept

    def _ring(self, v: int) -> set[int]:
        return {w for f in self.of_vertex[v] for w in self.faces[f]} - {v}

    def _collapse(self, keep: int, drop: int) -> None:
        """Merge `drop` into `keep`, if the mesh stays a manifold and no face turns over."""
        if drop in self.fixed:
            keep, drop = drop, keep
        if drop in self.fixed:
            return
        shared = self._ring(keep) & self._ring(drop)
        both = self.of_vertex[keep] & self.of_vertex[drop]
        if len(shared) != 2 or len(both) != 2 or any(len(self.of_vertex[w]) <= 4 for w in shared):
            return
        stay = self.half_edge or keep in self.fixed
        target = self.points[keep] if stay else (self.points[keep] + self.points[drop]) / 2
        if self._turns_over(keep, drop, target, both):
            return
        self.points[keep] = target
        self.size[keep] = self.size[keep] if stay else (self.size[keep] + self.size[drop]) / 2
        for f in both:
            for w in self.faces[f]:
                self.of_vertex[w].discard(f)
        for f in self.of_vertex[drop]:
            self.faces[f] = tuple(keep if w == drop else w for w in self.faces[f])
            self.of_vertex[keep].add(f)
        self.of_vertex[drop] = set()
        self.alive -= 1
        edges = np.array([(keep, w) for w in sorted(self._ring(keep))])
        for cost, (a, b) in zip(self._costs(edges).tolist(), edges.tolist(), strict=True):
            heapq.heappush(self.heap, (cost, a, b))

    def _turns_over(self, keep: int, drop: int, target: FloatArray, both: set[int]) -> bool:
        around = sorted((self.of_vertex[keep] | self.of_vertex[drop]) - both)
        corners = np.array([self.faces[f] for f in around])
        before = self.points[corners]
        after = before.copy()
        after[(corners == keep) | (corners == drop)] = target
        old, new = (np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]) for t in (before, after))
        sizes = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
        return bool(((old * new).sum(1) < 0.2 * sizes + 1e-15).any())


def flip_edges(vertices: FloatArray, faces: IntArray) -> IntArray:
    """One pass of edge flips towards Delaunay triangles (the two opposite angles sum to at most 180 degrees)."""
    faces = faces.copy()
    half = np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)])
    owner, apex = np.tile(np.arange(len(faces)), 3), np.concatenate([faces[:, (k + 2) % 3] for k in range(3)])
    row = {(int(a), int(b)): n for n, (a, b) in enumerate(half)}
    linked = set(row)
    changed = np.zeros(len(faces), dtype=bool)
    for (a, b), n in list(row.items()):
        m = row[(b, a)]
        f, g, c, d = int(owner[n]), int(owner[m]), int(apex[n]), int(apex[m])
        if a > b or changed[f] or changed[g] or (c, d) in linked or (d, c) in linked:
            continue
        if _prefers_flip(vertices[[a, b, c, d]]):
            faces[f], faces[g] = (a, d, c), (b, c, d)
            changed[[f, g]] = True
            linked.add((c, d))
    return faces


def _prefers_flip(quad: FloatArray) -> bool:
    a, b, c, d = quad
    angle = 0.0
    for tip in (c, d):
        u, v = a - tip, b - tip
        angle += float(np.arccos(np.clip(u @ v / np.sqrt((u @ u) * (v @ v)), -1, 1)))
    if angle <= np.pi + 0.05:
        return False
    one, two = np.cross(d - a, c - a), np.cross(c - b, d - b)
    flat = np.cross(b - a, c - a)
    size = np.linalg.norm(flat)
    return bool(
        one @ flat > 0.7 * size * np.linalg.norm(one) and two @ flat > 0.7 * size * np.linalg.norm(two)
    )


def even_out(vertices: FloatArray, faces: IntArray, size: FloatArray, fixed: IntArray) -> FloatArray:
    """One step of tangential smoothing towards the neighbours' centre; `fixed` vertices stay.

    Neighbours with a larger wanted edge length `size` (V,) weigh less, so the density stays graded.
    """
    edges = np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)])
    total, weight = np.zeros_like(vertices), np.zeros(len(vertices))
    share = 1 / size[edges[:, 1]]
    np.add.at(total, edges[:, 0], vertices[edges[:, 1]] * share[:, None])
    np.add.at(weight, edges[:, 0], share)
    move = total / weight[:, None] - vertices
    normal = vertex_normals(vertices, faces)
    move -= (move * normal).sum(1, keepdims=True) * normal
    move[fixed] = 0
    return np.asarray(vertices + 0.5 * move)
