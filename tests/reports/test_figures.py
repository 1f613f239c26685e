import numpy as np
import pytest

from hpsbench.bodies.joints import get_joint_set, list_joint_sets
from hpsbench.reports.clips3d import coarse_mesh, pack_motion
from hpsbench.reports.figures import Axes, distribution_plot, interval_bars, nice_ticks, ramp, skeleton_plot
from hpsbench.reports.material import load_runs
from hpsbench.reports.skeletons import bones, position


@pytest.mark.parametrize(("low", "high"), [(0, 177.4), (0, 0.93), (0, 3), (0, 99.9)])
def test_ticks_cover_the_values_in_round_steps(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 7
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_bars_lie_where_their_values_are_on_the_axis(make_run) -> None:
    runs = load_runs([f"A={make_run('a', level=50)}", f"B={make_run('b', level=80)}"])
    bars, ticks = interval_bars(runs, "pa_mpjpe")
    top = float(ticks[-1][1])
    value = runs[1].result.summary["pa_mpjpe"]
    assert bars[1].at == pytest.approx(100 * value / top, abs=0.01)
    assert bars[1].low is not None
    assert bars[1].width is not None
    assert bars[1].low + bars[1].width == pytest.approx(100 * value.interval[1] / top, abs=0.02)


def test_more_series_than_colours_look_unlike_each_other() -> None:
    axes = Axes([0, 1], [0, 1], "x", "y")
    for series in range(24):
        axes.line([(0, 0), (1, 1)], series)
    looks = [part.split('"')[1] for part in axes.parts[1:]]
    assert len(set(looks)) == 24
    assert looks[0] == "line s0"


def test_the_distribution_of_a_single_frame_reaches_all_frames(make_run) -> None:
    runs = load_runs([str(make_run("one", frames=1, tracks=("t",)))])
    drawn = distribution_plot(runs, "pa_mpjpe", "PA-MPJPE", "mm")
    assert drawn is not None
    path = drawn.split('class="line s0" d="')[1].split('"')[0]
    heights = [float(part.split(" ")[1]) for part in path[1:].replace("L", "M").split("M") if part.strip()]
    assert min(heights) == pytest.approx(12), "the top of the frame"


def test_colours_go_from_pale_to_dark() -> None:
    brightness = [sum(ramp(share)) for share in np.linspace(0, 1, 9)]
    assert brightness == sorted(brightness, reverse=True)
    assert ramp(-1) == ramp(0)
    assert ramp(2) == ramp(1)


def test_the_figure_shows_each_joint_with_its_number_and_escapes_names() -> None:
    drawn = skeleton_plot({"Right Knee": 41.4, "Left Knee": 12.2, "Right Hip": 7.0}, 7, 41.4, 'a "<b>"')
    assert drawn is not None
    assert drawn.count("<circle") == 3
    assert ">41<" in drawn
    assert "<b>" not in drawn
    assert skeleton_plot({"part one": 1.0, "part two": 2.0, "part three": 3.0}, 0, 3, "x") is None


@pytest.mark.parametrize(
    "key", [k for k in list_joint_sets() if k.startswith(("smpl24", "lsp", "h36m", "common", "mpii", "spin"))]
)
def test_every_body_joint_set_has_arms_legs_and_a_trunk(key: str) -> None:
    joints = get_joint_set(key)
    pairs = bones(joints)
    assert len(pairs) >= 11
    reached = {pairs[0][0]}
    for _ in pairs:
        reached |= {end for pair in pairs if reached & set(pair) for end in pair}
    assert reached == {end for pair in pairs for end in pair}, "a limb hangs in the air"


def test_left_and_right_are_mirrored() -> None:
    left, right = position("Left Wrist"), position("Right Wrist")
    assert left is not None
    assert right is not None
    assert left == (100 - right[0], right[1])


def test_a_coarse_mesh_keeps_its_extent_with_fewer_vertices() -> None:
    side = np.linspace(0, 1, 41)
    x, y = (axis.ravel() for axis in np.meshgrid(side, side, indexing="ij"))
    vertices = np.stack([x, y, np.zeros_like(x)], axis=1)
    at = np.arange(41 * 41).reshape(41, 41)
    lower = np.stack([at[:-1, :-1], at[1:, :-1], at[1:, 1:]], axis=-1).reshape(-1, 3)
    upper = np.stack([at[:-1, :-1], at[1:, 1:], at[:-1, 1:]], axis=-1).reshape(-1, 3)
    mesh = coarse_mesh(vertices, np.concatenate([lower, upper]), cell=0.1)
    assert len(mesh.vertices) <= 121
    corners = vertices[mesh.vertices][mesh.faces]
    area = (
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
        / 2
    )
    assert area == pytest.approx(0.9, abs=0.12)
    assert mesh.faces.max() < len(mesh.vertices)


def test_packed_motion_unpacks_to_the_same_numbers() -> None:
    import base64
    import zlib

    whole = np.random.default_rng(0).integers(-32767, 32767, (5, 7, 3))
    planes = np.frombuffer(zlib.decompress(base64.b64decode(pack_motion(whole))), np.uint8).reshape(2, -1)
    steps = (planes[0].astype(np.uint16) | planes[1].astype(np.uint16) << 8).view(np.int16).reshape(5, -1)
    np.testing.assert_array_equal(np.cumsum(steps, axis=0, dtype=np.int16).reshape(5, 7, 3), whole)
