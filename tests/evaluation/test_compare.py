import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from hpsbench.errors import BadData, HpsbenchError, UsageError
from hpsbench.evaluation.compare import Limit, better_direction, compare_results, fail_if_worse
from hpsbench.results.measured import Measured
from hpsbench.results.result import Result, load_result

UNITS = {
    "mpjpe": "mm",
    "pa_mpjpe": "mm",
    "accel_err": "mm/frame^2",
    "pck150": "%",
    "accel_pred": "mm/frame^2",
}


@pytest.fixture
def make_result():
    """A result of 8 sequences, 2 people in the first, 20 frames each; `shift` moves a metric."""

    def make(average="frame", sequences=8, **shift) -> Result:
        rng = np.random.default_rng(5)
        tracks = ["s0_0", "s0_1", *(f"s{i}_0" for i in range(1, sequences))]
        table = pd.DataFrame(
            {
                "track": np.repeat(tracks, 20).astype(object),
                "sequence": np.repeat([t.split("_")[0] for t in tracks], 20).astype(object),
                "frame_id": np.tile(np.arange(20), len(tracks)),
                "scored": True,
            }
        )
        summary = {}
        for name, unit in UNITS.items():
            values = rng.gamma(9, 9, len(table)) + shift.get(name, 0)
            if name.startswith("accel"):
                values[table["frame_id"].isin([0, 19])] = np.nan
            table[name] = values
            summary[name] = Measured(
                float(np.nanmean(values)), unit=unit, n=int((~np.isnan(values)).sum()), average=average
            )
        return Result(
            protocol="toy@1",
            protocol_sha256="a" * 64,
            dataset="3dpw",
            summary=summary,
            frames=table,
            sequences=pd.DataFrame({"sequence": table["sequence"].unique()}),
            accounting={"scored": len(table)},
            system="one",
            provenance={"body_sha256": {"SMPL_NEUTRAL": "b" * 64}},
        )

    return make


def change(comparison, metric):
    return next(c for c in comparison.changes if c.metric == metric)


def test_changes_are_second_minus_first(make_result):
    found = compare_results(make_result(), make_result(mpjpe=3.0))
    mpjpe = change(found, "mpjpe")
    assert mpjpe.change == pytest.approx(3.0)
    assert mpjpe.second - mpjpe.first == pytest.approx(3.0)
    assert mpjpe.first == pytest.approx(make_result().summary["mpjpe"].value)
    np.testing.assert_allclose(mpjpe.interval, 3.0)
    assert mpjpe.p_value < 0.001
    same = change(found, "pa_mpjpe")
    assert (same.change, same.interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert (found.frames, found.sequences, found.seeds) == (180, 8, 1)
    assert change(found, "accel_err").n == 162


def test_the_order_of_rows_does_not_matter(make_result):
    a, b = make_result(), make_result(mpjpe=1.0)
    mixed = dataclasses.replace(b, frames=b.frames.sample(frac=1, random_state=0))
    assert compare_results(a, mixed) == compare_results(a, b)


def test_the_average_is_that_of_the_result(make_result):
    a, b = make_result(average="track"), make_result(average="track")
    b.frames.loc[b.frames["track"] == "s0_1", "mpjpe"] += 9.0
    assert change(compare_results(a, b), "mpjpe").change == pytest.approx(1.0)  # 1 of 9 tracks
    a, b = (
        dataclasses.replace(r, summary={"mpjpe": Measured(0, unit="mm", n=1, average="video")})
        for r in (a, b)
    )
    assert change(compare_results(a, b), "mpjpe").change == pytest.approx(9 / 2 / 8)  # half of 1 of 8 videos


def test_few_sequences_have_no_interval_but_a_reason(make_result):
    found = change(compare_results(make_result(sequences=3), make_result(sequences=3, mpjpe=1)), "mpjpe")
    assert (found.interval, found.p_value) == (None, None)
    assert found.why_none == "3 sequences; an interval needs at least 6"


def test_several_seeds_are_paired(make_result):
    found = compare_results(
        [make_result(mpjpe=s) for s in (0, 1, 2)], [make_result(mpjpe=s + 4) for s in (0, 1, 2)]
    )
    assert found.seeds == 3
    assert change(found, "mpjpe").change == pytest.approx(4.0)
    with pytest.raises(UsageError, match="expected one per seed"):
        compare_results([make_result()], [make_result()] * 2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("protocol", "toy@2", "protocol: toy@1 and toy@2"),
        ("protocol_sha256", "c" * 64, "protocol sha256: aaaaaaaa and cccccccc"),
        ("dataset", "h36m-p1", "dataset: 3dpw and h36m-p1"),
        ("flags", ("extractor-mismatch",), "flags: none and extractor-mismatch"),
        ("partial", True, "partial: False and True"),
        ("synthetic", True, "synthetic: none and True"),
        ("provenance", {"body_sha256": {"SMPL_NEUTRAL": "d" * 64}}, "SMPL_NEUTRAL: bbbbbbbb and dddddddd"),
    ],
)
def test_what_must_agree_is_named(make_result, field, value, message):
    other = dataclasses.replace(make_result(), **{field: value})
    with pytest.raises(BadData, match=f"cannot be compared.*{message}"):
        compare_results(make_result(), other)


def test_all_differences_are_named_at_once(make_result):
    other = dataclasses.replace(make_result(), dataset="h36m", flags=("x",))
    with pytest.raises(BadData, match=r"dataset: 3dpw and h36m; flags: none and x"):
        compare_results(make_result(), other)


def test_other_frames_are_counted_and_named(make_result):
    a, b = make_result(), make_result()
    fewer = dataclasses.replace(b, frames=b.frames.iloc[3:])
    with pytest.raises(BadData, match=r"frames: 3 only in the first \(track s0_0, frame 0"):
        compare_results(a, fewer)
    with pytest.raises(BadData, match="frames: 3 only in the second"):
        compare_results(fewer, a)
    unscored = dataclasses.replace(b, frames=b.frames.assign(scored=b.frames["frame_id"] > 1))
    with pytest.raises(BadData, match="frames: 18 have another value of 'scored'"):
        compare_results(a, unscored)


def test_values_at_other_frames_are_refused(make_result):
    a, b = make_result(), make_result()
    b.frames.loc[21, "mpjpe"] = np.nan
    with pytest.raises(
        BadData, match=r"mpjpe: 1 frames have a value in one result only.*track s0_1, frame 1"
    ):
        compare_results(a, b)


def test_what_is_compared_may_differ_and_is_noted(make_result):
    a, b = make_result(), make_result()
    summary = {name: value for name, value in b.summary.items() if name != "pck150"}
    b = dataclasses.replace(
        b, system="two", condition="center-0.33x1-s0", summary=summary, absent={"pck150": "no joints"}
    )
    found = compare_results(a, b)
    assert "system: one and two" in found.notes
    assert "condition: none and center-0.33x1-s0" in found.notes
    assert "pck150: only in the first (no joints)" in found.notes
    assert [c.metric for c in found.changes] == ["mpjpe", "pa_mpjpe", "accel_err", "accel_pred"]


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("mpjpe", "lower"),
        ("pck150", "higher"),
        ("pa_auc200", "higher"),
        ("rte", "lower"),
        ("accel_pred", None),
        ("jitter", None),
    ],
)
def test_directions(name, better):
    assert better_direction(name) == better


def test_fail_if_worse_looks_at_metrics_of_its_unit(make_result):
    worse = compare_results(make_result(), make_result(pa_mpjpe=0.6, accel_err=2.0, pck150=-3, accel_pred=50))
    with pytest.raises(
        HpsbenchError, match=r"worse by more than 0.5 mm: pa_mpjpe .* mm \(\+0.60\)"
    ) as caught:
        fail_if_worse(worse, "0.5mm")
    assert caught.value.exit_code == 1
    assert "accel" not in str(caught.value)
    fail_if_worse(worse, "0.7 mm")
    fail_if_worse(worse, "mpjpe:0.1mm")
    with pytest.raises(HpsbenchError, match="accel_err"):
        fail_if_worse(worse, "1.5mm/frame^2")
    with pytest.raises(HpsbenchError, match="pck150"):
        fail_if_worse(worse, "2%")
    with pytest.raises(UsageError, match=r"no metric in deg among mpjpe \(mm\), pa_mpjpe"):
        fail_if_worse(worse, "1deg")


def test_better_is_never_a_failure(make_result):
    better = compare_results(make_result(), make_result(mpjpe=-5, pck150=5))
    fail_if_worse(better, "0mm")
    fail_if_worse(better, "0%")
    assert change(better, "mpjpe").worse_by == pytest.approx(-5)
    assert change(better, "pck150").worse_by == pytest.approx(-5)


def test_limits_are_read():
    assert Limit.parse(" pa_mpjpe:0.5mm ") == Limit(0.5, "mm", "pa_mpjpe")
    assert Limit.parse("2 mm/frame^2") == Limit(2.0, "mm/frame^2")
    assert Limit.parse("3 10 m/s^3") == Limit(3.0, "10 m/s^3")
    for bad in ("mm", "-1mm", "0.5", ""):
        with pytest.raises(UsageError, match="expected a number and a unit"):
            Limit.parse(bad)


def test_saved_results_compare_alike(make_result, tmp_path):
    accounting = {
        "in": 180,
        "masked": 0,
        "masked_by_reason": {},
        "too_short": 0,
        "tail": 0,
        "scored": 180,
        "tracks": {"in": 9, "used": 9, "skipped": {}},
    }
    a, b = (dataclasses.replace(r, accounting=accounting) for r in (make_result(), make_result(mpjpe=1)))
    loaded = [load_result(r.save(tmp_path / name)) for name, r in (("a", a), ("b", b))]
    found = compare_results(*loaded)
    assert found.changes == compare_results(a, b).changes
    assert json.loads(json.dumps(found.to_json()))["changes"][0]["metric"] == "mpjpe"
