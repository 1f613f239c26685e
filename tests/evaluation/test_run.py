"""From a store to a result: ground truth as a system, spoiled ground truth, missing frames, worlds that do not mix."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpsbench as hb
from hpsbench.bodies.smpl import load_bodies
from hpsbench.errors import (
    BadData,
    FeatureMismatch,
    MissingBodyModel,
    MissingCheckpoint,
    MissingFeatures,
    MissingPrediction,
    MissingRawFiles,
    ProtocolMismatch,
    ShapeError,
)
from hpsbench.evaluation.run import evaluate, predict, score_predictions
from hpsbench.predictions.files import load_predictions, save_predictions
from hpsbench.predictions.predictions import Predictions
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Protocol
from hpsbench.results.result import load_result
from hpsbench.store.reader import ClipStore
from hpsbench.types import Inputs, WindowRule


def changed_rule(name: str, **changes: Any) -> Protocol:
    """A protocol with other keys on 3DPW."""
    protocol = get_protocol(name)
    return replace(protocol, rules={"3dpw": replace(protocol.rule("3dpw"), **changes)})


@pytest.mark.parametrize("protocol", ["tcmr", "mpsnet", "vibe", "meva"])
def test_ground_truth_scores_zero_in_every_error(truth: Any, store: ClipStore, protocol: str) -> None:
    result = evaluate(truth, protocol, store)
    errors = [name for name in result.summary if name in ("mpjpe", "pa_mpjpe", "pve_raw", "accel_err")]
    assert errors
    for name in errors:
        assert result.summary[name] == pytest.approx(0, abs=1e-3), name
    assert result.synthetic is True
    assert result.accounting["in"] == 75


@pytest.mark.parametrize("protocol", ["spin", "wham-camera"])
def test_gendered_ground_truth_scores_zero_as_vertices(
    truth: Any, store: ClipStore, world: Path, protocol: str
) -> None:
    """The target is the gendered body: its own mesh is a perfect prediction, its parameters in the neutral body are not."""
    bodies = load_bodies(world, True)
    genders = {track.track: track.clips["gender"].iloc[0] for track in store.tracks()}

    def as_vertices(fields: dict[str, Any]) -> dict[str, Any]:
        body = bodies.by_gender(genders[truth.seen[-1].track])
        mesh = body.vertices(fields["rotmat"], fields["betas"]).numpy()
        return {"rows": fields["rows"], "vertices": mesh}

    neutral = evaluate(truth, protocol, store).summary["mpjpe"]
    truth.change = as_vertices
    result = evaluate(truth, protocol, store)
    assert neutral > 10
    for name, value in result.summary.items():
        assert value == pytest.approx(0, abs=1e-3), name


def test_one_joint_moved_by_10_mm_gives_the_hand_computed_number(
    truth: Any, store: ClipStore, world: Path
) -> None:
    """Joints of the neutral body by the regressor, the right ankle moved: 10 / 14 mm on every scored frame."""
    bodies = load_bodies(world, True)

    def moved(fields: dict[str, Any]) -> dict[str, Any]:
        joints = bodies.neutral.joints(fields["rotmat"], fields["betas"], via="h36m17").numpy()
        joints[:, 6, 2] += 0.01
        return {"rows": fields["rows"], "joints3d": joints, "joint_set": "h36m17_regressor"}

    truth.change = moved
    result = evaluate(truth, "tcmr", store)
    assert result.summary["mpjpe"] == pytest.approx(10 / 14, abs=1e-4)
    assert result.summary["accel_err"] == pytest.approx(0, abs=1e-3)
    assert result.absent == {"pve_raw": "joints-only predictions have no mesh"}


def test_every_vertex_moved_by_10_mm(truth: Any, store: ClipStore, world: Path) -> None:
    bodies = load_bodies(world, True)

    def moved(fields: dict[str, Any]) -> dict[str, Any]:
        mesh = bodies.neutral.vertices(fields["rotmat"], fields["betas"]).numpy()
        return {"rows": fields["rows"], "vertices": mesh + np.float32([0, 0.006, 0.008])}

    truth.change = moved
    result = evaluate(truth, "vibe", store)
    assert result.summary["pve_raw"] == pytest.approx(10, abs=1e-3)
    assert result.summary["mpjpe"] == pytest.approx(0, abs=1e-3)


def test_frames_are_accounted_for_with_the_views_reasons(truth: Any, store: ClipStore) -> None:
    """75 frames in: `vibe` leaves 3 out by its view; a_00_1 and a_00_0 keep 24 and 39, b_00 has 9: 48 scored, 15 tail."""
    account = evaluate(truth, "vibe", store).accounting
    assert account["masked_by_reason"] == {"view vibe: too-few-visible": 3}
    assert (account["too_short"], account["tail"], account["scored"]) == (9, 15, 48)
    assert list(account["tracks"]["skipped"]) == ["b_00_0"]
    account = evaluate(truth, "tcmr", store).accounting
    assert account["masked_by_reason"] == {"not valid": 2}
    assert (account["too_short"], account["scored"], account["extra_predictions"]) == (10, 63, 0)


def test_windows_bridge_or_break_at_frames_that_a_view_removed(truth: Any, store: ClipStore) -> None:
    """Under `vibe` the 24 kept frames of a_00_1 make one chunk of 16 across the gap; under `break` segments of 5 and 19."""
    bridged = evaluate(truth, "vibe", store)
    broken = evaluate(truth, changed_rule("vibe", gaps="break"), store)
    frames = {
        name: result.frames.loc[result.frames["track"] == "a_00_1", "frame_id"].tolist()
        for name, result in (("bridged", bridged), ("broken", broken))
    }
    assert frames["bridged"] == [*range(5), *range(6, 17)]
    assert frames["broken"] == list(range(6, 22))


def test_systems_see_one_clip_per_segment(truth: Any, store: ClipStore) -> None:
    evaluate(truth, "meva", store)
    seen = [(clip.track, clip.frame_id.tolist()) for clip in truth.seen]
    assert seen[0] == ("a_00_0", [0, 1, 2, 3, 4])
    assert seen[1] == ("a_00_0", [6, 7, 8, 9])
    assert seen[2] == ("a_00_0", list(range(12, 40)))
    assert truth.seen[0].windows == get_protocol("meva").rule("3dpw").windows
    assert truth.seen[0].fps == 30
    assert truth.seen[0].bbox_cxcywh.shape == (5, 4)


def test_half_precision_and_world_translation_reach_the_target(truth: Any, store: ClipStore) -> None:
    strict = evaluate(truth, "vibe-strict", store).summary
    assert 0.001 < strict["mpjpe"] < 1
    assert 0.001 < strict["pve_raw"] < 1
    assert strict["accel_err"].n == evaluate(truth, "vibe", store).summary["accel_err"].n + 2


def test_visible_keypoints_decide_in_the_visibility_mask(truth: Any, store: ClipStore, world: Path) -> None:
    """Of each of the three tracks the first frame has few visible keypoints and the last none; cocoplus is not needed
    for annotated joints."""
    rule = get_protocol("hmmr").rule("3dpw")
    target = replace(get_protocol("tcmr").rule("3dpw").target)
    protocol = changed_rule(
        "hmmr", target=target, pred=get_protocol("tcmr").rule("3dpw").pred, metrics=rule.metrics[:2]
    )
    account = evaluate(truth, protocol, store).accounting
    assert account["masked_by_reason"] == {"not visible-2d>6": 6}
    assert account["scored"] == 69


def test_the_challenge_scores_all_splits_and_detected_frames(truth: Any, store: ClipStore) -> None:
    result = evaluate(truth, "3dpw-challenge", store)
    assert result.accounting["in"] == 85
    assert result.accounting["masked_by_reason"] == {"not valid": 2, "not nonzero-2d": 5}
    assert result.summary["mpjae"] == pytest.approx(0, abs=1e-3)
    assert result.windowing == "system"


def test_another_number_of_tracks_is_an_error_on_real_data(
    truth: Any, make_store: Callable[..., ClipStore], world: Path
) -> None:
    real = make_store(synthetic=False)
    with pytest.raises(ProtocolMismatch, match="exactly 87 tracks, the store has 5"):
        evaluate(truth, "3dpw-challenge", real, root=world)


def test_a_store_without_a_split_is_refused(
    truth: Any, make_store: Callable[..., ClipStore], world: Path
) -> None:
    tracks = [track for track in _tracks(truth.store) if track.split == "test"]
    with pytest.raises(ProtocolMismatch, match="has no train and no val"):
        evaluate(truth, "3dpw-challenge", make_store(tracks), root=world)


def _tracks(store: ClipStore) -> list[Any]:
    from hpsbench.types import Track

    return [
        Track(
            sequence=rows.clips["sequence"].iloc[0],
            person=rows.clips["person"].iloc[0],
            split=rows.split,
            frame_id=store.frames["frame_id"][rows.rows],
            fields={name: store.frames[name][rows.rows] for name in store.frames if name != "frame_id"},
            fps=30.0,
            gender=rows.clips["gender"].iloc[0],
        )
        for rows in store.tracks()
    ]


def test_world_errors_need_a_translation(truth: Any, store: ClipStore) -> None:
    with pytest.raises(ProtocolMismatch, match="the predictions have no transl"):
        evaluate(truth, "wham-world", store)


def test_world_errors_of_the_true_path_vanish(store: ClipStore, truth: Any, world: Path) -> None:
    """The gendered mesh at its world position, as world predictions: no error, feet slide as they should."""
    bodies = load_bodies(world, True)
    tracks, frames, meshes = [], [], []
    for track in store.tracks("test"):
        rows = track.rows
        rotmat = hb_rotmat(store, rows)
        extrinsics = store.frames["extrinsics"][rows][:, :3, :3]
        rotmat[:, 0] = np.swapaxes(extrinsics, 1, 2) @ rotmat[:, 0]
        mesh = (
            bodies.by_gender(track.clips["gender"].iloc[0])
            .vertices(rotmat, store.frames["betas"][rows])
            .numpy()
        )
        meshes.append(mesh + store.frames["transl"][rows][:, None])
        tracks += [track.track] * len(rows)
        frames += store.frames["frame_id"][rows].tolist()
    arrays = {"vertices": np.concatenate(meshes)}
    predictions = Predictions(track=tracks, frame_id=frames, arrays=arrays, attrs={"frame": "world"})
    # Kinematic joints are no sums of vertices: score the regressor's instead.
    rule = get_protocol("wham-world").rule("3dpw")
    sides = {
        name: replace(getattr(get_protocol("wham-camera").rule("3dpw"), name), frame="world", transl="world")
        for name in ("target", "pred")
    }
    protocol = changed_rule("wham-world", metrics=rule.metrics, **sides)
    result = score_predictions(protocol, predictions, store)
    for name in ("w_mpjpe", "wa_mpjpe", "rte"):
        assert result.summary[name] == pytest.approx(0, abs=1e-2), name
    assert result.summary["jitter"] > 1
    assert not result.flags


def hb_rotmat(store: ClipStore, rows: np.ndarray) -> np.ndarray:
    from hpsbench.geometry.rotations import axis_angle_to_rotmat

    return np.asarray(axis_angle_to_rotmat(store.frames["full_pose"][rows].reshape(-1, 24, 3)))


def test_camera_predictions_reach_the_world_by_the_true_camera(store: ClipStore, truth: Any) -> None:
    """Camera rotation and t_cam = R (J0 + t) + t_c - J0 in the neutral body, gendered or not: both ways agree."""
    bodies = load_bodies(Path(store.location).parent.parent, True)
    neutral = bodies.neutral

    def placed(fields: dict[str, Any]) -> dict[str, Any]:
        clip = truth.seen[-1]
        track = next(t for t in store.tracks() if t.track == clip.track)
        rows = track.rows[clip.frame_id]
        extrinsics, transl = store.frames["extrinsics"][rows], store.frames["transl"][rows]
        still = np.zeros((len(rows), 72), np.float32)
        rest = neutral.joints(still, fields["betas"])[:, 0].numpy()
        camera = np.einsum("nij,nj->ni", extrinsics[:, :3, :3], rest + transl) + extrinsics[:, :3, 3] - rest
        return {**fields, "transl": camera.astype(np.float32)}

    truth.change = placed
    rule = get_protocol("wham-world").rule("3dpw")
    target = replace(rule.target, body="smpl-neutral", mesh="smpl-neutral")
    result = evaluate(truth, changed_rule("wham-world", target=target), store)
    assert result.flags == ("ground-truth-camera",)
    for name in ("w_mpjpe", "wa_mpjpe", "rte"):
        assert result.summary[name] == pytest.approx(0, abs=1e-2), name


def test_predictions_saved_and_scored_are_the_same_result(
    truth: Any, store: ClipStore, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    truth.change = lambda fields: {
        **fields,
        "betas": fields["betas"] + rng.normal(0, 0.3, (len(fields["rows"]), 10)),
    }
    result = evaluate(truth, "tcmr", store, save=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "frames.parquet", "predictions.zarr", "results.json", "sequences.parquet",
    ]  # fmt: skip
    predictions = load_predictions(tmp_path / "run" / "predictions.zarr")
    assert predictions.attrs["system"] == "truth"
    assert load_result(tmp_path / "run").summary == result.summary
    for ending in (".zarr", ".npz", ".parquet"):
        copy = load_predictions(save_predictions(predictions, tmp_path / f"copy{ending}"))
        again = score_predictions("tcmr", copy, store)
        assert again.summary == result.summary, ending
        assert again.accounting == result.accounting
        assert again.system == "truth"


def test_joints_only_predictions_have_joint_errors_and_no_mesh_error(store: ClipStore, truth: Any) -> None:
    table = predict(truth, store, "tcmr")
    joints = np.random.default_rng(0).normal(0, 0.3, (len(table), 14, 3))
    only = Predictions(
        track=table.track, frame_id=table.frame_id, arrays={"joints3d": joints}, attrs={"joint_set": "lsp14"}
    )
    result = score_predictions("tcmr", only, store)
    assert result.summary["mpjpe"] > 100
    assert result.absent == {"pve_raw": "joints-only predictions have no mesh"}


def test_predictions_may_be_keyed_by_row_and_hold_more_than_is_scored(store: ClipStore, truth: Any) -> None:
    rows = np.arange(len(store))[::-1]
    arrays = {"axis_angle": store.frames["full_pose"][rows], "betas": store.frames["betas"][rows]}
    result = score_predictions("tcmr", Predictions(row=rows, arrays=arrays), store)
    assert result.summary["mpjpe"] == pytest.approx(0, abs=1e-3)
    assert result.accounting["extra_predictions"] == len(store) - 63


def test_missing_predictions_are_counted(store: ClipStore, truth: Any) -> None:
    table = predict(truth, store, "tcmr")
    keep = ~((table.track == "a_00_1") & (table.frame_id > 20))
    few = Predictions(
        track=table.track[keep],
        frame_id=table.frame_id[keep],
        arrays={name: values[keep] for name, values in table.arrays.items()},
    )
    with pytest.raises(MissingPrediction, match=r"4 of 63 scored frames have no prediction \(in 1 tracks\)"):
        score_predictions("tcmr", few, store)


def test_a_system_that_leaves_frames_out_is_refused(truth: Any, store: ClipStore) -> None:
    truth.change = lambda fields: {name: values[:-2] for name, values in fields.items()}
    for run in (lambda: evaluate(truth, "tcmr", store), lambda: predict(truth, store, "tcmr")):
        with pytest.raises(MissingPrediction, match="4 of 63 scored frames"):
            run()


def test_rows_of_a_prediction_are_checked(truth: Any, store: ClipStore) -> None:
    truth.change = lambda fields: {**fields, "rows": fields["rows"] + 1}
    with pytest.raises(ShapeError, match=r"track a_00_0: rows must increase and lie in 0\.\.37"):
        evaluate(truth, "tcmr", store)
    truth.change = lambda fields: {**fields, "betas": fields["betas"][:3]}
    with pytest.raises(ShapeError, match="betas has 3 rows for 38 frames"):
        evaluate(truth, "tcmr", store)


def test_windows_are_the_protocols_or_the_systems(truth: Any, store: ClipStore) -> None:
    assert evaluate(truth, "tcmr", store).windowing == "protocol"
    truth.context = WindowRule(length=90, stride=80)
    assert evaluate(truth, "tcmr", store).windowing == "system"


def test_a_limit_marks_the_result_as_partial(truth: Any, store: ClipStore) -> None:
    calls: list[tuple[int, int, str]] = []
    result = evaluate(truth, "tcmr", store, limit=1, on_track=lambda *call: calls.append(call))
    assert result.partial
    assert result.accounting["in"] == 40
    assert calls == [(38, 38, "a_00_0")]


def test_the_result_says_what_made_it(truth: Any, store: ClipStore, world: Path) -> None:
    result = evaluate(truth, "tcmr", store, about={"command": "test"})
    made = result.provenance
    assert made["protocol_sha256"] == get_protocol("tcmr").sha256 == result.protocol_sha256
    assert made["store"]["dataset"] == "3dpw"
    assert set(made["body_sha256"]) == {"SMPL_NEUTRAL.npz"}
    assert set(made["regressor_sha256"]) == {"J_regressor_h36m.npy"}
    assert (made["view"], made["features"], made["command"]) == ("tcmr", None, "test")
    assert set(made["versions"]) == {"python", "numpy", "torch"}
    assert made["hpsbench"] == hb.__version__


def test_the_systems_options_are_kept(truth: Any, store: ClipStore, tmp_path: Path) -> None:
    """As MPS-Net's batch mixing, which changes the numbers of one checkpoint."""
    assert evaluate(truth, "tcmr", store).provenance["system_options"] is None
    truth.options = {"batch_mixing": "released", "hidden_size": 8}
    result = evaluate(truth, "tcmr", store, save=tmp_path / "run")
    assert load_result(tmp_path / "run").provenance["system_options"] == truth.options
    for ending in (".zarr", ".npz", ".parquet"):
        saved = load_predictions(
            save_predictions(load_predictions(tmp_path / "run" / "predictions.zarr"), tmp_path / f"a{ending}")
        )
        again = score_predictions("tcmr", saved, store).provenance["system_options"]
        assert again == result.provenance["system_options"], ending


def test_a_protocol_of_another_dataset_is_refused(
    truth: Any, make_store: Callable[..., ClipStore], store: ClipStore
) -> None:
    with pytest.raises(ProtocolMismatch, match="does not cover dataset 'amass'"):
        evaluate(truth, "tcmr", make_store(dataset="amass"))
    with pytest.raises(ProtocolMismatch, match="scores the dataset 'h36m'"):
        evaluate(truth, "tcmr", store, dataset="h36m-front")


def test_bodies_of_the_two_worlds_never_mix(
    truth: Any, store: ClipStore, make_store: Callable[..., ClipStore], world: Path
) -> None:
    real = make_store(synthetic=False)
    with pytest.raises(MissingBodyModel, match=r"is real, the body models in .* are synthetic") as caught:
        evaluate(truth, "tcmr", real, bodies=load_bodies(world, True))
    assert caught.value.exit_code == 3
    with pytest.raises(MissingBodyModel, match=r"register at https://smpl\.is\.tue\.mpg\.de"):
        evaluate(truth, "tcmr", real, root=world)
    with pytest.raises(MissingBodyModel, match="cocoplus"):
        evaluate(truth, "hmmr", store)


def test_only_files_that_the_protocol_names_are_needed(
    truth: Any, store: ClipStore, tmp_path: Path, world: Path
) -> None:
    folder = tmp_path / "body_models" / "synthetic"
    folder.mkdir(parents=True)
    for name in ("SMPL_NEUTRAL.npz", "J_regressor_h36m.npy"):
        (folder / name).symlink_to(world / "body_models" / "synthetic" / name)
    assert evaluate(truth, "tcmr", store, root=tmp_path).summary["mpjpe"] == pytest.approx(0, abs=1e-3)
    with pytest.raises(MissingBodyModel, match="SMPL_MALE"):
        evaluate(truth, "spin", store, root=tmp_path)


def test_features_are_those_of_the_view_by_the_right_extractor(
    truth: Any, make_store: Callable[..., ClipStore], add_features: Callable[..., ClipStore], world: Path
) -> None:
    store = add_features(make_store(), "spin-tcmr")
    truth.inputs = Inputs(features=8, extractor="spin")
    result = evaluate(truth, "tcmr", store, root=world)
    assert truth.seen[-1].features.shape == (25, 8)
    assert result.provenance["features"] == "spin-tcmr"
    assert result.provenance["extractor_sha256"] == "f" * 64
    assert (result.flags, result.condition) == ((), None)
    with pytest.raises(MissingFeatures, match="no feature set 'spin-vibe'"):
        evaluate(truth, "vibe", store, root=world)
    truth.inputs = Inputs(features=2048, extractor="spin")
    with pytest.raises(FeatureMismatch, match="are 8 wide, the system reads 2048"):
        evaluate(truth, "tcmr", store, root=world)


def test_another_extractor_is_refused_unless_it_is_named(
    truth: Any, make_store: Callable[..., ClipStore], add_features: Callable[..., ClipStore], world: Path
) -> None:
    store = add_features(make_store(), "embedded-tcmr")
    truth.inputs = Inputs(features=8, extractor="spin")
    with pytest.raises(
        FeatureMismatch, match="trained on features of 'spin', and the store has embedded-tcmr"
    ) as caught:
        evaluate(truth, "tcmr", store, root=world)
    assert caught.value.exit_code == 5
    named = evaluate(truth, "tcmr", store, root=world, features="embedded-tcmr")
    assert named.flags == ("extractor-mismatch",)
    truth.inputs = Inputs(features=8, extractor="embedded", extractor_sha256="0" * 64)
    with pytest.raises(FeatureMismatch, match="made with weights ffffffff"):
        evaluate(truth, "tcmr", store, root=world)
    truth.inputs = Inputs(features=8)
    assert evaluate(truth, "tcmr", store, root=world).provenance["features"] == "embedded-tcmr"


def test_corrupted_features_are_the_results_condition(
    truth: Any, make_store: Callable[..., ClipStore], add_features: Callable[..., ClipStore], world: Path
) -> None:
    store = add_features(make_store(), "spin-tcmr")
    add_features(store, "spin-tcmr+center-0.33x1-s3", corruption={"mode": "center", "seed": 3})
    truth.inputs = Inputs(features=8, extractor="spin")
    assert evaluate(truth, "tcmr", store, root=world).provenance["features"] == "spin-tcmr"
    result = evaluate(truth, "tcmr", store, root=world, features="spin-tcmr+center-0.33x1-s3")
    assert (result.condition, result.seeds, result.flags) == ("center-0.33x1-s3", (3,), ())


def test_features_of_another_view_are_flagged(
    truth: Any, make_store: Callable[..., ClipStore], add_features: Callable[..., ClipStore], world: Path
) -> None:
    store = add_features(make_store(), "spin-tcmr")
    truth.inputs = Inputs(features=8, extractor="spin")
    result = evaluate(truth, "vibe", store, root=world, features="spin-tcmr")
    assert result.flags == ("view-mismatch",)


def test_frames_without_smpl_parameters_are_not_scored(
    truth: Any, make_store: Callable[..., ClipStore], world: Path
) -> None:
    tracks = [
        replace(track, fields={**track.fields, "has_smpl": track.frame_id % 2 == 0})
        for track in _tracks(truth.store)
    ]
    account = evaluate(truth, "vibe", make_store(tracks), root=world).accounting
    assert account["masked_by_reason"]["no SMPL parameters"] == 22
    assert account["scored"] == 26


def test_a_track_that_the_view_drops_is_named(
    truth: Any, make_store: Callable[..., ClipStore], world: Path
) -> None:
    tracks = _tracks(truth.store)
    lost = replace(
        tracks[0],
        sequence="e_00",
        frame_id=np.array([5]),
        fields={k: v[5:6] for k, v in tracks[0].fields.items()},
    )
    store = make_store([*tracks, lost])
    account = evaluate(truth, "vibe", store, root=world).accounting["tracks"]
    assert account["skipped"]["e_00_0"] == "the view vibe keeps none of its frames"
    assert account["in"] == 4


def test_another_frame_rate_is_refused(truth: Any, make_store: Callable[..., ClipStore], world: Path) -> None:
    tracks = [replace(track, fps=25.0) for track in _tracks(truth.store)]
    with pytest.raises(ProtocolMismatch, match="has 25 frames per second, the protocol scores 30"):
        evaluate(truth, "wham-camera", make_store(tracks), root=world)


def test_world_predictions_are_not_compared_in_the_camera(store: ClipStore) -> None:
    rows = np.arange(len(store))
    arrays = {"axis_angle": store.frames["full_pose"][rows], "betas": store.frames["betas"][rows]}
    with pytest.raises(ProtocolMismatch, match="the predictions are in world coordinates"):
        score_predictions("tcmr", Predictions(row=rows, arrays=arrays, attrs={"frame": "world"}), store)


def test_systems_that_read_what_is_not_given_are_refused(truth: Any, store: ClipStore) -> None:
    truth.inputs = Inputs(images=224)
    with pytest.raises(MissingRawFiles, match="3DPW"):
        evaluate(truth, "tcmr", store)
    truth.inputs = Inputs(flow=8)
    with pytest.raises(MissingFeatures, match=r"no flow features of the view 'tcmr'.*--features flow-dis"):
        evaluate(truth, "tcmr", store)
    truth.inputs = Inputs(predictions="vibe")
    with pytest.raises(MissingCheckpoint, match="no checkpoint of system 'vibe'"):
        evaluate(truth, "tcmr", store)


def test_keypoints_are_given_in_the_systems_own_set(truth: Any, store: ClipStore) -> None:
    truth.inputs = Inputs(keypoints2d="lsp14")
    evaluate(truth, "tcmr", store)
    keypoints = truth.seen[0].keypoints2d
    native = store.frames["keypoints2d"][:1]
    np.testing.assert_array_equal(keypoints[0, 0], native[0, 10])  # right ankle
    assert keypoints.shape == (38, 14, 3)
    assert not keypoints[:, 13].any()  # the top of the head is not detected


def test_smoothing_filters_joints_and_the_mesh_only_if_it_says_so(truth: Any, store: ClipStore) -> None:
    from hpsbench.protocols.schema import SmoothTable

    for mesh in (False, True):
        smooth = SmoothTable(method="slerp", ratio=0.3, mesh=mesh)
        result = evaluate(truth, changed_rule("tcmr", smooth=smooth), store)
        assert result.summary["mpjpe"] > 1
        assert (result.summary["pve_raw"] > 1) is mesh


def test_flip_tests_are_not_claimed(truth: Any, store: ClipStore) -> None:
    assert evaluate(truth, "wham-camera", store).flags == ("no-flip-test",)


def test_an_unknown_gender_is_an_error(truth: Any, make_store: Callable[..., ClipStore], world: Path) -> None:
    tracks = [replace(track, gender=None) for track in _tracks(truth.store)]
    with pytest.raises(BadData, match="gender '' of a track"):
        evaluate(truth, "spin", make_store(tracks), root=world)
