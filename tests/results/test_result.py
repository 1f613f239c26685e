import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hpsbench as hb
from hpsbench.errors import BadData, BrokenFile, MissingData
from hpsbench.results.measured import Measured
from hpsbench.results.result import Result, find_result, load_result


@pytest.fixture(scope="module")
def result() -> Result:
    rng = np.random.default_rng(0)
    track = np.repeat([f"s{i}_0" for i in range(8)], 20)
    target = rng.normal(0, 0.3, (160, 14, 3))
    pred = target + rng.normal(0, 0.05, target.shape)
    return hb.score(
        "tcmr", {"joints3d": pred}, {"joints3d": target}, track=track, seen=np.arange(160) % 50 != 7
    )


def test_round_trip(result: Result, tmp_path: Path) -> None:
    loaded = load_result(result.save(tmp_path / "run"))
    assert loaded.to_json() == result.to_json()
    assert loaded.summary == result.summary
    assert loaded.summary["mpjpe"].interval == result.summary["mpjpe"].interval
    pd.testing.assert_frame_equal(loaded.frames, result.frames)
    pd.testing.assert_frame_equal(loaded.sequences, result.sequences)
    assert load_result(tmp_path / "run" / "results.json").protocol == "tcmr@1"


def test_the_files_open_without_hpsbench(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path)
    document = json.loads((tmp_path / "results.json").read_text())
    entry = document["metrics"]["mpjpe"]
    assert entry["unit"] == "mm"
    assert entry["n"] == result.accounting["scored"]
    assert entry["interval"][0] < entry["value"] < entry["interval"][1]
    frames = pd.read_parquet(tmp_path / "frames.parquet")
    assert {"track", "sequence", "frame_id", "scored", "mpjpe", "accel_err"} <= set(frames)
    assert frames["mpjpe"].mean() == pytest.approx(entry["value"])


def test_saving_again_replaces_whole_files(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    result.save(tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "frames.parquet",
        "results.json",
        "sequences.parquet",
    ]


def test_a_later_version_with_more_keys_is_read(result: Result, tmp_path: Path) -> None:
    folder = result.save(tmp_path)
    document = json.loads((folder / "results.json").read_text())
    document["schema_version"] = 7
    document["new_thing"] = {"a": 1}
    document["metrics"]["mpjpe"]["median"] = 1.0
    (folder / "results.json").write_text(json.dumps(document))
    assert load_result(folder).summary["mpjpe"] == result.summary["mpjpe"]


def test_the_first_version_is_read_for_ever(result: Result, tmp_path: Path) -> None:
    """The least that version 1 promises: keys that were optional may be absent."""
    folder = result.save(tmp_path)
    document = {
        "format": "hpsbench-result",
        "schema_version": 1,
        "dataset": "3dpw",
        "protocol": "tcmr@1",
        "protocol_sha256": "0" * 64,
        "metrics": {"mpjpe": {"value": 1.5, "unit": "mm", "n": 3, "interval": None}},
        "accounting": {
            "in": 3, "masked": 0, "masked_by_reason": {}, "too_short": 0, "tail": 0, "scored": 3,
            "tracks": {"in": 1, "used": 1, "skipped": {}},
        },
        "provenance": {},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(document))
    loaded = load_result(folder)
    assert loaded.summary["mpjpe"] == 1.5
    assert loaded.summary["mpjpe"].n == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.pop("accounting"), BrokenFile, "no key 'accounting'"),
        (lambda d: d["metrics"]["mpjpe"].pop("unit"), BrokenFile, r"metrics\.mpjpe: no key 'unit'"),
        (
            lambda d: d["metrics"]["mpjpe"].update(value="55"),
            BrokenFile,
            r"metrics\.mpjpe\.value: expected number, found str",
        ),
        (
            lambda d: d["accounting"].update(scored=True),
            BrokenFile,
            r"accounting\.scored: expected integer, found bool",
        ),
        (lambda d: d.update(format="hpsbench-result-2"), BadData, "this hpsbench reads 'hpsbench-result'"),
        (lambda d: d.pop("format"), BrokenFile, "not a result of hpsbench"),
    ],
)
def test_damaged_results_are_named(
    result: Result, tmp_path: Path, change: Any, error: type[Exception], message: str
) -> None:
    folder = result.save(tmp_path)
    document = json.loads((folder / "results.json").read_text())
    change(document)
    (folder / "results.json").write_text(json.dumps(document))
    with pytest.raises(error, match=message) as caught:
        load_result(folder)
    assert "results.json" in str(caught.value)


def test_missing_and_unreadable_files(result: Result, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no results\.json"):
        load_result(tmp_path / "nowhere")
    folder = result.save(tmp_path)
    (folder / "results.json").write_text("{")
    with pytest.raises(BrokenFile, match="not valid JSON"):
        load_result(folder)
    result.save(folder)
    (folder / "frames.parquet").write_bytes(b"PAR1")
    with pytest.raises(BrokenFile, match="not readable as Parquet"):
        load_result(folder)


def test_a_result_prints_in_one_line(result: Result) -> None:
    text = repr(result)
    assert "tcmr@1" in text
    assert "\n" not in text


def test_measured_is_a_float_and_its_entry() -> None:
    value = Measured(2.5, unit="mm", n=7, interval=(2.0, 3.0), by_average={"frame": 2.5})
    assert value + 1 == 3.5
    assert value["value"] == value.value == 2.5
    assert value["interval"] == [2.0, 3.0]
    assert value.interval == (2.0, 3.0)
    assert dict(value)["unit"] == "mm"
    with pytest.raises(KeyError):
        value["median"]
    assert repr(value) == "2.5 mm [2, 3] (n=7)"
    again = Measured.from_json(json.loads(json.dumps(value.to_json())))
    assert again.to_json() == value.to_json()


def test_a_name_that_no_result_has_is_told_with_those_there_are(result: Result, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"runs: none\)"):
        find_result("mine", tmp_path)
    for number in range(14):
        result.save(tmp_path / "runs" / f"run-{number:02d}")
    with pytest.raises(MissingData, match=r"runs: run-00, .*, run-11 and 2 more\)"):
        find_result("mine", tmp_path)
    assert find_result("run-13", tmp_path).name == "run-13"
