from pathlib import Path

import pytest

from hpsbench.errors import MissingData, UsageError
from hpsbench.reports.material import load_runs, read_condition


def test_runs_are_told_apart_by_system_and_condition(make_run) -> None:
    runs = load_runs([str(make_run("a")), str(make_run("b", condition="center-0.33x2-s0"))])
    assert [run.label for run in runs] == [
        "vibe (clean)",
        "vibe (center, 33% of frames, 2 in a row)",
    ]


def test_runs_that_look_alike_are_called_by_their_folders_or_as_given(make_run) -> None:
    first, second = make_run("first"), make_run("second")
    assert [run.label for run in load_runs([str(first), str(second)])] == ["first", "second"]
    assert [run.label for run in load_runs([f"Ours={first}", str(second)])] == ["Ours", "vibe"]
    with pytest.raises(UsageError, match="label 'A'"):
        load_runs([f"A={first}", f"A={second}"])


def test_names_under_the_data_root_are_found(make_run) -> None:
    folder = make_run("named")
    assert load_runs(["named"], root=folder.parent.parent)[0].folder == folder


@pytest.mark.parametrize("names", [[], ["same", "same"]])
def test_no_run_and_the_same_run_twice_are_refused(make_run, names: list[str]) -> None:
    folder = make_run("same")
    with pytest.raises(UsageError):
        load_runs([str(folder) for _ in names])


def test_a_missing_run_and_predictions_of_none_are_refused(make_run, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="nowhere"):
        load_runs([str(tmp_path / "nowhere")])
    with pytest.raises(UsageError, match="no such run"):
        load_runs([str(make_run("a"))], predictions={"other": tmp_path / "p.npz"})


def test_conditions_are_read_in_parts() -> None:
    assert read_condition("center-0.5x1-s3").ratio == 0.5
    assert read_condition(None).mode == "clean"
    assert read_condition("blur/3").ratio is None
    assert read_condition("blur/3").text == "blur/3"
    graded = read_condition("motion_blur-0.33x1-s2-sev4")
    assert (graded.mode, graded.severity, graded.ratio) == ("motion_blur", 4, 0.33)
    assert graded.text == "motion_blur, severity 4, 33% of frames, seed 2"
    assert read_condition("center-0.5x1-s0-regular").text == "center, 50% of frames, regular"
