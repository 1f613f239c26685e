"""What every protocol must keep: loadable, told in words, its TOML alone, and a worked example each.

The examples are those of docs/protocols.md. In all of them the target is one fixed skeleton, and the prediction of frame t
differs from it in one joint, by J t millimetres along x, J being the number of joints: so frame t has an MPJPE of t mm,
and the mean tells which frames are scored.
"""

import ast
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpsbench as hb
from hpsbench.data_dir import data_dir
from hpsbench.protocols.catalog import get_protocol, list_protocols, load_protocol
from hpsbench.protocols.explain import explain_lines

ROOMS = ("store", "metrics", "protocols", "evaluation")
PACKAGE = Path(hb.__file__).parent
# The joint that is moved: a wrist is no root in any of the sets.
WRIST = {14: 6, 17: 4, 24: 21}


def skeleton(joints: int) -> np.ndarray:
    return np.random.default_rng(joints).integers(-60, 60, (joints, 3)) / 64  # exact in half precision


def arrays(errors: np.ndarray, joints: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prediction and target whose frame t has an MPJPE of errors[t] millimetres."""
    target = np.repeat(skeleton(joints)[None], len(errors), axis=0)
    pred = target.copy()
    pred[:, WRIST[joints], 0] += joints * np.asarray(errors) / 1000
    return {"joints3d": pred}, {"joints3d": target}


def roots(joints: int, pred: dict[str, Any], target: dict[str, Any]) -> None:
    """A root that is none of the joints: some point that both sides share."""
    for side in (pred, target):
        side["root"] = np.repeat(skeleton(joints)[:1], len(side["joints3d"]), axis=0)


def names(**lengths: int) -> np.ndarray:
    return np.repeat(list(lengths), list(lengths.values()))


@pytest.mark.parametrize("name", list_protocols())
def test_every_file_loads_and_is_told(name: str) -> None:
    protocol = get_protocol(name)
    assert protocol.name == name
    assert re.fullmatch("[0-9a-f]{64}", protocol.sha256)
    assert explain_lines(protocol)
    assert protocol.table.defects, "each released script has known defects"
    for rule in protocol.rules.values():
        assert rule.metrics
        assert rule.target.joints.names == rule.pred.joints.names


@pytest.mark.parametrize("name", list_protocols())
def test_a_protocol_is_its_file_alone(name: str, tmp_path: Path) -> None:
    """The same file under another name gives the same numbers: no code knows which protocol it serves."""
    text = (data_dir("recipes") / "protocols" / f"{name}.toml").read_text(encoding="utf-8")
    path = tmp_path / "renamed.toml"
    path.write_text(text.replace(f'name = "{name}"', 'name = "renamed"', 1), encoding="utf-8")
    renamed = load_protocol(path)
    rng = np.random.default_rng(5)
    track = names(a_0=40, a_1=100, b_0=10, c_0=17)
    for dataset, rule in renamed.rules.items():
        joints = len(rule.target.joints)
        sides = [rng.normal(0, 0.3, (len(track), joints, 3)) for _ in range(2)]
        pred, target = ({"joints3d": side, "root": side[:, 0]} for side in sides)
        seen, scored = rng.random((2, len(track))) < 0.9
        found = [
            hb.score(protocol, pred, target, track=track, seen=seen, scored=scored, dataset=dataset)
            for protocol in (name, renamed)
        ]
        assert found[0].protocol == f"{name}@1"
        assert found[1].protocol == "renamed@1"
        assert dict(found[0].summary) == dict(found[1].summary)
        assert found[0].accounting == found[1].accounting
        assert found[0].frames.equals(found[1].frames)


@pytest.mark.parametrize("name", list_protocols())
def test_every_protocol_has_a_worked_example(name: str) -> None:
    """In the docs, under its name, and here as `test_<name>_by_hand`."""
    docs = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
    examples = docs.read_text(encoding="utf-8").partition("## Worked examples")[2].partition("\n## ")[0]
    assert f"**`{name}`" in examples
    assert f"test_{name.replace('-', '_')}_by_hand" in globals()


def words_of_code(path: Path) -> set[str]:
    """Identifiers, and the words of all strings that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            words |= set(re.findall(r"[a-z0-9-]+", node.value.lower()))
            words |= set(re.findall(r"[a-z0-9]+", node.value.lower()))
        for attribute in ("id", "attr", "name", "arg"):
            value = getattr(node, attribute, None)
            if isinstance(value, str):
                words |= {value.lower(), *re.split("[._]", value.lower())}
    return words


def test_no_code_knows_a_protocol_by_name() -> None:
    known = set(list_protocols())
    for room in ROOMS:
        for path in (PACKAGE / room).rglob("*.py"):
            assert not words_of_code(path) & known, f"{path} names a protocol"


def test_the_scan_would_find_a_name(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(
        '"""About tcmr."""\n\n\ndef f(protocol):\n    """Of vibe."""\n    return protocol.name == "meva"\n'
    )
    assert words_of_code(path) & set(list_protocols()) == {"meva"}


def check(
    result: Any, values: Mapping[str, float], n: Mapping[str, int], accounts: Mapping[str, int]
) -> None:
    for name, value in values.items():
        assert result.summary[name] == pytest.approx(value, abs=1e-9), name
    for name, count in n.items():
        assert result.summary[name].n == count, name
    assert {key: result.accounting[key] for key in accounts} == dict(accounts)
    parts = ("masked", "too_short", "tail", "scored")
    assert result.accounting["in"] == sum(result.accounting[key] for key in parts)


def test_tcmr_by_hand() -> None:
    """Tracks of 40 and 15 frames, frames 10 and 11 of the first invalid.

    The second has fewer than 16 frames: skipped. Of the first, frames 0..9 and 12..39 are scored: mean 759 / 38. The
    acceleration is 0 except where the gap is bridged: frame 9 has neighbours 8 and 12, |8 - 18 + 12| = 2, and frame 12 has
    9 and 13, |9 - 24 + 13| = 2; 4 over 36 values.
    """
    track = names(a_0=40, b_0=15)
    pred, target = arrays(np.concatenate([np.arange(40), np.arange(15)]), 14)
    seen = ~np.isin(np.arange(55), [10, 11])
    result = hb.score("tcmr", pred, target, track=track, seen=seen)
    values = {"mpjpe": 759 / 38, "accel_err": 4 / 36, "accel_pred": 4 / 36}
    check(
        result,
        values,
        {"mpjpe": 38, "accel_err": 36},
        {"masked": 2, "too_short": 15, "tail": 0, "scored": 38},
    )
    assert result.accounting["tracks"]["skipped"] == {
        "b_0": "its 15 seen frames are fewer than a window needs"
    }


def test_mpsnet_by_hand() -> None:
    """One script with TCMR's: a track of 16 frames is scored whole, mean of 0..15."""
    pred, target = arrays(np.arange(16), 14)
    result = hb.score("mpsnet", pred, target, track=names(a_0=16))
    check(result, {"mpjpe": 7.5, "accel_err": 0}, {"mpjpe": 16, "accel_err": 14}, {"scored": 16})


@pytest.mark.parametrize("name", ["tcmr", "mpsnet"])
def test_3dhp_scores_valid_frames_and_windows_see_all(name: str) -> None:
    """A segment of 20 frames whose only valid frame is the first, and one of which frames 3 and 4 are valid.

    Scored: 0, 3, 4, mean 7/3. The first frame has no acceleration; those of 3 and 4 use their invalid neighbours.
    Errors are squares of t: their second difference is 2 everywhere.
    """
    pred, target = arrays(np.concatenate([np.arange(20), np.arange(20)]) ** 2, 17)
    scored = np.isin(np.arange(40), [0, 23, 24])
    result = hb.score(name, pred, target, track=names(a=20, b=20), scored=scored, dataset="mpi-inf-3dhp")
    check(
        result,
        {"mpjpe": (0 + 9 + 16) / 3, "accel_err": 2},
        {"mpjpe": 3, "accel_err": 2},
        {"masked": 37, "scored": 3},
    )


def test_vibe_by_hand() -> None:
    """Tracks of 40, 15 and 16 frames: 32 + 0 + 16 are scored, 8 are a tail, 15 too short.

    The mean is (496 + 120) / 48. Within a track errors grow evenly: no acceleration, and none across the two tracks.
    """
    track = names(a_0=40, b_0=15, c_0=16)
    pred, target = arrays(np.concatenate([np.arange(40), np.arange(15), np.arange(16)]), 14)
    result = hb.score("vibe", pred, target, track=track)
    check(
        result,
        {"mpjpe": 616 / 48, "accel_err": 0},
        {"mpjpe": 48, "accel_err": 44},
        {"too_short": 15, "tail": 8, "scored": 48},
    )


def test_vibe_strict_by_hand() -> None:
    """The same tracks: acceleration runs on from frame 31 of the first to frame 0 of the third.

    |30 - 62 + 0| = 32 and |31 - 0 + 1| = 32 over 46 values; the target is exact in half precision.
    """
    track = names(a_0=40, b_0=15, c_0=16)
    pred, target = arrays(np.concatenate([np.arange(40), np.arange(15), np.arange(16)]), 14)
    result = hb.score("vibe-strict", pred, target, track=track)
    check(result, {"mpjpe": 616 / 48, "accel_err": 64 / 46}, {"mpjpe": 48, "accel_err": 46}, {"scored": 48})


def test_vibe_strict_glues_a_repeated_name_to_the_track_before_it() -> None:
    """a x 20, b x 20, a x 20: by name 40 and 20 rows, 48 scored; by first occurrence 20 and 40, 48 others."""
    track = np.repeat(["a", "b", "a"], 20)
    pred, target = arrays(np.arange(60), 14)
    by_name = hb.score("vibe", pred, target, track=track).frames
    strict = hb.score("vibe-strict", pred, target, track=track).frames
    assert by_name["frame_id"].tolist() == [*range(36), *range(40, 52)]
    assert strict["frame_id"].tolist() == [*range(16), *range(20, 52)]


def test_vibe_strict_rounds_the_target_to_half_precision() -> None:
    """Between 2 and 4 m half precision has steps of 1/512 m: 3.0005 m becomes 3 m."""
    pred = {"joints3d": np.full((16, 14, 3), 3.0)}
    pred["joints3d"][:, WRIST[14], 0] = 3.0005
    target = {"joints3d": pred["joints3d"].copy()}
    assert hb.score("vibe", pred, target, track=names(a=16)).summary["mpjpe"] == 0
    strict = hb.score("vibe-strict", pred, target, track=names(a=16))
    assert strict.summary["mpjpe"] == pytest.approx(0.5 / 14)


def test_meva_by_hand() -> None:
    """A track of 100 frames, one of 10 that is padded; frame 50 invalid: it ends a segment of 50.

    Scored: all but frame 50. PCK and AUC are means over the two tracks: errors of 14 t mm, after Procrustes, are beyond
    150 mm in some frames of the long track only, so its share counts half.
    """
    track = names(a_0=100, b_0=10)
    pred, target = arrays(np.concatenate([np.arange(100), np.zeros(10)]), 14)
    seen = np.arange(110) != 50
    result = hb.score("meva", pred, target, track=track, seen=seen)
    check(
        result,
        {"mpjpe": (4950 - 50) / 109, "accel_err": 0},
        {"mpjpe": 109, "accel_err": 48 + 47 + 8},
        {"masked": 1, "too_short": 0, "tail": 0, "scored": 109},
    )
    frames = result.frames
    means = [frames.loc[frames["track"] == name, "pa_pck150"].mean() for name in ("a_0", "b_0")]
    assert means[1] == 100
    assert 0 < means[0] < 100
    assert result.summary["pa_pck150"] == pytest.approx(np.mean(means))


def test_spin_by_hand() -> None:
    """Single frames: every valid frame counts, whatever its neighbours; the root is the regressor's pelvis."""
    pred, target = arrays(np.arange(5), 14)
    roots(14, pred, target)
    result = hb.score("spin", pred, target, track=names(a=3, b=2), seen=[True, False, True, True, True])
    check(result, {"mpjpe": 9 / 4}, {"mpjpe": 4}, {"masked": 1, "scored": 4})
    assert "accel_err" not in result.summary


def test_spin_takes_joints_and_root_from_the_regressors_17() -> None:
    """Row 0 of the 17 is the root, rows 6 5 4 1 2 3 16 15 14 11 12 13 8 10 are scored: moving row 7 changes nothing."""
    target = np.repeat(skeleton(17)[None], 2, axis=0)
    pred = target.copy()
    pred[:, 7] += 1.0
    pred[0, 16] += [0, 0.014, 0]
    pred[1, 0] += [0, 0.003, 0]
    result = hb.score("spin", {"joints3d": pred}, {"joints3d": target}, track=["a", "a"])
    np.testing.assert_allclose(result.frames["mpjpe"], [1, 3], atol=1e-9)


def test_hmmr_by_hand() -> None:
    """Video a has two people (2 and 4 frames), video b one (2 frames): means 2 and 7, so 4.5 and not 26 / 8.

    Frame 3 of the second person has too few visible keypoints: it is not scored, and of its 2 accelerations neither
    counts, each having it among its three frames; the predicted acceleration counts everywhere.
    """
    track = names(a_0=2, a_1=4, b_0=2)
    pred, target = arrays(np.array([1, 3, 1, 3, 40, 2, 6, 8]), 14)
    scored = np.arange(8) != 4
    result = hb.score("hmmr", pred, target, track=track, scored=scored)
    check(
        result, {"mpjpe": (2 + 7) / 2, "accel_pred": (35 + 75) / 2}, {"mpjpe": 7}, {"masked": 1, "scored": 7}
    )
    assert result.absent["accel_err"] == "no track has enough neighbouring frames"
    assert result.summary["mpjpe"].by_average["frame"] == pytest.approx(24 / 7)


def test_hmmr_rounds_to_a_hundredth_of_a_millimetre() -> None:
    pred, target = arrays(np.array([1.23456, 1.23456]), 14)
    assert hb.score("hmmr", pred, target, track=["a_0", "a_0"]).summary["mpjpe"].value == 1.23


def test_3dpw_challenge_by_hand() -> None:
    """Three frames, two scored; a wrist is off by 24, 48 and 72 mm.

    MPJPE 1 and 3 mm over 24 joints. PCK at 50 mm over 12 joints: 100 and 11/12. AUC over 0..199 mm: joints without an error
    count 1; an error of 24 mm is correct from 24 on, so the curve rises between 23 and 24 and lacks 23.5 of 199.
    """
    pred, target = arrays(np.arange(1, 4), 24)
    result = hb.score("3dpw-challenge", pred, target, track=["a"] * 3, scored=[True, False, True])
    lost = [(24 - 0.5) / 199 / 12, (72 - 0.5) / 199 / 12]
    values = {"mpjpe": 2, "pck50": (100 + 1100 / 12) / 2, "auc200": 1 - sum(lost) / 2}
    # 24 mm in floating point lies just above the threshold of 24: both errors count one step later or not at all.
    assert result.summary["auc200"] == pytest.approx(values.pop("auc200"), abs=1 / 199 / 12)
    check(result, values, {"mpjpe": 2}, {"masked": 1, "scored": 2})
    assert result.absent["mpjae"] == "prediction and target without rotmat"


def test_3dpw_challenge_compares_global_rotations() -> None:
    """The left hip is turned by 10 degrees: it, the knee below it, 2 of 9 joints: 20 / 9 degrees."""
    pred, target = arrays(np.zeros(1), 24)
    rotmat = np.tile(np.eye(3), (1, 24, 1, 1))
    turned = rotmat.copy()
    c, s = np.cos(np.pi / 18), np.sin(np.pi / 18)
    turned[0, 1] = [[c, -s, 0], [s, c, 0], [0, 0, 1]]
    result = hb.score("3dpw-challenge", {**pred, "rotmat": turned}, {**target, "rotmat": rotmat}, track=["a"])
    check(result, {"mpjae": 20 / 9, "pa_mpjae": 20 / 9}, {"mpjae": 1}, {"scored": 1})


def test_wham_camera_by_hand() -> None:
    """A track of 10 frames, errors t^2: second difference 2 mm/frame^2 = 1.8 m/s^2 at 30 fps.

    Of 8 values the first and last are cut off. The mesh error is taken after each mesh has lost its own mid-hip.
    """
    pred, target = arrays(np.arange(10) ** 2, 14)
    mesh = np.repeat(skeleton(17)[None], 10, axis=0)
    moved = {"joints3d": pred["joints3d"] + 0.5, "vertices": mesh + 0.5 + [0, 0, 0.02]}
    result = hb.score("wham-camera", moved, {**target, "vertices": mesh}, track=names(a=10))
    check(
        result,
        {"mpjpe": 28.5, "accel_err": 2, "accel_err_si": 1.8, "pve_pelvis": 20},
        {"mpjpe": 10, "accel_err": 6, "pve_pelvis": 10},
        {"scored": 10},
    )


def test_wham_world_by_hand() -> None:
    """A body that walks 1 m in 10 steps; the prediction walks the same path, twice as large and turned.

    A similarity fits it: both world errors are 0, whatever the scale. The rigid path error is not: on a straight path a
    root that goes twice as far is off by 0.1 |t - 5| m after alignment, 27.3 % of the path on average. All third
    differences are 0, so is the jitter.
    """
    steps = np.linspace(0, 1, 11)[:, None, None] * [1.0, 0, 0]
    target = skeleton(24)[None] + steps
    pred = 2 * target @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    result = hb.score("wham-world", {"joints3d": pred}, {"joints3d": target}, track=names(a=11))
    check(
        result,
        {"w_mpjpe": 0, "wa_mpjpe": 0, "rte": 300 / 11, "jitter": 0},
        {"w_mpjpe": 11, "rte": 11, "jitter": 8},
        {"scored": 11},
    )


Score = Callable[..., Any]


@pytest.mark.parametrize("name", list_protocols())
def test_ground_truth_scores_zero(name: str) -> None:
    rng = np.random.default_rng(2)
    track = names(a_0=40, b_0=90)
    for dataset, rule in get_protocol(name).rules.items():
        joints = rng.normal(0, 0.3, (130, len(rule.target.joints), 3)).astype(np.float16).astype(np.float64)
        side = {"joints3d": joints, "root": joints[:, 0]}
        result = hb.score(name, side, side, track=track, dataset=dataset)
        for metric, value in result.summary.items():
            if "pck" not in metric and "auc" not in metric and metric not in ("accel_pred", "jitter"):
                assert value == pytest.approx(0, abs=1e-9), metric
