"""How `body_template.npz` was made: a figure of blended solids, meshed to SMPL's vertex and face counts.

Run `python -m hpsbench.synth.body_design` to make the file again (about a minute). At run time only the file is
read. The figure is a smooth union of ellipsoids and rounded cones; only the left half is written down, the right half
is its mirror image. The joint regressors are solved here too, so that the shipped numbers are the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from hpsbench.synth import anatomy
from hpsbench.synth.body_mesh import Thinner, even_out, flip_edges, project, surface_net, vertex_normals
from hpsbench.types import Array, FloatArray, IntArray

GRID_STEP = 0.005
COORDINATE_STEP = 2.0**-14  # the template's coordinates are whole multiples, 0.06 mm
DRAWN_VERTICES = (2000, 1000)  # of the thinner face lists that the renderer draws

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Solid:
    """A rounded cone from `a` to `b`, or an ellipsoid round `a` (then `b` holds its radii and `ends` is None).

    Attributes:
        blend: width of the smooth union with what came before, metres; negative: smooth subtraction.
        flat: the cone's cross-section is this much thinner along `flat_axis`.
    """

    a: Point
    b: Point
    ends: tuple[float, float] | None = None
    blend: float = 0.03
    flat: float = 1.0
    flat_axis: int = 2

    def reach(self) -> tuple[FloatArray, FloatArray]:
        """Corners of a box that holds the solid."""
        a, b = np.array(self.a), np.array(self.b)
        if self.ends is None:
            return a - b, a + b
        radius = max(self.ends)
        return np.minimum(a, b) - radius, np.maximum(a, b) + radius

    def distance(self, points: FloatArray) -> FloatArray:
        """(...,) about the signed distance of (..., 3) points."""
        a, b = np.array(self.a), np.array(self.b)
        if self.ends is None:
            inner = np.linalg.norm((points - a) / b, axis=-1)
            outer = np.linalg.norm((points - a) / b**2, axis=-1)
            return np.asarray(inner * (inner - 1) / np.maximum(outer, 1e-9))
        stretch = np.ones(3)
        stretch[self.flat_axis] = 1 / self.flat
        along = (b - a) * stretch
        offset = (points - a) * stretch
        t = np.clip(offset @ along / (along @ along), 0, 1)
        radius = self.ends[0] + t * (self.ends[1] - self.ends[0])
        return np.asarray((np.linalg.norm(offset - t[..., None] * along, axis=-1) - radius) * self.flat)


def _finger(z: float, dz: float, length: float, radius: float) -> list[Solid]:
    base, knuckle = (0.760, 0.216, z), (0.766 + length * 0.5, 0.218, z + dz * 0.5)
    tip = (0.766 + length - radius, 0.212, z + dz)
    return [
        Solid(base, knuckle, (radius + 0.001, radius), 0.006),
        Solid(knuckle, tip, (radius, radius - 0.001), 0.004),
    ]


FIGURE: tuple[Solid, ...] = (
    # trunk
    Solid((0.0, -0.275, 0.005), (0.158, 0.120, 0.108)),
    Solid((0.072, -0.325, -0.042), (0.084, 0.088, 0.086), blend=0.05),
    Solid((0.0, -0.125, 0.008), (0.133, 0.180, 0.100), blend=0.08),
    Solid((0.0, 0.085, -0.002), (0.152, 0.175, 0.113), blend=0.08),
    Solid((0.068, 0.105, 0.062), (0.078, 0.062, 0.052), blend=0.05),
    Solid((0.075, 0.120, -0.060), (0.070, 0.090, 0.048), blend=0.05),
    Solid((0.0, 0.235, -0.022), (0.160, 0.214, -0.020), (0.052, 0.052), 0.06),
    Solid((0.030, 0.275, -0.035), (0.120, 0.235, -0.028), (0.032, 0.030), 0.05),
    # neck and head
    Solid((0.0, 0.225, -0.022), (0.0, 0.370, 0.008), (0.060, 0.053), 0.03),
    Solid((0.0, 0.453, 0.010), (0.0765, 0.099, 0.097), blend=0.03),
    Solid((0.0, 0.392, 0.055), (0.058, 0.068, 0.058), blend=0.04),
    Solid((0.0, 0.343, 0.088), (0.024, 0.018, 0.020), blend=0.03),
    Solid((0.026, 0.470, 0.097), (0.026, 0.011, 0.014), blend=0.02),
    Solid((0.042, 0.415, 0.080), (0.022, 0.020, 0.020), blend=0.02),
    Solid((0.033, 0.445, 0.124), (0.017, 0.012, 0.015), blend=-0.014),
    Solid((0.0, 0.455, 0.105), (0.0, 0.416, 0.127), (0.009, 0.016), 0.012),
    Solid((0.014, 0.409, 0.117), (0.011, 0.009, 0.012), blend=0.010),
    Solid((0.0, 0.377, 0.109), (0.024, 0.009, 0.012), blend=0.010),
    Solid((0.080, 0.425, 0.003), (0.011, 0.032, 0.020), blend=0.010),
    # arm
    Solid((0.170, 0.212, -0.020), (0.058, 0.056, 0.056), blend=0.04),
    Solid((0.180, 0.214, -0.020), (0.430, 0.214, -0.032), (0.052, 0.040), 0.03),
    Solid((0.290, 0.222, -0.018), (0.090, 0.040, 0.042), blend=0.03),
    Solid((0.430, 0.214, -0.032), (0.676, 0.218, -0.036), (0.041, 0.0265), 0.02),
    Solid((0.500, 0.216, -0.030), (0.085, 0.040, 0.043), blend=0.03),
    Solid((0.690, 0.217, -0.036), (0.035, 0.019, 0.031), blend=0.02),
    Solid((0.725, 0.216, -0.036), (0.060, 0.0165, 0.045), blend=0.02),
    *_finger(-0.004, 0.010, 0.102, 0.0088),
    *_finger(-0.026, 0.000, 0.114, 0.0090),
    *_finger(-0.048, -0.009, 0.102, 0.0086),
    *_finger(-0.0715, -0.018, 0.074, 0.0076),
    Solid((0.696, 0.212, -0.012), (0.745, 0.203, 0.036), (0.015, 0.0115), 0.012),
    Solid((0.745, 0.203, 0.036), (0.779, 0.200, 0.056), (0.0112, 0.0090), 0.006),
    # leg
    Solid((0.088, -0.330, 0.006), (0.103, -0.690, 0.014), (0.088, 0.053), 0.03),
    Solid((0.100, -0.440, 0.020), (0.073, 0.150, 0.078), blend=0.03),
    Solid((0.103, -0.690, 0.016), (0.092, -1.080, -0.026), (0.052, 0.034), 0.02),
    Solid((0.103, -0.690, 0.026), (0.040, 0.050, 0.036), blend=0.03),
    Solid((0.102, -0.800, -0.022), (0.049, 0.120, 0.050), blend=0.03),
    Solid((0.091, -1.112, -0.042), (0.034, 0.044, 0.044), blend=0.02),
    Solid((0.092, -1.100, -0.015), (0.107, -1.134, 0.100), (0.036, 0.028), 0.02),
    Solid((0.110, -1.138, 0.105), (0.046, 0.023, 0.045), blend=0.02),
    Solid((0.092, -1.141, 0.130), (0.093, -1.145, 0.165), (0.0195, 0.0170), 0.01),
    Solid((0.122, -1.144, 0.120), (0.126, -1.147, 0.145), (0.0190, 0.0150), 0.015),
    Solid((0.143, -1.146, 0.105), (0.147, -1.149, 0.120), (0.0150, 0.0125), 0.012),
)  # fmt: skip


def _mirror_image(p: Point) -> Point:
    return (-p[0], p[1], p[2])


def _both_sides(figure: Sequence[Solid]) -> list[Solid]:
    solids = []
    for s in figure:
        solids.append(s)
        if s.a[0] != 0.0 or (s.ends is not None and s.b[0] != 0.0):
            end = s.b if s.ends is None else _mirror_image(s.b)
            solids.append(Solid(_mirror_image(s.a), end, s.ends, s.blend, s.flat, s.flat_axis))
    return sorted(solids, key=lambda s: s.blend < 0)


SOLIDS = _both_sides(FIGURE)


def _merge(total: FloatArray, part: FloatArray, blend: float) -> FloatArray:
    """Smooth union (quadratic, of compact support); with a negative blend, smooth subtraction of `part`."""
    width = abs(blend)
    if blend < 0:
        return -_merge(-total, part, width)
    overlap = np.maximum(width - np.abs(total - part), 0) / width
    return np.asarray(np.minimum(total, part) - overlap**2 * width / 4)


def figure_distance(points: FloatArray) -> FloatArray:
    """(N,) about the signed distance of (N, 3) points from the figure's skin, metres, negative inside."""
    total = np.full(len(points), 0.05)
    lowest, highest = points.min(0), points.max(0)
    for solid in SOLIDS:
        low, high = solid.reach()
        margin = 0.05 + abs(solid.blend)
        if (highest <= low - margin).any() or (lowest >= high + margin).any():
            continue
        near = ((points > low - margin) & (points < high + margin)).all(1)
        total[near] = _merge(total[near], solid.distance(points[near]), solid.blend)
    return np.asarray(np.maximum(total, anatomy.FLOOR - points[:, 1]))


def _sample_grid() -> tuple[FloatArray, FloatArray]:
    low, high = np.array((-0.905, -1.19, -0.15)), np.array((0.905, 0.58, 0.22))
    axes = [np.arange(a, b + GRID_STEP, GRID_STEP) for a, b in zip(low, high, strict=True)]
    axes[0] = axes[0] - axes[0].mean()
    values = np.empty([len(a) for a in axes])
    for n, x in enumerate(axes[0]):
        plane = np.stack(np.meshgrid([x], axes[1], axes[2], indexing="ij"), -1).reshape(-1, 3)
        values[n] = figure_distance(plane).reshape(len(axes[1]), len(axes[2]))
    return values, np.array([a[0] for a in axes])


def wanted_edge(points: FloatArray) -> FloatArray:
    """(N,) wanted edge length: short on face, hands and feet, long on the trunk."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    size = np.full(len(points), 0.0235)
    size = np.where(x > 0.19, 0.0200, size)
    size = np.where(y < -0.66, 0.0205, size)
    size = np.where(y > 0.30, 0.0150, size)
    size = np.where((y > 0.33) & (z > 0.07) & (x < 0.06), 0.0095, size)
    size = np.where(x > 0.68, 0.0095, size)
    return np.where(y < -1.06, np.where(z > 0.08, 0.0110, 0.0150), size)


def make_mesh() -> tuple[FloatArray, IntArray, IntArray]:
    """Vertices (6890, 3), faces (13776, 3) and the vertex numbers of the landmarks, in their order."""
    values, origin = _sample_grid()
    vertices, faces = surface_net(values, origin, GRID_STEP)
    vertices = project(vertices, figure_distance)
    vertices, faces, _ = Thinner(vertices, faces, wanted_edge(vertices)).run(anatomy.VERTICES)
    landmarks = np.zeros(0, dtype=int)
    for step in range(24):
        faces = flip_edges(vertices, faces)
        if step == 12:
            targets = project(anatomy.LANDMARKS, figure_distance, 12)
            landmarks = np.asarray(cKDTree(vertices).query(targets)[1])
            vertices[landmarks] = targets
        vertices = even_out(vertices, faces, wanted_edge(vertices), landmarks)
        vertices = project(vertices, figure_distance, 1)
    return vertices, faces, landmarks


def renumber(vertices: FloatArray, faces: IntArray, landmarks: IntArray) -> tuple[FloatArray, IntArray]:
    """Give the landmark vertices SMPL's numbers and sort all others from the head down."""
    rest = np.setdiff1d(np.arange(len(vertices)), landmarks)
    rest = rest[np.lexsort((vertices[rest, 0], -np.round(vertices[rest, 1], 3)))]
    new_ids = np.array(list(anatomy.LANDMARK_IDS.values()))
    old = np.empty(len(vertices), dtype=int)
    old[new_ids] = landmarks
    old[np.setdiff1d(np.arange(len(vertices)), new_ids)] = rest
    number = np.argsort(old)
    faces = number[faces]
    first = faces.argmin(1)
    faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, 1)
    return vertices[old], faces[np.lexsort(faces.T[::-1])]


def regressor_row(vertices: FloatArray, normals: FloatArray, centre: FloatArray) -> FloatArray:
    """(V,) non-negative weights of sum 1, on a ring of skin round `centre`, whose mean of the vertices is `centre`.

    Of all such weights on the ring, the most even (of largest entropy, relative to a Gaussian of the distance).

    Raises:
        RuntimeError: the skin near the point doesn't enclose it.
    """
    distance = np.linalg.norm(vertices - centre, axis=1)
    direction = (vertices - centre) / np.maximum(distance, 1e-9)[:, None]
    usable = np.where((direction * normals).sum(1) > 0.35, distance, np.inf)
    sector = np.round(direction * 1.2) @ np.array((9, 3, 1)) + 13
    nearest = [np.argsort(np.where(sector == s, usable, np.inf))[:6] for s in range(27)]
    ring = np.unique([v for some in nearest for v in some if np.isfinite(usable[v])])
    offset = (vertices[ring] - centre) / np.median(distance[ring])
    prior = np.exp(-2 * (offset**2).sum(1))
    tilt = np.zeros(3)
    for _ in range(60):  # Newton's method on the dual of: most even weights whose mean offset is zero
        share = prior * np.exp(offset @ tilt)
        share /= share.sum()
        mean = share @ offset
        spread = (offset * share[:, None]).T @ offset - np.outer(mean, mean)
        step = np.linalg.solve(spread + 1e-9 * np.eye(3), mean)
        tilt -= step * min(1.0, 1.0 / max(float(np.linalg.norm(step)), 1e-12))
    row = np.zeros(len(vertices))
    row[ring] = share
    if np.linalg.norm(row @ vertices - centre) > 2e-3:
        raise RuntimeError(
            f"no ring of skin encloses {centre}: off by {np.linalg.norm(row @ vertices - centre):.4f} m"
        )
    return row


def make_regressors(vertices: FloatArray, normals: FloatArray) -> dict[str, FloatArray]:
    """Name -> (rows, 6890) of every regressor in `anatomy.REGRESSOR_ROWS`."""
    made: dict[str, FloatArray] = {}
    for name, points in anatomy.REGRESSOR_ROWS.items():
        rows = []
        for point in points:
            row: FloatArray = np.zeros(len(vertices))
            if point in anatomy.LANDMARK_IDS:
                row[anatomy.LANDMARK_IDS[point]] = 1.0
            else:
                row = regressor_row(vertices, normals, anatomy.regressor_point(point))
            rows.append(row)
        made[name] = np.stack(rows)
    return made


def pack(folder: Path) -> Path:
    """Make the template and write `body_template.npz` into `folder`."""
    vertices, faces = renumber(*make_mesh())
    whole = np.round(vertices / COORDINATE_STEP).astype(np.int16)
    vertices = whole * COORDINATE_STEP
    content: dict[str, Array] = {"vertices": whole, "faces": faces.astype(np.uint16)}
    points, thin, kept = vertices, faces, np.arange(len(vertices))
    for level, count in enumerate(DRAWN_VERTICES):
        thinner = Thinner(points, thin, np.sqrt(wanted_edge(points)), half_edge=True)
        points, thin, chosen = thinner.run(count)
        for _ in range(6):
            thin = flip_edges(points, thin)
        kept = kept[chosen]
        content[f"drawn_faces_{level}"] = kept[thin].astype(np.uint16)
    for name, matrix in make_regressors(vertices, vertex_normals(vertices, faces)).items():
        row, column = np.nonzero(matrix > 1e-4)
        share = np.round(matrix[row, column] * 65535)
        content[f"{name}_row"], content[f"{name}_column"] = row.astype(np.uint8), column.astype(np.uint16)
        content[f"{name}_share"] = share.astype(np.uint16)
    path = folder / "body_template.npz"
    np.savez_compressed(path, **content)  # type: ignore[arg-type]
    return path


if __name__ == "__main__":
    pack(Path(__file__).parent)
