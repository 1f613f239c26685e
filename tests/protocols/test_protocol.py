from collections.abc import Callable
from pathlib import Path

import pytest

from hpsbench.errors import ProtocolMismatch, UsageError
from hpsbench.protocols.catalog import get_protocol, list_protocols, load_protocol
from hpsbench.types import WindowRule

Change = Callable[..., Path]

WINDOWS = {
    "spin": WindowRule(length=1, stride=1),
    "hmmr": WindowRule(length=20, stride=8, predict="middle", keep=8, edges="zero-image"),
    "vibe": WindowRule(length=16, stride=16),
    "vibe-strict": WindowRule(length=16, stride=16),
    "meva": WindowRule(length=90, stride=80, edges="shift-last", overlap="cut-half", short="pad"),
    "tcmr": WindowRule(length=16, stride=1, predict="middle", edges="repeat-frame"),
    "mpsnet": WindowRule(length=16, stride=1, predict="middle", edges="repeat-frame"),
    "3dpw-challenge": None,
    "wham-camera": WindowRule(length="track", stride="track"),
    "wham-world": WindowRule(length="track", stride="track"),
}
MASKS = {
    "spin": (("valid",), ("seen",)),
    "hmmr": (("all",), ("visible-2d>6",)),
    "vibe": (("all",), ("seen",)),
    "vibe-strict": (("all",), ("seen",)),
    "meva": (("valid",), ("seen",)),
    "tcmr": (("valid",), ("seen",)),
    "mpsnet": (("valid",), ("seen",)),
    "3dpw-challenge": (("all",), ("valid", "nonzero-2d")),
    "wham-camera": (("all",), ("seen",)),
    "wham-world": (("all",), ("seen",)),
}


@pytest.mark.parametrize("name", list_protocols())
def test_windows_and_masks_on_3dpw(name: str) -> None:
    rule = get_protocol(name).rule("3dpw")
    assert rule.windows == WINDOWS[name]
    assert (rule.seen, rule.scored) == MASKS[name]


def test_gaps_are_bridged_by_the_four_that_release_it_so() -> None:
    bridging = {name for name in list_protocols() if get_protocol(name).rule("3dpw").gaps == "bridge"}
    assert bridging == {"tcmr", "mpsnet", "vibe", "vibe-strict"}


def test_bodies_of_the_target_differ() -> None:
    bodies = {name: get_protocol(name).rule("3dpw").target.body for name in list_protocols()}
    neutral = {name for name, body in bodies.items() if body == "smpl-neutral"}
    assert neutral == {"vibe", "vibe-strict", "meva", "tcmr", "mpsnet"}
    assert get_protocol("hmmr").rule("3dpw").target.mesh == "smpl-refit"


def test_roots_are_found_by_name() -> None:
    rule = get_protocol("tcmr").rule("3dpw")
    assert (rule.target.root.of, rule.target.root.rows) == ("selected", (3, 2))
    rule = get_protocol("spin").rule("3dpw")
    assert (rule.pred.root.of, rule.pred.root.rows) == ("source", (0,))
    assert get_protocol("tcmr").rule("mpi-inf-3dhp").target.root.rows == (14,)
    assert get_protocol("3dpw-challenge").rule("3dpw").pred.root.rows == (0,)


def test_joints_are_selected_by_name() -> None:
    rule = get_protocol("vibe").rule("3dpw")
    assert rule.pred.rows() == [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    rule = get_protocol("tcmr").rule("mpi-inf-3dhp")
    assert rule.pred.rows() == [38, 37, 33, 32, 31, 34, 35, 36, 27, 26, 25, 28, 29, 30, 39, 41, 43]


def test_metrics_carry_what_their_functions_need() -> None:
    metrics = {metric.name: metric for metric in get_protocol("meva").rule("3dpw").metrics}
    assert (metrics["pa_pck150"].strict, metrics["pa_pck150"].average) == (False, "track")
    assert len(metrics["pa_auc200"].thresholds) == 200
    assert metrics["pa_auc200"].thresholds[-1] == 199
    challenge = {metric.name: metric for metric in get_protocol("3dpw-challenge").rule("3dpw").metrics}
    assert challenge["pck50"].joints == (1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21)
    assert challenge["mpjae"].joints == (0, 1, 2, 4, 5, 16, 17, 18, 19)
    hmmr = {metric.name: metric for metric in get_protocol("hmmr").rule("3dpw").metrics}
    assert (hmmr["accel_err"].visible, hmmr["accel_err"].align) == ("all-three", "none")
    assert len({m.function for m in metrics.values()}) > 3


def test_a_dataset_that_is_not_covered_is_refused() -> None:
    with pytest.raises(ProtocolMismatch, match=r"tcmr@1 does not cover dataset 'amass'; it covers 3dpw"):
        get_protocol("tcmr").rule("amass")
    with pytest.raises(ProtocolMismatch, match="one of its settings: h36m-p1, h36m-p2"):
        get_protocol("spin").rule("h36m")


def test_the_hash_is_that_of_the_rules_not_of_the_words(changed: Change) -> None:
    plain = load_protocol(changed("tcmr"))
    worded = load_protocol(
        changed("tcmr", ('title = "TCMR', 'title = "Another TCMR'), ("official = ", "official =  "))
    )
    assert worded.sha256 == plain.sha256
    assert load_protocol(changed("tcmr", ('gaps = "bridge"', 'gaps = "break"'))).sha256 != plain.sha256
    assert load_protocol(changed("tcmr", ("length = 16", "length = 8"))).sha256 != plain.sha256
    assert load_protocol(changed("tcmr", ('"pve_raw", ', ""))).sha256 != plain.sha256


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('gaps = "bridge"', 'gap = "bridge"', r"unknown key 'gap', did you mean 'gaps'\?"),
        (
            'gaps = "bridge"',
            'gaps = "bridg"',
            r"'bridg' is not one of break, bridge, did you mean 'bridge'\?",
        ),
        (
            'predict = "middle"',
            'predct = "middle"',
            r"unknown key 'windows.predct', did you mean 'predict'\?",
        ),
        (
            'via = "h36m17"',
            'via = "h36m"',
            r"datasets.3dpw: unknown joint regressor 'h36m'. Did you mean 'h36m17'\?",
        ),
        ('joints = "lsp14"', 'joints = "lps14"', r"unknown joint set 'lps14'. Did you mean 'lsp14'\?"),
        (
            '"pa_mpjpe", "pve_raw"',
            '"pa_mpjp", "pve_raw"',
            r"unknown metric 'pa_mpjp'. Did you mean 'pa_mpjpe'\?",
        ),
        ('seen = "valid"', 'seen = "vald"', r"unknown mask in seen 'vald'. Did you mean 'valid'\?"),
        (
            'root = "pelvis"',
            'root = "pelvs"',
            r"unknown joint of mpii3d_test17_official 'pelvs'. Did you mean 'pelvis'",
        ),
        ('body = "smpl-neutral", ', "", "target joints via 'h36m17' need body"),
        (
            'via = "h36m17", joints',
            'via = "h36m17", from = "spin49", joints',
            "exactly one of via, from and field",
        ),
        ('view = "tcmr"\nseen', "seen", "key 'datasets.3dpw.view' is missing"),
        ('predict = "middle", edges = "repeat-frame", ', "", "windows predict frames more than once"),
        ('name = "mine"', 'name = "mine"\nround = -1', "round = -1: Input should be greater than 0"),
        (
            'field = "joints3d_univ"',
            'field = "joint3d"',
            r"unknown field of joints 'joint3d'. Did you mean 'joints3d'\?",
        ),
        (
            'from = "spin49", joints',
            'from = "coco17", joints',
            "joints of coco17 cannot be scored as mpii3d_test17_official: it has no head_top",
        ),
        ("version = 1", "version = '1'", "version = '1': Input should be a valid integer"),
    ],
)
def test_a_typo_fails_at_once_and_says_what_was_meant(
    changed: Change, old: str, new: str, message: str
) -> None:
    path = changed("tcmr", (old, new))
    with pytest.raises(UsageError, match=message) as caught:
        load_protocol(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('{ name = "pck80", metric = "pck", unit = "%" }', "metric pck80: pck needs a threshold"),
        ('{ name = "x", metric = "joint_eror", unit = "mm" }', "unknown function of metric x 'joint_eror'"),
        ('{ name = "accel_err_si" }', "it needs fps in the dataset's table"),
        ('{ name = "mpjpe", joints = ["Left Hipp"] }', "unknown joint of lsp14 'Left Hipp'"),
        ('{ name = "mpjpe", algn = "root" }', "did you mean 'align'"),
        ('{ name = "own", metric = "joint_error" }', "metric own: give its unit"),
    ],
)
def test_a_metric_must_be_whole(changed: Change, entry: str, message: str) -> None:
    path = changed("tcmr", ('metrics = ["mpjpe", "pa_mpjpe", "pve_raw",', f"metrics = [{entry},"))
    with pytest.raises(UsageError, match=message):
        load_protocol(path)
