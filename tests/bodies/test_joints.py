"""Every index map, flip and parent list that public code publishes is what the names and meanings give."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from hpsbench.bodies import joints
from hpsbench.bodies.joints import (
    LSP14,
    PARENTS,
    JointSet,
    convert_indices,
    convert_joints,
    get_joint_set,
    list_joint_sets,
)
from hpsbench.errors import ShapeError, UnknownName

NONE = -1
TO_SPIN49 = {
    "common14": [*range(14), *[NONE] * 10],
    "3dpw18": [10, 9, 8, 11, 12, 13, 4, 3, 2, 5, 6, 7, *[NONE] * 12],
    "h36m17_regressor": [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0, -1, 7, -1, 9, *[NONE] * 5],
    "mpii3d28_vibe": [25, 24, 23, 18, 19, 20, 16, 15, 14, 9, 10, 11, 5, 7, 4, -1, 3, -1, 6, *[NONE] * 5],
    "mpii3d_test17_vibe": [10, 9, 8, 11, 12, 13, 4, 3, 2, 5, 6, 7, 1, 0, 14, -1, 15, -1, 16, *[NONE] * 5],
    "posetrack18_json17": [16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9, 1, 2, *[NONE] * 5, 0, -1, -1, 3, 4],
    "pennaction13": [12, 10, 8, 7, 9, 11, 6, 4, 2, 1, 3, 5, -1, 0, *[NONE] * 10],
}
INSTA25_TO_OPENPOSE = [
    14,
    12,
    8,
    7,
    6,
    9,
    10,
    11,
    -1,
    2,
    1,
    24,
    3,
    4,
    23,
    16,
    15,
    18,
    17,
    19,
    21,
    5,
    20,
    22,
    0,
]
OTHER_MAPS = {
    ("spin49", "common14"): [*range(25, 39)],
    ("spin49", "mpii3d_test17_official"): [
        38,
        37,
        33,
        32,
        31,
        34,
        35,
        36,
        27,
        26,
        25,
        28,
        29,
        30,
        39,
        41,
        43,
    ],
    ("spin49", "openpose25"): [*range(25)],
    ("spin49", "spin_gt24"): [*range(25, 49)],
    ("3dpw18", "common14"): [10, 9, 8, 11, 12, 13, 4, 3, 2, 5, 6, 7, -1, -1],
    ("3dpw14_vibe", "common14"): [10, 9, 8, 11, 12, 13, 4, 3, 2, 5, 6, 7, -1, -1],
    ("pennaction13", "common14"): [12, 10, 8, 7, 9, 11, 6, 4, 2, 1, 3, 5, -1, 0],
    ("h36m17_official", "common14"): [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10],
    ("h36m17_regressor", "common14"): [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10],
    ("h36m32_raw", "h36m17_official"): [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27],
    ("h36m32_raw", "h36m17_spin_selection"): [11, 6, 7, 8, 1, 2, 3, 12, 24, 14, 15, 17, 18, 19, 25, 26, 27],
    ("h36m17_official", "h36m17_regressor"): [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    ("mpii3d28_official", "h36m17_spin_selection"): [
        4,
        18,
        19,
        20,
        23,
        24,
        25,
        3,
        5,
        6,
        7,
        9,
        10,
        11,
        14,
        15,
        16,
    ],
    ("mpii3d28_official", "mpii3d_test17_official"): [
        7,
        5,
        14,
        15,
        16,
        9,
        10,
        11,
        23,
        24,
        25,
        18,
        19,
        20,
        4,
        3,
        6,
    ],
    ("mpii3d_test17_official", "h36m17_spin_selection"): [
        14,
        11,
        12,
        13,
        8,
        9,
        10,
        15,
        1,
        16,
        0,
        5,
        6,
        7,
        2,
        3,
        4,
    ],
    ("h36m17_official", "mpii3d_test17_official"): [10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6, 0, 7, 9],
    ("smplh52", "smpl24"): [*range(22), 22, 37],
    ("smplx55", "smpl24"): [*range(22), 25, 40],
    ("smplx55", "smplh52"): [*range(22), *range(25, 55)],
}
SMPL_BODY_FLIP = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20]
FLIPS = {
    "smpl24": [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22],
    "spin_gt24": [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13, 14, 15, 16, 17, 18, 19, 21, 20, 23, 22],
    "openpose25": [0, 1, 5, 6, 7, 2, 3, 4, 8, 12, 13, 14, 9, 10, 11, 16, 15, 18, 17, 22, 23, 24, 19, 20, 21],
    "h36m17_official": [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13],
    "h36m17_regressor": [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13],
    "common14": [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13],
    "lsp14": [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13],
    "3dpw18": [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16],
    "mpii3d28_official": [*range(8), *range(13, 18), *range(8, 13), *range(23, 28), *range(18, 23)],
    "mpii3d_test17_official": [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 14, 15, 16],
    "posetrack18_json17": [0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
    "pennaction13": [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11],
    "insta25_hmmr": [
        5,
        4,
        3,
        2,
        1,
        0,
        11,
        10,
        9,
        8,
        7,
        6,
        12,
        13,
        14,
        16,
        15,
        18,
        17,
        20,
        19,
        22,
        21,
        24,
        23,
    ],
    "coco17": [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
    "mpii16": [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10],
    "smplcoco19": [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13, 14, 16, 15, 18, 17],
    "aich14": [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8, 12, 13],
    "3dpw14_vibe": [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10],
    "h36m32_raw": [0, *range(6, 11), *range(1, 6), *range(11, 16), *range(24, 32), *range(16, 24)],
    "j_regressor_extra9": [1, 0, 2, 3, 4, 5, 6, 7, 8],
    "smplx55": [*SMPL_BODY_FLIP, 22, 24, 23, *range(40, 55), *range(25, 40)],
    "smplh52": [*SMPL_BODY_FLIP, *range(37, 52), *range(22, 37)],
}


@pytest.mark.parametrize("source", TO_SPIN49)
def test_published_maps_to_the_49_joints(source: str) -> None:
    assert convert_indices(source, "spin49") == [NONE] * 25 + TO_SPIN49[source]


@pytest.mark.parametrize("source", ["mpii3d28_official", "mpii3d_test17_official"])
def test_both_name_lists_of_the_same_rows_convert_alike(source: str) -> None:
    vibe = source.replace("official", "vibe")
    assert convert_indices(source, "spin49") == convert_indices(vibe, "spin49")


@pytest.mark.parametrize("source", ["insta25_vibe", "insta25_hmmr"])
def test_instavariety_fills_openposes_half_and_the_head_top(source: str) -> None:
    expected = [*INSTA25_TO_OPENPOSE, *[NONE] * 24]
    expected[38] = 13
    assert convert_indices(source, "spin49") == expected


@pytest.mark.parametrize(("source", "target"), OTHER_MAPS)
def test_published_maps_between_sets(source: str, target: str) -> None:
    assert convert_indices(source, target) == OTHER_MAPS[source, target]


def test_3dpw_fills_hmmrs_25_joints_but_for_seven() -> None:
    rows = convert_indices("3dpw18", "insta25_hmmr")
    names = get_joint_set("insta25_hmmr").names
    missing = [name for name, row in zip(names, rows, strict=True) if row < 0]
    assert len(missing) == 7
    assert {name.split()[-1] for name in missing} == {"Head", "Toe", "Heel"}
    assert (rows[23], rows[24]) == (13, 10)


@pytest.mark.parametrize(
    ("source", "jaw", "head"),
    [("h36m17_official", 9, 10), ("mpii3d28_official", 6, 7), ("mpii3d_test17_official", 16, 0)],
)
def test_spin_reads_the_two_head_points_as_jaw_and_head(source: str, jaw: int, head: int) -> None:
    rows = convert_indices(source, "spin49", via="h36m17_spin_selection")
    assert (rows[42], rows[43], rows[38]) == (jaw, head, NONE)
    vibe = convert_indices(source, "spin49")
    assert (vibe[43], vibe[38], vibe[42]) == (jaw, head, NONE)
    assert [rows[i] for i in (37, 39, 41)] == [vibe[i] for i in (37, 39, 41)]


def test_spin_scatters_its_17_joints() -> None:
    scatter = [14, 3, 4, 5, 2, 1, 0, 16, 12, 17, 18, 9, 10, 11, 8, 7, 6]
    rows = convert_indices("h36m17_spin_selection", "spin_gt24")
    assert [rows[slot] for slot in scatter] == list(range(17))
    assert rows.count(NONE) == 24 - 17


def test_joint_map_of_spin() -> None:
    joint_map = [24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, *range(25, 35)]
    joint_map += [8, 5, 45, 46, 4, 7, 21, 19, 17, 16, 18, 20, *range(47, 54), 24, 26, 25, 28, 27]
    assert list(joints.SPIN49_FROM_SMPL54) == joint_map


def test_regressor_rows_to_the_17_joints_extend_the_14() -> None:
    assert list(joints.H36M_TO_J17[:14]) == convert_indices("h36m17_regressor", "lsp14")
    extra = [joints.H36M17.names[row] for row in joints.H36M_TO_J17[14:]]
    assert extra == ["hip", "Spine (H36M)", "Head (H36M)"]
    assert joints.SPIN_GT24.names[joints.J24_TO_J17[13]] == "Head (H36M)"


@pytest.mark.parametrize("key", FLIPS)
def test_published_flips(key: str) -> None:
    assert list(get_joint_set(key).flip) == FLIPS[key]


def test_flips_of_the_composed_sets() -> None:
    assert list(get_joint_set("spin49").flip) == FLIPS["openpose25"] + [
        25 + row for row in FLIPS["spin_gt24"]
    ]
    assert list(get_joint_set("staf21").flip) == [*FLIPS["openpose25"][:19], 19, 20]
    layer = [24, 26, 25, 28, 27, 32, 33, 34, 29, 30, 31, *range(40, 45), *range(35, 40)]
    assert list(get_joint_set("smpl45_smplx_layer").flip) == FLIPS["smpl24"] + layer


@pytest.mark.parametrize("key", list_joint_sets())
def test_every_set_is_sound(key: str) -> None:
    joint_set = get_joint_set(key)
    assert joint_set.id == key
    assert len(set(joint_set.names)) == len(joint_set) == len(set(joint_set.meanings))
    flip = joint_set.flip
    assert [flip[row] for row in flip] == list(range(len(joint_set)))
    sided = [m for m in joint_set.meanings if "left_" in m or "right_" in m]
    assert sum(row != other for row, other in enumerate(flip)) == len(sided)
    assert convert_indices(key, key) == list(range(len(joint_set)))
    assert pickle.loads(pickle.dumps(joint_set)) == joint_set


@pytest.mark.parametrize("key", list_joint_sets())
def test_a_name_and_a_meaning_never_point_to_different_rows(key: str) -> None:
    joint_set = get_joint_set(key)
    for row, (name, meaning) in enumerate(zip(joint_set.names, joint_set.meanings, strict=True)):
        assert joint_set.index(name) == row
        if meaning not in joint_set.names:
            assert joint_set.index(meaning) == row


def test_parents_of_the_smpl_family() -> None:
    body = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]
    left = [20, 22, 23, 20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35]
    right = [21, 37, 38, 21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50]
    assert list(PARENTS["smpl24"]) == [*body, 20, 21]
    assert list(PARENTS["smplh52"]) == body + left + right
    shift = [p if p < 22 else p + 3 for p in left + right]
    assert list(PARENTS["smplx55"]) == [*body, 15, 15, 15, *shift]
    for key, parents in PARENTS.items():
        assert len(parents) == len(get_joint_set(key))


def test_midpoint_is_between_the_two_joints_by_either_name() -> None:
    values = np.arange(2 * 14 * 3, dtype=np.float64).reshape(2, 14, 3)
    np.testing.assert_array_equal(LSP14.midpoint(values, "left_hip", "right_hip"), values[:, [2, 3]].mean(1))
    np.testing.assert_array_equal(LSP14.midpoint(values, "Left Hip", "Right Hip"), values[:, [2, 3]].mean(1))


def test_joints_are_converted_by_name_and_gaps_are_errors() -> None:
    values = np.arange(17 * 3, dtype=np.float64).reshape(1, 17, 3)
    moved = convert_joints(values, "h36m17_official", "mpii3d_test17_official")
    np.testing.assert_array_equal(moved[0, 0], values[0, 10])
    with pytest.raises(UnknownName, match="Neck"):
        convert_joints(np.zeros((1, 18, 3)), "3dpw18", "lsp14")
    with pytest.raises(ShapeError, match=r"\(\.\.\., 17, C\), got \(1, 14, 3\)"):
        convert_joints(np.zeros((1, 14, 3)), "h36m17_official", "lsp14")


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'lsp14'"):
        get_joint_set("lsp_14")
    with pytest.raises(UnknownName, match="Did you mean 'left_hip'"):
        LSP14.index("lft_hip")


def test_a_set_made_by_hand_needs_names_only() -> None:
    mine = JointSet("mine", ("left_hip", "nose"))
    assert convert_indices(mine, "coco17") == [
        1 if n == "nose" else 0 if n == "lhip" else -1 for n in get_joint_set("coco17").names
    ]
    with pytest.raises(ShapeError, match="2 names but 1 meanings"):
        JointSet("mine", ("a", "b"), ("a",))


def test_importing_joints_loads_no_torch() -> None:
    code = "import sys, hpsbench.bodies.joints; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
