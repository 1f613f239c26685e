"""One set of predictions under every protocol that fits: values, reasons, and shares that add up."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import ProtocolMismatch, UnknownName, UsageError
from hpsbench.evaluation.matrix import Explanation, protocol_matrix
from hpsbench.evaluation.row_cache import RowCache
from hpsbench.evaluation.run import evaluate, score_predictions
from hpsbench.predictions.predictions import Predictions
from hpsbench.protocols.catalog import get_protocol, list_protocols
from hpsbench.protocols.protocol import Protocol
from hpsbench.store.reader import ClipStore


@pytest.fixture
def predictions(store: ClipStore) -> Predictions:
    """Of every row of the store, somewhat wrong in pose and shape."""
    return predictions_of(store, np.arange(len(store)))


def predictions_of(store: ClipStore, rows: np.ndarray) -> Predictions:
    noise = np.random.default_rng(3)
    pose = store.frames["full_pose"][:] + noise.normal(0, 0.1, (len(store), 72))
    betas = store.frames["betas"][:] + noise.normal(0, 0.5, (len(store), 10))
    return Predictions(
        row=rows, arrays={"axis_angle": pose[rows], "betas": betas[rows]}, attrs={"system": "noisy"}
    )


def protocols(*names: str) -> list[Protocol]:
    return [get_protocol(name) for name in names]


def changed(name: str, new: str, **changes: Any) -> Protocol:
    """A protocol with other keys on 3DPW, under another name."""
    protocol = get_protocol(name)
    table = protocol.table.model_copy(update={"name": new})
    return replace(protocol, table=table, rules={"3dpw": replace(protocol.rule("3dpw"), **changes)})


def of(explanations: tuple[Explanation, ...], name: str) -> Explanation:
    return next(one for one in explanations if one.protocol == name)


FITTING = ["3dpw-challenge", "meva", "mpsnet", "spin", "tcmr", "vibe", "vibe-strict", "wham-camera"]


def test_values_are_those_of_each_protocol_alone(predictions: Predictions, store: ClipStore) -> None:
    """Sharing joints and meshes between protocols changes nothing, in the numbers or in what made them."""
    found = protocol_matrix(predictions, store, protocols(*list_protocols()))
    assert list(found.results) == FITTING
    for name, result in found.results.items():
        alone = score_predictions(name, predictions, store)
        assert result.accounting == alone.accounting, name
        assert result.flags == alone.flags
        assert (result.provenance, result.system) == (alone.provenance, "noisy"), name
        assert set(result.summary) == set(alone.summary)
        for metric, value in result.summary.items():
            assert value == pytest.approx(alone.summary[metric], rel=1e-5), (name, metric)
            assert value.n == alone.summary[metric].n


def test_protocols_that_do_not_fit_say_why(predictions: Predictions, store: ClipStore) -> None:
    found = protocol_matrix(predictions, store, protocols(*list_protocols()))
    assert set(found.refused) == {"hmmr", "wham-world"}
    assert "no transl" in found.refused["wham-world"]
    assert "cocoplus" in found.refused["hmmr"]
    assert (found.reference, found.why_unexplained) == (None, "no reference was named")
    assert found.explanations == ()


def test_the_shares_of_all_causes_add_up_to_the_difference(
    predictions: Predictions, store: ClipStore
) -> None:
    found = protocol_matrix(predictions, store, protocols(*list_protocols()), reference="tcmr")
    assert [one.protocol for one in found.explanations] == [name for name in FITTING if name != "tcmr"]
    for one in found.explanations:
        result = found.results[one.protocol]
        for i, start in enumerate(one.start):
            assert start.change is None
            steps = [step.effects[i] for step in one.steps]
            value = result.summary[start.metric]
            assert steps[-1].value == pytest.approx(value.value, rel=1e-6), (one.protocol, start.metric)
            assert steps[-1].n == value.n
            total = sum(step.change for step in steps if step.change is not None)
            assert start.value is not None
            assert total == pytest.approx(value.value - start.value, abs=1e-6)
        assert one.steps[-1].frames == result.accounting["scored"]
        assert [step.unpredicted for step in one.steps] == [0] * len(one.steps)


def test_a_cause_moves_only_what_depends_on_it(predictions: Predictions, store: ClipStore) -> None:
    """Of the same frames the root changes no Procrustes error, joins change accelerations alone."""
    found = protocol_matrix(
        predictions, store, protocols("tcmr", "spin", "vibe", "vibe-strict"), reference="vibe"
    )
    strict = of(found.explanations, "vibe-strict")
    assert [step.cause for step in strict.steps] == ["joins", "coordinates", "precision"]
    moved = {e.metric: e.change for e in strict.steps[0].effects}
    assert moved["mpjpe"] == moved["pa_mpjpe"] == moved["pve_raw"] == 0
    assert moved["accel_err"] != 0
    assert strict.steps[0].effects[-1].n == strict.start[-1].n + 2, "two values more, across one join"
    assert [e.change for e in strict.steps[1].effects] == [0] * 5, "a translation alone moves nothing"
    assert all(0 < abs(e.change or 0) < 1 for e in strict.steps[2].effects if e.metric != "accel_pred")
    spin = of(found.explanations, "spin")
    root = next(step for step in spin.steps if step.cause == "joints and root")
    by_metric = {e.metric: e.change for e in root.effects}
    assert by_metric["pa_mpjpe"] == pytest.approx(0, abs=1e-9)
    assert abs(by_metric["mpjpe"] or 0) > 0.1


def test_one_thing_changed_is_one_row_with_the_whole_difference(
    predictions: Predictions, store: ClipStore
) -> None:
    tcmr = get_protocol("tcmr")
    gendered = replace(tcmr.rule("3dpw").target, body="smpl-gendered", mesh="smpl-gendered")
    metrics = tuple(replace(metric, average="video") for metric in tcmr.rule("3dpw").metrics)
    others = [
        changed("tcmr", "body", target=gendered),
        changed("tcmr", "mean", average="video", metrics=metrics),
        changed("tcmr", "cut", seen=("all",)),
        changed("tcmr", "apart", gaps="break"),
    ]
    found = protocol_matrix(predictions, store, [tcmr, *others], reference="tcmr")
    for name, cause in (("body", "body"), ("mean", "average"), ("cut", "frames"), ("apart", "gaps")):
        (step,) = of(found.explanations, name).steps
        assert step.cause == cause
        for effect in step.effects:
            difference = (
                found.results[name].summary[effect.metric] - found.results["tcmr"].summary[effect.metric]
            )
            assert effect.change == pytest.approx(difference, abs=1e-9)
    assert of(found.explanations, "cut").steps[0].frames == 65
    mean = {e.metric: e.change for e in of(found.explanations, "mean").steps[0].effects}
    assert mean["mpjpe"] == pytest.approx(0, abs=1e-9), "one video is long enough: its mean is the mean"


def test_mesh_errors_with_and_without_alignment_are_compared(
    predictions: Predictions, store: ClipStore
) -> None:
    found = protocol_matrix(predictions, store, protocols("tcmr", "wham-camera"), reference="tcmr")
    (one,) = found.explanations
    assert [e.metric for e in one.start] == ["mpjpe", "pa_mpjpe", "accel_err", "pve_pelvis"]
    definition = next(step for step in one.steps if step.cause == "definition")
    assert "pve_pelvis: was pve_raw" in definition.what
    assert {e.metric: e.change for e in definition.effects}["pve_pelvis"] != 0
    assert one.unpaired == ("accel_err_si",)


def test_missing_predictions_are_refused_left_out_or_kept_to_what_is_common(store: ClipStore) -> None:
    """Predictions of valid frames only, as a system under tcmr makes them: 63 of 65 and without b_00's 10."""
    valid = np.asarray(store.frames["valid"][:])
    rows = np.flatnonzero(valid & ~np.isin(np.arange(len(store)), np.arange(65, 85)))
    some = predictions_of(store, rows)
    chosen = protocols("tcmr", "vibe", "wham-camera")
    refused = protocol_matrix(some, store, chosen, reference="tcmr")
    assert list(refused.results) == ["tcmr"]
    assert "2 of 48 scored frames have no prediction" in refused.refused["vibe"]
    assert "12 of 75 scored frames have no prediction" in refused.refused["wham-camera"]

    left = protocol_matrix(some, store, chosen, reference="tcmr", frames="predicted")
    assert {name: r.accounting["scored"] for name, r in left.results.items()} == {
        "tcmr": 63, "vibe": 46, "wham-camera": 63,
    }  # fmt: skip
    assert left.results["wham-camera"].accounting["masked_by_reason"] == {"no prediction": 12}
    assert [(r.partial, r.flags) for r in left.results.values()] == [
        (False, ()),
        (True, ("predicted-frames",)),
        (True, ("predicted-frames",)),
    ]
    steps = of(left.explanations, "vibe").steps
    assert [step.unpredicted for step in steps] == [2, 2]

    common = protocol_matrix(some, store, chosen, reference="tcmr", frames="common")
    keys = [r.frames.loc[r.frames["scored"], ["track", "frame_id"]] for r in common.results.values()]
    assert {len(key) for key in keys} == {46}
    assert all(sorted(map(tuple, key.to_numpy())) == sorted(map(tuple, keys[0].to_numpy())) for key in keys)
    assert all(r.partial and "common-frames" in r.flags for r in common.results.values())
    assert common.results["tcmr"].accounting["masked_by_reason"]["not scored under every protocol"] == 17
    vibe = of(common.explanations, "vibe")
    assert {step.frames for step in vibe.steps} == {46}
    assert vibe.steps[0].effects[0].change == pytest.approx(0, abs=1e-9)


def test_nothing_in_common_and_nothing_predicted_are_said(store: ClipStore) -> None:
    first = predictions_of(store, np.arange(20))
    halves = [
        changed("tcmr", "early", where={"track": ("a_00_0",)}),
        changed("tcmr", "late", where={"track": ("a_00_1",)}),
    ]
    with pytest.raises(UsageError, match="no frame is scored by all of early, late"):
        protocol_matrix(predictions_of(store, np.arange(len(store))), store, halves, frames="common")
    found = protocol_matrix(first, store, halves, frames="predicted")
    assert found.refused == {"late": "none of the frames that it scores has a prediction"}


def test_a_reference_that_does_not_fit_leaves_the_values(predictions: Predictions, store: ClipStore) -> None:
    found = protocol_matrix(predictions, store, protocols("tcmr", "hmmr"), reference="hmmr")
    assert list(found.results) == ["tcmr"]
    assert found.why_unexplained is not None
    assert found.why_unexplained.startswith("hmmr does not fit:")
    with pytest.raises(UnknownName, match="Did you mean 'tcmr'"):
        protocol_matrix(predictions, store, protocols("tcmr"), reference="tcmrr")
    with pytest.raises(ProtocolMismatch, match=r"no protocol fits .*: hmmr: "):
        protocol_matrix(predictions, store, protocols("hmmr"))
    with pytest.raises(UnknownName, match="choice of frames"):
        protocol_matrix(predictions, store, protocols("tcmr"), frames="some")  # type: ignore[arg-type]


def test_settings_of_one_dataset_stand_side_by_side(predictions: Predictions, store: ClipStore) -> None:
    tcmr = get_protocol("tcmr")
    rule = tcmr.rule("3dpw")
    both = replace(tcmr, rules={"3dpw": rule, "3dpw-all": replace(rule, name="3dpw-all", seen=("all",))})
    found = protocol_matrix(predictions, store, [both, get_protocol("spin")], reference="tcmr/3dpw")
    assert list(found.results) == ["tcmr/3dpw", "tcmr/3dpw-all", "spin"]
    assert found.results["tcmr/3dpw-all"].dataset == "3dpw-all"
    only = protocol_matrix(predictions, store, [both, get_protocol("spin")], dataset="3dpw-all")
    assert list(only.results) == ["tcmr"]
    assert "does not cover dataset '3dpw-all'" in only.refused["spin"]


def test_a_rule_half_way_that_has_no_joints_goes_with_the_next(
    store: ClipStore, predictions: Predictions
) -> None:
    """From a posed body to annotated joints in the same set."""
    challenge = get_protocol("3dpw-challenge")
    rule = challenge.rule("3dpw")
    metrics = rule.metrics[:2]
    field = replace(rule.target, kind="field", source="joints3d", source_set=None, body=None, mesh=None)
    posed = changed("3dpw-challenge", "posed", metrics=metrics)
    annotated = changed("3dpw-challenge", "annotated", metrics=metrics, target=field)
    found = protocol_matrix(predictions, store, [posed, annotated], reference="posed")
    (step,) = found.explanations[0].steps
    assert step.cause == "body + joints and root"
    value = found.results["annotated"].summary["mpjpe"]
    assert step.effects[0].value == pytest.approx(value.value)


def test_a_system_predicts_anew_for_other_frames_and_windows(truth: Any, store: ClipStore) -> None:
    truth.change = lambda fields: {**fields, "betas": fields["betas"] + 0.1 * len(fields["rows"]) / 40}
    found = protocol_matrix(truth, store, protocols("tcmr", "vibe", "wham-camera"), reference="tcmr")
    for name in ("tcmr", "vibe", "wham-camera"):
        alone = evaluate(truth, name, store)
        for metric, value in found.results[name].summary.items():
            assert value == pytest.approx(alone.summary[metric], rel=1e-4, abs=1e-6), (name, metric)
        assert found.results[name].system == "truth"
        assert found.results[name].windowing == alone.windowing
    lengths = {clip.windows.length for clip in truth.seen if clip.windows is not None}
    assert lengths == {16, "track"}


def test_joints_alone_are_scored_under_protocols_that_have_them(store: ClipStore) -> None:
    rows = np.arange(len(store))
    joints = np.random.default_rng(0).normal(0, 0.3, (len(store), 14, 3))
    only = Predictions(row=rows, arrays={"joints3d": joints}, attrs={"joint_set": "lsp14"})
    found = protocol_matrix(only, store, protocols(*list_protocols()), reference="tcmr")
    assert "3dpw-challenge" in found.refused
    assert "cannot be scored as smpl24" in found.refused["3dpw-challenge"]
    assert all("pve_raw" not in result.summary for result in found.results.values())
    assert [e.metric for e in of(found.explanations, "vibe").start] == [
        "mpjpe", "pa_mpjpe", "accel_err", "accel_pred",
    ]  # fmt: skip


def test_the_document_is_plain_json(predictions: Predictions, store: ClipStore) -> None:
    found = protocol_matrix(predictions, store, protocols("tcmr", "vibe"), reference="tcmr")
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["explanations"][0]["steps"][0]["cause"] == "frames"
    assert document["results"]["vibe"]["protocol"] == "vibe@1"


def test_progress_is_told(predictions: Predictions, store: ClipStore) -> None:
    calls: list[tuple[int, int, str]] = []
    protocol_matrix(
        predictions,
        store,
        protocols("tcmr", "spin"),
        reference="tcmr",
        on_protocol=lambda *c: calls.append(c),
    )
    assert calls == [(1, 4, "tcmr"), (2, 4, "spin"), (3, 4, "tcmr"), (4, 4, "spin")]


def test_rows_are_made_once() -> None:
    made: list[list[int]] = []

    def squares(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        def make(places: np.ndarray) -> np.ndarray:
            made.append(rows[places].tolist())
            return rows[places] ** 2

        return make

    cache = RowCache(10)
    first, second = np.array([3, 1]), np.array([1, 2, 3])
    np.testing.assert_array_equal(cache.get("squares", first, squares(first)), [9, 1])
    np.testing.assert_array_equal(cache.get("squares", second, squares(second)), [1, 4, 9])
    np.testing.assert_array_equal(cache.get("squares", second, squares(second)), [1, 4, 9])
    assert made == [[3, 1], [2]]
    cache.get("others", first, squares(first))
    assert made[-1] == [3, 1]
    none = np.array([], np.int64)
    assert len(RowCache(3).get("none", none, lambda places: np.zeros((0, 2)))) == 0
