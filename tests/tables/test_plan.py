import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsbench.corruption._plan import Condition
from hpsbench.errors import UsageError
from hpsbench.store.reader import open_store
from hpsbench.tables.catalog import get_table
from hpsbench.tables.inputs import Inputs
from hpsbench.tables.plan import Options, plan_table
from hpsbench.tables.steps import Step

Plan = dict[str, Any]
NO_MOTIONS = ("losses.adversarial=0",)
MISSING_SOURCES = ["h36m", "instavariety", "mpi-inf-3dhp", "posetrack"]


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., Plan]:
    """The plan of a table on what lies under `tmp_path`, as the command line asks for it."""

    def make(table_id: str, **options: Any) -> Plan:
        return plan_table(
            get_table(table_id), tmp_path, Options(device="cpu", **options), assume=True
        ).to_json()

    return make


def test_a_plan_with_nothing_prepared_lists_everything(planned: Callable[..., Plan], tmp_path: Path) -> None:
    plan = planned("catfa:table9")
    kinds = [step["kind"] for step in plan["plan"]]
    datasets = ["3dpw", *MISSING_SOURCES]
    assert [store["dataset"] for store in plan["missing"]] == sorted(datasets)
    assert all(store["what"] == "no raw data" for store in plan["missing"])
    assert plan["missing"][0]["commands"] == [
        f"hpsbench synth 3dpw --size full --root {tmp_path}",
        f"hpsbench prepare 3dpw --root {tmp_path}",
    ]
    assert kinds.count("raw") == kinds.count("prepare") == len(datasets)
    assert kinds.count("train") == kinds.count("evaluate") == 4  # two ways of weighting, clean and corrupted
    assert plan["exist"] == 0
    assert plan["seconds"] > 600
    assert all(step["units"] > 0 for step in plan["plan"])
    order = {step["id"]: number for number, step in enumerate(plan["plan"])}
    assert all(order[need] < order[step["id"]] for step in plan["plan"] for need in step["needs"])
    assert not list(tmp_path.iterdir())


def test_raw_data_that_is_there_wants_to_be_prepared_and_decides_what_is_assumed(
    planned: Callable[..., Plan], tmp_path: Path, tiny_world: Path
) -> None:
    shutil.copytree(tiny_world / "raw", tmp_path / "raw")
    first = planned("catfa:table9", tiny=True)["missing"][0]
    assert first["what"] == "not prepared"
    assert first["commands"] == [f"hpsbench prepare 3dpw --root {tmp_path}"]
    shutil.copytree(tiny_world / "stores", tmp_path / "stores")
    plan = planned("catfa:table9", tiny=True)
    assert plan["missing"] == []  # what is declared for synthetic data goes without the other sources
    assert plan["left_out"] == MISSING_SOURCES
    assert not any(step["kind"] == "prepare" for step in plan["plan"])


def test_a_system_of_two_streams_needs_its_flow_network_flow_and_fields(tiny_world: Path) -> None:
    options = Options(tiny=True, device="cpu", sets=NO_MOTIONS)
    plan = plan_table(get_table("dtsvibe:table3"), tiny_world, options)
    steps = {step.label: step for step in plan.steps.values()}
    network, flow, field = (
        steps[label]
        for label in (
            "train flow-encoder on 3dpw",
            "extract flow-dis-vibe of 3dpw",
            "write flow of 3dpw, vibe",
        )
    )
    assert network.id in flow.needs
    with_flow = steps["train dtsvibe-no-flow-loss on embedded-vibe, seed 0"]
    without = steps["train dtsvibe-no-flow on embedded-vibe, seed 0"]
    assert flow.id in with_flow.needs
    assert flow.id not in without.needs
    whole = steps["train dtsvibe-wo-h36m on embedded-vibe, seed 0"]
    assert field.id in whole.needs
    assert field.id not in with_flow.needs


def test_losses_find_masks_and_hidden_joints(tiny_world: Path) -> None:
    options = Options(tiny=True, device="cpu", sets=NO_MOTIONS)
    plan = plan_table(get_table("spsnet:table2"), tiny_world, options)
    steps = {step.label: step for step in plan.steps.values()}
    masks = steps["write masks of 3dpw, vibe"]
    hidden = steps["corrupt embedded-vibe+spsnet-occ-1x1-s0-sev3 of 3dpw"]
    assert masks.id in steps["train spsnet on embedded-vibe, seed 0"].needs
    assert masks.id not in steps["train spsnet-no-mask on embedded-vibe, seed 0"].needs
    assert hidden.id in steps["train spsnet-no-mask on embedded-vibe, seed 0"].needs
    assert hidden.key["splits"] == ["train"]


def test_joints_are_hidden_in_every_split_that_a_source_reads(tiny_world: Path) -> None:
    steps: dict[str, Step] = {}

    def add(step: Step) -> str:
        steps[step.id] = step
        return step.id

    store = open_store(tiny_world / "stores" / "3dpw.zarr")
    inputs = Inputs(tiny_world, lambda dataset: store, add)
    clean = inputs.features(store, "tcmr", None, None)
    (of_train,) = inputs.hidden_joints(store, "tcmr", clean, "train").needs
    (of_all,) = inputs.hidden_joints(store, "tcmr", clean, None).needs
    assert steps[of_train].key["splits"] == ["train"]
    assert "splits" not in steps[of_all].key
    assert steps[of_all].units > steps[of_train].units


def test_flow_of_hurt_frames_is_made_from_clean_flow(tiny_world: Path) -> None:
    steps: dict[str, Step] = {}

    def add(step: Step) -> str:
        steps[step.id] = step
        return step.id

    store = open_store(tiny_world / "stores" / "3dpw.zarr")
    read = Inputs(tiny_world, lambda dataset: store, add).flow(
        store, "tcmr", Condition(mode="noise", ratio=0.33)
    )
    hurt = steps[read.needs[0]]
    assert (hurt.kind, hurt.key["extractor"]) == ("corrupt", "flow-dis")
    assert read.name == hurt.key["features"] == "flow-dis-tcmr+noise-0.33x1-s0"
    assert hurt.key["corruption"]["version"] == 1
    clean = steps[hurt.needs[0]]
    assert (clean.kind, clean.key["features"]) == ("extract", "flow-dis-tcmr")
    assert steps[clean.needs[0]].kind == "flow-encoder"


WITHOUT_3DPW = ("catfa:table1", "dtsvibe:table1", "mpsnet:table4", "spsnet:table1", "vibe:table1")


def _trainings(table_id: str, root: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(row, whether it is trained with 3DPW) -> the recipe that fills its cells, as it is trained on synthetic data."""
    plan = plan_table(get_table(table_id), root, Options(device="cpu"), assume=True)
    found = {}
    for cell in plan.cells:
        for evaluation in cell.evaluations:
            trained = plan.steps.get(str(plan.steps[evaluation].key["checkpoint"]))
            if trained is not None:
                found[cell.cell.row, cell.cell.trained_with_3dpw] = trained.key["recipe"]
    return found


@pytest.mark.parametrize("table_id", WITHOUT_3DPW)
def test_a_row_without_3dpw_does_not_train_on_it(table_id: str, tmp_path: Path) -> None:
    trained = {
        row: recipe for (row, with_it), recipe in _trainings(table_id, tmp_path).items() if with_it == "no"
    }
    assert trained
    for row, recipe in trained.items():
        assert "3dpw" not in {source["dataset"] for source in recipe["sources"]}, row


def test_the_rows_of_an_ablation_differ_in_what_it_is_about(tmp_path: Path) -> None:
    recipes = {row: recipe for (row, _), recipe in _trainings("vibe:table2", tmp_path).items()}
    generator, whole = recipes["Baseline (only G)"], recipes["G + DM (VIBE)"]
    assert generator["losses"] | {"adversarial": whole["losses"]["adversarial"]} == whole["losses"]
    for part in ("sources", "data", "windows", "schedule", "optimiser", "options"):
        assert generator[part] == whole[part], part


def test_rows_with_the_same_supervision_have_the_same_sources(tmp_path: Path) -> None:
    recipes = {row: recipe for (row, _), recipe in _trainings("catfa:table3", tmp_path).items()}
    own, frame_based = recipes["Ours*"], recipes["SPIN* [6]"]
    assert frame_based["sources"] == own["sources"]
    assert {source["dataset"]: source["smpl"] for source in own["sources"]}["h36m"] is False


@pytest.mark.parametrize(
    ("only", "told"),
    [
        ({"foo": 0.0}, "foo: no cell has it. Keys: .*method.*ratio"),
        ({"method": "vib"}, "method: catfa, hmmr, spin, spin-median, vibe, vibe-clean"),
        ({"ratio": [0.3]}, r"ratio: 0\.0, 0\.1, 0\.2, 0\.33"),
    ],
)
def test_a_choice_that_chooses_nothing_is_refused(only: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        plan_table(get_table("catfa:table5"), tmp_path, Options(only=only))
