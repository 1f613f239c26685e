import csv
import html
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpsbench.corruption._catalog import get_corruption
from hpsbench.tables import inputs, run
from hpsbench.tables.catalog import get_table, list_tables
from hpsbench.tables.cells import fill_of
from hpsbench.tables.plan import LEFT_OUT, Options, plan_table
from hpsbench.tables.render import FORMS, csv_text
from hpsbench.tables.run import Reproduced, reproduce, save
from hpsbench.tables.schema import Fill
from hpsbench.training.config import get_training_recipe

FRAME_BASED: dict[str, Any] = {"method": ["spin", "spin-median"], "ratio": [0.0, 0.33], "consecutive": [0, 1]}
TINY = Options(tiny=True, only=FRAME_BASED, device="cpu", command="hpsbench reproduce catfa:table5 --tiny")


@pytest.fixture(scope="module")
def world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tables")
    for name in ("stores", "body_models", "raw"):
        shutil.copytree(tiny_world / name, root / name)
    return root


@pytest.fixture(scope="module")
def table5(world: Path) -> Reproduced:
    return reproduce("catfa:table5", world, options=TINY)


def test_a_table_is_filled_from_runs(table5: Reproduced) -> None:
    document = table5.to_json()
    assert document["synthetic"] is True
    asked = [c for c in document["cells"] if c["why_not"] != LEFT_OUT]
    assert len(asked) == 8
    assert all(
        c["method"] == "spin" and c["measured"] > 0 and c["n"] > 0 and c["undertrained"] for c in asked
    )
    assert all(c["interval"] is None for c in asked)  # two sequences give none
    medians = [c for c in document["controls"] if c["measured"] is not None]
    assert {c["method"] for c in medians} == {"spin-median"}
    assert len(medians) == 8


def test_a_result_says_what_its_features_went_through(table5: Reproduced) -> None:
    results = {r.condition: r for f in table5.cells for r in f.results}
    clean, hurt = results[None].provenance, results["center-0.33x1-s0"].provenance
    assert clean["corruption"] is None
    told = {key: hurt["corruption"][key] for key in ("mode", "ratio", "consecutive", "seed", "pattern", "fill", "version")}  # fmt: skip
    assert told == {"mode": "center", "ratio": 0.33, "consecutive": 1, "seed": 0, "pattern": "random", "fill": "black", "version": 1}  # fmt: skip
    assert len(hurt["corruption"]["manifest_sha256"]) == 64
    assert hurt["corruption"]["hit"] > 0
    for made in (clean, hurt):
        assert made["renderer"] == {"format": "hpsbench-synthetic", "version": 1, "size": "tiny", "seed": 0}
        assert len(made["extractor_sha256"]) == 64
        assert made["trainings"][0]["undertrained"] is True
        assert made["trainings"][0]["converged"] is None
    assert all("undertrained" in r.flags for r in results.values())


def test_a_step_is_another_where_renderer_encoder_or_corruption_is_another(
    world: Path, table5: Reproduced, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = get_table("catfa:table5")

    def ids() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for step in plan_table(table, world, TINY).steps.values():
            found.setdefault(step.kind, set()).add(step.id)
        return found

    before = ids()
    monkeypatch.setattr(inputs, "renderer", lambda store: {"format": "hpsbench-synthetic", "version": 2})
    assert all(before[kind].isdisjoint(found) for kind, found in ids().items())
    monkeypatch.undo()
    changed = replace(get_corruption("center"), version=2)
    monkeypatch.setattr(inputs, "get_corruption", lambda name: changed)
    after = ids()
    assert after["extract"] == before["extract"]
    assert after["corrupt"].isdisjoint(before["corrupt"])
    assert len(after["evaluate"] & before["evaluate"]) == len(after["evaluate"]) // 2  # the clean ones
    steps = plan_table(table, world, TINY)
    assert not any(steps.is_done(step) for step in steps.steps.values() if step.kind == "corrupt")
    monkeypatch.undo()
    monkeypatch.setattr(inputs.Inputs, "_encoder", lambda *_: "f" * 64)
    other = ids()
    assert all(other[kind].isdisjoint(found) for kind, found in before.items())


def test_the_filter_smooths_and_nothing_undertrained_decides(table5: Reproduced) -> None:
    smooth = {
        f.cell.metric: f.measured for f in table5.controls if f.measured and f.cell.condition["ratio"] == 0.33
    }
    plain = {
        f.cell.metric: f.measured for f in table5.cells if f.measured and f.cell.condition["ratio"] == 0.33
    }
    assert smooth["accel_err"] < plain["accel_err"]
    assert {v.here for v in table5.claims} == {"undecided"}


def test_every_form_is_written(table5: Reproduced, tmp_path: Path) -> None:
    paths = save(table5, tmp_path / "table", FORMS)
    assert sorted(p.suffix for p in paths) == [".csv", ".html", ".json", ".md", ".tex"]
    assert (
        json.loads((tmp_path / "table" / "table.json").read_text(encoding="utf-8"))["table"] == "catfa:table5"
    )
    text = (tmp_path / "table" / "table.md").read_text(encoding="utf-8")
    assert "120 left out by --only and not shown" in text
    assert "T-HMR |" not in text
    assert len(list(csv.DictReader(io.StringIO(csv_text(table5))))) == 128 + len(table5.controls)


def test_a_second_call_and_another_table_find_what_was_run(
    world: Path, table5: Reproduced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_RUN", {})  # nothing may be run
    again = reproduce("catfa:table5", world, options=TINY)
    assert [f.measured for f in again.cells] == [f.measured for f in table5.cells]
    other = plan_table(get_table("catfa:table10"), world, TINY).to_json()
    assert other["exist"] == len(other["plan"]) > 0
    assert other["seconds"] == 0


def test_a_plan_touches_nothing_and_tells_steps_apart_by_content(world: Path, table5: Reproduced) -> None:
    before = sorted(p for p in world.rglob("*") if p.is_file())
    table = get_table("catfa:table5")
    more = Options(tiny=True, only=FRAME_BASED, device="cpu", seeds=2, sets=("optimiser.lr=1e-3",))
    plan = plan_table(table, world, more).to_json()
    assert sorted(p for p in world.rglob("*") if p.is_file()) == before
    kinds = [(step["kind"], step["exists"]) for step in plan["plan"]]
    assert kinds.count(("train", False)) == 4
    assert ("corrupt", True) in kinds
    assert plan["seconds"] > 0
    assert all(step["estimated_from"] for step in plan["plan"] if not step["exists"])
    ids = [step["id"] for step in plan["plan"]]
    assert len(ids) == len(set(ids))
    assert all(need in ids for step in plan["plan"] for need in step["needs"])


def test_a_result_that_was_deleted_is_made_again(world: Path, table5: Reproduced) -> None:
    plan = plan_table(get_table("catfa:table5"), world, TINY)
    step = next(s for s in plan.steps.values() if s.kind == "evaluate")
    assert plan.is_done(step)
    folder = plan.record.folder_of(step)
    folder.rename(folder.with_name("elsewhere"))
    assert not plan.is_done(step)
    folder.with_name("elsewhere").rename(folder)


def test_what_cannot_be_measured_says_why(world: Path) -> None:
    plan = plan_table(get_table("vibe:table2"), world, Options(tiny=True)).to_json()
    reasons = " ".join(reason["why_not"] for reason in plan["cannot"])
    assert "needs a feature set 'hmr-vibe' of the 3dpw store" in reasons
    assert "HMR's own weights" in reasons
    one = plan_table(get_table("catfa:table2"), world, Options(tiny=True)).to_json()
    assert any("mpi-inf-3dhp" in reason["why_not"] for reason in one["cannot"])


def test_costs_need_no_data_and_decide_a_claim(tmp_path: Path) -> None:
    found = reproduce("mpsnet:table2", tmp_path)
    measured = {(f.cell.method, f.cell.metric): f.measured for f in found.cells if f.measured is not None}
    assert len(measured) == 8
    for filled in found.cells:
        if filled.measured is not None and filled.cell.paper is not None:
            assert filled.measured == pytest.approx(filled.cell.paper, abs=0.011)
    assert all("checkpoint files" in (f.why_not or "") for f in found.cells if f.measured is None)
    lightest = next(v for v in found.claims if v.claim.id == "fewest-parameters")
    assert [c.here for c in lightest.comparisons if c.metric == "params_m"] == ["holds"] * 3
    assert found.synthetic is None


def test_losses_get_masks_and_hidden_joints(world: Path) -> None:
    """Self-attention alone, on 3DPW: the other sources and the captured motions are not prepared here."""
    found = reproduce(
        "spsnet:table4",
        world,
        options=Options(
            tiny=True, device="cpu", only={"temporal_module": ["gru"]}, sets=("losses.adversarial=0",)
        ),
    )
    assert all(f.measured for f in found.cells if f.why_not != LEFT_OUT)
    (trained,) = found.trainings()
    assert trained.recipe == "spsnet-gru"
    assert trained.without_data == ()
    assert "mask" in get_training_recipe("spsnet-gru").weights()
    assert trained.left_out == ("h36m", "instavariety", "mpi-inf-3dhp", "pennaction", "posetrack")
    assert (world / "targets" / "3dpw" / "vibe" / "masks.npy").is_file()


@pytest.fixture(scope="session")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every dataset, tiny: the steps of the tables make everything else."""
    from hpsbench.pipeline.prepare import prepare
    from hpsbench.synth.world import list_worlds, synthesize_raw

    root = tmp_path_factory.mktemp("whole_world")
    for dataset in list_worlds():
        synthesize_raw(dataset, root, size="tiny", seed=0, workers=1)
        prepare(dataset, root, workers=1)
    return root


@pytest.mark.full
@pytest.mark.parametrize("table_id", [entry["id"] for entry in list_tables()])
def test_every_table_runs_from_end_to_end(table_id: str, whole_world: Path) -> None:
    table = get_table(table_id)
    found = reproduce(table, whole_world, options=Options(tiny=True, device="cpu"))
    for filled in (*found.cells, *found.controls):
        cannot = filled.cell.control or fill_of(table, filled.cell)
        if isinstance(cannot, Fill) and (cannot.why_not or cannot.extractor or cannot.costs_of):
            assert filled.measured is not None or filled.why_not
            continue
        assert filled.why_not is None, (filled.cell, filled.why_not)
        assert filled.measured is not None
        assert filled.n
    for one in found.trainings():
        assert one.undertrained
        assert not one.left_out
        # Three steps of two windows may draw none that has SMPL parameters or a mask.
        assert set(one.without_data) <= {"pose", "shape", "mask"}, one
    judged = {verdict.here for verdict in found.claims if "input_frames" not in verdict.claim.metrics}
    assert judged <= ({"undecided"} if found.trainings() else {"undecided", "holds", "fails"})
    named = {table_id, table.title, html.escape(table.title), table.title.replace("%", r"\%")}
    for render in FORMS.values():
        assert any(name in render(found) for name in named)


def test_the_json_of_all_tables_holds_every_printed_number_with_a_value_or_a_reason(tmp_path: Path) -> None:
    """With nothing prepared, so nothing is run; the keys are those that are promised."""
    wanted = (
        "row",
        "method",
        "dataset",
        "metric",
        "condition",
        "paper",
        "measured",
        "unit",
        "n",
        "interval",
        "why_not",
    )
    count = 0
    for entry in list_tables():
        document = json.loads(json.dumps(reproduce(entry["id"], tmp_path).to_json(), allow_nan=False))
        assert list(document)[:4] == ["table", "synthetic", "cells", "claims"]
        assert document["table"] == entry["id"]
        for cell in document["cells"]:
            assert tuple(cell)[: len(wanted)] == wanted
            assert isinstance(cell["paper"], float)
            assert (cell["measured"] is None) == (cell["why_not"] is not None)
            assert (cell["measured"] is None) == (cell["n"] is None)
        assert {verdict["here"] for verdict in document["claims"]} <= {"holds", "fails", "undecided"}
        count += len(document["cells"])
    assert count == 784
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
